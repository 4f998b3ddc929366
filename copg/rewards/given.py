"""Rewards that came with the records, held against those of a recipe on a few of them."""

from collections.abc import Iterator, Sequence
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any

from copg.data.group_files import count_groups, read_groups
from copg.errors import RewardError
from copg.progress import track
from copg.records import Completion, Group
from copg.rewards.contract import RewardSpec
from copg.rewards.distribution import Distribution
from copg.rewards.mixture import Mixture, build_mixture

AGREE = 0.5
"""Correlation from which rewards that were given and those of the recipe are taken to mean the same."""


class Given:
    """Rewards that came with the records, beside the recipe's own on a few of them."""

    def __init__(self, rewards: Sequence[RewardSpec], *, compare_groups: int) -> None:
        """Nothing is read yet.

        Args:
            rewards: of the recipe; without any, nothing is compared.
            compare_groups: training groups on which they are computed, too.
        """
        self.part_names: list[str] = []
        self._rewards, self._compare_groups = rewards, compare_groups
        self._agreement = Distribution(["given"])

    def fill(self, groups: Path, split: str) -> Iterator[Group]:
        """The groups of a split, as they are.

        Raises:
            RewardError: a completion came without a finite reward.
        """
        for group in track(read_groups(groups, split), f"score {split}", count_groups(groups, split)):
            for k, completion in enumerate(group.completions, 1):
                if completion.reward is None or not isfinite(completion.reward):
                    raise RewardError(
                        f"{group.source}: completion {k} came with reward={completion.reward}: with source "
                        "'given' each needs a finite one; or list rewards and set source: computed"
                    )
            yield group
        if split == "train" and self._rewards:
            self._compare(build_mixture(self._rewards), groups)

    def _compare(self, mixture: Mixture, groups: Path) -> None:
        for group in islice(read_groups(groups, "train"), self._compare_groups):
            texts = [c.text for c in group.completions]
            scores = mixture(
                [group.prompt] * len(texts),
                texts,
                [group.columns_of(completion) for completion in group.completions],
                sources=[f"{group.source}: completion {k}" for k in range(1, len(texts) + 1)],
            )
            self._agreement.add(
                [
                    Completion(c.text, reward=total, parts={"given": c.reward or 0.0})
                    for c, total in zip(group.completions, scores.total, strict=True)
                ]
            )

    def metrics(self) -> dict[str, float]:
        """How far they agree, where that can be told."""
        agreement = self._agreement.correlation("reward", "reward_given")
        return {} if agreement is None else {"rewards/agreement": agreement}

    def facts(self) -> dict[str, Any]:
        """What later stages need: nothing was computed, and nothing standardised."""
        return {"rewards_digest": None, "scales": {}}

    def remarks(self) -> list[str]:
        """That they agree, in a line."""
        agreement = self.metrics().get("rewards/agreement")
        if agreement is None or agreement < AGREE:
            return []
        return [self._agreeing(agreement)]

    def warnings(self) -> list[str]:
        """That they do not."""
        agreement = self.metrics().get("rewards/agreement")
        if agreement is None or agreement >= AGREE:
            return []
        return [f"{self._agreeing(agreement)}: trials are trained on the first, and judged by the second"]

    def _agreeing(self, correlation: float) -> str:
        return (
            f"within a prompt, the rewards given and those of the recipe, which judge what is generated, "
            f"correlate by {correlation:.2f} ({self._agreement.num_compared} prompts)"
        )
