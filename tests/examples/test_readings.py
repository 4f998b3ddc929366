"""The readings: prompts alone, whose answers stand in their texts and follow from them."""

import json
import re
from pathlib import Path

from copg.data.found import Reading
from copg.data.shapes import RecordReader
from copg.run.recipe import load_recipe
from examples.readings import KINDS, NUM_READINGS, make_readings

RECIPE = Path(__file__).parents[2] / "pipelines/recipes/smollm2_readings_cpu.yaml"


def solve(text: str) -> str:
    """The answer by other means than those that wrote the reading."""
    if found := re.search(r"Where is (\w+) now", text):
        return re.findall(rf"{found[1]} went to the (\w+)\.", text)[-1]
    if found := re.search(r"What colour is (\w+)'s (\w+)", text):
        return re.search(rf"{found[1]} has a (\w+) {found[2]}\.", text)[1]
    found = re.search(r"Who has the (\w+)", text)
    return re.search(rf"(\w+) picked up the {found[1]}\.", text)[1]


def test_prompts_differ_and_each_answer_follows_from_its_text() -> None:
    records = list(make_readings(NUM_READINGS))
    texts = [record["prompt"][0]["content"] for record in records]
    assert len(set(texts)) == NUM_READINGS == 400
    assert [solve(text) for text in texts] == [record["answer"] for record in records]
    for kind in range(len(KINDS)):  # no answer can be guessed without reading
        assert len({record["answer"] for record in records[kind :: len(KINDS)]}) > 5
    assert json.dumps(list(make_readings(9))) == json.dumps(records[:9])


def test_the_recipe_draws_what_is_missing_and_watches_a_guard() -> None:
    recipe = load_recipe(RECIPE)
    assert recipe.samples
    reader = RecordReader(Reading({}, recipe.stages["validate"]["read_as"], False))
    (record,) = reader.read(next(make_readings(1)))
    assert (record.texts, json.loads(record.columns)) == ([], {"answer": next(make_readings(1))["answer"]})
    assert recipe.stages["sample"]["completions"] == 4
    assert [reward["weight"] for reward in recipe.rewards if "weight" in reward] == [0]
    assert [trial["method"] for trial in recipe.trials] == ["copg", "copg"]
