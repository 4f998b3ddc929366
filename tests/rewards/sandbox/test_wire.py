import collections
import datetime
import decimal
import enum
import fractions
import math
import os
import threading

import pytest

from copg.rewards.sandbox.wire import Peer, WireError, decode, encode, read_frame, write_frame


def there_and_back(value):
    def refuse(*_):
        raise WireError("a handle")

    return decode(encode(value, refuse), refuse)


PLAIN = [
    None, True, False, 0, -7, 10**30, -(2**70), 7**20000, 1.5, -0.0, 1e-320, math.inf, "", "ä\ud800\n",
    b"\x00\xff", bytearray(b"x"), [], [1, [2, [3]]], (), (1, ("a",)), {}, {1: "a", (2, 3): [None]}, set(),
    {1, "a"},
    frozenset({1}), range(1, 9, 2), 3 + 4j, decimal.Decimal("1.10"), fractions.Fraction(-1, 3),
    datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29, 1, 2, 3), slice(1, None),
    collections.deque([1, 2]),
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN, ids=lambda v: type(v).__name__)
def test_plain_data_comes_back_as_it_went(value) -> None:
    found = there_and_back(value)
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_stays_one_and_minus_zero_keeps_its_sign() -> None:
    assert math.isnan(there_and_back(math.nan))
    assert math.copysign(1, there_and_back(-0.0)) == -1


def test_a_subclass_comes_back_as_its_base() -> None:
    class Colour(enum.IntEnum):
        RED = 1

    point = collections.namedtuple("Point", "x y")(1, 2)
    for value, expected in (
        (Colour.RED, 1),
        (point, (1, 2)),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (collections.OrderedDict(a=1), {"a": 1}),
    ):
        assert there_and_back(value) == expected
        assert type(there_and_back(value)) is type(expected)


@pytest.mark.parametrize(
    "pair",
    [5, [], ["int"], ["int", "x"], ["int", 1, 2], ["set", [["list", []]]], ["dict", [1]], ["float", None],
     ["bytes", "zz"], ["nothing", 1], ["decimal", "x"], ["range", []],
     ["fraction", [["int", 1], ["int", 0]]]],
)  # fmt: skip
def test_nonsense_is_no_value(pair) -> None:
    def refuse(tag, content):
        raise WireError("a handle")

    with pytest.raises(WireError):
        decode(pair, refuse)


def test_a_frame_that_lies_about_its_size_or_is_cut_short_is_refused() -> None:
    for data in (b"\xff\xff\xff\xff", b"\x05\x00\x00\x00[1", b"\x02\x00\x00\x00xx", b"", b"\x01"):
        reading, writing = os.pipe()
        os.write(writing, data)
        os.close(writing)
        with pytest.raises(WireError):
            read_frame(reading)
        os.close(reading)


def test_a_frame_of_any_allowed_size_goes_through() -> None:
    reading, writing = os.pipe()
    value = ["x" * 1_000_000]
    sender = threading.Thread(target=write_frame, args=(writing, value))
    sender.start()
    assert read_frame(reading) == value
    sender.join()
    with pytest.raises(WireError, match="a message of"):
        write_frame(writing, ["x" * (17 << 20)])
    os.close(reading)
    os.close(writing)


def test_questions_nest() -> None:
    # each side answers n by asking the other for n - 1, down to 0
    a_reads, b_writes = os.pipe()
    b_reads, a_writes = os.pipe()
    peers: dict[str, Peer] = {}
    peers["a"] = Peer(a_reads, a_writes, lambda m: [m[0] and peers["a"].ask([m[0] - 1])[0] + 1])
    peers["b"] = Peer(b_reads, b_writes, lambda m: [m[0] and peers["b"].ask([m[0] - 1])[0] + 1])
    server = threading.Thread(target=peers["b"].serve)
    server.start()
    assert peers["a"].ask([6]) == [6]
    os.close(a_writes)
    server.join()
    for descriptor in (a_reads, b_writes, b_reads):
        os.close(descriptor)
