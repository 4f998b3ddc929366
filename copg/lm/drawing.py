"""What prompts lack, drawn and stored as it comes: each completion once, whoever asks, and however often."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from copg.errors import ModelError
from copg.lm.sampling import Sampler, Wanted
from copg.lm.tally import Tally
from copg.progress import track
from copg.records import Group
from copg.stores.completion_store import drawn_key
from copg.stores.values import ValueStore


@dataclass
class Drawing:
    """Who draws, the store of what it drew, and what came of it."""

    sampler: Sampler
    store: ValueStore
    completions: int
    """How many a prompt shall have, with those that it has."""
    tally: Tally = field(default_factory=Tally)
    num_known: int = 0
    """Completions that the store had."""
    num_drawn: int = 0
    _num_missing: int = 0

    def keys_of(self, group: Group) -> list[bytes]:
        """Of the completions that a prompt lacks, whether or not the store has them."""
        lacking = max(0, self.completions - len(group.completions))
        return [drawn_key(group.prompt, group.columns, sample) for sample in range(lacking)]

    def look(self, groups: Iterable[Group]) -> int:
        """How many completions neither the groups nor the store have."""
        self.store.refresh()
        for group in groups:
            known = self.store.get(self.keys_of(group))
            self._num_missing += known.count(None)
            self.num_known += len(known) - known.count(None)
        return self._num_missing

    def run(self, groups: Iterable[Group]) -> None:
        """Draw those, after ``look``; what is drawn is in the store, whatever ends this.

        Raises:
            ModelError: nobody can draw, or more failed than the sampler may fail at.
        """
        calls = chunks(self._wanted(groups), self.sampler.groups_per_call)
        done = (count for call in calls for count in self._draw(call))
        for _ in track(done, "sample", self._num_asked, before=self.num_known, count=lambda count: count):
            pass

    @property
    def _num_asked(self) -> int:
        """Completions that the prompts lack, those that the store has included."""
        return self._num_missing + self.num_known

    def _wanted(self, groups: Iterable[Group]) -> Iterator[Wanted]:
        for group in groups:
            keys = self.keys_of(group)
            known = self.store.get(keys)
            if missing := {key: n for n, key in enumerate(keys) if known[n] is None}:
                yield Wanted(group, missing)

    def _draw(self, call: list[Wanted]) -> Iterator[int]:
        """How many completions are done with, again and again."""
        numbers = {key: number for each in call for key, number in each.keys.items()}
        left = len(numbers)
        try:
            for key, drawn in self.sampler.draw(call, self.tally):
                if drawn is None:
                    self._hold_failures()
                else:
                    row = ([drawn.text], [drawn.finished], [drawn.num_tokens])
                    self.store.append([key], [float(numbers[key])], *row)
                    self.num_drawn += 1
                left -= 1
                yield 1
        finally:
            self.store.flush()
        yield left

    def _hold_failures(self) -> None:
        """End it as soon as too many failed: an endpoint that is gone is not asked for all the others.

        Those that came earlier count: what is refused for good is asked for again, with little else.
        """
        failed, fraction = self.tally.dropped["completions_failed"], self.sampler.max_failed_fraction
        if failed > fraction * self._num_asked:
            raise ModelError(
                f"{failed} of {self._num_asked} completions failed, more than "
                f"sample.endpoint.max_failed_fraction={fraction:g} allows; first "
                f"{self.tally.first['completions_failed']}; what was drawn is kept"
            )

    def metrics(self) -> dict[str, float]:
        """Completions by where they came from, and what did not come, by reason."""
        return {
            "completions/drawn": float(self.num_drawn),
            "completions/reused": float(self.num_known),
            **self.sampler.metrics(),
            **{f"dropped/{reason}": float(count) for reason, count in sorted(self.tally.dropped.items())},
        }


def chunks(items: Iterable[Any], most: int) -> Iterator[list[Any]]:
    """Some items at a time, at least one."""
    every = iter(items)
    while chunk := list(islice(every, most)):
        yield chunk
