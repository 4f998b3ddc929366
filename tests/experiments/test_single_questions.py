"""Sweep of defaults, trials by distance, value of data: by hand, and each whole on a tiny model."""

from dataclasses import replace
from pathlib import Path

import pytest

from experiments import data_value, sweep, target_kl
from experiments.bench import Bench
from experiments.units import Units
from tests.experiments.test_summarisation import bench

__all__ = ["bench"]  # fixture


def test_one_of_four_is_changed_at_a_time(bench: Bench) -> None:
    train = bench.config("train", trial={"beta": 0.1})
    assert sweep.changes_of("rate", 1 / 3, train) == {"optimizer": {"learning_rate": 3.33e-4}}
    assert sweep.changes_of("clip", 10.0, train) == {"optimizer": {"max_grad_norm": 10.0}}
    assert sweep.changes_of("clip", 0.0, train) == {"optimizer": {"max_grad_norm": None}}
    assert sweep.changes_of("warmup", 0.0, train) == {"optimizer": {"warmup_fraction": 0.0}}
    assert sweep.changes_of("groups", 0.25, train) == {"groups_per_step": max(1, train.groups_per_step // 4)}
    assert sweep.changes_of("epochs", 2, train) == {"epochs": 2}


def row(factor: str, value: float | None, share: float | None) -> dict:
    return {"factor": factor, "value": value, "share": share}


def test_the_safest_value_is_that_whose_worst_task_fares_best() -> None:
    tasks = [
        {"task": "a", "rows": [row("base", None, 0.5), row("rate", 3.0, 0.9), row("rate", 9.0, 1.0)]},
        {"task": "b", "rows": [row("base", None, 0.6), row("rate", 3.0, 0.7), row("rate", 9.0, None)]},
    ]
    found = sweep.tell(tasks)
    assert found["shares"]["rate"]["9"] == {"a": 1.0, "b": 0.0}  # what failed gained nothing
    assert found["safest"]["rate"] == "3"  # .7 at worst, beside .5 and 0
    assert found["safest"]["clip"] == sweep.BASE  # nothing else was tried


@pytest.mark.nightly
def test_a_sweep_is_done_in_units_and_told(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own, factors = replace(bench, out=tmp_path), {"rate": (3.0,), "epochs": (2,)}
    begun = sweep.run(own, Units(tmp_path / "units", most=4), factors=factors)
    assert begun["missing"] == "train/base"  # groups, scored, referenced, reference_evaluation
    found = sweep.run(own, Units(tmp_path / "units"), factors=factors)
    base, rate, epochs = found["rows"]
    assert (base["factor"], base["value"], rate["value"], epochs["value"]) == (sweep.BASE, None, 3.0, 2)
    assert epochs["steps"] == 2 * base["steps"]
    for each in found["rows"]:
        assert each["gain"]["low"] <= each["gain"]["mean"] <= each["gain"]["high"]
    lora = sweep.run(replace(bench, out=tmp_path / "lora"), Units(tmp_path / "lora" / "units"),
                     factors={}, common={"lora": {"rank": 2}})  # fmt: skip
    assert lora["rows"][0]["gain"] != base["gain"]
    sweep.show(found)
    assert "rate                        3" in capsys.readouterr().out


@pytest.mark.nightly
def test_trials_by_distance_are_held_against_their_target(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = replace(bench, out=tmp_path)
    found = target_kl.run(own, Units(tmp_path / "units"), kl=0.05, seeds=(0, 1))
    assert [each["seed"] for each in found["rows"]] == [0, 1]
    for each in found["rows"]:
        assert each["pilot"]["target"] == 0.05
        assert each["within"] == (abs(each["kl"]["mean"] - 0.05) <= 0.01)
    refused = target_kl.run(own, Units(tmp_path / "units"), kl=9.0, seeds=(0,))
    target_kl.show(found)
    target_kl.show(refused)
    told = capsys.readouterr().out
    assert "asked for 0.05 nats" in told
    assert "failed: training: ConfigError: trial copg_kl9: beta.kl=9 is more than the most" in told


@pytest.mark.nightly
def test_the_third_that_promises_most_is_held_against_all(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = data_value.run(replace(bench, out=tmp_path), Units(tmp_path / "units"), seeds=(0, 1))
    whole, third, long = (found["kinds"][k] for k in (data_value.ALL, data_value.THIRD, data_value.AS_LONG))
    assert "matches" not in whole
    for each in (third, long):
        assert each["matches"] == (abs(each["reward_less_all"]["mean"]) <= 0.01)
        gap = each["reward"]["mean"] - whole["reward"]["mean"]
        assert each["reward_less_all"]["mean"] == pytest.approx(gap)
    assert third["gain_of_best_third"] > 1 / 3
    data_value.show(found)
    assert "best_third_as_long  J" in capsys.readouterr().out
