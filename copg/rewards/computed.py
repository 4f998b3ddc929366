"""Rewards by the mixture of a recipe: parts of a split first, then, once the scales are known, their sum."""

import math
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from copg.data.group_files import count_groups, read_groups
from copg.progress import track
from copg.records import Group
from copg.rewards.bulk import BulkScorer
from copg.rewards.contract import RewardSpec
from copg.rewards.distribution import scale_of
from copg.rewards.ensemble import coefficient_of
from copg.rewards.mixture import Mixture
from copg.rewards.registry import digest_of_rewards


class Computed:
    """Fills a split after the other, of which train comes first: it gives the scales."""

    def __init__(self, rewards: Sequence[RewardSpec], mixture: Mixture, scorer: BulkScorer) -> None:
        """Nothing is computed yet.

        Args:
            rewards: what the mixture was built of.
            mixture: their weighted sum.
            scorer: computes its parts.
        """
        self._rewards, self._mixture, self._scorer = rewards, mixture, scorer
        self.part_names = list(self._mixture.rewards)
        self._num_replaced = 0
        self._apart: dict[str, array[float]] = {name: array("d") for name in mixture.ensembles}

    def fill(self, groups: Path, split: str) -> Iterator[Group]:
        """The groups of a split with their rewards, without those whose reward failed.

        Raises:
            RewardError: too many failed; the message names a record.
        """
        values = {part: array("d") for part in self.part_names}
        kept = bytearray()
        found = track(read_groups(groups, split), f"score {split}", count_groups(groups, split))
        try:
            for _, parts in self._scorer.score(found):
                kept.append(parts is not None)
                for part, of_group in (parts or {}).items():
                    values[part].extend(of_group)
        finally:
            self._mixture.flush()
        if split == "train":
            self._mixture.scales = {
                spec.part: scale_of(spec.part, values[spec.part])
                for spec in self._rewards
                if spec.standardise
            }
        start = 0
        for group, keep in zip(read_groups(groups, split), kept, strict=True):
            if keep:
                end = start + len(group.completions)
                parts = {part: list(values[part][start:end]) for part in values}
                self._write(group, parts)
                if split == "train":
                    for name, apart in self._mixture.disagreements(parts).items():
                        self._apart[name].extend(apart)
                start = end
                yield group

    def _write(self, group: Group, parts: dict[str, list[float]]) -> None:
        names = [f"{group.source}: completion {k}" for k in range(1, len(group.completions) + 1)]
        for k, total in enumerate(self._mixture.total(parts, names)):
            completion = group.completions[k]
            self._num_replaced += completion.reward is not None
            completion.reward = total
            completion.parts = {part: values[k] for part, values in parts.items()}

    def metrics(self) -> dict[str, float]:
        """Counts of what was computed, found in the store, and replaced; how far ensembles disagree."""
        apart = {f"disagreement_{name}/mean": mean for name, mean in self._disagreements().items()}
        return {"rewards/replaced": float(self._num_replaced), **self._scorer.metrics(), **apart}

    def _disagreements(self) -> dict[str, float]:
        """Of each ensemble, the mean over training completions."""
        return {name: math.fsum(apart) / len(apart) for name, apart in self._apart.items() if apart}

    def facts(self) -> dict[str, Any]:
        """What later stages need: the meaning of the rewards, and the scales; and why records failed."""
        return {
            "rewards_digest": digest_of_rewards(self._rewards, self._mixture.computing),
            "scales": {part: scale._asdict() for part, scale in self._mixture.scales.items()},
            "failed": self._scorer.failed[:100],
        }

    def remarks(self) -> list[str]:
        """That rewards which came with the records count no more, and how far ensembles disagree."""
        replaced = f"{self._num_replaced} completions came with a reward, which the recipe's replaces"
        found = [replaced] if self._num_replaced else []
        for name, mean in self._disagreements().items():
            members = self._mixture.ensembles[name]
            found.append(
                f"ensemble '{name}': its {len(members)} members disagree by {mean:.3g} on a training "
                f"completion, of which {coefficient_of(members):g} times is taken off their mean"
            )
        return found

    def warnings(self) -> list[str]:
        """That records are left out, and what the rewards have to tell."""
        failed = self._scorer.failed
        left = [f"{len(failed)} records failed and are left out, the first: {failed[0]}"] if failed else []
        return [*left, *self._mixture.warnings()]
