"""Rewards by the mixture of a recipe: parts of a split first, then, once the scales are known, their sum."""

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
                self._write(group, {part: list(values[part][start:end]) for part in values})
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
        """Counts of what was computed, found in the store, and replaced."""
        return {"rewards/replaced": float(self._num_replaced), **self._scorer.metrics()}

    def facts(self) -> dict[str, Any]:
        """What later stages need: the meaning of the rewards, and the scales; and why records failed."""
        return {
            "rewards_digest": digest_of_rewards(self._rewards, self._mixture.computing),
            "scales": {part: scale._asdict() for part, scale in self._mixture.scales.items()},
            "failed": self._scorer.failed[:100],
        }

    def remarks(self) -> list[str]:
        """That rewards which came with the records count no more, in a line."""
        if not self._num_replaced:
            return []
        return [f"{self._num_replaced} completions came with a reward, which the recipe's replaces"]

    def warnings(self) -> list[str]:
        """That records are left out, and what the rewards have to tell."""
        failed = self._scorer.failed
        left = [f"{len(failed)} records failed and are left out, the first: {failed[0]}"] if failed else []
        return [*left, *self._mixture.warnings()]
