"""The error budget of a model's gate: every promotion that was tried, in the registry beside the champion.

An entry is a version of the registered model ``NAME.gate``. MLflow hands out each version number once, so
that of two runs at once each finds its own place in one order, and what came before a place is the same for
whoever looks, and whenever. An entry is made before its decision is told: a process that is killed has spent,
and finds its own entry when it comes again.

An entry and the note of its decision carry digests: one bit of a level, or of "not promoted", would promote
another policy. Those of earlier versions have none, and are believed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from copg.digests import json_digest
from copg.errors import TrackingError
from copg.tracking.registry import DIGEST_TAG, RegisteredVersion, Registry

LEDGER = "{}.gate"
LEVEL, JUDGED = "error_level", "judged"
"""Tags of an entry: what it spends, and the digest of what it judges."""
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
        """Enter one promotion tried; what was entered before under the same key spends nothing.

        Args:
            key: digest of all that the decision rests on.
            level: what it spends, where it is new.
            policy_uri: where the candidate lies.
            tags: of the entry, for people.
        """
        tags = {**tags, LEVEL: repr(level)}
        sealed = {**tags, ENTRY: _seal(sorted(tags), {**tags, DIGEST_TAG: key})}
        self._ledger.register_version(policy_uri, digest=key, tags=sealed, description="")
        return self._place(key)

    def remember(self, policy_uri: str, tags: Mapping[str, str]) -> None:
        """Enter what is so of a run whether it spends or not; the same again is one entry.

        Args:
            policy_uri: what the entry is of.
            tags: of the entry.
        """
        key = json_digest(["remembered", dict(tags)])
        sealed = {**tags, ENTRY: _seal(sorted(tags), {**tags, DIGEST_TAG: key})}
        self._ledger.register_version(policy_uri, digest=key, tags=sealed, description="")

    def note(self, key: str, decision: str) -> None:
        """Write beside an entry what came of it."""
        for entry in self._entries():
            if entry.digest == key:
                self._ledger.describe(entry.version, f"{decision} [{_digest(entry, decision)}]")

    def knows(self, key: str) -> bool:
        """Whether there is an entry of this very key."""
        return any(entry.digest == key for entry in self._entries())

    def decided(self, judged: str) -> tuple[Spent, str] | None:
        """What the first entry that judged the same spent, and what came of it; None where none was decided.

        Args:
            judged: the digest under ``JUDGED``; empty: nothing is known to be the same.
        """
        for entry in self._entries():
            if judged and entry.tags.get(JUDGED) == judged and entry.description:
                noted = _NOTE.fullmatch(entry.description)
                return self._place(entry.digest), noted[1] if noted else entry.description
        return None

    def spent(self) -> tuple[float, int]:
        """What was spent so far, and by how many promotions tried."""
        levels = [level for _, level, affordable in self._order() if affordable]
        return sum(levels), len(levels)

    def least(self, tag: str) -> float | None:
        """The smallest number under a tag, of all that was entered; None where none has it."""
        return min((float(e.tags[tag]) for e in self._whole() if tag in e.tags), default=None)

    def first(self, tag: str) -> str | None:
        """What stands under a tag of the oldest that has it; None where none does."""
        return next((entry.tags[tag] for entry in self._whole() if tag in entry.tags), None)

    def _place(self, key: str) -> Spent:
        before, place = 0.0, 1
        for entry, level, affordable in self._order():
            if entry.digest == key:
                return Spent(level, before, place, affordable)
            before, place = before + level * affordable, place + affordable
        raise AssertionError("an entry that was made is found")

    def _order(self) -> list[tuple[RegisteredVersion, float, bool]]:
        """Entries in the order of their numbers, with their levels, and whether the budget held each."""
        found, spent = [], 0.0
        for entry in self._entries():
            level = float(entry.tags[LEVEL])
            affordable = spent + level <= self._total * (1 + _ROUNDING)
            spent += level * affordable
            found.append((entry, level, affordable))
        return found

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
