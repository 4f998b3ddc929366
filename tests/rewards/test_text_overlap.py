from importlib.util import find_spec

import pytest

from copg.config import parse_config
from copg.errors import ConfigError
from copg.rewards.bleu import Bleu
from copg.rewards.chrf import Chrf
from copg.rewards.rouge import Rouge, RougeL

needs_sacrebleu = pytest.mark.skipif(find_spec("sacrebleu") is None, reason="needs the extra 'rewards'")


def score(reward, completion: str, references: object) -> float:
    return reward(["p"], [completion], [{"references": references}])[0]


def test_rouge_counts_words_word_pairs_or_the_longest_common_subsequence() -> None:
    # "a b c d" against "a c b d x": words 4 of 4 and 4 of 5: P 1, R .8, F 8/9
    assert score(Rouge(kind="rouge1"), "a b c d", "a c b d x") == pytest.approx(8 / 9)
    assert score(Rouge(kind="rouge1", statistic="precision"), "a b c d", "a c b d x") == 1.0
    assert score(Rouge(kind="rouge1", statistic="recall"), "a b c d", "a c b d x") == pytest.approx(0.8)
    # pairs of "a b c" {ab, bc} and "x a b" {xa, ab}: 1 of 2 and 1 of 2
    assert score(Rouge(kind="rouge2"), "a b c", "x a b") == 0.5
    # subsequence "a b d" or "a c d": 3 of 4 and 3 of 5: F = 2 * .75 * .6 / 1.35
    assert score(Rouge(kind="rougeL"), "a b c d", "a c b d x") == pytest.approx(0.9 / 1.35)


def test_each_statistic_takes_its_own_best_reference() -> None:
    # recall: "a" 1 of 1; precision: "a b" 2 of 2
    references = ["a", "a b c d"]
    assert score(Rouge(statistic="recall"), "a b", references) == 1.0
    assert score(Rouge(statistic="precision"), "a b", references) == 1.0


def test_rouge_l_is_rouge_of_that_kind() -> None:
    for completion, reference in (("a b c", "c b a"), ("running", "runs"), ("", "x")):
        assert score(RougeL(stem=True), completion, reference) == score(
            Rouge(kind="rougeL", stem=True), completion, reference
        )


@needs_sacrebleu
def test_bleu_is_one_for_the_same_text_and_falls_with_missing_n_grams_and_brevity() -> None:
    assert score(Bleu(), "the cat sat on the mat", "the cat sat on the mat") == 1.0
    # "the cat" against "the cat sat": effective order 2, both precisions 1, brevity exp(1 - 3/2)
    assert score(Bleu(), "the cat", "the cat sat") == pytest.approx(0.60653, abs=1e-5)
    # one word right of two, no pair: p1 1/2, p2 smoothed 1/2 of 1: sqrt(.5 * .5) = .5
    assert score(Bleu(), "the dog", "the cat") == pytest.approx(0.5)
    assert score(Bleu(), "", "the cat") == 0.0
    assert score(Bleu(), "the cat", ["a dog", "the cat"]) == pytest.approx(1.0)


@needs_sacrebleu
def test_bleu_finds_words_of_languages_without_spaces_when_told() -> None:
    assert score(Bleu(), "他来了", "他走了") < score(Bleu(tokenize="char"), "他来了", "他走了")


@needs_sacrebleu
def test_chrf_is_one_for_the_same_text_and_counts_characters() -> None:
    assert score(Chrf(), "the cat", "the cat") == pytest.approx(1.0)
    assert score(Chrf(), "xyz", "abc") == 0.0
    # "ab" / "ac": characters 1 of 2, pairs 0 of 1: F2 of order 1 is .5, of order 2 is 0, mean .25
    assert score(Chrf(), "ab", "ac") == pytest.approx(0.25)
    assert score(Chrf(), "ab", ["zz", "ab"]) == pytest.approx(1.0)
    # chrF++ of the same: words 0 of 1 as well: mean over orders 1, 2 and word order 1: .5 / 3
    assert score(Chrf(word_order=2), "ab", "ac") == pytest.approx(0.5 / 3)


@pytest.mark.parametrize(
    ("cls", "params", "message"),
    [
        (Rouge, {"kind": "rouge9"}, "kind='rouge9'"),
        (Rouge, {"stem": True, "unicode": True}, "English words only"),
        (RougeL, {"stem": True, "unicode": True}, "English words only"),
        (Bleu, {"tokenize": "x"}, "tokenize='x'"),
        (Chrf, {"word_order": -1}, "must be >= 0"),
    ],
)
def test_wrong_settings_are_refused(cls, params, message) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(cls, params, where="reward")
