"""Stage ``score``: the reward of every completion, given or computed, with the parts it is made of."""

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import ConfigDict

from copg.artifacts import GroupWriter, begin, count_groups, read_groups, read_manifest, seal
from copg.config import STRICT
from copg.errors import RewardError
from copg.progress import track
from copg.records import SPLITS, Group
from copg.rewards import Mixture, RewardSpec, build_mixture, digest_of_rewards
from copg.rewards.distribution import Distribution


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """Where rewards come from."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    source: Literal["computed", "given"] = "computed"
    """``computed`` by ``rewards``; ``given`` with the records, each of which must then have one."""
    rewards: list[RewardSpec] = field(default_factory=list)
    """What is summed; with ``given`` it judges only completions made later, in train and evaluate."""
    completions_per_batch: int = 1024
    """How many a reward is called with at once; a group is never split."""

    def __post_init__(self) -> None:
        if self.source == "computed" and not self.rewards:
            raise ValueError("score: rewards is empty: name at least one, or set source: given")
        if self.completions_per_batch < 1:
            raise ValueError(f"score: completions_per_batch={self.completions_per_batch} must be >= 1")


def score_groups(config: ScoreConfig, groups: Path, scored: Path) -> dict[str, float]:
    """Fill the reward of every completion of every split.

    Args:
        config: where rewards come from.
        groups: artifact of schema ``groups``.
        scored: directory for the artifact of schema ``scored``.

    Returns:
        Counts over all splits and statistics of the train split; the manifest's facts hold those of every
        split, with quantiles.

    Raises:
        RewardError: a record without its reward, or a reward that failed; the message names the record.
    """
    manifest = read_manifest(groups, schema="groups")
    mixture = build_mixture(config.rewards) if config.source == "computed" else None
    distributions = {split: Distribution(list(mixture.rewards) if mixture else []) for split in SPLITS}
    num_replaced = 0
    begin(scored)
    with GroupWriter(scored) as writer:
        for split, distribution in distributions.items():
            for batch in _batches(groups, split, config.completions_per_batch):
                num_replaced += _fill(batch, mixture)
                for group in batch:
                    distribution.add(group.completions)
                    writer.write(split, group)
    metrics = {
        "groups/count": float(sum(writer.num_groups.values())),
        "completions/count": float(sum(writer.num_completions.values())),
        "rewards/replaced": float(num_replaced),
        **distributions["train"].metrics(),
    }
    seal(
        scored,
        schema="scored",
        stage="score",
        rows=sum(writer.num_groups.values()),
        config=asdict(config),
        parents={"groups": manifest.digest},
        facts={
            "metrics": metrics,
            "splits": {split: distribution.facts() for split, distribution in distributions.items()},
            "rewards_digest": digest_of_rewards(config.rewards) if mixture else None,
        },
    )
    print(distributions["train"].advice(), file=sys.stderr)
    return metrics


def _batches(groups: Path, split: str, completions_per_batch: int) -> Iterator[list[Group]]:
    batch: list[Group] = []
    waiting = 0
    for group in track(read_groups(groups, split), f"score {split}", count_groups(groups, split)):
        batch.append(group)
        waiting += len(group.completions)
        if waiting >= completions_per_batch:
            yield batch
            batch, waiting = [], 0
    if batch:
        yield batch


def _fill(batch: list[Group], mixture: Mixture | None) -> int:
    """Fill or check the rewards of a batch; how many that came with the records were replaced."""
    if mixture is None:
        _check_given(batch)
        return 0
    num_replaced = sum(c.reward is not None for group in batch for c in group.completions)
    _compute(mixture, batch)
    return num_replaced


def _check_given(batch: list[Group]) -> None:
    for group in batch:
        for k, completion in enumerate(group.completions, 1):
            if completion.reward is None or not isfinite(completion.reward):
                raise RewardError(
                    f"{group.source}: completion {k} came with reward={completion.reward}: "
                    "with source 'given' each needs a finite one; or list rewards and set source: computed"
                )


def _compute(mixture: Mixture, batch: list[Group]) -> None:
    each = [(group, k) for group in batch for k in range(len(group.completions))]
    scores = mixture(
        [group.prompt for group, _ in each],
        [group.completions[k].text for group, k in each],
        [dict(group.columns) for group, _ in each],  # a copy: a user's function may change its own
        sources=[f"{group.source}: completion {k + 1}" for group, k in each],
    )
    for i, (group, k) in enumerate(each):
        group.completions[k].reward = scores.total[i]
        group.completions[k].parts = {part: values[i] for part, values in scores.parts.items()}
