"""Pairs with a column that says which is better: read as their publishers mean it, or refused in words."""

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from copg.data.columns import to_portion
from copg.data.found import Reading
from copg.data.json_lines import Defect
from copg.data.rows import Row
from copg.data.shapes import Record, RecordReader
from tests.data.public import COUNT, question, right, said, user, wrong


def read(row: Any, *, cells: bool = False, **reading: Any) -> Record:
    (record,) = RecordReader(Reading(**reading)).read(row, cells=cells)
    return record


def refusal(row: Any, **reading: Any) -> str:
    with pytest.raises(Defect) as caught:
        read(row, **reading)
    return f"{caught.value.reason}: {caught.value.detail}"


def sides(n: int) -> tuple[str, str, bool]:
    """Two completions; of every second pair the second one is right."""
    return (wrong(n), right(n), False) if n % 2 else (right(n), wrong(n), True)


Made = tuple[dict[str, Any], Any, list[float]]
"""A row, its prompt, and the rewards of its two completions as they stand."""


def pku_single_dimension(n: int) -> Made:
    a, b, first = sides(n)
    row = {"prompt": question(n), "response_0": a, "response_1": b, "better_response_id": 0 if first else 1}
    return row | {"prompt_source": "x", "response_0_source": "m"}, question(n), [first, not first]


def helpsteer2(n: int) -> Made:
    a, b, first = sides(n)
    strength = 0 if n % 5 == 4 else -(1 + n % 3) if first else 1 + n % 3
    rewards = [0.5, 0.5] if n % 5 == 4 else [first, not first]
    why = {"preference_statement": "@Response 1 is better", "preference_elaboration": "It is."}
    row = {"split": "train", "prompt": question(n), "response_1": a, "response_2": b} | why
    return row | {"preference_strength": strength}, question(n), rewards


def helpsteer3(n: int) -> Made:
    a, b, first = sides(n)
    prompt = [user("Hi"), said("Hello."), user(question(n))]
    each = [{"score": -2, "reasoning": "It is.", "feedback1": "good", "feedback2": "bad"}]
    row = {"domain": "general", "language": "english", "context": prompt, "response1": a, "response2": b}
    row |= {"overall_preference": -2 if first else 2, "individual_preference": each}
    return row, prompt, [first, not first]


def shp(n: int) -> Made:
    a, b, first = sides(n)
    row = {"post_id": f"p{n}", "domain": "askbaking_train", "upvote_ratio": 0.98, "history": question(n)}
    row |= {"human_ref_A": a, "human_ref_B": b, "labels": 1 if first else 0}
    row |= {"score_A": 340 if first else 20, "score_B": 166, "seconds_difference": 2.0, "score_ratio": 2.05}
    return row, question(n), [first, not first]


def arena(n: int) -> Made:
    a, b, first = sides(n)
    winner = {3: "tie", 4: "tie (bothbad)", 9: "both_bad"}.get(n % 10, "model_a" if first else "model_b")
    row = {
        "question_id": f"{n:032x}",
        "model_a": "m",
        "model_b": "o",
        "winner": winner,
        "judge": "arena_user_1",
    }
    row |= {"conversation_a": [user(question(n)), said(a)], "conversation_b": [user(question(n)), said(b)]}
    row |= {"turn": 1, "anony": True, "language": "English", "tstamp": 1.68e9}
    return row, [user(question(n))], [first, not first] if winner.startswith("model") else [0.5, 0.5]


def webgpt(n: int) -> Made:
    a, b, first = sides(n)
    quotes = {"title": ["t"], "extract": ["e"]}
    asked = {"dataset": "eli5", "id": f"{n}", "full_text": question(n)}
    score = 0.0 if n % 5 == 4 else 0.25 if first else -0.25
    row = {"question": asked, "quotes_0": quotes, "answer_0": a, "score_0": score}
    return row | {"quotes_1": quotes, "answer_1": b, "score_1": -score}, question(n), [score, -score]


MADE = {
    pku_single_dimension: "pairs with a verdict, by 'better_response_id'",
    helpsteer2: "pairs with a verdict, by 'preference_strength'",
    helpsteer3: "pairs with a verdict, by 'overall_preference'",
    shp: "pairs with a verdict, by 'labels'",
    arena: "pairs with a verdict, by 'winner'",
    webgpt: "pairs with a verdict, 'score_0' and 'score_1' as rewards",
}


@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__)
def test_pairs_mean_what_their_verdicts_say(make: Callable[[int], Made]) -> None:
    rows, prompts, rewards = zip(*map(make, range(COUNT)), strict=True)
    for rows_of in (json.loads(json.dumps(rows)), pa.Table.from_pylist(list(rows)).to_pylist()):
        found = [read(row) for row in rows_of]
        assert [record.prompt for record in found] == list(prompts)
        assert [record.texts for record in found] == [list(sides(n)[:2]) for n in range(COUNT)]
        assert [record.rewards for record in found] == list(rewards)
        assert {record.read_as for record in found} == {MADE[make]}
        assert all("response" not in name for name in json.loads(found[0].columns) if "source" not in name)
    assert read(rows[0], read_as="verdicts").rewards == rewards[0]


def test_scores_beside_a_verdict_are_said() -> None:
    said_of = "'upvote_ratio', 'score_A', 'score_B', 'score_ratio' look like rewards and are not used"
    assert read(shp(0)[0]).unused == said_of


def test_cells_spell_verdicts_too() -> None:
    row = {name: str(value) for name, value in shp(1)[0].items()}
    assert read(row, cells=True).rewards == [0.0, 1.0]
    row = {name: json.dumps(v) if type(v) in (list, dict) else str(v) for name, v in webgpt(0)[0].items()}
    record = read(row, cells=True)
    assert (record.prompt, record.rewards) == (question(0), [0.25, -0.25])


def test_of_two_verdicts_one_has_to_be_chosen() -> None:
    row = {"prompt": "q", "response_0": "a", "response_1": "b", "is_response_0_safe": False}
    row |= {"better_response_id": 0, "safer_response_id": 1}
    assert refusal(row) == (
        "ambiguous_shape: the pair can be read with 'better_response_id' as the verdict or "
        "'safer_response_id' as the verdict; name one, as in columns: {reward: better_response_id}"
    )
    better = read(row, columns={"reward": "better_response_id"})
    assert (better.texts, better.rewards) == (["a", "b"], [1.0, 0.0])
    safer = read(row, columns={"reward": "safer_response_id"})
    assert (safer.texts, safer.rewards) == (["a", "b"], [0.0, 1.0])
    assert "better_response_id" in json.loads(safer.columns)


@pytest.mark.parametrize(
    "row",
    [
        pku_single_dimension(0)[0] | {"better_response_id": 2},
        pku_single_dimension(0)[0] | {"better_response_id": True},
        helpsteer2(0)[0] | {"preference_strength": "strong"},
        helpsteer2(0)[0] | {"preference_strength": float("nan")},
        shp(0)[0] | {"labels": -1},
        arena(0)[0] | {"winner": "m"},
        arena(0)[0] | {"winner": ["model_a"]},
    ],
)
def test_what_is_no_verdict_is_refused(row: Any) -> None:
    assert "says of neither that it is better" in refusal(row)


def test_a_pair_without_its_verdict_is_refused_as_answers_side_by_side() -> None:
    row = helpsteer2(0)[0] | {"preference_strength": None}
    assert "['response_1', 'response_2'] look like answers to one prompt" in refusal(row)


def test_conversations_that_part_early_cost_themselves_alone() -> None:
    row, _, _ = arena(0)
    parted = {name: [*row[name], user("more"), said("end")] for name in ("conversation_a", "conversation_b")}
    assert "wrong_type: the two chats part at message 2 of 4 and 4" in refusal(row | parted)
    other = [user("another"), said("a")]
    assert "wrong_type: the two chats part at message 1" in refusal(row | {"conversation_b": other})
    assert "'conversation_b' is no chat" in refusal(row | {"conversation_b": "a"})
    made = to_portion([Row("f", 1, value=row | parted), Row("f", 2, value=row)], RecordReader(Reading()))
    assert (made.records.num_rows, made.defects["reason"].to_pylist()) == (1, ["wrong_type"])
