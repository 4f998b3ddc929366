import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import CharDelimiterSplit

from copg.config import parse_config
from copg.errors import ConfigError, RewardError
from copg.rewards.length import Length


def score(reward: Length, *completions: str) -> list[float]:
    return reward([""] * len(completions), completions, [{}] * len(completions))


def test_only_what_is_beyond_the_maximum_costs() -> None:
    # words 3, 5, 7 with max 5: 0, 0, -0.1 * 2
    reward = Length(max=5, slope=0.1)
    assert score(reward, "a b c", "a b  c\nd e", "a b c d e f g") == pytest.approx([0, 0, -0.2])


def test_a_target_costs_on_both_sides_and_a_range_costs_outside() -> None:
    assert score(Length(target=2, slope=0.25), "a", "a b", "a b c d") == pytest.approx([-0.25, 0, -0.5])
    assert score(Length(min=2, max=3, slope=0.25), "", "a b", "a b c d") == pytest.approx([-0.5, 0, -0.25])


def test_the_floor_bounds_the_cost() -> None:
    assert score(Length(target=0, slope=1, floor=-3), "a b", "a b c d e f") == [-2.0, -3.0]


def test_nothing_wrong_costs_a_plain_zero() -> None:
    assert str(score(Length(max=5), "a")[0]) == "0.0"


def test_characters_are_code_points() -> None:
    assert score(Length(unit="characters", target=0, slope=0.1), "añ🙂") == pytest.approx([-0.3])


def test_tokens_are_those_of_the_named_tokeniser(tmp_path) -> None:
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = CharDelimiterSplit("-")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    reward = Length(unit="tokens", tokenizer=str(tmp_path), target=1, slope=0.1)
    assert score(reward, "a", "a-b-c", "") == pytest.approx([0, -0.2, -0.1])


def test_a_tokeniser_that_is_not_there_is_one_clear_line(tmp_path) -> None:
    (tmp_path / "tokenizer.json").write_text("no")
    with pytest.raises(RewardError, match="cannot be loaded"):
        score(Length(unit="tokens", tokenizer=str(tmp_path), max=1), "a")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "either 'target'"),
        ({"target": 3, "max": 4}, "either 'target'"),
        ({"min": 5, "max": 4}, "is no range"),
        ({"max": -1}, "is no range"),
        ({"max": 5, "slope": 0}, "must be > 0"),
        ({"max": 5, "floor": 0.5}, "must be < 0"),
        ({"max": 5, "unit": "tokens"}, "tokens need one"),
        ({"max": 5, "tokenizer": "x"}, "tokens need one"),
        ({"max": 5, "unit": "lines"}, "unit='lines'"),
        ({"maximum": 5}, "maximum is unknown"),
    ],
)
def test_wrong_settings_are_refused(params, message) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(Length, params, where="length")
