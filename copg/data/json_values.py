"""Files of JSON that are no lines: one list of records, or objects over several lines, item by item."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from copg.data.bounds import Bounds
from copg.data.json_lines import Defect, parse_json
from copg.data.rows import Lines
from copg.errors import RecordError

BOM = b"\xef\xbb\xbf"
LIST, OBJECTS = "one JSON list of records", "JSON objects over several lines"
_HEAD = 64
"""Bytes of a file that tell what it is."""
_OBJECT_LINE = re.compile(rb"^[ \t]*\{", re.MULTILINE)
_OPENS = b"{[,:"
"""What a first line ends with whose object goes on below it."""
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+("?)|[\[\]{},]', re.DOTALL)
"""What decides where an item ends; a text that goes on beyond the bytes at hand has no second quote."""
_WHITE = b" \t\r\n"
_STEPS = {b"[": 1, b"{": 1, b"]": -1, b"}": -1}


def kind_of_values(stream: "io.BufferedReader[Any]") -> str:
    """Whether a file begins as one ``LIST``, or as ``OBJECTS`` of several lines; "" for lines."""
    begin = stream.peek(_HEAD).removeprefix(BOM).lstrip()
    first, _, rest = begin.partition(b"\n")
    if begin.startswith(b"["):
        return "" if _OBJECT_LINE.search(rest) and _holds_no_object(first) else LIST
    return OBJECTS if begin.startswith(b"{") and _goes_on(first.rstrip(_WHITE), rest) else ""


def _holds_no_object(line: bytes) -> bool:
    """Whether a line is a list by itself, and no list of records."""
    try:
        return all(type(item) is not dict for item in parse_json(line))
    except Defect:
        return False


def _goes_on(first: bytes, rest: bytes) -> bool:
    """Whether an object that begins in a file's first line goes on below it; else that line is broken, and
    those below it are lines of their own.

    Args:
        first: without white space at its end.
        rest: as much of what follows as is at hand.
    """
    if (ends_below := _ends_below(first, rest)) is not None:
        return ends_below
    opened: list[bytes] = []
    for token in _TOKEN.finditer(first):
        mark = token[0][:1]
        if mark in (b"[", b"{"):
            opened.append(mark)
        elif mark in (b"]", b"}") and opened:
            opened.pop()
    if not opened or first[-1] not in _OPENS:
        return False
    if not (below := rest.lstrip(_WHITE)):
        return True
    if opened[-1] == b"{" and not first.endswith(b":"):
        return below[:1] in (b'"', b"}")
    # in a list or behind a colon, what is printed over several lines is set in; a line of its own is not
    return rest[:1] in (b" ", b"\t")


def _ends_below(first: bytes, rest: bytes) -> bool | None:
    """Whether the object that a file begins with ends below its first line.

    False where that line is broken by itself; None where it is not known: what is below it is broken, or goes
    on beyond what is at hand.
    """
    line = first.decode(errors="replace")
    try:
        _, end = json.JSONDecoder().raw_decode(f"{line}\n{rest.decode(errors='replace')}")
    except json.JSONDecodeError as error:
        return None if error.pos >= len(line) else False
    except RecursionError:
        return False
    return bool(end > len(line))


def read_values(
    name: str, path: Path, stream: "io.BufferedReader[Any]", bounds: Bounds, *, kind: str
) -> Iterator[Lines]:
    """The items of a file in blocks of lines, one item a line; a line's number is the item's place, from 1.

    Brackets and commas outside of texts tell where an item ends. Whether it is JSON is found out where it is
    parsed, and costs that item alone. One item and one block of them are in memory at a time.

    Args:
        kind: ``LIST`` or ``OBJECTS``.

    Raises:
        RecordError: the list does not end, or something follows it; an item is missing or too long.
    """
    block: list[bytes] = []
    size, first = 0, 1
    as_list = kind == LIST
    head = stream.peek(_HEAD)
    stream.read(head.index(b"[") + 1 if as_list else head.index(b"{"))
    for item in _items(path, stream, bounds, as_list=as_list):
        # a carriage return is what a line feed is: white space outside of a text, and refused within one
        block.append(item.strip(_WHITE).replace(b"\n", b"\r") + b"\n")
        size += len(block[-1])
        if size >= bounds.bytes_per_block or len(block) >= bounds.lines_per_block:
            yield Lines(name, first, b"".join(block))
            first, block, size = first + len(block), [], 0
    if block:
        yield Lines(name, first, b"".join(block))


def _items(path: Path, stream: "io.BufferedReader[Any]", bounds: Bounds, *, as_list: bool) -> Iterator[bytes]:
    buffer = b""
    begin = seen = 0  # of the item in the buffer, and how much of that was looked at
    outside = depth = int(as_list)
    number = 1
    while data := stream.read(max(bounds.bytes_per_block, len(buffer) - begin)):
        buffer, seen, begin = buffer[begin:] + data, seen - begin, 0
        tokens = _TOKEN.finditer(buffer, seen)
        seen = len(buffer)
        for token in tokens:
            mark = token[0][:1]
            if mark == b'"':
                seen = seen if token[1] else token.start()
                continue
            depth += _STEPS.get(mark, 0)
            if depth > outside or (depth == outside and (mark == b",") != as_list):
                continue
            item = buffer[begin : token.start() if as_list else token.end()]
            if as_list and depth < outside:
                yield from _last(path, item, number, mark)
                _refuse_more(path, buffer[token.end() :], stream)
                return
            yield _whole(path, item, number)
            depth, begin, number = outside, token.end(), number + 1
        if len(buffer) - begin > bounds.max_line_bytes:
            raise RecordError(f"{path}: item {number} has {bounds.max_line_bytes >> 20} MiB or more")
    if as_list:
        raise RecordError(f"{path}: the list that it is does not end: the file does, with item {number}")
    if (rest := buffer[begin:]).strip(_WHITE):
        yield rest


def _whole(path: Path, item: bytes, number: int) -> bytes:
    if not item.strip():  # as blank lines are no rows, it would be lost
        why = "it is white space that JSON has not" if item.strip(_WHITE) else "there is a comma too many"
        raise RecordError(f"{path}: item {number} of its list is missing: {why}")
    return item


def _last(path: Path, item: bytes, number: int, mark: bytes) -> Iterator[bytes]:
    """The last item of a list, if it has one."""
    if mark != b"]":
        raise RecordError(f"{path}: item {number} of its list closes more brackets than it opens")
    if number > 1 or item.strip(_WHITE):
        yield _whole(path, item, number)


def _refuse_more(path: Path, rest: bytes, stream: "io.BufferedReader[Any]") -> None:
    while not (more := rest.strip(_WHITE)):
        if not (rest := stream.read(2**20)):
            return
    found = more[:20].decode(errors="replace")
    raise RecordError(f"{path}: goes on after the list that it begins with: {found!r}; one list is read")
