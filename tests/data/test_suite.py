"""Checks by Great Expectations: what is rejected and why, added up over batches."""

import socket

import numpy as np
import pytest

from copg.data.checks import Check, group_checks, record_checks
from copg.data.suite import Suite

CHECKS = [
    Check("bad_kind", "the kind is good", "kind", forbidden="bad"),
    Check("too_many", "there are at most two", "number", 2),
    Check("too_few", "there is one", "number", minimum=1, rejects=False),
]


def test_the_first_check_that_a_row_breaks_is_its_reason() -> None:
    suite = Suite("rows", CHECKS)
    rows = {"kind": np.array(["good", "bad", "bad", "good"], object), "number": np.array([3.0, 3, 1, 0])}
    rejected = suite.run(rows)
    assert {row: check.reason for row, check in rejected.items()} == {
        1: "bad_kind",
        2: "bad_kind",
        0: "too_many",
    }
    assert [fact["unexpected"] for fact in suite.facts()] == [2, 2, 1]


def test_batches_add_up_to_what_one_batch_gives() -> None:
    rng = np.random.default_rng(0)
    kinds = rng.choice(np.array(["good", "bad"], object), 50)
    numbers = rng.integers(0, 4, 50).astype(float)
    numbers[7] = np.nan  # passes: what may be NaN must be counted, not given
    whole, parts = Suite("rows", CHECKS), Suite("rows", CHECKS)
    rejected = whole.run({"kind": kinds, "number": numbers})
    found = {}
    for first in (0, 20):
        here = slice(first, first + 20 if first == 0 else 50)
        found |= {
            first + row: c for row, c in parts.run({"kind": kinds[here], "number": numbers[here]}).items()
        }
    assert found == rejected
    assert 7 not in {row for row, check in rejected.items() if check.reason == "too_many"}
    assert parts.facts() == whole.facts()
    result = parts.result()
    assert result.results[1].result["element_count"] == 50
    assert result.results[1].result["missing_count"] == 1
    assert result.success is False
    assert result.statistics["evaluated_expectations"] == 3


def test_a_check_of_a_column_that_is_not_there_is_our_bug_and_loud() -> None:
    with pytest.raises(RuntimeError, match="too_many"):
        Suite("rows", CHECKS).run({"kind": np.array(["good"], object)})


def test_great_expectations_calls_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: called.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **_: called.append(address) or [])
    suite = Suite("rows", CHECKS)
    suite.run({"kind": np.array(["good"], object), "number": np.array([1.0])})
    suite.result()
    assert called == []


def test_reasons_are_unique_words() -> None:
    checks = [*record_checks(max_prompt_chars=1, max_completion_chars=1), *group_checks()]
    reasons = [check.reason for check in checks]
    assert len(set(reasons)) == len(reasons)
    assert all(reason.replace("_", "").isalnum() and reason.islower() for reason in reasons)


def test_limits_of_length_are_checked_only_where_set() -> None:
    free = {c.reason for c in record_checks(max_prompt_chars=None, max_completion_chars=None)}
    limited = {c.reason for c in record_checks(max_prompt_chars=9, max_completion_chars=9)}
    assert limited - free == {"prompt_too_long", "completion_too_long"}
