"""What is told of the gate before training: from the recipe's settings and the scored logs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from copg.artifacts import begin, seal
from copg.data.group_files import GroupWriter
from copg.errors import ConfigError
from copg.losses import LOSSES, VARIANTS, WITHOUT_CONTRAST, load_loss
from copg.losses.groups import Completions
from copg.records import Completion, Group
from copg.rewards.contract import RewardSpec
from copg.run.outlook import (
    count_gate,
    first_size,
    gate_size,
    measure_gate,
    tell_first_outlook,
    tell_known_outlook,
    tell_outlook,
)
from copg.run.task_record import TaskRecord, write_record
from copg.stages.score import ScoreConfig, score_groups

SIZE = {"num_prompts": 128, "samples": 4, "level": 0.05 / 52}
LOGS = {"spread": 0.4, "bounds": [0.0, 1.0], "prompts": 128, "of": 128}


def scored(folder: Path, *, gate: int, spread: float = 0.4, name: str = "format", documents: int = 0) -> Path:
    begin(folder)
    with GroupWriter(folder) as writer:
        for i in range(gate):
            columns = {"cluster": i % documents} if documents else {}
            pair = [Completion("a", reward=0.0), Completion("b", reward=1.0)]
            writer.write("gate", Group(f"{i:032x}", f"prompt {i}", pair, columns))
    splits = {"train": {"groups": 9, "metrics": {"reward/spread": spread}}}
    rewards = [{"name": name, "weight": 1.0, "params": {"pattern": "a"}}]
    seal(
        folder,
        schema="scored",
        stage="score",
        rows=gate,
        config={"rewards": rewards if name else []},
        parents={},
        facts={"splits": splits, "scales": {}},
    )
    return folder


def tell(size: dict[str, Any], folder: Path) -> None:
    tell_outlook(size, measure_gate(size, folder))


def test_the_settings_of_evaluation_and_promotion_decide_and_no_others() -> None:
    error = {"budget": 0.1, "horizon": 10, "refuse_hopeless": False}
    configs: dict[str, Any] = {
        "evaluate": {"num_prompts": 64, "samples_per_prompt": 2, "cluster": "document"},
        "promote": {"error": error, "min_gain": 0.2},
    }
    expected = {
        "num_prompts": 64,
        "samples": 2,
        "level": 0.01,
        "min_gain": 0.2,
        "cluster": "document",
        "refuse_hopeless": False,
        "needs_contrast": True,
    }
    trials = [{"beta": 0.1}, {"method": "ipo", "beta": 0.1}]
    assert gate_size(configs, trials) == expected
    configs["evaluate"]["num_prompts"] = {"select": 9, "gate": 64}
    assert gate_size(configs, trials) == expected
    # fine-tuning on the best completion learns from ties as well
    sft = [*trials, {"method": "sft", "beta": 1.0}]
    assert gate_size(configs, sft) == {**expected, "needs_contrast": False}


def test_a_run_is_told_which_gains_its_gate_will_see(tmp_path, capsys) -> None:
    tell(SIZE, scored(tmp_path / "a", gate=140))
    told = capsys.readouterr().err
    assert told.startswith("gate: 128 prompts x 4 completions see a gain of 0.1")
    assert "a gain of 0.12 (0.3 of the spread within a prompt) needs 1" in told


def test_gate_prompts_with_which_nothing_could_pass_stop_a_run_with_numbers_and_settings(
    tmp_path, capsys
) -> None:
    few = scored(tmp_path / "a", gate=2)
    message = (
        r"gate: nothing can be promoted with 2 prompts at error 0.00096: 11 are needed; a gain of 0.12 .*"
        r"bring more prompts or raise validate.gate_fraction, or train all the same with "
        r"promote.error.refuse_hopeless: false$"
    )
    with pytest.raises(ConfigError, match=message):
        tell(SIZE, few)
    tell({**SIZE, "refuse_hopeless": False}, few)
    assert capsys.readouterr().err.startswith("gate: nothing can be promoted with 2 prompts at error ")
    with pytest.raises(ConfigError, match=r"raise evaluate.num_prompts=4, or train"):
        tell({**SIZE, "num_prompts": 4}, scored(tmp_path / "b", gate=40))


def test_what_is_merely_unlikely_is_told_and_goes_on(tmp_path, capsys) -> None:
    # eleven times the whole of what there is to gain would pass, and nothing less is likely to
    tell(SIZE, scored(tmp_path / "a", gate=11))
    tell(SIZE, scored(tmp_path / "b", gate=8, name=""))  # a reward without bounds
    told = capsys.readouterr().err
    assert "nothing can be promoted" not in told
    assert "gate: 11 prompts" in told
    with pytest.raises(ConfigError, match=r"with 7 prompts at error 0.00096: 8 are needed"):
        tell(SIZE, scored(tmp_path / "c", gate=7, name=""))


def test_logs_whose_rewards_do_not_differ_are_refused_as_well_where_nothing_could_pass(
    tmp_path, capsys
) -> None:
    tell(SIZE, scored(tmp_path / "a", gate=40, spread=0.0))
    assert capsys.readouterr().err == ""
    with pytest.raises(ConfigError, match="nothing can be promoted with 2 prompts"):
        tell(SIZE, scored(tmp_path / "b", gate=2, spread=0.0))


def score(folder: Path, groups: dict[str, list[str]], *rewards: RewardSpec, given: bool = False) -> Path:
    """Scored logs of prompts with these completions; those that were ``given`` came with a reward of 1."""
    begin(folder / "groups")
    with GroupWriter(folder / "groups") as writer:
        for i, (prompt, texts) in enumerate(groups.items()):
            completions = [Completion(text, reward=1.0 if given else None) for text in texts]
            writer.write("train", Group(f"{i:032x}", prompt, completions, source=f"a.jsonl:{i + 1}"))
    seal(folder / "groups", schema="groups", stage="validate", rows=2, config={}, parents={})
    config = ScoreConfig(source="given" if given else "computed", rewards=list(rewards))
    score_groups(config, folder / "groups", folder / "scored")
    return folder / "scored"


def words(label: str, weight: float = 1.0) -> RewardSpec:
    """Minus the number of words."""
    return RewardSpec("length", weight, {"max": 0, "slope": 1, "floor": -99}, label)


FORMAT = RewardSpec("format", 1.0, {"pattern": ".*"}, "form")
EVEN = {"p": ["a b", "c d"], "q": ["a b c", "d e f"]}
UNEVEN = {"p": ["a b", "c d e"], "q": ["a b c", "d e f"]}


def test_rewards_equal_within_every_prompt_stop_a_run_by_their_names(tmp_path) -> None:
    for name, scored_logs, found in (
        ("form", score(tmp_path / "a", UNEVEN, FORMAT), r"\('form': always 1\)"),
        # two and three words: -2 and -3, one value a prompt
        ("both", score(tmp_path / "b", EVEN, FORMAT, words("w")), r"\('form': always 1; 'w': one value a"),
        ("zero", score(tmp_path / "c", UNEVEN, words("w"), words("v", -1.0)), r"\(their weighted sum is one"),
        ("given", score(tmp_path / "d", UNEVEN, given=True), r"\(those of the records: always 1\)"),
    ):
        message = f"^nothing can be learnt: in none of 2 training prompts of several .* {found}.*; mend the "
        with pytest.raises(ConfigError, match=message):
            tell(SIZE, scored_logs)
        assert measure_gate(SIZE, scored_logs)["no_contrast"], name


def test_prompts_of_a_single_completion_stop_a_run_as_well(tmp_path) -> None:
    alone = score(tmp_path, {"p": ["a b"], "q": ["c"]}, words("w"))
    with pytest.raises(ConfigError, match="learnt: each of 2 training prompts has a single completion"):
        tell(SIZE, alone)
    tied = score(tmp_path / "tied", {**EVEN, "r": ["c"]}, words("w"))
    with pytest.raises(ConfigError, match="in none of 2 training prompts of several"):
        tell(SIZE, tied)


def test_one_prompt_with_contrast_suffices_and_so_does_a_reward_beside_a_constant_one(tmp_path) -> None:
    logs = score(tmp_path, UNEVEN, FORMAT, words("w"))
    found = measure_gate(SIZE, logs)
    assert found["no_contrast"] == ""
    tell_outlook(SIZE, {**found, "prompts": 128})


def test_what_learns_without_contrast_or_was_asked_for_is_trained_all_the_same(tmp_path, capsys) -> None:
    logs = {**measure_gate(SIZE, score(tmp_path, UNEVEN, FORMAT)), "prompts": 128}
    for change in ({"needs_contrast": False}, {"refuse_hopeless": False}):
        tell_outlook({**SIZE, **change}, logs)
    with pytest.raises(ConfigError, match=r"promote\.error\.refuse_hopeless: false$"):
        tell_outlook(SIZE, logs)


def test_the_methods_that_learn_without_contrast_are_those_with_a_gradient_beyond_the_pull() -> None:
    tied = torch.tensor([1.0, 1.0, 1.0])
    # qrpo takes no ties: the quantile of each is 1, which no policy fits, and is nothing to learn
    for method in {*LOSSES, *VARIANTS} - {"qrpo"}:
        logps = torch.tensor([-1.0, -2.0, -3.0], requires_grad=True)
        known = (
            logps.detach(),
            tied,
            torch.tensor([4, 4, 4]),
            torch.zeros(3).int(),
            torch.zeros(3),
            torch.zeros(3),
        )
        at_reference = Completions(logps, *known)
        load_loss(method)(at_reference, beta=0.5).sum().backward()
        learns = logps.grad is not None and bool((logps.grad != 0).any())
        assert learns == (method in WITHOUT_CONTRAST), method


def test_prompts_of_one_document_count_as_one(tmp_path) -> None:
    with pytest.raises(ConfigError, match="with 5 prompts"):
        tell(SIZE, scored(tmp_path / "a", gate=40, documents=5))


def test_a_gain_that_no_bounded_reward_can_have_is_refused_by_its_setting() -> None:
    message = (
        r"no gain of a reward from 0 to 1 exceeds promote.min_gain=5; .*: lower promote.min_gain, or train"
    )
    with pytest.raises(ConfigError, match=message):
        tell_outlook({**SIZE, "min_gain": 5.0}, LOGS)
    tell_outlook({**SIZE, "min_gain": 0.01}, LOGS)


def test_a_run_whose_scores_are_there_is_refused_before_any_task(tmp_path, capsys) -> None:
    score = {"key": "k" * 64, "gate": {**SIZE, "num_prompts": 4}}
    tell_known_outlook(tmp_path, {"score": score})
    assert capsys.readouterr().err == "", "nothing was scored so far"
    record = TaskRecord(stage="score", task="score", key="k" * 64, state="succeeded", facts={"gate": LOGS})
    write_record(tmp_path, record)
    with pytest.raises(ConfigError, match="nothing can be promoted with 4 prompts"):
        tell_known_outlook(tmp_path, {"score": score})
    told = tell_known_outlook(tmp_path, {"score": {**score, "gate": SIZE}})
    assert told.startswith("gate: 128 prompts x 4 completions see")
    assert capsys.readouterr().err == f"{told}\n"
    tell_known_outlook(tmp_path, {"score": {"key": "k" * 64}})
    tell_known_outlook(tmp_path, {})
    assert capsys.readouterr().err == ""


LEARNT = {"name": "reward_model"}
JUDGED = {"name": "format", "params": {"pattern": "a"}}


def test_before_anything_is_learnt_or_drawn_gains_are_told_in_spreads(tmp_path, capsys) -> None:
    size = first_size({**SIZE, "samples": 1}, [LEARNT])
    told = tell_first_outlook(size, count_gate(size, scored(tmp_path / "a", gate=20)))
    assert capsys.readouterr().err == f"{told}\n"
    # (z(1 - .05 / 52) + z(.8)) * sqrt(2 / 1 completion) * sqrt(1.25 / 20) = (3.10 + .84) * 1.414 * .25 = 1.4;
    # for .3 in place of that 20 * (1.395 / .3)**2 = 433 prompts
    assert told.startswith(
        "gate: 20 prompts x 1 completions see a gain of 1.4 spreads of the reward within a prompt four times "
        "in five at error 0.00096; one of 0.3 needs 43"
    )
    # a reward with bounds is held to those, of which more is known once it is scored
    assert tell_first_outlook(first_size(SIZE, [JUDGED]), {"prompts": 20, "of": 128}) == ""
    assert tell_first_outlook(None, None) == ""


@pytest.mark.parametrize(
    ("rewards", "fewest"),
    [([LEARNT], 8), ([JUDGED], 11), ([JUDGED, LEARNT], 8), ([{**LEARNT, "clip": [-3, 3]}], 11)],
)
def test_gate_prompts_with_which_nothing_could_pass_stop_a_run_before_it_draws(
    rewards: list[Any], fewest: int, capsys
) -> None:
    size = first_size(SIZE, rewards)
    tell_first_outlook(size, {"prompts": fewest, "of": 128})
    few = {"prompts": fewest - 1, "of": 128}
    message = (
        rf"with {fewest - 1} prompts at error 0.00096: {fewest} are needed: bring more prompts or raise "
    )
    with pytest.raises(ConfigError, match=message):
        tell_first_outlook(size, few)
    capsys.readouterr()
    told = tell_first_outlook({**size, "refuse_hopeless": False}, few)
    assert capsys.readouterr().err == f"{told}\n"


def test_what_a_standardised_reward_could_gain_is_not_known_before_it_is_scored() -> None:
    far = {**SIZE, "min_gain": 5.0}
    with pytest.raises(ConfigError, match=r"no gain of a reward from 0 to 1 exceeds promote\.min_gain=5"):
        tell_first_outlook(first_size(far, [JUDGED]), LOGS)
    tell_first_outlook(first_size(far, [{**JUDGED, "standardise": True}]), LOGS)


def test_a_run_whose_records_were_read_is_told_before_any_task(tmp_path, capsys) -> None:
    plan = {"key": "v" * 64, "gate": first_size(SIZE, [LEARNT])}
    facts = {"gate": {"prompts": 7, "of": 128}}
    record = TaskRecord(stage="validate", task="validate", key="v" * 64, state="succeeded", facts=facts)
    write_record(tmp_path, record)
    with pytest.raises(ConfigError, match="nothing can be promoted with 7 prompts"):
        tell_known_outlook(tmp_path, {"validate": plan})
    write_record(tmp_path, replace(record, facts={"gate": {"prompts": 20, "of": 128}}))
    assert "spreads of the reward" in tell_known_outlook(tmp_path, {"validate": plan})
    write_record(tmp_path, replace(record, facts={"gate": None}))
    assert tell_known_outlook(tmp_path, {"validate": plan}) == ""


def test_a_stage_alone_tells_nothing(tmp_path, capsys) -> None:
    assert measure_gate(None, tmp_path / "nowhere") is None
    tell_outlook(None, None)
    tell_outlook(SIZE, None)
    assert capsys.readouterr().err == ""
