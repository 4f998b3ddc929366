"""Score and reference in shards: the same ids in the same order, and the same values, as without."""

import json
import random
from functools import partial
from pathlib import Path
from typing import Any

import copg_pipelines.local
import pytest
from copg_pipelines.dags import Shape
from copg_pipelines.local import run_local

from copg.artifacts import begin, seal
from copg.config import parse_config
from copg.data.group_files import read_groups
from copg.records import SPLITS, Group, in_shard
from copg.rewards.contract import RewardSpec
from copg.run.recipe import parse_recipe
from copg.run.task_record import read_json
from copg.stages.reference import ReferenceConfig, reference_groups, reference_shard
from copg.stages.score import ScoreConfig, score_groups, score_shard
from tests import tiny

REWARDS = [
    {"name": "length", "params": {"target": 4}},
    {"name": "reference_overlap", "params": {"column": "facts"}},
]


def every_group(artifact: Path) -> list[tuple[str, Group]]:
    return [(split, group) for split in SPLITS for group in read_groups(artifact, split)]


def assert_same(first: Path, second: Path) -> None:
    one, other = every_group(first), every_group(second)
    assert [(split, g.id) for split, g in one] == [(split, g.id) for split, g in other]
    for (_, a), (_, b) in zip(one, other, strict=True):
        assert (a.prompt_ids, [c.token_ids for c in a.completions]) == (
            b.prompt_ids,
            [c.token_ids for c in b.completions],
        )
        for x, y in zip(a.completions, b.completions, strict=True):
            assert x.reward == y.reward
            if x.ref_logps is not None:
                assert x.ref_logps == pytest.approx(y.ref_logps, abs=1e-4)


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    scored = tiny.write_scored(tmp_path / "made")
    directory = begin(tmp_path / "groups")
    for split in SPLITS:
        (directory / f"{split}.parquet").write_bytes((scored / f"{split}.parquet").read_bytes())
    seal(directory, schema="groups", stage="validate", rows=40, config={}, parents={})
    return directory


def test_every_group_is_in_one_shard_and_shards_are_about_equal() -> None:
    ids = [group.id for group in tiny.make_groups(600)]
    shares = [[name for name in ids if in_shard(name, shard, 3)] for shard in range(3)]
    assert sorted(name for share in shares for name in share) == sorted(ids)
    # 600 in 3: 200 each, give or take three standard deviations sqrt(600 * 1/3 * 2/3) = 11.5
    assert all(165 < len(share) < 235 for share in shares)


def test_after_the_shards_nothing_is_left_to_compute(
    groups: Path, reference_dir: Path, tmp_path: Path
) -> None:
    rewards = [parse_config(RewardSpec, spec, where="rewards") for spec in REWARDS]
    score = {store: ScoreConfig(rewards=rewards, store=str(tmp_path / store)) for store in ("one", "two")}
    assert sum(score_shard(score["two"], groups, shard, 2) for shard in (0, 1)) == 40
    whole = score_groups(score["one"], groups, tmp_path / "scored_one")
    after = score_groups(score["two"], groups, tmp_path / "scored_two")
    assert (whole["rewards/computed"], after["rewards/computed"]) == (whole["completions/count"] * 2, 0)
    assert_same(tmp_path / "scored_one", tmp_path / "scored_two")

    scored = tmp_path / "scored_one"
    reference = {
        store: ReferenceConfig(model=str(reference_dir), store=str(tmp_path / f"ref_{store}"))
        for store in score
    }
    assert sum(reference_shard(reference["two"], scored, shard, 2) for shard in (0, 1)) == 24
    whole = reference_groups(reference["one"], scored, tmp_path / "referenced_one")
    after = reference_groups(reference["two"], scored, tmp_path / "referenced_two")
    assert (after["reference/computed"], after["reference/reused"]) == (0, whole["reference/computed"])
    assert_same(tmp_path / "referenced_one", tmp_path / "referenced_two")


def test_rewards_that_came_with_the_records_leave_the_shards_nothing_to_do(
    groups: Path, tmp_path: Path
) -> None:
    config = ScoreConfig(source="given", store=str(tmp_path / "store"))
    assert score_shard(config, groups, 0, 2) == 0
    assert not (tmp_path / "store").exists()


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory, reference_dir: Path) -> Path:
    """The root of a local run of the whole DAG with two shards."""
    home = tmp_path_factory.mktemp("sharded")
    rng = random.Random(0)
    with (home / "records.jsonl").open("w") as file:
        for _ in range(32):
            row = {"prompt": tiny.text(rng, 4, 9), "completions": [tiny.text(rng, 2, 8) for _ in range(3)]}
            file.write(json.dumps({**row, "facts": ["cat"]}) + "\n")
    recipe = parse_recipe(
        {
            "name": "tiny",
            "records": str(home / "records.jsonl"),
            "model": str(reference_dir),
            "rewards": REWARDS,
            "trials": [{"method": "copg", "beta": 0.1}],
            "validate": {"select_fraction": 0.25, "gate_fraction": 0.25},
            "train": {"groups_per_step": 32, "samples": {"num_prompts": 0}},
            "evaluate": {"num_prompts": 4, "samples_per_prompt": 1, "generation": {"max_new_tokens": 4}},
            "promote": {"error": {"refuse_hopeless": False}},  # of so few prompts
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copg_pipelines.local, "Shape", partial(Shape, num_shards=2))
        summary = run_local("align", recipe, home / "runs")
    assert summary["failure"] is None, Path(summary["log"]).read_text()[-3000:]
    return home / "runs"


@pytest.mark.nightly
def test_the_dag_with_two_shards_gives_what_it_gives_with_one(sharded: Path, tmp_path: Path) -> None:
    records = {path.stem.rpartition("-")[0]: read_json(path) for path in (sharded / "stages").glob("*.json")}
    of_stage = {
        stage: [records[f"{stage}-shard-{n}-of-2"] for n in (1, 2)] for stage in ("score", "reference")
    }
    counts = {stage: [r["metrics"]["groups/count"] for r in each] for stage, each in of_stage.items()}
    assert all(count > 0 for each in counts.values() for count in each)
    assert records["score"]["metrics"]["rewards/computed"] == 0
    assert records["reference"]["metrics"]["reference/computed"] == 0

    validated, scored = (
        Path(records[stage]["outputs"][name]) for stage, name in (("validate", "groups"), ("score", "scored"))
    )
    plans: dict[str, Any] = read_json(sharded / "run.json")["plans"]
    config = parse_config(ScoreConfig, {**plans["score"]["config"], "store": None}, where="score")
    score_groups(config, validated, tmp_path / "scored")
    assert_same(tmp_path / "scored", scored)
    settings = {**plans["reference"]["config"], "store": str(tmp_path / "store")}
    reference_groups(
        parse_config(ReferenceConfig, settings, where="reference"), scored, tmp_path / "referenced"
    )
    assert_same(tmp_path / "referenced", Path(records["reference"]["outputs"]["referenced"]))
