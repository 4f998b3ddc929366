"""How messages are told apart on a pipe between two processes."""

import struct
from collections.abc import Callable
from typing import IO, NamedTuple

_SIZE = struct.Struct("<q")


class Framing(NamedTuple):
    """One way of telling messages apart."""

    pack: Callable[[bytes], bytes]
    """A message as it is written."""
    unpack: Callable[[bytearray], bytes | None]
    """The first message, taken off what was read so far; None while it is not whole."""


def _pack_line(message: bytes) -> bytes:
    assert b"\n" not in message
    return message + b"\n"


def _unpack_line(read: bytearray) -> bytes | None:
    end = read.find(b"\n")
    return None if end < 0 else _take(read, 0, end, end + 1)


def _pack_sized(message: bytes) -> bytes:
    return _SIZE.pack(len(message)) + message


def _unpack_sized(read: bytearray) -> bytes | None:
    end = _SIZE.size + (_SIZE.unpack_from(read)[0] if len(read) >= _SIZE.size else 0)
    return _take(read, _SIZE.size, end, end) if _SIZE.size <= end <= len(read) else None


def _take(read: bytearray, first: int, end: int, following: int) -> bytes:
    message = bytes(read[first:end])
    del read[:following]
    return message


LINES = Framing(_pack_line, _unpack_line)
"""A message is a line."""
SIZED = Framing(_pack_sized, _unpack_sized)
"""A message is anything; its length stands before it."""


def read_sized(pipe: IO[bytes]) -> bytes | None:
    """For a worker: the next message; None where the input ended, perhaps amid one."""
    head = pipe.read(_SIZE.size)
    if len(head) < _SIZE.size:
        return None
    (size,) = _SIZE.unpack(head)
    message = pipe.read(size)
    return message if len(message) == size else None


def write_sized(pipe: IO[bytes], message: bytes) -> None:
    """For a worker: answer."""
    pipe.write(_pack_sized(message))
    pipe.flush()
