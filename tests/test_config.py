"""Settings: bounds hold however an object is made, and a message says key, value and what is allowed."""

from dataclasses import FrozenInstanceError, field
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from copg.config import AtLeastOne, Fraction, Positive, configuration, parse_config
from copg.errors import ConfigError


@configuration
class Inner:
    rate: Positive = 1.0
    share: Annotated[float, Field(ge=0, lt=1, description="something must be left")] = 0.5


@configuration
class Outer:
    count: AtLeastOne | None = None
    inner: Inner = field(default_factory=Inner)
    several: dict[str, Inner] = field(default_factory=dict)
    fraction: Fraction = 0.0
    either: int | Inner = 1
    words: Literal["all", "none"] | list[str] = "all"
    shares: list[float] = field(default_factory=list)
    really: bool = False
    whatever: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.fraction and self.count is None:
            raise ValueError(f"fraction={self.fraction} needs a count")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 0}, "here.count=0 must be >= 1"),
        ({"inner": {"rate": 0}}, "here.inner.rate=0.0 must be > 0"),
        ({"inner": {"share": 1}}, "here.inner.share=1.0 must be in [0, 1): something must be left"),
        ({"several": {"a": {"rate": -2}}}, "here.several.a.rate=-2.0 must be > 0"),
        ({"fraction": 2}, "here.fraction=2.0 must be in [0, 1]"),
        ({"fraction": 0.5}, "here.fraction=0.5 needs a count"),
        (
            {"inner": {"rat": 1}},
            "here.inner.rat is unknown; use one of ['rate', 'share']; did you mean 'rate'?",
        ),
        (
            {"count": 1.5, "fraction": -1},
            "here.count=1.5 must be a whole number >= 1 or null; here.fraction=-1",
        ),
        ({"either": "x"}, "here.either='x' must be a whole number or keys and values"),
        ({"either": {"rate": "x"}}, "here.either.rate='x' must be a number > 0"),
        (
            {"either": {"RATE": 1}},
            "here.either.RATE is unknown; use one of ['rate', 'share']; did you mean 'rate'?",
        ),
        ({"either": {"rate": 0}}, "here.either.rate=0.0 must be > 0"),
        ({"words": 5}, "here.words=5 must be 'all' or 'none' or a list, each a text"),
        ({"words": ["a", 5]}, "here.words.1=5 must be a text"),
        ({"count": True}, "here.count=True must be a whole number >= 1 or null"),
        ({"either": {"rate": True}}, "here.either.rate=True must be a number > 0"),
        ({"several": {"a": {"share": False}}}, "here.several.a.share=False must be a number in [0, 1)"),
        ({"shares": [0.5, True]}, "here.shares.1=True must be a number"),
        ({"inner": 5}, "here.inner=5 must be keys and values"),
        ({"several": {"a": {"share": "half"}}}, "here.several.a.share='half' must be a number in [0, 1)"),
    ],
)
def test_a_dictionary_out_of_bounds_is_told_key_value_and_rule(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as failure:
        parse_config(Outer, settings, where="here")
    assert str(failure.value).startswith(message)
    assert str(failure.value).count(message.split("=")[0]) == 1  # one value, one mistake


def test_bounds_hold_for_an_object_made_by_hand() -> None:
    with pytest.raises(ValueError, match=r"^rate=0 must be > 0$"):
        Inner(rate=0)
    with pytest.raises(ValueError, match=r"^share=1 must be in \[0, 1\): something must be left$"):
        Inner(share=1)
    with pytest.raises(ValueError, match=r"^count=0 must be >= 1$"):
        Outer(count=0)
    with pytest.raises(ValueError, match="needs a count"):
        Outer(fraction=0.5)


def test_what_is_within_bounds_is_a_frozen_value() -> None:
    outer = parse_config(Outer, {"count": 10.0, "inner": {"rate": 2}}, where="here")
    assert outer == Outer(count=10, inner=Inner(rate=2.0))
    with pytest.raises(FrozenInstanceError):
        outer.count = 3  # type: ignore[misc]


def test_true_and_false_are_taken_where_they_are_meant() -> None:
    outer = parse_config(Outer, {"really": True, "whatever": {"a": [True]}}, where="here")
    assert (outer.really, outer.whatever) == (True, {"a": [True]})


@pytest.mark.parametrize("settings", [5, "x", [1]])
def test_settings_that_are_no_mapping_are_one_line(settings: Any) -> None:
    with pytest.raises(ConfigError, match=r"^outer=.*: must be a mapping$"):
        parse_config(Outer, settings, where="outer")
