"""What is told of the gate before training: from the recipe's settings and the scored logs."""

from pathlib import Path

import pytest

from copg.artifacts import begin, seal
from copg.errors import ConfigError
from copg.run.outlook import gate_size, tell_outlook

SIZE = {"num_prompts": 128, "samples": 4, "level": 0.05 / 52}


def scored(folder: Path, *, gate: int, spread: float = 0.4, name: str = "format") -> Path:
    begin(folder)
    train = {"groups": 9, "metrics": {"reward/spread": spread}}
    splits = {"train": train, "gate": {"groups": gate, "metrics": {}}}
    rewards = [{"name": name, "weight": 1.0, "params": {"pattern": "a"}}]
    seal(
        folder,
        schema="scored",
        stage="score",
        rows=9,
        config={"rewards": rewards if name else []},
        parents={},
        facts={"splits": splits, "scales": {}},
    )
    return folder


def test_the_settings_of_evaluation_and_promotion_decide_and_no_others() -> None:
    error = {"budget": 0.1, "horizon": 10, "refuse_hopeless": True}
    configs = {"evaluate": {"num_prompts": 64, "samples_per_prompt": 2}, "promote": {"error": error}}
    expected = {"num_prompts": 64, "samples": 2, "level": 0.01, "refuse_hopeless": True}
    assert gate_size(configs) == expected
    configs["evaluate"]["num_prompts"] = {"select": 9, "gate": 64}
    assert gate_size(configs) == expected


def test_a_run_is_told_which_gains_its_gate_will_see(tmp_path, capsys) -> None:
    tell_outlook(SIZE, scored(tmp_path / "a", gate=500))
    told = capsys.readouterr().err
    assert told.startswith("gate: 128 prompts x 4 completions see a gain of 0.1")
    assert "a gain of 0.12 (0.3 of the spread within a prompt) needs 1" in told


def test_two_gate_prompts_are_told_to_promote_nobody_and_refused_where_the_recipe_says_so(
    tmp_path, capsys
) -> None:
    few = scored(tmp_path / "a", gate=2)
    tell_outlook(SIZE, few)
    assert capsys.readouterr().err.startswith("gate: nothing can be promoted with 2 prompts at error ")
    with pytest.raises(ConfigError, match=r"with 2 prompts .* hold out more, or set promote.error"):
        tell_outlook({**SIZE, "refuse_hopeless": True}, few)
    tell_outlook({**SIZE, "refuse_hopeless": True}, scored(tmp_path / "b", gate=40))


def test_a_stage_alone_and_logs_without_any_spread_tell_nothing(tmp_path, capsys) -> None:
    tell_outlook(None, tmp_path / "nowhere")
    tell_outlook(SIZE, scored(tmp_path / "a", gate=40, spread=0.0))
    assert capsys.readouterr().err == ""
