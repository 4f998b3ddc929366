"""docs/rewards.md: every reward is there with its range, and every example is one that works."""

import re
from pathlib import Path

import pytest
import yaml

from copg.config import parse_config
from copg.rewards import REWARDS
from copg.rewards.contract import RewardSpec
from copg.rewards.mixture import build_mixture
from copg.rewards.own import load_own
from copg.rewards.registry import build_reward
from copg.run.recipe import parse_recipe

TEXT = (Path(__file__).parents[2] / "docs/rewards.md").read_text()
ROWS = {
    cells[0].strip("` "): cells[1:]
    for line in TEXT.splitlines()
    if line.startswith("| `") and len(cells := line.strip("| ").split(" | ")) >= 4
}
EXAMPLES = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)]
NEEDED = {
    "length": {"max": 1},
    "format": {"pattern": "x"},
    "judge": {"url": "http://x", "model": "m", "rubric": "r"},
    "entailment": {"model": "m", "premise": "premise"},
    "similarity": {"model": "m"},
}


def test_every_reward_has_its_row() -> None:
    assert set(ROWS) == set(REWARDS)


@pytest.mark.parametrize("name", sorted(REWARDS))
def test_a_row_names_the_columns_that_are_read(name: str) -> None:
    reward = build_reward(RewardSpec(name, params=NEEDED.get(name, {})))
    for column in reward.reads:
        assert f"`{column}`" in ROWS[name][2]
    assert ("prompt" in ROWS[name][2]) == getattr(reward, "reads_prompt", True)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_can_be_used_as_it_stands(example: dict, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)[1])
    if "records" in example:
        assert parse_recipe(example).trains_reward
        return
    if "trials" in example:
        assert parse_recipe({"name": "a", "records": "a.jsonl", "model": "./a", **example}).trials
        return
    build_mixture([parse_config(RewardSpec, each, where="rewards") for each in example["rewards"]])


def test_the_function_gives_what_it_says(tmp_path) -> None:
    (tmp_path / "mine.py").write_text(re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)[1])
    reward = load_own(f"{tmp_path}/mine.py:brevity", {"longest": 4})
    # 1 of 4 words: 3/4; 8 of 4: 0
    assert reward(["p"] * 2, ["a", "a " * 8], [{}] * 2) == [0.75, 0.0]


@pytest.mark.parametrize("setting", sorted(set(re.findall(r"`score\.([a-z_]+)`", TEXT))))
def test_a_setting_of_score_exists(setting: str) -> None:
    from copg.stages.score import ScoreConfig

    assert setting in ScoreConfig.__dataclass_fields__
