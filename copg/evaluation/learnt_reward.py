"""How well a learnt reward ranks held-out pairs, or tells thumbs apart, beside what length alone does."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from copg.evaluation.estimates import Bounds, Clusters, Samples, estimate
from copg.evaluation.trust import OVER_LENGTH
from copg.records import Estimate
from copg.training.comparisons import Comparisons
from copg.training.thumbs import Thumbs

NUM_BINS = 10
Table = list[dict[str, float]]
"""A row a bin: how many are in it, what the model says of them, what they were."""


def measure_pairs(
    data: Sequence[Comparisons], scores: Samples, train: Sequence[Comparisons]
) -> tuple[dict[str, float], Table]:
    """Of held-out pairs: accuracy with its 95 % interval over prompts, log loss (nats a pair), calibration
    error, the accuracy of length alone, and what the model gets beyond that; then the table of calibration.

    The rule of length is the one that ranks the pairs of ``train`` better: the longer or the shorter is best.

    Args:
        data: the held-out groups.
        scores: [groups][completions] by the model.
        train: what the model learnt from.
    """
    sign = _sign_of_length(train)
    outcomes = [group.differences(own) for group, own in zip(data, scores, strict=True)]
    differences = [difference for group in outcomes for difference in group]
    right = [[win(d) for d in group] for group in outcomes]
    by_length = [[win(sign * d) for d in group.differences(group.lengths)] for group in data]
    beyond = [[a - b for a, b in zip(*both, strict=True)] for both in zip(right, by_length, strict=True)]
    table, together = reliability(differences), together_of([group.cluster for group in data])
    return {
        **_stated("accuracy", estimate(right, bounds=(0.0, 1.0), clusters=together)),
        "length_accuracy/mean": estimate(by_length).mean,
        **_stated(OVER_LENGTH, estimate(beyond, bounds=(-1.0, 1.0), clusters=together)),
        "loss/mean": log_loss(differences),
        "calibration/error": calibration_error(table),
        "pairs/count": float(len(differences)),
        "prompts/count": float(len(data)),
    }, table


def measure_thumbs(
    data: Sequence[Thumbs], scores: Samples, train: Sequence[Thumbs]
) -> tuple[dict[str, float], Table]:
    """Of held-out thumbs: AUC with its 95 % interval over prompts, log loss (nats a thumb) beside that of
    the constant that fits ``train`` best, calibration error, the AUC of length alone, and what the model gets
    beyond that.

    The rule of length is the one that tells the thumbs of ``train`` apart: the longer or the shorter is up.

    Args:
        data: the held-out groups, which hold thumbs up and down.
        scores: [groups][completions] by the model.
        train: what the model learnt from.
    """
    up, together = [group.up for group in data], together_of([group.cluster for group in data])
    of_train = [thumb for group in train for thumb in group.up]
    sign = 1 if auc([g.lengths for g in train], [g.up for g in train]).mean >= 0.5 else -1
    by_length = [[sign * length for length in group.lengths] for group in data]
    beyond = _by_prompt(scores, up) - _by_prompt(by_length, up)
    over = _of_placements(beyond, up, (-1.0, 1.0), together)
    thumbs = [thumb for group in up for thumb in group]
    table = thumb_reliability([score for own in scores for score in own], thumbs)
    share = sum(of_train) / len(of_train)
    constant = math.log(share / (1 - share))
    return {
        **_stated("auc", auc(scores, up, clusters=together)),
        **_stated("length_auc", auc(by_length, up, clusters=together)),
        **_stated(OVER_LENGTH, over),
        "loss/mean": _thumb_loss([score for own in scores for score in own], thumbs),
        "constant_loss/mean": _thumb_loss([constant] * len(thumbs), thumbs),
        "calibration/error": calibration_error(table),
        "thumbs/count": float(len(thumbs)),
        "thumbs/up": sum(thumbs) / len(thumbs),
        "prompts/count": float(len(data)),
    }, table


def auc(scores: Samples, up: Samples, *, clusters: Clusters | None = None) -> Estimate:
    """Probability that a completion with a thumb up scores higher than one with a thumb down, a tie half.

    Its interval is that of the mean over prompts of placement values (DeLong and others 1988,
    https://doi.org/10.2307/2531595; by cluster, Obuchowski 1997, https://doi.org/10.2307/2533958): each
    completion counts by how the other kind lies beside it, and thumbs of one prompt stay together. Where
    these values do not vary, as of thumbs all told apart, it is the exact one of as many prompts as hold the
    scarcer kind: a handful ranked rightly is no certainty.

    Args:
        scores: [prompts][completions].
        up: as ``scores``: 1 or 0; both kinds are there.
        clusters: of each prompt; None where each stands for itself.
    """
    together = clusters or range(len(scores))
    found = _of_placements(_by_prompt(scores, up), up, (0.0, 1.0), together)
    return Estimate(found.mean, max(found.low, 0.0), min(found.high, 1.0))


def together_of(clusters: Sequence[str]) -> Clusters:
    """What stands for each prompt in an interval: its cluster; itself where it has none, or all have one."""
    found = [cluster or place for place, cluster in enumerate(clusters)]
    return found if len(set(found)) > 1 else range(len(found))


def _of_placements(values: np.ndarray, up: Samples, bounds: Bounds, clusters: Clusters) -> Estimate:
    """The mean of values by prompt, which lies within ``bounds``, with its interval."""
    found = estimate([[value] for value in values.tolist()], clusters=clusters)
    if found.low < found.high or bounds is None:
        return found
    kinds = [{c for c, thumbs in zip(clusters, up, strict=True) if kind in thumbs} for kind in (0, 1)]
    scarcer = min(map(len, kinds))
    if scarcer < 2:
        return Estimate(found.mean, *bounds)
    return estimate([[min(max(found.mean, bounds[0]), bounds[1])]] * scarcer, bounds=bounds)


def _by_prompt(scores: Samples, up: Samples) -> np.ndarray:
    """[prompts] values whose mean is the AUC, and whose spread is that of placement values by prompt."""
    prompt = np.repeat(np.arange(len(scores)), [len(own) for own in scores])
    values = np.array([score for own in scores for score in own], np.float64)
    is_up = np.array([thumb for own in up for thumb in own]) > 0
    placed = np.empty(len(values))
    placed[is_up] = _share_below(values[is_up], values[~is_up])
    placed[~is_up] = 1 - _share_below(values[~is_up], values[is_up])
    mean = placed[is_up].mean()
    weight = len(scores) / np.where(is_up, is_up.sum(), (~is_up).sum())
    moved: np.ndarray = mean + np.bincount(prompt, weight * (placed - mean), len(scores))
    return moved


def _sign_of_length(train: Sequence[Comparisons]) -> int:
    """1 where the longer of a pair is more often the better one in ``train``, -1 where it is the shorter."""
    wins = [win(d) for group in train for d in group.differences(group.lengths)]
    return 1 if sum(wins) >= len(wins) / 2 else -1


def _share_below(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Of each value: the share of ``others`` that lie below it, those that equal it half."""
    others = np.sort(others)
    below, up_to = np.searchsorted(others, values, "left"), np.searchsorted(others, values, "right")
    share: np.ndarray = (below + up_to) / (2 * len(others))
    return share


def win(difference: float) -> float:
    """1 when the better completion is ranked first, half for a tie."""
    return 0.5 if difference == 0 else float(difference > 0)


def reliability(differences: Sequence[float]) -> Table:
    """How often the model is right, by how sure it says it is: ten bins of confidence from .5 to 1.

    Confidence is sigmoid of the absolute difference, what the model gives as the chance that it ranks the
    pair rightly. Empty bins are left out.
    """
    said = [(_sigmoid(abs(difference)), win(difference)) for difference in differences]
    return _binned(said, 0.5, ("pairs", "confidence", "accuracy"))


def thumb_reliability(scores: Sequence[float], up: Sequence[float]) -> Table:
    """How often a thumb is up, by what the model says is its chance: ten bins from 0 to 1, none empty."""
    said = zip(map(_sigmoid, scores), up, strict=True)
    return _binned(said, 0.0, ("thumbs", "probability", "up"))


def _binned(pairs: Iterable[tuple[float, float]], lowest: float, names: tuple[str, str, str]) -> Table:
    bins: dict[int, list[tuple[float, float]]] = {}
    for said, was in pairs:
        place = min(int((said - lowest) / (1 - lowest) * NUM_BINS), NUM_BINS - 1)
        bins.setdefault(place, []).append((said, was))
    rows = [
        (float(len(found)), sum(s for s, _ in found) / len(found), sum(w for _, w in found) / len(found))
        for _, found in sorted(bins.items())
    ]
    return [dict(zip(names, row, strict=True)) for row in rows]


def calibration_error(table: Table) -> float:
    """Mean distance of what the model says and what was (expected calibration error)."""
    rows = [tuple(row.values()) for row in table]
    return sum(count * abs(said - was) for count, said, was in rows) / sum(count for count, *_ in rows)


def log_loss(differences: Sequence[float]) -> float:
    """Mean Bradley-Terry loss, nats a pair; ln 2 = .693 is what knowing nothing costs."""
    return sum(max(-d, 0) + math.log1p(math.exp(-abs(d))) for d in differences) / len(differences)


def _thumb_loss(scores: Sequence[float], up: Sequence[float]) -> float:
    """Mean logistic loss, nats a thumb."""
    return log_loss([score if thumb else -score for score, thumb in zip(scores, up, strict=True)])


def _sigmoid(score: float) -> float:
    return 1 / (1 + math.exp(-max(-700.0, min(score, 700.0))))


def _stated(name: str, found: Estimate) -> dict[str, float]:
    return {f"{name}/mean": found.mean, f"{name}/low": found.low, f"{name}/high": found.high}
