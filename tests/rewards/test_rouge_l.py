import pytest

from copg.errors import RewardError
from copg.rewards.contract import RewardSpec
from copg.rewards.mixture import build_mixture
from copg.rewards.rouge import RougeL


def score(reward: RougeL, completion: str, references: object) -> float:
    return reward(["p"], [completion], [{"references": references}])[0]


def test_it_is_the_f_measure_of_the_longest_common_subsequence() -> None:
    # "the cat sat" / "the black cat": LCS "the cat" = 2; P = 2/3, R = 2/3, F = 2/3
    assert score(RougeL(), "The cat sat.", "the black cat") == pytest.approx(2 / 3)
    # "a b c d" / "a d": LCS 2; P = 2/4, R = 2/2, F = 2 * .5 * 1 / 1.5 = 2/3
    assert score(RougeL(), "a b c d", "a d") == pytest.approx(2 / 3)
    # order counts: "b a" / "a b" have an LCS of 1; P = R = F = 1/2
    assert score(RougeL(), "b a", "a b") == pytest.approx(0.5)


def test_the_best_of_several_references_counts() -> None:
    assert score(RougeL(), "x y", ["nothing here", "x y"]) == 1.0


def test_no_word_in_common_and_no_word_at_all_give_zero() -> None:
    assert score(RougeL(), "x", "y") == 0.0
    assert score(RougeL(), "...", "y") == 0.0


def test_words_of_other_scripts_count_only_when_asked() -> None:
    assert score(RougeL(), "кот спит", "кот спит") == 0.0
    assert score(RougeL(unicode=True), "Кот спит!", "кот спит") == 1.0


def test_stems_make_forms_of_a_word_equal() -> None:
    assert score(RougeL(), "running", "runs") == 0.0
    assert score(RougeL(stem=True), "running", "runs") == 1.0


def test_a_batch_gives_what_its_completions_give_alone_in_whatever_order() -> None:
    completions = ["a b c", "c b a", "", "a"]
    rows = [{"references": r} for r in ("a c", ["b", "c b"], "x", "a")]
    alone = [RougeL()(["p"], [c], [r])[0] for c, r in zip(completions, rows, strict=True)]
    assert RougeL()(["p"] * 4, completions, rows) == alone
    assert RougeL()(["p"] * 4, completions[::-1], rows[::-1]) == alone[::-1]


def test_a_record_without_references_is_named() -> None:
    mixture = build_mixture([RewardSpec("rouge_l", params={"column": "meta.refs"})])
    with pytest.raises(
        RewardError, match=r"^data.jsonl:7: completion 2: reward 'rouge_l': column 'meta.refs' is"
    ):
        mixture(
            ["p", "p"], ["a", "b"], [{"meta": {"refs": "a"}}, {}], sources=["x", "data.jsonl:7: completion 2"]
        )
