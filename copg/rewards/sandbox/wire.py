"""What crosses between a program and its tests: plain data in JSON, and handles on what is not plain data.

Neither side ever runs what the other sent. Each value is a pair ``[tag, content]``.
"""

import collections
import datetime
import decimal
import fractions
import json
import os
from collections.abc import Callable
from typing import Any

MAX_FRAME_BYTES = 16 << 20
LARGE_INT = 1 << 62


class WireError(Exception):
    """The other side sent what is no message, or is gone."""


def read_frame(descriptor: int) -> Any:
    """The next message.

    Raises:
        WireError: the other side is gone, or sent too much or no JSON.
    """
    size = int.from_bytes(_read_exactly(descriptor, 4), "little")
    if size > MAX_FRAME_BYTES:
        raise WireError(f"a message of {size} bytes")
    try:
        return json.loads(_read_exactly(descriptor, size))
    except (ValueError, RecursionError) as error:
        raise WireError(f"no message: {error}") from None


def write_frame(descriptor: int, message: Any) -> None:
    """Send a message.

    Raises:
        WireError: the other side is gone, or the message is too large.
    """
    data = json.dumps(message).encode()
    if len(data) > MAX_FRAME_BYTES:
        raise WireError(f"a message of {len(data)} bytes")
    data = len(data).to_bytes(4, "little") + data
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError as error:
        raise WireError(f"gone: {error}") from None


def _read_exactly(descriptor: int, size: int) -> bytes:
    parts = []
    while size:
        part = os.read(descriptor, min(size, 1 << 20))
        if not part:
            raise WireError("gone")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def encode(value: Any, handle: Callable[[Any], list[Any]]) -> list[Any]:
    """A value as pairs; ``handle`` makes the pair of what is not plain data. Subclasses become their base."""
    encoder = _ENCODERS.get(type(value))
    if encoder is None:
        encoder = next((made for kind, made in _BASES if isinstance(value, kind)), None)
    if encoder is not None:
        return encoder(value, lambda item: encode(item, handle))
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return encode(value.tolist(), handle)
    return handle(value)


Recurse = Callable[[Any], list[Any]]


def _encode_int(value: int, _: Recurse) -> list[Any]:
    # decimal digits of a huge number are slow to make, and refused by Python beyond some thousands
    return ["int", int(value)] if -LARGE_INT < value < LARGE_INT else ["hex", hex(value)]


def _encode_items(tag: str) -> Callable[[Any, Recurse], list[Any]]:
    return lambda value, recurse: [tag, [recurse(item) for item in value]]


_ENCODERS: dict[type, Callable[[Any, Recurse], list[Any]]] = {
    type(None): lambda value, _: ["none", None],
    bool: lambda value, _: ["bool", value],
    int: _encode_int,
    float: lambda value, _: ["float", repr(float(value))],
    str: lambda value, _: ["str", str(value)],
    list: _encode_items("list"),
    tuple: _encode_items("tuple"),
    dict: lambda value, recurse: ["dict", [[recurse(k), recurse(v)] for k, v in value.items()]],
    set: _encode_items("set"),
    frozenset: _encode_items("frozenset"),
    collections.deque: _encode_items("deque"),
    complex: lambda value, _: ["complex", [repr(value.real), repr(value.imag)]],
    bytes: lambda value, _: ["bytes", value.hex()],
    bytearray: lambda value, _: ["bytearray", value.hex()],
    range: lambda value, recurse: ["range", [recurse(n) for n in (value.start, value.stop, value.step)]],
    slice: lambda value, recurse: ["slice", [recurse(n) for n in (value.start, value.stop, value.step)]],
    decimal.Decimal: lambda value, _: ["decimal", str(value)],
    fractions.Fraction: lambda value, recurse: [
        "fraction",
        [recurse(n) for n in value.as_integer_ratio()],
    ],
    datetime.datetime: lambda value, _: ["datetime", value.isoformat()],
    datetime.date: lambda value, _: ["date", value.isoformat()],
}
_BASES = [(kind, made) for kind, made in _ENCODERS.items() if kind not in (type(None), bool, range, slice)]

_DECODERS: dict[str, Callable[[Any, Callable[[Any], Any]], Any]] = {
    "none": lambda content, _: None,
    "bool": lambda content, _: bool(content),
    "int": lambda content, _: int(content),
    "hex": lambda content, _: int(content, 16),
    "float": lambda content, _: float(content),
    "str": lambda content, _: str(content),
    "list": lambda content, recurse: [recurse(item) for item in content],
    "tuple": lambda content, recurse: tuple(recurse(item) for item in content),
    "dict": lambda content, recurse: {recurse(key): recurse(item) for key, item in content},
    "set": lambda content, recurse: {recurse(item) for item in content},
    "frozenset": lambda content, recurse: frozenset(recurse(item) for item in content),
    "deque": lambda content, recurse: collections.deque(recurse(item) for item in content),
    "complex": lambda content, _: complex(float(content[0]), float(content[1])),
    "bytes": lambda content, _: bytes.fromhex(content),
    "bytearray": lambda content, _: bytearray.fromhex(content),
    "range": lambda content, recurse: range(*(recurse(item) for item in content)),
    "slice": lambda content, recurse: slice(*(recurse(item) for item in content)),
    "decimal": lambda content, _: decimal.Decimal(content),
    "fraction": lambda content, recurse: fractions.Fraction(*(recurse(item) for item in content)),
    "datetime": lambda content, _: datetime.datetime.fromisoformat(content),
    "date": lambda content, _: datetime.date.fromisoformat(content),
}


def decode(pair: Any, handle: Callable[[str, Any], Any]) -> Any:
    """The value of a pair; ``handle`` makes that of a tag that is no plain data.

    Raises:
        WireError: it is no pair, or its content does not fit its tag.
    """
    try:
        tag, content = pair
        decoder = _DECODERS.get(tag)
        if decoder is None:
            return handle(tag, content)
        return decoder(content, lambda item: decode(item, handle))
    except (ValueError, TypeError, ArithmeticError, RecursionError, MemoryError) as error:
        raise WireError(f"no value: {type(error).__name__}") from None


class Peer:
    """One end of the wire: asks the other and, while it waits, answers it."""

    def __init__(self, reading: int, writing: int, answer: Callable[[list[Any]], list[Any]]) -> None:
        """Nothing is sent yet.

        Args:
            reading: descriptor.
            writing: descriptor.
            answer: the reply to a request of the other side.
        """
        self._reading = reading
        self._writing = writing
        self._answer = answer

    def ask(self, request: list[Any]) -> list[Any]:
        """The other side's reply; requests that come before it are answered, as calls nest.

        Raises:
            WireError: the other side is gone or sends nonsense.
        """
        write_frame(self._writing, ["ask", request])
        return self._until_reply()

    def serve(self) -> None:
        """Answer until the other side is gone."""
        try:
            self._until_reply()
        except WireError:
            return

    def _until_reply(self) -> list[Any]:
        while True:
            message = read_frame(self._reading)
            if not isinstance(message, list) or len(message) != 2 or not isinstance(message[1], list):
                raise WireError("no message")
            if message[0] == "reply":
                return message[1]
            write_frame(self._writing, ["reply", self._answer(message[1])])
