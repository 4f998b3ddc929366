"""What comes of completions that were drawn: their rewards, and what these sum up to on each split."""

from collections.abc import Sequence
from typing import Any

from copg.evaluation.doubts import heavy_tails, one_cluster
from copg.evaluation.held_out import HeldOut, score
from copg.evaluation.summaries import summarise
from copg.rewards.mixture import Mixture

Summaries = dict[str, dict[str, Any]]
"""An ``Evaluation`` as plain values, by split."""


def measure(
    mixture: Mixture,
    facts: dict[str, Any],
    prompts: Sequence[HeldOut],
    *,
    splits: Sequence[str],
    cluster: str,
) -> tuple[Summaries, list[str]]:
    """Score what was drawn, and sum it up.

    Args:
        mixture: of the rewards.
        facts: whose completions they are; ``bounds`` of the reward.
        prompts: with completions and KLs; none of a policy that diverged.
        splits: of the evaluation, all of them, also where no prompt is left.
        cluster: column whose equal values make prompts count as one.

    Returns:
        By split; and a sentence for each split whose rewards have a heavy tail, or whose prompts are all of
        one cluster.
    """
    score(mixture, prompts)
    by_split = {split: [p for p in prompts if p.split == split] for split in splits}
    found = {split: summarise(facts, split, of, cluster) for split, of in by_split.items()}
    told = (
        line
        for split, of in by_split.items()
        for line in (*heavy_tails(facts, split, of, cluster), *one_cluster(split, of, cluster))
    )
    return found, [*told]
