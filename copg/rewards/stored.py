"""A reward with a memory: gives what it gave before, computes the rest, and distrusts a sample of it."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from copg.digests import json_digest
from copg.records import prompt_text
from copg.rewards.contract import Columns, Prompts, RecordFault, Reward, finite_floats, read_column
from copg.stores.reward_store import REWARDS, reward_key
from copg.stores.spot_checks import SpotChecks
from copg.stores.values import ValueStore


class StoredReward:
    """Wraps a reward whose values are kept in a store."""

    def __init__(self, reward: Reward, store: ValueStore, *, check_samples: int) -> None:
        """Nothing is computed yet.

        Args:
            reward: gives what the store lacks.
            store: of this very reward.
            check_samples: size of the sample of the stored values met that are computed again.
        """
        self.reward = reward
        self.store = store
        self.whole_group = bool(getattr(reward, "whole_group", False))
        self.num_reused = 0
        self.num_computed = 0
        self.num_checked = 0
        self.changed: list[str] = []
        """Of the checked values, those that came out differently, in words."""
        self._checks = SpotChecks(check_samples)

    def __call__(self, prompts: Prompts, completions: Sequence[str], columns: Columns) -> list[float]:
        """[N] stored values where there are, computed ones elsewhere."""
        keys = self._keys(prompts, completions, columns)
        known = self.store.get(keys)
        missing = self._whole(prompts, [i for i, value in enumerate(known) if value is None])
        hits = {keys[i]: i for i, value in enumerate(known) if value is not None}
        checked = self._whole(prompts, sorted(hits[key] for key in self._checks.choose(hits)))
        wanted = sorted({*missing, *checked})
        computed = dict(zip(wanted, self._compute(wanted, prompts, completions, columns), strict=True))
        for i in checked:
            self._compare(i, known[i], computed[i], prompts)
        new = [i for i in missing if known[i] is None]
        self.store.append([keys[i] for i in new], [computed[i] for i in new])
        self.num_computed += len(new)
        self.num_reused += len(keys) - len(new)
        return [computed[i] if value is None else value for i, value in enumerate(known)]

    def _compute(
        self, wanted: Sequence[int], prompts: Prompts, completions: Sequence[str], columns: Columns
    ) -> list[float]:
        if not wanted:
            return []
        try:
            given = self.reward(
                [prompts[i] for i in wanted],
                [completions[i] for i in wanted],
                [columns[i] for i in wanted],
            )
            return finite_floats(given, len(wanted))
        except RecordFault as fault:
            raise RecordFault(wanted[fault.index], str(fault)) from None

    def _keys(self, prompts: Prompts, completions: Sequence[str], columns: Columns) -> list[bytes]:
        reads = getattr(self.reward, "reads", None)
        may_read = getattr(self.reward, "may_read", ())
        reads_prompt = getattr(self.reward, "reads_prompt", True)
        groups = [""] * len(prompts)
        if self.whole_group:
            for span in spans(prompts):
                digest = json_digest([completions[i] for i in span])
                for place, i in enumerate(span):
                    groups[i] = f"{digest}:{place}"
        return [
            reward_key(
                prompts[i] if reads_prompt else None,
                completions[i],
                row if reads is None else _read(row, reads, may_read, i),
                groups[i],
            )
            for i, row in enumerate(columns)
        ]

    def _whole(self, prompts: Prompts, indices: Sequence[int]) -> list[int]:
        """The indices, with all completions of their prompts when the reward compares them."""
        if not self.whole_group:
            return list(indices)
        wanted = set(indices)
        return [i for span in spans(prompts) if wanted & set(span) for i in span]

    def _compare(self, index: int, stored: float | None, computed: float, prompts: Prompts) -> None:
        if stored is None:
            return
        self.num_checked += 1
        if not abs(computed - stored) <= REWARDS.tolerance * REWARDS.unit(stored, {}):
            name = " ".join(prompt_text(prompts[index]).split())[:60]
            self.changed.append(f"{computed:.6g} where {stored:.6g} was stored, prompt {name!r}")


def _read(
    row: Mapping[str, Any], reads: Sequence[str], may_read: Sequence[str], index: int
) -> dict[str, Any]:
    """What a reward's value depends on of a record."""
    found = {name: _column(row, name, index) for name in reads}
    return found | {name: row[name] for name in may_read if name in row}


def _column(row: Mapping[str, Any], name: str, index: int) -> Any:
    """Also None for a column the record lacks: whether it needs one is for the reward to say."""
    try:
        return read_column(row, name, index)
    except RecordFault:
        return None


def spans(prompts: Prompts) -> list[list[int]]:
    """Indices of each run of equal prompts."""
    return [list(run) for _, run in groupby(range(len(prompts)), key=lambda i: prompts[i])]
