"""The choice of a form and an attention: a function of device, kernels and what a check finds, as a table."""

import math
from typing import Any

import pytest
import torch

from copg.lm.config import RowConfig
from copg.lm.forms import TOLERANCES, Fit, apart, candidates, choose
from copg.lm.rows import TokenGroup

SLOWER = ["shared", "alone", "plain"]


@pytest.mark.parametrize(
    ("settings", "device", "kernels", "expected"),
    [
        ({}, "cpu", [], ["packed auto"]),  # which is split there
        ({}, "cuda", [], ["packed mask"]),
        ({}, "cuda", ["varlen", "flex"], ["packed flex", "packed mask"]),  # FlashAttention has no float32
        (
            {"compute_dtype": "bfloat16"},
            "cuda",
            ["flex", "varlen"],
            ["packed varlen", "packed flex", "packed mask"],
        ),
        ({"compute_dtype": "bfloat16"}, "cuda", ["varlen"], ["packed varlen", "packed mask"]),
        ({"attention": "mask"}, "cuda", ["flex"], ["packed mask"]),
    ],
)
def test_what_is_tried_follows_from_device_precision_and_kernels(
    settings: Any, device: str, kernels: list[str], expected: list[str]
) -> None:
    tried = candidates(RowConfig(**settings), device, kernels)
    assert [f"{each.form} {each.attention}" for each in tried if each.form == "packed"] == expected
    assert [each.form for each in tried if each.form != "packed"] == SLOWER


EXACT, WRONG = 1e-6, 0.5
"""What a check finds, nats a token."""


@pytest.mark.parametrize(
    ("precision", "kernels", "checks", "expected", "refused"),
    [
        ("bfloat16", ["varlen", "flex"], {"varlen": 0.05}, ("packed", "varlen"), []),
        (
            "bfloat16",
            ["varlen", "flex"],
            {"varlen": 0.07, "flex": EXACT},
            ("packed", "flex"),
            ["packed (varlen)"],
        ),
        (
            "bfloat16",
            ["varlen", "flex"],
            {"varlen": "no compiler", "flex": math.nan, "mask": EXACT},
            ("packed", "mask"),
            ["packed (varlen)", "packed (flex)"],
        ),
        ("bfloat16", [], {"mask": EXACT}, ("packed", "mask"), []),
        ("float32", ["varlen", "flex"], {"flex": EXACT}, ("packed", "flex"), []),
        ("float32", ["flex"], {"flex": 3e-5, "mask": EXACT}, ("packed", "mask"), ["packed (flex)"]),
        (
            "float32",
            [],
            {"mask": WRONG, "shared": "its attention is its own", "alone": EXACT},
            ("alone", "auto"),
            ["packed (mask)", "shared"],
        ),
    ],
)
def test_on_a_gpu_attention_follows_from_kernels_and_what_the_check_finds(
    precision: Any, kernels: list[str], checks: dict[str, Any], expected: Any, refused: list[str]
) -> None:
    asked: list[str] = []

    def check(rows: RowConfig) -> float | str:
        asked.append(rows.attention if rows.form == "packed" else rows.form)
        found: float | str = checks[asked[-1]]
        return found

    found = choose(candidates(RowConfig(compute_dtype=precision), "cuda", kernels), check)
    assert found.rows is not None
    assert (found.rows.form, found.rows.attention) == expected
    assert list(found.refused) == refused
    assert asked == list(checks)  # nothing slower is computed once one is exact
    fit = Fit(found.rows, found.difference, 9, found.refused)
    about = fit.about(
        [TokenGroup([5], [[6], [7, 2]])], torch.device("cuda")
    )  # what the record of a run has of it
    assert about["attention"] == ("own" if expected[0] != "packed" else expected[1])
    assert about["refused"] == found.refused


def test_where_nothing_is_exact_nothing_is_chosen() -> None:
    found = choose(candidates(RowConfig(), "cpu", []), lambda rows: math.nan)
    assert found.rows is None
    assert list(found.refused) == ["packed", *SLOWER]


def test_a_form_that_was_asked_for_is_the_only_one_tried() -> None:
    assert [each.form for each in candidates(RowConfig(form="alone"), "cpu", [])] == ["alone"]


def test_one_completion_that_is_wrong_is_not_hidden_by_many_that_are_right() -> None:
    # of 1000 tokens none is moved, and one of 10 by 1e-3 nats: 1e-4 a token, and 1e-6 in the mean of 1010
    alone, together, lengths = [[-900.0], [-9.0]], [[-900.0], [-9.001]], [[1000], [10]]
    assert apart(alone, together, lengths, "float32") == pytest.approx(1e-4)
    assert apart(alone, together, lengths, "bfloat16") == pytest.approx(1e-3 / 1010)
    assert apart(alone, together, lengths, "float32") > TOLERANCES["float32"]
    assert math.isnan(apart(alone, [[-900.0], [math.nan]], lengths, "float32"))
    assert math.isnan(apart(alone, [[math.nan], [-9.0]], lengths, "bfloat16"))
    assert apart([[]], [[]], [[]], "float32") == 0
