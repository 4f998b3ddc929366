"""Methods at equal KL: lines, choices and intervals by hand, and the whole on a tiny model."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from copg.config import parse_config
from copg.errors import ModelError
from copg.run.recipe import load_recipe
from copg.run.stage_settings import merged
from copg.stages.reward import RewardConfig
from experiments.bench import LEARNED, Bench
from experiments.crossed import difference, over_seeds
from experiments.equal_kl import METHODS, Plan, Setting, four_settings, run
from experiments.equal_kl_results import Lines, Reference, Scale
from experiments.equal_kl_table import show
from experiments.places import Place, along, best_of_line
from experiments.units import Enough, Units
from tests.experiments.test_summarisation import bench

__all__ = ["bench"]  # fixture


def place(name: str, rewards: list[float], kl: float) -> Place:
    return Place(name, np.array(rewards), np.full(len(rewards), kl))


ORIGIN = place("reference", [0.3, 0.1], 0.0)
NEAR, FAR = place("x 0.5", [0.5, 0.3], 1.0), place("x 1", [0.8, 0.6], 4.0)


def lines(*seeds: list[Place]) -> Lines:
    return Lines("copg", Reference({"reward": ORIGIN}, {"reward": []}), [{"reward": each} for each in seeds])


def test_a_setting_counts_with_what_it_earns_at_up_to_each_kl() -> None:
    # at .25 nats half of the root's way to near: .3; at 2.25 half-way from near to far: .55; at 9 far's .7
    scale = Scale(Reference({"reward": ORIGIN}, {"reward": []}), (0.25, 2.25, 9.0))
    assert scale.score([FAR, NEAR]) == pytest.approx((0.3 + 0.55 + 0.7) / 3)
    # J at beta .1: .3 - .025, .55 - .225; 9 nats are not reached
    assert scale.best_kl([FAR, NEAR], 0.1) == 2.25
    assert scale.best_kl([FAR, NEAR], 0.2) == 0.25  # .25 and .1


def test_where_a_seed_does_not_reach_nothing_is_told() -> None:
    both, one = lines([NEAR, FAR], [NEAR, FAR]), lines([NEAR, FAR], [NEAR])
    assert both.at(2.25, "reward") == pytest.approx(np.array([[0.65, 0.45], [0.65, 0.45]]))
    assert (both.reached(2.25), one.reached(2.25)) == (2, 1)
    assert one.at(2.25, "reward") is None
    assert one.at(0.5, "reward") is not None
    assert lines().at(0.5, "reward") is None


def test_the_best_of_n_is_over_every_choice_and_ties_earn_alike() -> None:
    # of 0, 1, 1 the best of 2 is 1 in all three choices; what it earns is the mean of 5 and 7
    (one, two) = best_of_line({"p": [1.0, 0.0, 1.0]}, {"p": [5.0, 2.0, 7.0]}, (1, 2))
    assert (one.reward, one.kl) == (pytest.approx(14 / 3), 0.0)
    assert (two.reward, two.kl) == (pytest.approx(6.0), pytest.approx(np.log(2) - 0.5))


def test_an_interval_over_seeds_and_prompts_holds_the_truth() -> None:
    rng, held, apart = np.random.default_rng(0), 0, 0
    for _ in range(600):
        drawn = [
            rng.normal(0, 0.05, (3, 1)) + rng.normal(0, 0.1, (3, 60))  # of a method: its seeds
            for _ in range(2)
        ]
        prompts = rng.normal(0, 0.3, 60)  # shared by both
        first, second = (each + prompts for each in drawn)
        found = over_seeds(first)
        held += found.low <= 0.0 <= found.high
        found = difference(first, second)
        apart += found.low <= 0.0 <= found.high
    # 600 repeats tell 95 % to within 2 %
    assert 0.93 <= held / 600 <= 0.99
    assert 0.93 <= apart / 600 <= 0.99


def test_one_seed_has_the_interval_of_its_prompts() -> None:
    found = over_seeds(np.array([[0.0, 1.0]]))
    # standard error .5, Student's t of one degree of freedom 12.706
    assert (found.mean, found.high) == (0.5, pytest.approx(0.5 + 0.5 * 12.706, abs=1e-3))
    same = over_seeds(np.ones((3, 4)))
    assert (same.mean, same.low, same.high) == (1.0, 1.0, 1.0)


def test_what_prompts_share_cancels_in_a_difference() -> None:
    first = np.array([[0.0, 1.0, 5.0], [0.0, 1.0, 5.0]])
    found = difference(first, first[:1] - 0.5)
    assert (found.mean, found.low, found.high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_tuned_over_four_settings(method: str) -> None:
    settings = four_settings(method, 0.2, 1e-3)
    assert len({setting.name(0) for setting in settings}) == 4
    assert {setting.method for setting in settings} == {method}


RECIPES = sorted((Path(__file__).parents[2] / "experiments/recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_of_the_experiments_has_the_reference_draw_and_settings_that_are_allowed(
    path: Path, tmp_path: Path
) -> None:
    own = Bench(load_recipe(path), tmp_path)
    assert own.config("score").completions_from == "reference"  # as A*-PO and QRPO take it
    for stage in ("validate", "sample", "reference", "evaluate"):
        own.config(stage)
    assert own.config("train", trial={"beta": 0.1}).lora is not None  # adapters are scaled, exactly
    reward = merged({"model": own.recipe.model, **LEARNED}, own.recipe.stages["reward"])
    assert parse_config(RewardConfig, reward, where="reward").form == own.recipe.stages["reward"]["form"]


def test_units_are_done_once_as_many_as_asked_for_and_a_failure_is_kept(tmp_path: Path) -> None:
    done = []

    def work(name: str, error: Exception | None = None) -> dict:
        done.append(name)
        if error:
            raise error
        return {"value": name}

    units = Units(tmp_path, most=2)
    assert units("train/a", lambda: work("a"))["value"] == "a"
    failed = units("train/b", lambda: work("b", ModelError("no such model")))
    assert failed["failed"] == "ModelError: no such model"
    with pytest.raises(Enough, match="train/c"):
        units("train/c", lambda: work("c"))
    again = Units(tmp_path)
    assert again("train/a", lambda: work("a"))["value"] == "a"
    assert again("train/b", lambda: work("b")) == failed
    assert done == ["a", "b"]
    retried = Units(tmp_path, retry=True)
    assert retried("train/b", lambda: work("b"))["failed"] == ""
    retried("train/a", lambda: work("a"))
    assert done == ["a", "b", "b"]  # what did not fail is not done again
    with pytest.raises(TypeError):  # a mistake of the script is no result
        again("train/d", lambda: work("d", TypeError()))
    with pytest.raises(Enough):
        again.read_only("train/d", lambda: work("d"))


def few(method: str, spread: float, rate: float) -> list[Setting]:
    """One that learns, and one that fails: no such method will train."""
    return [Setting(method, 0.05, 1e-2), Setting(method, -1.0, 1e-2)]


PLAN = Plan(methods=("copg", "sft"), seeds=(1, 2), kls=(0.01, 50.0), weights=(0.5,), best_of=4, settings=few)


@pytest.mark.nightly
@pytest.mark.parametrize("learned", [False, True])
def test_all_is_done_in_units_and_told(
    bench: Bench, tmp_path: Path, learned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    own = replace(bench, out=tmp_path)
    kinds = {"learned_reward": learned}
    begun = run(own, Units(tmp_path / "units", most=3), PLAN, **kinds)
    assert begun["missing"] == {"data": "reward_model" if learned else "reference_evaluation"}
    result = run(own, Units(tmp_path / "units"), PLAN, **kinds)
    assert result["missing"] == {}
    assert result["rewards"] == (["reward", "true"] if learned else ["reward"])
    for name, seeds in {"copg": 2, "sft": 2, "best_of": 1}.items():
        policy = result["policies"][name]
        near, far = policy["at_kl"]
        assert (policy["seeds"], near["reached"], far["reached"]) == (seeds, seeds, 0)
        for reward in result["rewards"]:
            assert near[reward]["low"] <= near[reward]["mean"] <= near[reward]["high"]
            assert far[reward] is None
        assert policy["J"]["gain"]["low"] <= policy["J"]["gain"]["high"]
    assert [each["chosen"] for each in result["settings"]["copg"]] == [True, False]
    assert {each["unit"] for each in result["failures"]} == {
        "evaluate/copg_-1_0.01_s0_select",
        "evaluate/sft_-1_0.01_s0_select",
    }
    assert (tmp_path / "equal_kl.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "equal_kl.json").read_text()) == result
    second = Units(tmp_path / "units")
    assert run(own, second, PLAN, **kinds) == result
    assert second.done == []
    show(result)
    assert "failed: evaluate/copg_-1_0.01_s0_select: training: ConfigError" in capsys.readouterr().out


def test_what_lies_between_two_places_is_straight_in_the_root() -> None:
    spot = along([ORIGIN, NEAR, FAR], 2.25)
    assert spot is not None
    assert spot.rewards == pytest.approx(np.array([0.65, 0.45]))
    assert spot.slope == pytest.approx(0.3)
