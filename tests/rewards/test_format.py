import pytest

from copg.config import parse_config
from copg.errors import ConfigError
from copg.rewards.format import Format


def score(reward: Format, *completions: str) -> list[float]:
    return reward([""] * len(completions), completions, [{}] * len(completions))


def test_a_pattern_must_cover_the_whole_completion_unless_told_otherwise() -> None:
    assert score(Format(pattern=r"\d+"), "12", "12 ", "x12", "") == [1.0, 0.0, 0.0, 0.0]
    assert score(Format(pattern=r"\d+", match="anywhere"), "12", "12 ", "x12", "") == [1.0, 1.0, 1.0, 0.0]
    assert score(Format(pattern=r"(?s)<a>.*</a>"), "<a>\n</a>") == [1.0]


def test_a_schema_is_obeyed_by_json_alone() -> None:
    reward = Format(
        json_schema={"type": "object", "required": ["x"], "properties": {"x": {"type": "integer"}}}
    )
    assert score(reward, '{"x": 1}', ' {"x": 1}\n') == [1.0, 1.0]
    assert not any(score(reward, '{"x": 1.5}', "{}", "[1]", "x", "", '{"x": 1} and more'))


def test_any_json_passes_the_schema_true_and_constants_python_invents_do_not() -> None:
    assert score(Format(json_schema=True), "[1, 2]", "NaN", "[Infinity]", "{'a': 1}") == [1.0, 0.0, 0.0, 0.0]


def test_pattern_and_schema_must_both_hold() -> None:
    reward = Format(pattern=r"\{.*\}", json_schema=True)
    assert score(reward, '{"a": 1}', "{a}", "[1]") == [1.0, 0.0, 0.0]


def test_deep_nesting_is_no_crash() -> None:
    assert score(Format(json_schema=True), "[" * 100_000, "[" * 100_000 + "]" * 100_000)[0] == 0.0
    nested = {"$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}}, "$ref": "#/$defs/n"}
    assert score(Format(json_schema=nested), "[[[]]]", "[[1]]", "[" * 900 + "]" * 900)[:2] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "'pattern' or 'json_schema'"),
        ({"pattern": "("}, "no regular expression"),
        ({"json_schema": {"type": "strange"}}, "no JSON Schema"),
    ],
)
def test_wrong_settings_are_refused(params, message) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(Format, params, where="format")


def test_a_schema_elsewhere_is_never_fetched() -> None:
    reward = Format(json_schema={"$ref": "http://127.0.0.1:9/schema.json"})
    with pytest.raises(Exception, match=r"127\.0\.0\.1:9/schema\.json"):
        score(reward, "{}")
