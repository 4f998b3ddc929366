import time

import pytest

from copg.errors import RewardError
from copg.rewards.answer import Answer
from copg.rewards.answer_worker import gold_expression
from copg.rewards.contract import RewardSpec
from copg.rewards.mixture import build_mixture

pytest.importorskip("math_verify", reason="needs the extra 'rewards'")


@pytest.fixture(scope="module")
def answer() -> Answer:
    return Answer(num_workers=2, timeout_s=60)


RIGHT = [
    ("42", "The answer is 42."),
    (7, "so 7.0"),
    (0.5, "hence $x = \\frac12$"),
    ("\\frac{1}{2}", "it is 0.5"),
    ("50%", "a half, that is 0.5"),
    ("12,500", "12500 people"),
    ("2\\pi", "thus $2\\pi$"),
    ("(1, 2)", "the point $(1,2)$"),
    ("\\{1, 2\\}", "$\\{2, 1\\}$"),
    ("x^2+1", "$1 + x^2$"),
    ("5 dollars", "\\boxed{5}"),
    ("blah blah #### 18", "It is 18 dollars"),
    ("1.5e3", "1500"),
    ("3", "first 4, then 5, so \\boxed{3} (not 4)"),
    ("\\sqrt{2}/2", "$\\frac{1}{\\sqrt{2}}$"),
]
WRONG = [
    ("42", "The answer is 43."),
    ("42", ""),
    ("42", "no idea"),
    ("2\\pi", "2"),
    ("3", "first 3, then 4"),
    ("1/3", "0.33"),
    ("x^2+1", "$x^2$"),
    ("-3", "3"),
]


def test_right_answers_earn_one_and_wrong_ones_nothing(answer) -> None:
    cases = [*RIGHT, *WRONG]
    found = answer(["p"] * len(cases), [c for _, c in cases], [{"answer": g} for g, _ in cases])
    assert [case for case, value in zip(cases, found, strict=True) if value != (case in RIGHT)] == []
    assert answer.warnings() == []


def test_an_expression_nobody_can_evaluate_is_wrong_and_stops_nothing() -> None:
    answer = Answer(num_workers=2, timeout_s=1)
    started = time.monotonic()
    found = answer(["p"] * 4, ["$9^{9^{9^9}}$", "3", "$10^{10^{10}}!$", "3"], [{"answer": "3"}] * 4)
    assert found == [0.0, 1.0, 0.0, 1.0]
    assert time.monotonic() - started < 40
    assert answer.warnings() == [
        "2 comparisons took longer than timeout_s=1 or ended their process, and count as wrong"
    ]


def test_a_gold_answer_without_mathematics_is_the_records_fault() -> None:
    mixture = build_mixture([RewardSpec("answer", params={"num_workers": 1})])
    with pytest.raises(
        RewardError, match=r"^f:3: reward 'answer': column 'answer' holds no mathematical answer: ''"
    ):
        mixture(["p"], ["3"], [{"answer": ""}], sources=["f:3"])
    with pytest.raises(RewardError, match="must hold a text or a number, found None"):
        mixture(["p"], ["3"], [{"answer": None}])


def test_a_gold_answer_is_read_as_one_expression() -> None:
    assert gold_expression("2\\pi") == "$2\\pi$"
    assert gold_expression(" 12,500 ") == "12,500"
    assert gold_expression("5 km") == "5 km"
    assert gold_expression("1.5e-3") == "$1.5 \\times 10^{-3}$"
    assert gold_expression("\\boxed{3}") == "\\boxed{3}"
