import math

import pytest
from markupsafe import Markup

from copg.data.html import printable
from copg.records import Estimate
from copg.report.offline import _json
from copg.report.page import PAGES
from copg.report.samples import Answer, Sample
from copg.report.texts import estimate_texts, flatten, number

INJECTIONS = ["{{ 7 * 7 }}", "{% raw %}", "{# #}", "{{ page.__class__ }}", "{{ '<b>' | safe }}", "<b>&\"'"]


def macro(name: str):
    return getattr(PAGES.get_template("macros.j2").module, name)


def escape(text) -> str:
    return PAGES.from_string("{{ text }}").render(text=text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<b>&\"'", "&lt;b&gt;&amp;&#34;&#39;"),
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
    span = macro("interval")
    assert span(Estimate(0.12345, 0.10, 0.14)) == '0.123 <span class="interval">[0.100, 0.140]</span>'
    assert span(Estimate(-1.0, -2.0, 0.5)) == '\u22121.0 <span class="interval">[\u22122.0, 0.5]</span>'
    assert span(Estimate(0.5, 0.4, 0.6), percent=True).startswith("50\u202f% ")
    assert span(None) == span(Estimate(math.nan, math.nan, math.nan)) == number(math.nan) == "\u2013"
    assert estimate_texts(None) == []


def test_no_text_in_the_figures_can_end_their_script() -> None:
    assert "</" not in _json({"name": "</script><!--"})


def test_a_long_text_is_cut_and_says_by_how_much_and_a_blank_one_says_so() -> None:
    cut = macro("cut")
    assert cut("abcdef", 4) == 'abcd <span class="under">\u2026 2 more characters</span>'
    assert cut("abcd", 4) == "abcd"
    assert "(blank)" in cut(" \n", 4)


def test_nested_values_become_names_with_dots() -> None:
    values = {"a": {"b": 1.0, "c": {"d": "x"}}, "e": [1, 2], "f": None, "g": {}}
    assert flatten(values) == [("a.b", "1"), ("a.c.d", "x"), ("e", "[1, 2]"), ("f", "null"), ("g", "{}")]


@pytest.mark.parametrize("text", INJECTIONS)
def test_a_template_in_a_text_is_a_text(text) -> None:
    shown = str(Markup.escape(text))
    answer = Answer(text, 1.0, {text: 0.5}, 3, True)
    pieces = {
        "card": macro("card")(text, Sample(text, answer, answer), 4000),
        "facts": macro("facts")({text: {text: text}}),
        "table": macro("table")([text], [[text]]),
        "columns": macro("columns")([text]),
    }
    for name, piece in pieces.items():
        assert shown in piece, name
        assert "49" not in piece
        assert "<b>" not in piece
    assert pieces["card"].count(shown) == 6  # prompt, name, two completions, a part of each


def test_white_space_of_a_completion_stays_and_none_is_added() -> None:
    answer = Answer("  two\n\n lines\t\n", 1.0, {}, 3, True)
    card = macro("card")("policy", Sample(" prompt\n", answer, answer), 4000)
    assert '<div class="text" dir="auto"> prompt\n</div>' in card
    assert card.count('<div class="text" dir="auto">  two\n\n lines\t\n</div>') == 2


def test_markup_is_not_escaped_and_a_name_that_is_not_there_is_an_error() -> None:
    assert escape(Markup("<em>{}</em>").format(printable("<b>\x00"))) == "<em>&lt;b&gt;\u2400</em>"
    with pytest.raises(Exception, match="'nothing' is undefined"):
        PAGES.from_string("{{ nothing }}").render()
