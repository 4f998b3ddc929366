"""How a training ended: metrics; unfinished, clipped, without effect, or off its logs; a hint for each."""

from collections.abc import Iterable, Mapping
from itertools import accumulate
from statistics import fmean
from typing import TYPE_CHECKING, Any

from copg.losses.units import has_reward_units
from copg.training.log import LAST, read_metrics

if TYPE_CHECKING:
    from copg.training.loop import Loop, LoopState

UNFINISHED = 0.3
"""Var(R_beta) / Var(R) from which a training is called unfinished."""
UNLEARNT = 0.9
"""The same from which a policy has learnt next to nothing of the rewards."""
OVERSHOT = 1.3
"""How many times its lowest so far the residual becomes on the way where the learning rate is too high."""
CLIPPED = 0.5
"""Share of clipped steps from which it is told: of AdamW, whose steps have a size of their own, the clip then
only makes them count alike (in ``experiments.sweep`` nothing was lost by it)."""
UNMOVED_NATS = 0.01
"""KL of drawn completions below which a policy that has something to learn is called unmoved."""
DRIFTED, DRIFTED_NATS = 3.0, 1.0
"""How many times as far from the reference drawn completions lie as the logs show, and from which KL on."""
LAST_OF = {"residual/fraction": "residual/last", "log_ratio/weighted": "log_ratio/weighted_last"}


def hints(metrics: Mapping[str, float], *, clip_follows: bool = False) -> list[str]:
    """What a look at the last steps of a training says, a sentence each; none where all is well.

    Args:
        metrics: ``steps/done``, ``steps/clipped``, ``kl/mean`` of the last draw, ``prompts/tied``, and what
            ``last_means`` gives. What is missing is not judged.
        clip_follows: whether the clip follows the norms of the steps before, and is no number.
    """
    steps = metrics.get("steps/done", 0.0)
    clipped = metrics.get("steps/clipped", 0.0) / steps if steps else 0.0
    kl, moved = metrics.get("kl/mean"), metrics.get("log_ratio/weighted_last")
    far = kl is not None and moved is not None and kl > DRIFTED_NATS and kl > DRIFTED * max(moved, 0.0)
    found = [text for text in [_unmoved(metrics) or _unfinished(metrics, drifted=far)] if text]
    if clipped > CLIPPED:
        told = f"clipped in {100 * clipped:.0f} % of the steps: "
        found.append(
            f"{told}gradients grew from step to step: lower the learning rate"
            if clip_follows
            else f"{told}they count alike however large their gradients are: raise optimizer.max_grad_norm "
            "to weigh them by it, or let it follow the norms (null)"
        )
    if far:
        found.append(
            f"drifted off the logs: drawn completions lie {kl:.2g} nats away, logged ones show {moved:.2g}: "
            "lower the learning rate, raise beta, or draw fresh completions"
        )
    return found


def _unmoved(metrics: Mapping[str, float]) -> str:
    """That a policy with something to learn stayed where it was; by the logs where no residual says so."""
    steps, residual, kl = metrics.get("steps/done", 0.0), metrics.get("residual/last"), metrics.get("kl/mean")
    if kl is None or abs(kl) >= UNMOVED_NATS:
        return ""
    if residual is not None:
        still = abs(residual - 1) < 1 - UNLEARNT and metrics.get("residual/rise", 1.0) <= OVERSHOT
        told, advice = f"residual {residual:.2g} and ", "raise the learning rate"
    else:
        shown = metrics.get("log_ratio/weighted_last")
        still = shown is not None and abs(shown) < UNMOVED_NATS and metrics.get("prompts/tied", 0.0) < 1
        told, advice = "", "raise the learning rate, or lower a beta that holds it there"
    return f"moved nothing: {told}KL {kl:.2g} nats after {steps:.0f} steps: {advice}" if still else ""


def _unfinished(metrics: Mapping[str, float], *, drifted: bool) -> str:
    """What is left of the contrast, and why, where it is much; no higher rate for one that ``drifted``."""
    steps, residual = metrics.get("steps/done", 0.0), metrics.get("residual/last")
    if residual is None or residual <= UNFINISHED:
        return ""
    after, rise = f"residual {residual:.2g} after {steps:.0f} steps", metrics.get("residual/rise", 1.0)
    if rise > OVERSHOT:
        return (
            f"overshot: residual rose {rise:.1f}-fold on the way and is {residual:.2g} after {steps:.0f} "
            "steps: lower the learning rate, or take more groups a step"
        )
    if residual >= 1:
        return f"worse than at the start: {after}: lower the learning rate or beta"
    remedy = "take more steps, by epochs or fewer groups_per_step"
    return f"unfinished: {after}: {remedy}{'' if drifted else ', or raise the learning rate'}"


def last_means(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Means over the last steps of a training's log, and how far its residual rose before.

    Returns:
        ``residual/last`` and ``log_ratio/weighted_last``; ``residual/rise``: the largest quotient of the
        residual's mean over as many steps and of the lowest such mean before it, 1 where it only fell.
    """
    steps = [row for row in rows if "residual/fraction" in row]
    # no more than the last quarter of all
    size = min(LAST, max(1, len(steps) // 4))
    means: dict[str, float] = {}
    for name in LAST_OF:
        values = [step[name] for step in steps[-size:] if step.get(name) is not None]
        means |= {LAST_OF[name]: fmean(values)} if values else {}
    # of a step whose groups are all tied there is none
    residuals = [left for step in steps if (left := step["residual/fraction"]) is not None]
    parts = [fmean(residuals[end - size : end]) for end in range(len(residuals), size - 1, -size)][::-1]
    if lowest := list(accumulate(parts, min)):
        means["residual/rise"] = max(
            part / low if low > 0 else 1.0 for part, low in zip(parts, lowest, strict=True)
        )
    return means


def final_metrics(loop: "Loop", state: "LoopState") -> dict[str, float]:
    """Of the whole training and of its last steps; residuals only where beta has the unit of rewards."""
    best = {} if state.best_reward is None else {"best/step": float(state.best_step)}
    counts = {"steps/done": float(state.step), "steps/clipped": float(state.clipped)}
    last = last_means(read_metrics(loop.log.path)) if loop.log else {}
    if not has_reward_units(loop.config.trial.method):
        last = {name: value for name, value in last.items() if not name.startswith("residual/")}
    return {**counts, **last, **best, **state.latest}
