"""Which stored values are computed again, to be compared: another sample at each use of a store."""

import hashlib
import secrets
from collections.abc import Iterable
from heapq import nsmallest


class SpotChecks:
    """A uniform sample of all values that one use of a store meets, though nobody knows their number.

    Each key has a mark, its hash with the use's own salt; a value is checked when its mark is among the
    ``count`` lowest met so far. So every value is as likely as any other to end in the sample, whatever batch
    it comes in, and after N values about ``count * (1 + log(N / count))`` were checked.
    """

    def __init__(self, count: int, *, salt: bytes | None = None) -> None:
        """Nothing is met yet.

        Args:
            count: size of the sample; 0 checks nothing.
            salt: at most 64 bytes; None takes a random one, so that the sample moves from use to use.
        """
        self._count = count
        self._salt = secrets.token_bytes(16) if salt is None else salt
        self._lowest: set[bytes] = set()

    def choose(self, keys: Iterable[bytes]) -> set[bytes]:
        """Those of a batch's keys to check now; a key that was chosen is not chosen again."""
        if not self._count:
            return set()
        marks = {hashlib.blake2b(key, key=self._salt, digest_size=16).digest(): key for key in keys}
        before = self._lowest
        self._lowest = set(nsmallest(self._count, before | marks.keys()))
        return {marks[mark] for mark in self._lowest - before}
