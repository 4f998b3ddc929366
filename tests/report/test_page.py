import math

import pytest

from copg.records import Estimate
from copg.report.fragments import escape, flatten, number, span
from copg.report.page import _json
from copg.report.sample_cards import _text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<b>&\"'", "&lt;b&gt;&amp;&quot;&#x27;"),
        ("a\x00b\x1bc\x7f", "a\u2400b\u241bc\u2421"),
        ("line\nline\ttab", "line\nline\ttab"),
        ("\ud800", "?"),  # half of a surrogate pair, which no file can hold
        (3, "3"),
    ],
)
def test_text_is_taken_literally(text, shown) -> None:
    assert escape(text) == shown


def test_an_estimate_is_printed_to_what_its_interval_can_tell_apart() -> None:
    # a width of .04 tells hundredths apart: one decimal more is shown
    assert span(Estimate(0.12345, 0.10, 0.14)) == '0.123 <span class="interval">[0.100, 0.140]</span>'
    assert span(Estimate(-1.0, -2.0, 0.5)) == '\u22121.0 <span class="interval">[\u22122.0, 0.5]</span>'
    assert span(Estimate(0.5, 0.4, 0.6), percent=True).startswith("50\u202f% ")
    assert span(None) == span(Estimate(math.nan, math.nan, math.nan)) == number(math.nan) == "\u2013"


def test_no_text_in_the_figures_can_end_their_script() -> None:
    assert "</" not in _json({"name": "</script><!--"})


def test_a_long_text_is_cut_and_says_by_how_much_and_a_blank_one_says_so() -> None:
    assert _text("abcdef", 4) == 'abcd <span class="under">\u2026 2 more characters</span>'
    assert _text("abcd", 4) == "abcd"
    assert "(blank)" in _text(" \n", 4)


def test_nested_values_become_names_with_dots() -> None:
    values = {"a": {"b": 1.0, "c": {"d": "x"}}, "e": [1, 2], "f": None, "g": {}}
    assert flatten(values) == [("a.b", "1"), ("a.c.d", "x"), ("e", "[1, 2]"), ("f", "null"), ("g", "{}")]
