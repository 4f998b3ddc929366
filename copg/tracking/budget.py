"""The error budget of a model's gate: every promotion that was tried, in the registry beside the champion.

An entry is a version of the registered model ``NAME.gate``. MLflow hands out each version number once, so
that of two runs at once each finds its own place in one order, and what came before a place is the same for
whoever looks, and whenever. An entry is made before its decision is told: a process that is killed has spent,
and finds its own entry when it comes again.

An entry holds the budget of its time as well: whether it was paid for is settled by what came before it, and
no other budget changes that. One that was not paid for decided nothing, so that under a larger budget the
same is entered anew.

An entry and the note of its decision carry digests: one bit of a level, or of "not promoted", would promote
another policy. Those of earlier versions have none, and are believed.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from copg.digests import json_digest
from copg.errors import TrackingError
from copg.tracking.registry import DIGEST_TAG, RegisteredVersion, Registry

LEDGER = "{}.gate"
LEVEL, JUDGED = "error_level", "judged"
"""Tags of an entry: what it spends, and the digest of what it judges."""
TOTAL, AGAIN = "error_budget", "again"
"""Tags of an entry: the budget of its time, and the key of what is entered anew since it was not paid for."""
ENTRY = "copg.entry"
"""Tag of an entry: the names of its other tags, and the digest of what they say."""
_NOTE = re.compile(r"(.*) \[([0-9a-f]{12})\]", re.DOTALL)
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Spent:
    """What one promotion tried may spend, and what was spent before it."""

    level: float
    """Probability at which a gain that is none passes; the first time's where it is tried again."""
    before: float
    """Sum of the levels of those before it."""
    place: int
    """From 1, among all that spent."""
    affordable: bool
    """Whether the budget holds this one, too."""


class Budget:
    """The promotions tried of one registered model, and what they spent."""

    def __init__(self, registry: Registry, *, total: float) -> None:
        self._ledger = Registry(registry.uri, LEDGER.format(registry.model_name))
        self._total = total

    def spend(self, key: str, *, level: float, policy_uri: str, tags: Mapping[str, str]) -> Spent:
        """Enter one promotion tried; what was entered before under the same key spends nothing more.

        What was entered and could not be paid for is entered anew where the budget is larger than it was.

        Args:
            key: digest of all that the decision rests on.
            level: what it spends, where it is new.
            policy_uri: where the candidate lies.
            tags: of the entry, for people.
        """
        tags, now = {**tags, LEVEL: repr(level), TOTAL: repr(self._total)}, self._standing(key)
        if now is None:
            self._enter(key, policy_uri, tags)
        elif not now[1].affordable and float(now[0].tags.get(TOTAL, self._total)) < self._total:
            self._enter(json_digest([key, self._total]), policy_uri, {**tags, AGAIN: key})
        return self._place(key)

    def _enter(self, digest: str, policy_uri: str, tags: Mapping[str, str]) -> None:
        sealed = {**tags, ENTRY: _seal(sorted(tags), {**tags, DIGEST_TAG: digest})}
        self._ledger.register_version(policy_uri, digest=digest, tags=sealed, description="")

    def remember(self, policy_uri: str, tags: Mapping[str, str]) -> None:
        """Enter what is so of a run whether it spends or not; the same again is one entry.

        Args:
            policy_uri: what the entry is of.
            tags: of the entry.
        """
        self._enter(json_digest(["remembered", dict(tags)]), policy_uri, tags)

    def note(self, key: str, decision: str) -> None:
        """Write beside an entry what came of it."""
        if standing := self._standing(key):
            entry = standing[0]
            self._ledger.describe(entry.version, f"{decision} [{_digest(entry, decision)}]")

    def knows(self, key: str) -> bool:
        """Whether there is an entry of this very key that was paid for."""
        standing = self._standing(key)
        return standing is not None and standing[1].affordable

    def decided(self, judged: str) -> tuple[Spent, str] | None:
        """What the first entry that judged the same spent, and what came of it; None where none was decided.

        One that was not paid for decided nothing.

        Args:
            judged: the digest under ``JUDGED``; empty: nothing is known to be the same.
        """
        for entry, spent in self._order():
            if judged and entry.tags.get(JUDGED) == judged and entry.description and spent.affordable:
                noted = _NOTE.fullmatch(entry.description)
                return spent, noted[1] if noted else entry.description
        return None

    def spent(self) -> tuple[float, int]:
        """What was spent so far, and by how many promotions tried."""
        levels = [spent.level for _, spent in self._order() if spent.affordable]
        return sum(levels), len(levels)

    def least(self, tag: str) -> float | None:
        """The smallest number under a tag, of all that was entered; None where none has it."""
        return min((float(e.tags[tag]) for e in self._whole() if tag in e.tags), default=None)

    def first(self, tag: str) -> str | None:
        """What stands under a tag of the oldest that has it; None where none does."""
        return next((entry.tags[tag] for entry in self._whole() if tag in entry.tags), None)

    def _place(self, key: str) -> Spent:
        standing = self._standing(key)
        assert standing is not None, "an entry that was made is found"
        return standing[1]

    def _standing(self, key: str) -> tuple[RegisteredVersion, Spent] | None:
        """The entry of a key that was paid for, else the newest; None where there is none."""
        same = [each for each in self._order() if each[0].tags.get(AGAIN, each[0].digest) == key]
        return next((each for each in same if each[1].affordable), same[-1] if same else None)

    def _order(self) -> list[tuple[RegisteredVersion, Spent]]:
        """Entries in the order of their numbers, with what each spends and was spent before it.

        One that does not hold its budget, of an earlier version, is held against the present one.
        """
        entries = self._entries()
        settled: dict[int, Spent] = {}
        for number, entry in enumerate(entries):
            if TOTAL in entry.tags:
                before = _replay(entries[: number + 1], settled, float(entry.tags[TOTAL]))
                settled[number] = before[-1]
        return list(zip(entries, _replay(entries, settled, self._total), strict=True))

    def _entries(self) -> list[RegisteredVersion]:
        """Those that spend, the first of each key: a server may have made two for runs at once."""
        first: dict[str, RegisteredVersion] = {}
        for entry in self._whole():
            if LEVEL in entry.tags:
                first.setdefault(entry.digest, entry)
        return list(first.values())

    def _whole(self) -> list[RegisteredVersion]:
        """All that was entered, oldest first.

        Raises:
            TrackingError: one of them is not what was written.
        """
        found = self._ledger.versions()[::-1]
        for entry in found:
            if ENTRY in entry.tags and not _is_whole(entry):
                name = self._ledger.model_name
                raise TrackingError(
                    f"{name!r} at {self._ledger.uri}: version {entry.version}, an entry of the error budget, "
                    "is not what was written: it was changed by hand, or is damaged; bring the registry back "
                    "from a copy, or delete this version, which gives back what it spent"
                )
        return found


def _replay(entries: Sequence[RegisteredVersion], settled: Mapping[int, Spent], total: float) -> list[Spent]:
    """What entries spend in their order under one budget, but for those settled, by their number."""
    found, before, place = [], 0.0, 1
    for number, entry in enumerate(entries):
        level = float(entry.tags[LEVEL])
        affordable = before + level <= total * (1 + _ROUNDING)
        found.append(settled.get(number) or Spent(level, before, place, affordable))
        before, place = before + level * found[-1].affordable, place + found[-1].affordable
    return found


def _seal(names: list[str], tags: Mapping[str, str]) -> str:
    return f"{','.join(names)}:{json_digest([tags.get(name) for name in (*names, DIGEST_TAG)])}"


def _digest(entry: RegisteredVersion, decision: str) -> str:
    return json_digest([entry.digest, decision])[:12]


def _is_whole(entry: RegisteredVersion) -> bool:
    """Whether an entry, and the note of what came of it, are what was written."""
    told = entry.tags[ENTRY]
    noted = _NOTE.fullmatch(entry.description)
    if told != _seal(told.partition(":")[0].split(","), entry.tags):
        return False
    return not entry.description or (noted is not None and noted[2] == _digest(entry, noted[1]))
