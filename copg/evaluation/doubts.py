"""What makes the estimates of an evaluation less than they seem: a line each."""

from collections.abc import Mapping, Sequence
from typing import Any

from copg.evaluation.estimates import heavy_tail
from copg.evaluation.held_out import HeldOut
from copg.evaluation.summaries import MEASURED, clusters_of
from copg.records import cluster_of

MAX_CUT = 0.05
"""Share of completions that may be cut at their longest without a word."""


def shortfalls(
    facts: Mapping[str, Any], metrics: Mapping[str, float], asked: Mapping[str, int], max_new_tokens: int
) -> list[str]:
    """What is missing of what was asked for.

    Args:
        facts: whose evaluation it is, and whether the policy diverged.
        metrics: of the evaluation.
        asked: prompts of each split.
        max_new_tokens: at which completions are cut.
    """
    found = []
    if facts["diverged"]:
        found.append(f"diverged, nothing is measured: {facts['reason']}")
    for split in asked:
        cut = 1 - metrics.get(f"finished/{split}", 1.0)
        if cut > MAX_CUT:
            found.append(f"{cut:.0%} of completions of '{split}' are cut at max_new_tokens={max_new_tokens}")
    few = _few_prompts(metrics, {} if facts["diverged"] else asked)
    return [*few, *(f"evaluate-{facts['name']}: {line}" for line in found)]


def _few_prompts(metrics: Mapping[str, float], asked: Mapping[str, int]) -> list[str]:
    """What every policy meets alike, and says in the same words: a run tells each of its warnings once."""
    found = []
    if too_long := int(metrics["prompts/too_long"]):
        found.append(f"evaluate: {too_long} held-out prompts are too long for the context and left out")
    counts = {split: (int(metrics[f"prompts/{split}"]), most) for split, most in asked.items()}
    few = [f"{n} of {most} prompts of '{split}'" for split, (n, most) in counts.items() if n < most]
    return [*found, *([f"evaluate.num_prompts: {' and '.join(few)} are measured"] if few else [])]


def one_cluster(split: str, prompts: Sequence[HeldOut], cluster: str) -> list[str]:
    """A line where all prompts belong together, so that nothing says how far others would differ."""
    if len(prompts) < 2 or len({cluster_of(p.group, cluster) or p.group.id for p in prompts}) > 1:
        return []
    return [
        f"evaluate: all {len(prompts)} prompts of '{split}' are of one cluster ({cluster}): intervals count "
        "each for itself, and say nothing of others"
    ]


def heavy_tails(facts: Mapping[str, Any], split: str, prompts: Sequence[HeldOut], cluster: str) -> list[str]:
    """A line that names the values without bounds whose mean a few prompts decide, where there are such."""
    if not prompts:
        return []
    values: dict[str, Any] = {name: [getattr(p, name) for p in prompts] for name in MEASURED}
    values |= {part: [p.parts[part] for p in prompts] for part in prompts[0].parts}
    bounded = {"rewards" if part == "reward" else part for part in facts["bounds"]}
    free, together = sorted(values.keys() - bounded), clusters_of(prompts, cluster)
    heavy = ", ".join(name for name in free if heavy_tail(values[name], clusters=together))
    told = "a few prompts decide the mean, and its interval may miss more often than it says"
    return [f"evaluate-{facts['name']}: {heavy} of '{split}' have a heavy tail: {told}"] if heavy else []
