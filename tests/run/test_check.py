"""A recipe's mistakes that need neither its data nor its model to be seen."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fsspec.registry import known_implementations

from copg.errors import ConfigError
from copg.run.check import check_recipe
from copg.run.recipe import parse_recipe

LENGTH = {"name": "length", "params": {"target": 20}}
ROUGE, NEAR = {"name": "rouge"}, {"name": "similarity", "params": {"model": "/nowhere/embedder"}}
RECIPE: dict[str, Any] = {
    "name": "demo",
    "records": "/nowhere/records.jsonl",
    "model": "/nowhere/model",
    "rewards": [LENGTH],
    "trials": [{"method": "copg", "beta": 0.05}, {"method": "ipo", "beta": 0.1}],
}


def told(**changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        check_recipe(parse_recipe({**RECIPE, **changes}), Path("/nowhere/runs"))
    return str(caught.value)


def test_a_recipe_without_a_mistake_passes_where_nothing_of_it_lies() -> None:
    check_recipe(parse_recipe(RECIPE), Path("/nowhere/runs"))


def test_a_guard_is_a_reward_of_weight_0_or_one_that_evaluate_alone_knows() -> None:
    watched = {"name": "rouge", "weight": 0}
    guarded = {**RECIPE, "promote": {"guards": {"rewards": ["rouge"]}}}
    check_recipe(parse_recipe({**guarded, "rewards": [LENGTH, watched]}), Path("/nowhere/runs"))
    judged = {"rewards": [LENGTH, {"name": "rouge"}]}
    check_recipe(parse_recipe({**guarded, "evaluate": judged}), Path("/nowhere/runs"))


def test_an_engine_of_its_own_process_draws_from_scaled_adapters() -> None:
    away = {"mixes": [0.5], "generation": {"vllm_python": "/vllm/bin/python"}}
    check_recipe(parse_recipe({**RECIPE, "evaluate": away, "train": {"lora": {}}}), Path("/nowhere/runs"))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"train": {"seed": 1}}, "train.seed is unknown; use one of ['checkpoint', "),
        ({"evaluate": {"num_prompts": -1}}, "num_prompts=-1 of 'select' must be >= 2"),
        ({"trials": [{"beta": 0}]}, "beta=0.0 must be > 0: at 0 nothing ties the policy"),
        ({"trials": [{"beta": 1}, {"method": "ppo", "beta": 1}]}, "trial ppo_1: method='ppo' is unknown"),
        (
            {"evaluate": {"mixes": [0.5], "generation": {"vllm_python": "/vllm/bin/python"}}},
            "evaluate.mixes=[0.5]: trials without train.lora are mixed by their logits, which engine 'vllm'",
        ),
        (
            {"reference": {"store": "ss3://bucket/x"}},
            "reference.store='ss3://bucket/x': no file system is called 'ss3'; use a path, s3://, gs:// or ",
        ),
        (
            {"train": {"checkpoint": {"folder": "gss://a"}}},
            "train.checkpoint.folder='gss://a': no file system",
        ),
        ({"rewards": []}, "rewards: [{name: reward_model}] and reward: {}"),
        ({"rewards": [{**LENGTH, "weight": 0}]}, "rewards: each has weight 0, which merely watches it"),
        (
            {"evaluate": {"rewards": [{**LENGTH, "weight": 0}]}},
            "evaluate.rewards: each has weight 0, which merely watches it",
        ),
        ({"tracking": "box:5000"}, "tracking='box:5000' has no scheme: did you mean 'http://box:5000'?"),
        ({"rewards": [{"name": "lenght"}]}, "reward='lenght' is unknown; use one of ['answer', "),
        ({"rewards": [{"name": "length", "params": {"goal": 1}}]}, "rewards.length.params.goal is unknown"),
        ({"rewards": [{"name": "length"}]}, "length needs either 'target', or 'min' or 'max' or both"),
        ({"rewards": [LENGTH, LENGTH]}, "reward 'length' is there 2 times: give each a 'label'"),
        ({"rewards": [{**LENGTH, "only_if": {"part": "x", "at_least": 1}}]}, "only_if.part='x' is none of"),
        (
            {"promote": {"keep": ["copg_0.05", "copg_0.5"]}},
            "promote.keep=['copg_0.5'] are no trials; use names of ['copg_0.05', 'ipo_0.1'], or 'all' or",
        ),
        (
            {"promote": {"guards": {"rewards": ["lenth"]}}},
            "promote.guards.rewards: 'lenth' is none of the rewards that are measured, ['length']: name it",
        ),
        (
            {"promote": {"guards": {"rewards": ["length"]}}},
            "promote.guards.rewards: 'length' is trained on with weight 1: a guard has weight 0",
        ),
        (
            {"rewards": [{**LENGTH, "ensemble": {"name": "judges"}}]},
            "ensemble 'judges': has one member, 'length', which disagrees with nobody",
        ),
        (
            {"rewards": [{**each, "ensemble": {"name": "judges"}} for each in (ROUGE, NEAR)]},
            "ensemble 'judges': its members are not on one scale, 'rouge' from 0 to 1 and 'similarity'",
        ),
        (
            {"rewards": [{"name": "rouge", "ensemble": {"name": "judges", "coefficient": -1}}]},
            "rewards.0.ensemble.coefficient=-1.0 must be >= 0",
        ),
        ({"reward": {"model": "m", "epoch": 2}}, "reward.epoch is unknown"),  # waits for --only reward
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_is_told_without_data_or_model(changes: dict[str, Any], line: str) -> None:
    assert line in told(**changes)


def test_all_mistakes_are_told_each_once_and_one_of_every_trial_without_their_names() -> None:
    line = told(train={"seed": 1}, score={"stores": "x"}, promote={"max_kl": -1})
    assert [part.split()[0] for part in line.split("; ") if " is unknown" in part] == [
        "score.stores",
        "train.seed",
    ]
    assert line.count("train.seed is unknown") == 1
    assert "trial " not in line
    assert "max_kl=-1" in line


def test_a_section_with_a_mistake_hides_none_of_another() -> None:
    line = told(
        train={"seed": 1},
        promote={"keep": ["x"]},
        validate={"gate_fraction": 0},
        score={"store": "ss3://bucket"},
        rewards=[{"name": "lenght"}, LENGTH],
    )
    for mistake in (
        "train.seed is unknown",
        "promote.keep=['x'] are no trials",
        "validate.gate_fraction=0 must be > 0",
        "score.store='ss3://bucket': no file system",
        "reward='lenght' is unknown",
    ):
        assert line.count(mistake) == 1, line


def test_rewards_that_are_empty_are_told_once() -> None:
    assert told(rewards=[]).count("rewards is empty") == 1


@pytest.mark.parametrize("address", ["minio://bucket/a", "s3://bucket/a", "gs://bucket/a", "file:///a", "/a"])
def test_a_store_that_tasks_may_open_is_left_to_them(address: str) -> None:
    away = {"score": {"store": address}, "train": {"checkpoint": {"folder": address}}}
    check_recipe(parse_recipe({**RECIPE, **away}), Path("/runs"))


def test_a_store_whose_library_is_missing_is_refused_where_the_tasks_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missing = {"class": "no_such_library.FileSystem", "err": "install no_such_library"}
    monkeypatch.setitem(known_implementations, "away", missing)
    recipe = parse_recipe({**RECIPE, "score": {"store": "away://bucket/rewards"}})
    check_recipe(recipe, Path("/runs"))  # the image may have it
    with pytest.raises(ConfigError, match=r"^score\.store='away://bucket/rewards': away:// needs a library "):
        check_recipe(recipe, Path("/runs"), library=True)


def test_a_reward_that_the_run_trains_and_one_of_the_user_s_own_are_left_to_the_run() -> None:
    rewards = [{"name": "reward_model"}, {"name": "/image/mine.py:score"}]
    check_recipe(parse_recipe({**RECIPE, "rewards": rewards, "reward": {"model": "m"}}), Path("/runs"))


def test_checking_loads_no_numerical_library() -> None:
    program = (
        "import sys; from pathlib import Path; from copg.run.check import check_recipe\n"
        "from copg.run.recipe import parse_recipe\n"
        f"check_recipe(parse_recipe({RECIPE!r}), Path('/runs'))\n"
        "print([name for name in ('torch', 'transformers', 'mlflow', 'kfp') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
