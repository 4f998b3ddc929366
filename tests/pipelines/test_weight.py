"""What a run weighs on a server, beside what was seen on one."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from copg_pipelines.dags.compiled import LintError, read_compiled
from copg_pipelines.dags.compiling import compile_dag
from copg_pipelines.dags.lint import lint_or_refuse
from copg_pipelines.dags.weight import BARE_NODE, UNPATCHED, Weight, weigh

from copg.run.recipe import parse_recipe
from tests.left_behind import LEFT
from tests.pipelines.command import IMAGE, RECIPE
from tests.pipelines.outline import NAMES, compile_recipe

SEEN = 8_600
"""Bytes of a node of the demo's DAG of 0.1.0, on a server."""
SEEN_NODES = 170


def weight_of(path: Path) -> Weight:
    return weigh(*read_compiled(path))


def with_trials(folder: Path, number: int, **placement: Any) -> Weight:
    trials = [{"method": "copg", "beta": round(0.01 * each, 2)} for each in range(1, number + 1)]
    recipe = parse_recipe({**RECIPE, "trials": trials, "placement": placement})
    compile_dag("align", recipe, folder / "dag.yaml", run_dir="/runs/demo", image=IMAGE)
    return weight_of(folder / "dag.yaml")


def test_the_demo_of_0_1_0_weighs_what_was_seen() -> None:
    weight = weight_of(LEFT / "demo_dag.yaml")
    assert weight.nodes == SEEN_NODES
    assert weight.num_bytes / weight.nodes == pytest.approx(SEEN, rel=0.1)
    assert not weight.fits
    # it was at some 120 of its nodes that the states froze
    assert UNPATCHED / (weight.num_bytes / weight.nodes) == pytest.approx(120, rel=0.1)


def test_the_demo_fits_with_three_quarters_of_a_node(tmp_path: Path) -> None:
    weight = weight_of(compile_recipe("demo", tmp_path))
    assert weight.nodes == SEEN_NODES
    assert weight.num_bytes / weight.nodes < SEEN * 0.75
    assert weight.fits
    assert "deployment-patch.yaml" in weight.condition  # it weighs a little more than 1 MiB


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_of_ours_can_be_followed(tmp_path: Path, name: str) -> None:
    assert weight_of(compile_recipe(name, tmp_path)).fits


def test_one_trial_more_weighs_what_the_loop_says_and_what_collects_it_as_well(tmp_path: Path) -> None:
    two, three, four = (with_trials(tmp_path, number) for number in (2, 3, 4))
    # two tasks of six nodes, and six of the iteration
    assert (three.nodes - two.nodes, four.nodes - three.nodes) == (18, 18)
    for less, more in ((two, three), (three, four)):
        grown = more.num_bytes - less.num_bytes
        assert grown == pytest.approx(less.per_item["trials"], rel=0.01)
    assert (two.items["trials"], two.items["baselines"]) == (2, 1)


def test_as_many_trials_fit_as_is_said(tmp_path: Path) -> None:
    few = with_trials(tmp_path, 2)
    most = few.items_that_fit("trials")
    assert with_trials(tmp_path, most - 1).fits
    assert not with_trials(tmp_path, most + 1).fits
    # the run goes on: that it cannot be followed is told, and not refused
    (told,) = lint_or_refuse(tmp_path / "dag.yaml")
    assert told.startswith("weight: about 1,")
    # what report and promote are given grows as well, by a tenth of a trial
    assert re.search(rf" ({most - 1}|{most}) of trials \(here {most + 1}\)", told), told


def test_a_run_that_would_die_of_its_weight_is_refused(tmp_path: Path) -> None:
    few = with_trials(tmp_path, 2)
    assert with_trials(tmp_path, 3 * few.items_that_fit("trials")).runs
    assert not with_trials(tmp_path, 100).runs
    with pytest.raises(LintError, match=r"weight: .* bytes in .* nodes, which .* the run would die"):
        lint_or_refuse(tmp_path / "dag.yaml")


def test_shards_weigh_too(tmp_path: Path) -> None:
    whole, sharded = with_trials(tmp_path, 1), with_trials(tmp_path, 1, shards=2)
    # two loops: five nodes of the loop, and two items of twelve
    assert sharded.nodes - whole.nodes == 2 * (5 + 2 * 12)
    assert sharded.items == {**whole.items, "score shards": 2, "reference shards": 2}


def test_a_node_of_its_own_is_as_long_as_a_recorded_one() -> None:
    folder = Path(__file__).parents[1] / "data/kfp-2.17"
    sizes = []
    for path in sorted(folder.glob("workflow-nodes-*.json")):
        for node in json.loads(path.read_text())["nodes"].values():
            sizes.append(len(json.dumps(node, separators=(",", ":"))) - len(node["name"]))
    # what the recording leaves out: id and key (72), host (45), progress (18), durations (45), outbound (35)
    assert sum(sizes) / len(sizes) + 215 == pytest.approx(BARE_NODE, rel=0.05)
