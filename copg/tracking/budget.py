"""The error budget of a model's gate: every promotion that was tried, in the registry beside the champion.

An entry is a version of the registered model ``NAME.gate``. MLflow hands out each version number once, so
that of two runs at once each finds its own place in one order, and what came before a place is the same for
whoever looks, and whenever. An entry is made before its decision is told: a process that is killed has spent,
and finds its own entry when it comes again.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from copg.tracking.registry import RegisteredVersion, Registry

LEDGER = "{}.gate"
LEVEL, JUDGED = "error_level", "judged"
"""Tags of an entry: what it spends, and the digest of what it judges."""
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
        self._ledger.register_version(
            policy_uri, digest=key, tags={**tags, LEVEL: repr(level)}, description=""
        )
        return self._place(key)

    def note(self, key: str, decision: str) -> None:
        """Write beside an entry what came of it."""
        for entry in self._entries():
            if entry.digest == key:
                self._ledger.describe(entry.version, decision)

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
                return self._place(entry.digest), entry.description
        return None

    def spent(self) -> tuple[float, int]:
        """What was spent so far, and by how many promotions tried."""
        levels = [level for _, level, affordable in self._order() if affordable]
        return sum(levels), len(levels)

    def least(self, tag: str) -> float | None:
        """The smallest number under a tag of the entries; None where none has it."""
        return min((float(e.tags[tag]) for e in self._entries() if tag in e.tags), default=None)

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
        """The first of each key, oldest first: a server may have made two for runs at once."""
        first: dict[str, RegisteredVersion] = {}
        for entry in reversed(self._ledger.versions()):
            if LEVEL in entry.tags:
                first.setdefault(entry.digest, entry)
        return list(first.values())
