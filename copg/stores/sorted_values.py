"""Values by key in memory, as sorted arrays."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

KEY_BYTES = 16
KEY: npt.DTypeLike = f"S{KEY_BYTES}"
"""Null bytes at the end of a key count like any other as long as keys are compared with one another."""
_Keys: TypeAlias = npt.NDArray[np.bytes_]
_Floats: TypeAlias = npt.NDArray[np.float64]


class SortedValues:
    """Values by key, in memory: 24 bytes each, some 100 more while many are added.

    Of two values of one key the first that was added stays. The keys are sorted in runs, each at least twice
    as long as the next, so that n values added little by little are sorted log(n) times.
    """

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._runs: list[tuple[_Keys, _Floats]] = []

    def __len__(self) -> int:
        return sum(len(keys) for keys, _ in self._runs)

    def add(self, keys: Sequence[_Keys], values: Sequence[_Floats]) -> None:
        """Add values by key, some arrays at a time, in the order in which they count."""
        if keys:
            self._runs.append(_sorted(keys, values))
        while len(self._runs) > 1 and len(self._runs[-2][0]) < 2 * len(self._runs[-1][0]):
            self._runs[-2:] = [_sorted(*zip(*self._runs[-2:], strict=True))]

    def get(self, keys: Sequence[bytes]) -> list[float | None]:
        """The value of each key, or None."""
        wanted = np.array(keys, KEY)
        found = np.zeros(len(wanted))
        there = np.zeros(len(wanted), bool)
        for run, values in reversed(self._runs):  # an earlier run has the last word
            places = np.searchsorted(run, wanted).clip(max=len(run) - 1)
            hits = run[places] == wanted
            found[hits] = values[places[hits]]
            there |= hits
        pairs = zip(found.tolist(), there.tolist(), strict=True)
        return [value if hit else None for value, hit in pairs]


def _sorted(keys: Sequence[_Keys], values: Sequence[_Floats]) -> tuple[_Keys, _Floats]:
    """One run, of each key the first."""
    unique, first = np.unique(np.concatenate(keys), return_index=True)
    return unique, np.concatenate(values)[first]
