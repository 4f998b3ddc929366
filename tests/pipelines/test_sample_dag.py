"""A DAG from prompts alone: the section ``sample`` draws what the records lack, and nothing else changes."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from copg_pipelines.dags.compiling import compile_dag
from copg_pipelines.dags.single import choose_single
from copg_pipelines.local import run_local

from copg.data.group_files import read_groups
from copg.errors import ConfigError, RecordError
from copg.run.check import check_recipe
from copg.run.recipe import parse_recipe
from copg.run.stage_settings import stage_settings
from copg.run.task_record import read_json
from copg.stages.table import ROWS
from copg.stages.validate import ValidateConfig, validate_records
from tests import tiny

RECIPE: dict[str, Any] = {
    "name": "tiny",
    "records": "/runs/p.jsonl",
    "model": "owner/model",
    "rewards": [{"name": "length", "params": {"target": 4}}],
    "trials": [{"method": "copg", "beta": 0.1}],
    "validate": {"select_fraction": 0.25, "gate_fraction": 0.25},
    "train": {"groups_per_step": 16, "samples": {"num_prompts": 0}},
    "evaluate": {"num_prompts": 4, "samples_per_prompt": 1, "generation": {"max_new_tokens": 4}},
}
LEARNT: dict[str, Any] = {
    "rewards": [{"name": "format", "params": {"pattern": "[aeiou]", "match": "anywhere"}}],
    "trials": [{"method": "copg", "beta": 0.02}],
    "train": {
        "epochs": 30,
        "groups_per_step": 8,
        "optimizer": {"learning_rate": 1e-2},
        "samples": {"num_prompts": 0},
    },
    "evaluate": {"num_prompts": 32, "samples_per_prompt": 2, "generation": {"max_new_tokens": 4}},
    "promote": {"max_kl": 1000.0},
}
"""A reward that is soon learnt, and prompts enough to show it: so that there is a champion."""
SAMPLE = {"completions": 3, "generation": {"max_new_tokens": 5}}


def test_prompts_alone_are_refused_with_the_line_that_would_draw_completions(tmp_path: Path) -> None:
    tiny.write_prompts(tmp_path / "p.jsonl", 8)
    with pytest.raises(RecordError, match=r"no_completions.*add sample: \{completions: 4\} to the recipe"):
        validate_records(ValidateConfig(), str(tmp_path / "p.jsonl"), tmp_path / "refused")
    config = ValidateConfig(min_completions=0, select_fraction=0.0, gate_fraction=0.0)
    metrics = validate_records(config, str(tmp_path / "p.jsonl"), tmp_path / "kept")
    assert (metrics["groups/count"], metrics["completions/count"]) == (8, 0)
    with pytest.raises(RecordError, match="no_completions"):
        validate_records(ValidateConfig(min_completions=1), str(tmp_path / "p.jsonl"), tmp_path / "of none")


def test_one_logged_completion_is_refused_with_that_line_too(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"p {n}", "completion": "c"}) + "\n" for n in range(4)))
    with pytest.raises(RecordError, match=r"fewer_than_two_distinct.*add sample: \{completions: 4\}"):
        validate_records(ValidateConfig(), str(path), tmp_path / "refused")
    metrics = validate_records(
        ValidateConfig(min_completions=0, select_fraction=0.0, gate_fraction=0.0),
        str(path),
        tmp_path / "kept",
    )
    assert (metrics["groups/count"], metrics["completions/count"]) == (4, 4)


def test_without_the_section_no_setting_and_no_task_is_another() -> None:
    plain, drawing = parse_recipe(RECIPE), parse_recipe({**RECIPE, "sample": {}})
    assert "sample" not in plain.planned
    assert "sample" in drawing.planned
    settings = stage_settings(plain, "validate", run_dir=Path("/runs"))
    assert "min_completions" not in settings
    assert stage_settings(drawing, "validate", run_dir=Path("/runs"))["min_completions"] == 0


def test_the_task_stands_between_validate_and_all_that_reads_groups_but_the_reward_model(
    tmp_path: Path,
) -> None:
    tasks, names = {}, {}
    for name, more in (("plain", {}), ("drawn", {"sample": SAMPLE, "placement": {"shards": 2}})):
        recipe = parse_recipe({**RECIPE, **more})
        compile_dag("align", recipe, tmp_path / f"{name}.yaml", run_dir="/runs/p", image="copg@sha256:0")
        components = next(yaml.safe_load_all((tmp_path / f"{name}.yaml").read_text()))["components"]
        tasks[name] = components["comp-stages"]["dag"]["tasks"]
        names[name] = set(components)
    assert not [task for task in tasks["plain"] if "sample" in task]
    assert names["drawn"] - names["plain"] >= {"comp-sample", "comp-sample-shard"}
    for task in ("score", "report", "promote"):
        taken = tasks["drawn"][task]["inputs"]["artifacts"]["groups"]["taskOutputArtifact"]
        assert taken == {"outputArtifactKey": "sampled", "producerTask": "sample"}


def test_nothing_is_drawn_before_a_reward_was_learnt(tmp_path: Path) -> None:
    learnt = {**RECIPE, "rewards": [], "reward": {}, "sample": SAMPLE}
    tasks = {}
    for shards in (1, 2):
        recipe = parse_recipe({**learnt, "placement": {"shards": shards}})
        compile_dag("align", recipe, tmp_path / f"{shards}.yaml", run_dir="/runs/p", image="copg@sha256:0")
        components = next(yaml.safe_load_all((tmp_path / f"{shards}.yaml").read_text()))["components"]
        tasks[shards] = components["comp-stages"]["dag"]["tasks"]
    assert tasks[1]["sample"]["dependentTasks"] == ["reward", "validate"]
    shards = [
        task
        for task in tasks[2].values()
        if "sample-shard" in components[task["componentRef"]["name"]].get("dag", {}).get("tasks", {})
    ]
    assert [task["dependentTasks"] for task in shards] == [["reward", "validate"]]
    # no setting of a reward has anything drawn again
    assert "reward" not in ROWS["sample"].after


@pytest.mark.parametrize(
    ("sample", "base"),
    [
        (None, None),
        ({}, "reference"),
        ({"generation": {"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 9}}, "reference"),
        ({"generation": {"temperature": 0.7}}, None),
        ({"generation": {"top_p": 0.9}}, None),
        ({"model": "champion"}, None),
        ({"endpoint": {"url": "http://host/v1", "model": "m"}}, None),
    ],
)
def test_the_ladder_knows_where_the_reference_itself_draws(sample: Any, base: str | None) -> None:
    values = RECIPE if sample is None else {**RECIPE, "sample": sample}
    settings = stage_settings(parse_recipe(values), "score", run_dir=Path("/runs"))
    assert settings.get("completions_from") == base
    said = parse_recipe({**values, "score": {"completions_from": "others"}})
    assert stage_settings(said, "score", run_dir=Path("/runs"))["completions_from"] == "others"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"score": {"source": "given"}},
            r"leaves what sample draws without a reward: .*: \[{name: reward_model}\] and reward: {};",
        ),
        (
            {"rewards": [], "evaluate": {"rewards": [{"name": "length", "params": {"max": 3}}]}},
            r"^rewards is empty: nobody rated what sample draws; .* \[{name: reward_model}\] and reward: {}$",
        ),
        ({"sample": {"completions": 0}}, r"sample.completions=0 must be >= 1"),
        ({"sample": {"generation": {"temperature": 0}}}, "would be one completion again and again: raise"),
        ({"sample": {"generation": {"top_p": 0}}}, r"sample.generation.top_p=0.* must be in \(0, 1"),
        ({"sample": {"endpoint": {"url": "host", "model": "m"}}}, "url='host' must start with http"),
        ({"sample": {"endpoint": {"url": "https://a:b@h", "model": "m"}}}, "user info"),
    ],
)
def test_what_no_run_could_do_is_refused_before_anything_is_drawn(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_recipe(parse_recipe({**RECIPE, "sample": SAMPLE, **change}), Path("/runs"))


def test_the_stage_alone_needs_its_section() -> None:
    with pytest.raises(ConfigError, match="only='sample': the recipe has no section 'sample'"):
        choose_single(parse_recipe(RECIPE), "sample", ["groups=s3://b/groups"], "", here=False)
    chosen = choose_single(
        parse_recipe({**RECIPE, "sample": {}}), "sample", ["groups=s3://b/groups"], "", here=False
    )
    assert chosen.plan == "sample"


@pytest.mark.nightly
def test_a_whole_run_from_prompts_alone_and_again_from_the_champion(tmp_path: Path) -> None:
    tiny.write_prompts(tmp_path / "p.jsonl", 160)
    values = {
        **{**RECIPE, **LEARNT},
        "records": str(tmp_path / "p.jsonl"),
        "model": str(tiny.save_drawing_model(tmp_path / "model")),
    }
    recipe = parse_recipe({**values, "sample": SAMPLE})
    first = run_local("align", recipe, tmp_path / "runs")
    assert first["failure"] is None, Path(first["log"]).read_text()[-3000:]
    assert "sample" in first["executed"]
    assert first["promoted"], first["reasons"]
    (sampled,) = (tmp_path / "runs/artifacts").glob("*/sample/sampled")
    assert {len(group.completions) for group in read_groups(sampled, "train")} <= {2, 3}
    assert {len(group.completions) for group in read_groups(sampled, "gate")} == {0}
    second = run_local("align", recipe, tmp_path / "runs")
    assert second["executed"] == ["resolve"]
    again = parse_recipe({**values, "sample": {**SAMPLE, "model": "champion"}})
    third = run_local("align", again, tmp_path / "runs")
    assert third["failure"] is None, third["failure"]
    assert "sample" in third["executed"], "by the champion"
    records = [read_json(path) for path in (tmp_path / "runs/stages").glob("sample-*.json")]
    assert len(records) == 2
