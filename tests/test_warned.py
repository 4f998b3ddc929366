"""Nothing is silent: what is left out, merged, cut, tied or doubtful is a line beside the artifacts."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from copg.artifacts import begin, read_manifest, seal, warnings_of
from copg.data.files import find_files
from copg.data.group_files import GroupWriter, read_groups
from copg.errors import ConfigError, RecordError, RewardError
from copg.lm.config import GenerationConfig, ReaderConfig
from copg.records import Completion, Group
from copg.rewards.contract import RewardSpec
from copg.rewards.distribution import Distribution
from copg.run.check import check_recipe
from copg.run.recipe import parse_recipe
from copg.run.summary import summarise
from copg.run.task_record import TaskRecord
from copg.stages.evaluate import EvaluateConfig, evaluate_policy
from copg.stages.reference import ReferenceConfig, reference_groups
from copg.stages.reward import doubts
from copg.stages.score import ScoreConfig, score_groups, score_shard
from copg.stages.validate import ValidateConfig, validate_records
from tests import tiny

LENGTH = RewardSpec("length", params={"max": 3})


def warned(folder: Path, schema: str) -> list[str]:
    return read_manifest(folder, schema=schema).facts["warnings"]


def write_lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def validated(records: Path, out: Path, **settings: Any) -> list[str]:
    validate_records(ValidateConfig(max_rejected_fraction=1.0, **settings), str(records), out)
    return warned(out, "groups")


GOOD = [{"prompt": f"p {number}", "completions": ["a", "b"]} for number in range(3)]


def test_records_of_which_all_is_used_warn_of_nothing(tmp_path: Path) -> None:
    assert validated(write_lines(tmp_path / "a.jsonl", *GOOD), tmp_path / "groups") == []


def test_rejected_and_merged_records_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    twice = [{"prompt": "q", "completions": ["a", "b", "a"], "rewards": [1, 2, 3]}, "{", {"prompt": "q"}]
    found = validated(write_lines(tmp_path / "a.jsonl", *twice, *GOOD), tmp_path / "groups")
    rejected, merged, mean = found
    assert rejected.startswith(
        "validate: 2 of 6 records are rejected: 1 invalid_json, 1 no_completions; the first: a.jsonl:2 "
    )
    assert rejected.endswith("all of them in rejected.jsonl")
    assert merged == "validate: 1 completions stand there already, for the same prompt, and count once"
    assert mean == "validate: 1 completions came with several rewards, and get their mean"
    printed = capsys.readouterr().err.splitlines()
    assert [printed.count(line.removeprefix("validate: ")) for line in found] == [1, 1, 1]


def test_columns_that_look_like_rewards_and_are_not_used_are_named_and_none_is_cut(tmp_path: Path) -> None:
    odd = [{**GOOD[0], f"score_{number}": 1.0} for number in range(7)]
    found = validated(write_lines(tmp_path / "a.jsonl", *odd), tmp_path / "groups")
    assert sum("score_" in line for line in found) == 5
    assert "validate: and 2 more kinds of records leave columns out" in found


def test_linked_folders_unread_endings_and_what_is_no_file_are_named(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "records", tmp_path / "elsewhere"
    for each in (folder / "deep", elsewhere):
        each.mkdir(parents=True)
    write_lines(folder / "deep" / "a.jsonl", *GOOD)
    write_lines(elsewhere / "b.jsonl", *GOOD)
    (folder / "linked").symlink_to(elsewhere)
    (folder / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    (folder / ".hidden.txt").touch()
    for name in ("a.txt", "b.jsonl.bz2", "c.xlsx", "d.tar"):
        (folder / name).touch()
    found = validated(folder, tmp_path / "groups")
    assert found == [
        "validate: files whose ending nobody reads: a.txt, b.jsonl.bz2, c.xlsx and 1 more",
        "validate: folders that are links are not followed: linked",
        "validate: no files, or links that lead nowhere: gone.jsonl",
    ]
    (folder / "deep" / "a.jsonl").unlink()
    with pytest.raises(RecordError, match=r"holds no file of records; .*not followed: linked; no files"):
        find_files(str(folder))


def test_completions_that_the_model_cannot_say_or_says_otherwise_are_counted(
    tmp_path: Path, reference_dir: Path
) -> None:
    rows = [{"prompt": f"cat {number}", "completions": ["dog", "bird ", "red " * 200]} for number in range(3)]
    reader = ReaderConfig(model=str(reference_dir), max_dropped_fraction=1.0)
    found = validated(write_lines(tmp_path / "a.jsonl", *rows), tmp_path / "groups", reader=reader)
    assert any("3 left out: completion of too many tokens, first a.jsonl:1" in line for line in found)
    assert any(line.startswith("validate: 3 completions changed by ") for line in found)


def test_splits_that_no_trial_could_be_judged_by_stop_before_anything_costs(tmp_path: Path) -> None:
    records = write_lines(tmp_path / "a.jsonl", *GOOD)
    config = ValidateConfig(min_held_out=2, select_fraction=0.4, gate_fraction=0.01)
    with pytest.raises(RecordError, match=r"of 3 prompts {'select': ., 'gate': 0} .* at least 2 of each"):
        validate_records(config, str(records), tmp_path / "groups")
    values: dict[str, Any] = {"name": "a", "records": str(records), "model": "m", "trials": [{"beta": 0.1}]}
    values |= {"rewards": [{"name": "length", "params": {"max": 3}}], "validate": {"gate_fraction": 0}}
    with pytest.raises(ConfigError, match=r"^validate\.gate_fraction=0 must be > 0: these are the prompts"):
        check_recipe(parse_recipe(values), tmp_path)


def distribution(*groups: list[float], part: str = "") -> list[str]:
    found = Distribution([part] if part else [])
    for rewards in groups:
        found.add([Completion("a" * k, reward=r, parts={part: r}) for k, r in enumerate(rewards, 1)])
    return found.warnings()


def test_a_reward_of_nearly_one_value_and_tied_or_single_prompts_are_said() -> None:
    assert distribution([0.0, 1.0], [2.0, 3.0]) == []
    # 98 of 100 completions are 0: the limit; of 96 nothing is said
    same = distribution(*([0.0, 0.0] for _ in range(48)), *([0.0, 1.0] for _ in range(2)), part="mine")
    assert same[0] == "reward 'mine' is 0 for 98 of 100 completions"
    assert same[1].startswith("48 of 50 training prompts are tied: ")
    few = distribution(*([0.0, 0.0] for _ in range(46)), *([0.0, 1.0] for _ in range(4)))
    assert [line[:9] for line in few] == ["46 of 50 "]
    assert distribution([1.0, 1.0], [2.0]) == [
        "rewards do not differ within any training prompt: training would only pull to the reference",
        "1 training prompts have one completion: nothing to compare",
    ]


def groups_of(folder: Path, *groups: Group, warnings: tuple[str, ...] = ()) -> Path:
    begin(folder)
    with GroupWriter(folder) as writer:
        for group in groups:
            writer.write("train", group)
    facts = {"warnings": list(warnings)}
    seal(folder, schema="groups", stage="validate", rows=1, config={}, parents={}, facts=facts)
    return folder


def test_an_own_reward_of_one_value_is_said_and_earlier_warnings_go_on(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def one(prompts, completions, columns):\n    return [1.0 for _ in prompts]\n"
    )
    group = Group("a" * 32, "cat", [Completion("dog"), Completion("bird runs")], source="a.jsonl:1")
    groups = groups_of(tmp_path / "groups", group, warnings=("validate: 3 of 9",))
    own = RewardSpec(f"{tmp_path}/mine.py:one", label="mine")
    score_groups(ScoreConfig(rewards=[own]), groups, tmp_path / "scored")
    earlier, same, tied = warned(tmp_path / "scored", "scored")
    assert (earlier, same) == ("validate: 3 of 9", "score: reward 'mine' is 1 for 2 of 2 completions")
    assert tied.startswith("score: rewards do not differ within any training prompt")


def test_programs_without_a_verdict_are_counted_also_in_a_shard(tmp_path: Path, capsys) -> None:
    def group(letter: str, tests: str) -> Group:
        completions = [Completion("def f(): return 1"), Completion("def f(): return 2")]
        return Group(letter * 32, "p", completions, columns={"tests": tests}, source=f"a.jsonl:{letter}")

    groups = groups_of(
        tmp_path / "groups", group("a", "import os\nos._exit(0)"), group("b", "assert f() == 1")
    )
    config = ScoreConfig(rewards=[RewardSpec("unit_tests", params={"num_workers": 1})])
    try:
        score_shard(replace(config, store=str(tmp_path / "store")), groups, 0, 1)
    except RewardError as error:
        pytest.skip(f"this machine can build no sandbox: {error}")
    line = (
        "reward 'unit_tests': tests of 2 completions ended without a verdict: they exited, or ran out of time"
    )
    assert line in capsys.readouterr().err
    score_groups(config, groups, tmp_path / "scored")
    found = warned(tmp_path / "scored", "scored")
    assert sum(told.startswith(f"score: {line}") for told in found) == 1
    assert line in capsys.readouterr().err


def test_given_rewards_that_go_another_way_than_the_recipes_are_said(tmp_path: Path) -> None:
    texts = ["dog", "dog dog dog dog dog"]
    # length earns 0 and -2 (two words over 3); the records say 0 and 1: they correlate by -1
    completions = [Completion(text, reward=float(k)) for k, text in enumerate(texts)]
    groups = groups_of(tmp_path / "groups", Group("a" * 32, "cat", completions, source="a.jsonl:1"))
    score_groups(ScoreConfig(source="given", rewards=[LENGTH]), groups, tmp_path / "scored")
    (line,) = warned(tmp_path / "scored", "scored")
    assert "correlate by -1.00 (1 prompts): trials are trained on the first, and judged by the second" in line


def test_a_reward_model_no_better_than_a_coin_is_said() -> None:
    coin = {"accuracy/mean": 0.55, "accuracy/low": 0.45, "accuracy/high": 0.65, "length_accuracy/mean": 0.6}
    coin |= {"calibration/error": 0.1, "prompts/count": 20.0}
    assert doubts("pairs", coin, Counter(pairs_too_long=2)) == [
        "the reward learnt from pairs: held-out accuracy 0.55 (0.45 to 0.65), by length alone 0.60, "
        "calibration error 0.10 (20 prompts): it cannot be told from a coin, what is trained on it may be "
        "noise",
        "2 left out: pairs too long",
    ]
    (of_length,) = doubts("pairs", coin | {"accuracy/mean": 0.65, "accuracy/low": 0.55}, Counter())
    assert "cannot be told from length" in of_length
    assert doubts("pairs", coin | {"accuracy/mean": 0.8, "accuracy/low": 0.7}, Counter()) == []


def test_what_a_reference_leaves_out_and_an_evaluation_cuts_is_said_with_all_before(
    tmp_path: Path, reference_dir: Path
) -> None:
    scored = tiny.write_scored(tmp_path / "scored", train=4, select=3, gate=3)
    config = ReferenceConfig(model=str(reference_dir), store=str(tmp_path / "store"), max_tokens=14)
    reference_groups(config, scored, tmp_path / "referenced")
    left = warned(tmp_path / "referenced", "referenced")
    assert left
    assert all(line.startswith("reference: ") and "left out: " in line for line in left)
    evaluate = EvaluateConfig(
        model=str(reference_dir),
        rewards=[LENGTH],
        num_prompts=4,
        samples_per_prompt=2,
        generation=GenerationConfig(max_new_tokens=1),
        threads=1,
    )
    evaluate_policy(evaluate, scored, tmp_path / "evaluation", policy=None)
    few, cut, *_ = warned(tmp_path / "evaluation", "evaluation")
    assert few == "evaluate.num_prompts: 3 of 4 prompts of 'select' and 3 of 4 prompts of 'gate' are measured"
    assert cut.endswith("% of completions of 'select' are cut at max_new_tokens=1")
    evaluate_policy(replace(evaluate, name="champion"), scored, tmp_path / "champion", policy=None)
    both = [read_manifest(tmp_path / name, schema="evaluation") for name in ("evaluation", "champion")]
    assert [line for line in warnings_of(*both) if "num_prompts" in line] == [few]


def test_a_mean_that_one_prompt_decides_is_said_beside_the_evaluation(
    tmp_path: Path, reference_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scored = tiny.write_scored(tmp_path / "scored", train=1, select=2, gate=20)
    first = str(next(read_groups(scored, "gate")).prompt)
    (tmp_path / "mine.py").write_text(
        f"def one(prompts, completions, columns):\n    return [float(p == {first!r}) for p in prompts]\n"
    )
    evaluate = EvaluateConfig(
        model=str(reference_dir),
        rewards=[RewardSpec(f"{tmp_path}/mine.py:one", label="mine")],
        samples_per_prompt=1,
        generation=GenerationConfig(max_new_tokens=1),
        threads=1,
    )
    evaluate_policy(evaluate, scored, tmp_path / "evaluation", policy=None)
    # 19 zeros and a one: skewness 18 / sqrt(19) = 4.1, over sqrt(20) .92, beyond .35
    (line,) = [line for line in warned(tmp_path / "evaluation", "evaluation") if "heavy tail" in line]
    assert line == (
        "evaluate-reference: mine, rewards of 'gate' have a heavy tail: a few prompts decide the mean, and "
        "its interval may miss more often than it says"
    )
    assert capsys.readouterr().err.count(line) == 1


def test_a_summary_has_the_warnings_of_resolve_and_of_every_task_once() -> None:
    names = ("validate", "score", "promote")
    tasks = [{"task": n, "stage": n, "subject": None, "key": n, "loop": None} for n in names]
    run = {"run": "now", "tasks": tasks, "warnings": ["the disk is small"]}
    before = TaskRecord("validate", "validate", "validate", run="earlier", state="succeeded")
    records = {
        "validate": replace(before, warnings=["validate: a"]),
        "score": TaskRecord("score", "score", "score", run="now", warnings=["validate: a", "score: b"]),
    }
    found = summarise(run, records, succeeded=False)["warnings"]
    assert found == ["the disk is small", "validate: a", "score: b"]
