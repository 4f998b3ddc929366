"""Values that break software: what JSON, CSV, Parquet, YAML and file systems let through."""

import decimal
import json
import random
from collections.abc import Callable
from typing import Any

import pyarrow as pa

HUGE = (1e308, -1e308, 5e-324, 2**53 + 1, 2**63, -(2**63) - 1, 10**400, 1e400)
"""Numbers at the ends of what others can hold; the last is an infinity in JSON."""
TEXTS = (
    "",
    " ",
    "\x00",
    "\u200b",
    "\ufeff",
    "\ud83d",
    "a\u0301" * 9,
    "\u202eabc",
    "NaN",
    "null",
    "1e999",
    "'; DROP TABLE x; --",
    "<script>alert(1)</script>",
    "{{ 7 * 7 }}",
    "${HOME}",
    "../../../etc/passwd",
    "<|im_end|>",
    "</s>",
    "\r\n",
    "\u2028",
    "\x1b[31m",
    'a,b;c\t"d"',
)
TOKENS = (b'"', b"{", b"[", b"}", b",", b"\x00", b"\xff", b"\r", b"\\u", b"'", b"&a", b"*a", b"!!int ")
FIELDS = (
    *("prompt", "completion", "completions", "chosen", "rejected", "reward", "rewards", "ranks", "finished"),
    *("messages", "conversations", "instruction", "input", "output", "label", "labels", "score", "cluster"),
    *("tools", "choices", "response", "annotations", "trace", "spans", "text", "parent_id", "extra"),
)
"""What columns are called, which a reader may take for something."""
ZONES = ("UTC", "Europe/Berlin", "+99:99", "Nowhere/At")


def text(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.5:
        return " ".join(rng.choices(("cat", "dog", "runs", "é", "漢", "🙂"), k=rng.randint(0, 5)))
    if kind < 0.9:
        return rng.choice(TEXTS)
    codes = (rng.choice((rng.randrange(128), rng.randrange(0x3000))) for _ in range(rng.randint(0, 9)))
    return "".join(map(chr, codes))


def value(rng: random.Random, depth: int = 0) -> Any:
    """Anything that JSON can hold, and some that it cannot."""
    match rng.randrange(9 if depth < 4 else 6):
        case 0 | 1:
            return text(rng)
        case 2:
            return rng.choice((None, True, False))
        case 3:
            return rng.choice((0, 1, -1, 0.5, rng.random(), rng.randrange(-9, 9)))
        case 4:
            return rng.choice(HUGE)
        case 5:
            return rng.choice((float("nan"), float("inf"), float("-inf")))
        case 6:
            return [value(rng, depth + 1) for _ in range(rng.randint(0, 3))]
        case 7:
            return [{"role": text(rng), "content": value(rng, depth + 1)} for _ in range(rng.randint(0, 3))]
    return {rng.choice((text(rng), *FIELDS)): value(rng, depth + 1) for _ in range(rng.randint(0, 3))}


def good_row(rng: random.Random) -> dict[str, Any]:
    """A record of one of the common shapes, with nothing wrong."""
    prompt, first, second = f"p {rng.randrange(10**6)}", f"a {rng.randrange(99)}", f"b {rng.randrange(99)}"
    chat = [{"role": "user", "content": prompt}, {"role": "assistant", "content": first}]
    return rng.choice(
        (
            {"prompt": prompt, "completions": [first, second], "rewards": [0.0, 1.0]},
            {"prompt": prompt, "chosen": first, "rejected": second},
            {"prompt": prompt, "completion": first, "reward": 0.25},
            {"messages": chat, "label": True},
            {"instruction": prompt, "input": "", "output": first},
            {"conversations": [{"from": "human", "value": prompt}, {"from": "gpt", "value": first}]},
        )
    )


def row(rng: random.Random) -> Any:
    """A record, good or with some of it replaced, added or left out; or anything at all."""
    if rng.random() < 0.1:
        return value(rng)
    found: dict[str, Any] = dict(good_row(rng))
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        name = rng.choice((*found, *FIELDS, text(rng)))
        if rng.random() < 0.2:
            found.pop(name, None)
        else:
            found[name] = value(rng)
    return found


def line(rng: random.Random) -> bytes:
    """A line of JSON, which need not be any."""
    data = json.dumps(row(rng), ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    return damaged(rng, data).replace(b"\n", b"\\n") if rng.random() < 0.4 else data


def damaged(rng: random.Random, data: bytes) -> bytes:
    """Bytes of which some are changed, added, repeated or cut."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        place = rng.randrange(len(found) + 1)
        match rng.randrange(6):
            case 0 if found:
                found[min(place, len(found) - 1)] ^= 1 << rng.randrange(8)
            case 1:
                found[place:place] = rng.randbytes(rng.randint(1, 8))
            case 2:
                del found[place:]
            case 3:
                del found[place : place + rng.randint(1, 16)]
            case 4:
                found[place:place] = found[: rng.randint(0, 64)]
            case 5:
                found[place:place] = rng.choice(TOKENS)
    return bytes(found)


def _dates(rng: random.Random, kind: pa.DataType) -> pa.Array:
    """Numbers that a date, time or duration may be, within a calendar or not."""
    width = pa.int32() if kind.bit_width == 32 else pa.int64()
    most = 2 ** (kind.bit_width - 1) - 1
    return pa.array([rng.choice((0, 1, most, -most, rng.randint(-most, most)))], width).view(kind)


ARROW: tuple[Callable[[random.Random], pa.Array], ...] = (
    *(lambda rng, unit=unit: _dates(rng, pa.timestamp(unit)) for unit in ("s", "ms", "us", "ns")),
    lambda rng: _dates(rng, pa.timestamp("us", tz=rng.choice(ZONES))),
    *(lambda rng, unit=unit: _dates(rng, pa.duration(unit)) for unit in ("s", "ns")),
    lambda rng: _dates(rng, pa.date32()),
    lambda rng: _dates(rng, pa.date64()),
    lambda rng: _dates(rng, pa.time64("ns")),
    lambda rng: pa.array([decimal.Decimal("9" * 38)], pa.decimal128(38)),
    lambda rng: pa.array([rng.randbytes(5)], rng.choice((pa.binary(), pa.large_binary(), pa.binary(5)))),
    lambda rng: pa.array([[("a", 1.0), ("a", float("nan"))]], pa.map_(pa.string(), pa.float64())),
    lambda rng: pa.array([[(1, "x")]], pa.map_(pa.int64(), pa.string())),
    lambda rng: pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]),
    lambda rng: pa.array([text(rng).encode("utf-8", "replace").decode()]).dictionary_encode(),
    lambda rng: pa.array([None], pa.null()),
    lambda rng: pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2)),
    lambda rng: pa.array([rng.choice(HUGE[:3])], pa.float64()),
    lambda rng: pa.array([65504.0], pa.float16()),
    lambda rng: pa.array([2**64 - 1], pa.uint64()),
    lambda rng: pa.Array.from_buffers(pa.string(), 1, [None, *pa.array([b"\xff\xfe"]).buffers()[1:]]),
    lambda rng: pa.array([["a", None, "b"]], pa.list_(pa.string())),
    lambda rng: pa.array([{"role": "user", "content": None}]),
)
"""A column of one row of each type that a table may have."""


def table(rng: random.Random) -> pa.Table:
    """A row of a table, with columns of odd types and, at times, a name twice."""
    base: dict[str, pa.Array] = {}
    for name, each in good_row(rng).items():
        base[name] = pa.array([each])
    names, arrays = list(base), list(base.values())
    for _ in range(rng.randint(0, 3)):
        names.append(rng.choice((*FIELDS, "extra", "when", "a.b", "")))
        arrays.append(rng.choice(ARROW)(rng))
    return pa.Table.from_arrays(arrays, names=names)
