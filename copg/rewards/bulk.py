"""Scoring many groups: whole groups in batches, failures tried again, counted, and past a limit fatal."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from copg.errors import RewardError
from copg.progress import track
from copg.records import Group
from copg.rewards.contract import Scores
from copg.rewards.mixture import Mixture
from copg.rewards.stored import StoredReward

Parts = dict[str, list[float]]


@dataclass
class BulkScorer:
    """Gives the parts of each group's rewards, and remembers what went wrong."""

    mixture: Mixture
    num_groups: int
    """How many there will be, for the share that may fail."""
    completions_per_batch: int = 1024
    """How many a reward is called with; a group is never split."""
    retries: int = 1
    """How often a group is tried again; for what was just drawn, drawing it again would cost more."""
    max_failed_fraction: float = 0.0
    """Share of the groups that may fail in the end."""
    max_changed_fraction: float = 0.0
    """Share of the checked stored values that may come out differently."""
    failed: list[str] = field(default_factory=list)
    """Why each group that was given up failed."""

    def score(self, groups: Iterable[Group]) -> Iterator[tuple[Group, Parts | None]]:
        """Each group with its parts, in order; None for one that failed.

        Raises:
            RewardError: more failed, or more stored values changed, than may; records are named.
        """
        for batch in batches(groups, self.completions_per_batch):
            try:
                parts = self._parts(batch)
            except RewardError:
                if not self.retries and not self.max_failed_fraction:
                    raise
                yield from ((group, self._retried(group)) for group in batch)
            else:
                start = 0
                for group in batch:
                    end = start + len(group.completions)
                    yield group, {part: values[start:end] for part, values in parts.items()}
                    start = end
            self._check_changed()

    def keep(self, groups: Iterable[Group]) -> int:
        """Score groups for the stores' sake alone; returns how many there were."""
        try:
            return sum(1 for _ in self.score(groups))
        finally:
            self.mixture.flush()

    @property
    def stored(self) -> dict[str, StoredReward]:
        """The rewards whose values are kept, by part."""
        return {p: r for p, r in self.mixture.rewards.items() if isinstance(r, StoredReward)}

    def metrics(self) -> dict[str, float]:
        """Counts over all rewards that are kept, and groups given up."""
        found = {"rewards/failed_groups": float(len(self.failed))}
        if self.stored:
            for name in ("computed", "reused", "checked"):
                counts = [getattr(reward, f"num_{name}") for reward in self.stored.values()]
                found[f"rewards/{name}"] = float(sum(counts))
            found["rewards/changed"] = float(sum(len(reward.changed) for reward in self.stored.values()))
        return found

    def _parts(self, batch: Sequence[Group]) -> Parts:
        each = [(group, k) for group in batch for k in range(len(group.completions))]
        return self.mixture.parts(
            [group.prompt for group, _ in each],
            [group.completions[k].text for group, k in each],
            [group.columns_of(group.completions[k]) for group, k in each],
            [f"{group.source}: completion {k + 1}" for group, k in each],
        )

    def _retried(self, group: Group) -> Parts | None:
        for attempt in range(self.retries + 1):
            try:
                return self._parts([group])
            except RewardError as error:
                if attempt == self.retries:
                    self._give_up(error)
        return None

    def _give_up(self, error: RewardError) -> None:
        self.failed.append(str(error))
        if len(self.failed) <= self.max_failed_fraction * self.num_groups:
            return
        if len(self.failed) == 1:
            raise error
        raise RewardError(
            f"{len(self.failed)} of {self.num_groups} records failed, more than "
            f"max_failed_fraction={self.max_failed_fraction:g} allows; the last: {error}"
        )

    def _check_changed(self) -> None:
        for part, reward in self.stored.items():
            if len(reward.changed) > self.max_changed_fraction * max(1, reward.num_checked):
                raise RewardError(
                    f"reward '{part}' is not repeatable: {len(reward.changed)} of {reward.num_checked} "
                    f"values changed: {reward.changed[0]}; raise max_changed_fraction or use another store"
                )


def score_drawn(mixture: Mixture, groups: Sequence[Group]) -> list[Scores]:
    """Rewards of completions just drawn, by group; one whose reward fails is tried again, alone.

    Raises:
        RewardError: it failed again; the message names the record.
    """
    found = []
    for group, parts in BulkScorer(mixture, len(groups)).score(track(groups, "score")):
        assert parts is not None
        names = [f"{group.source}: sample {k}" for k in range(1, len(group.completions) + 1)]
        found.append(Scores(mixture.total(parts, names), parts))
    return found


def batches(groups: Iterable[Group], completions_per_batch: int) -> Iterator[list[Group]]:
    """Whole groups, at least so many completions at a time."""
    batch: list[Group] = []
    waiting = 0
    for group in groups:
        batch.append(group)
        waiting += len(group.completions)
        if waiting >= completions_per_batch:
            yield batch
            batch, waiting = [], 0
    if batch:
        yield batch
