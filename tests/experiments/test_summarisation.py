"""Figures 2 to 6 in small: every part on a tiny model, and that a second call repeats nothing."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from copg.artifacts import read_manifest
from copg.data.group_files import read_groups
from copg.run.recipe import parse_recipe
from experiments import summarisation
from experiments.bench import Bench, prepare
from experiments.trials import Trial, equal_work, limit_completions
from tests.tiny import make_groups, save_drawing_model, save_model


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("summarisation")
    lines = [
        json.dumps({"prompt": g.prompt, "completions": [c.text for c in g.completions]})
        for g in make_groups(120)
    ]
    (folder / "records.jsonl").write_text("\n".join(lines))
    generation = {"max_new_tokens": 8}
    recipe = parse_recipe(
        {
            "name": "tiny",
            "records": str(folder / "records.jsonl"),
            "model": str(save_model(folder / "model")),
            "rewards": [{"name": "length", "params": {"target": 4}}],
            "trials": [{"method": "copg", "beta": 0.1}],
            "validate": {"select_fraction": 0.2, "gate_fraction": 0.2},
            "train": {
                "groups_per_step": 16,
                "optimizer": {"learning_rate": 1e-3},
                "samples": {"generation": generation},
                "threads": 1,
            },
            "evaluate": {"num_prompts": 8, "samples_per_prompt": 2, "generation": generation, "threads": 1},
        }
    )
    return Bench(recipe, folder / "out")


@pytest.mark.nightly
def test_all_parts_run_once_and_leave_results_and_figures(bench: Bench) -> None:
    sizes = {"every_steps": 2, "seeds": 2, "betas": 1, "learned_reward": False}
    result = summarisation.run(bench, **sizes)
    # one beta for each of three methods, and SFT; the best of the three, and CoPG at three K, with two seeds
    assert [row["part"] for row in result["rows"]] == ["grid"] * 4 + ["best"] * 6 + ["k"] * 6
    assert all(
        row["reward"]["low"] <= row["reward"]["mean"] <= row["reward"]["high"] for row in result["rows"]
    )
    assert [(c["first"], c["second"], len(c["seeds"])) for c in result["differences"]] == [
        ("copg", "ipo", 2),
        ("ipo", "dpo", 2),
        ("copg", "dpo", 2),
    ]
    assert set(result["frontiers"]) == {"copg", "ipo", "dpo"}
    for name in ("curves", "betas", "best"):
        assert (bench.out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    records = {path: path.stat().st_mtime_ns for path in (bench.out / "runs").iterdir()}
    assert len(records) == 16
    assert summarisation.run(bench, **sizes) == result
    assert {path: path.stat().st_mtime_ns for path in (bench.out / "runs").iterdir()} == records
    curve = json.loads(next(iter(records)).read_text())["curve"]
    assert curve["step"][0] == 0
    assert len(curve["step"]) == len(curve["reward"]) == len(curve["kl"]) > 2


def test_a_limit_on_completions_costs_the_same_tokens_in_the_same_steps(bench: Bench) -> None:
    bench = prepare(bench)
    pairs = limit_completions(bench, 2)
    whole = list(read_groups(bench.artifact("referenced"), "train"))
    kept = list(read_groups(pairs, "train"))
    assert [g.id for g in kept] == [g.id for g in whole]
    assert {len(g.completions) for g in kept} == {2}
    for few, all_ in zip(kept, whole, strict=True):
        assert {c.text for c in few.completions} <= {c.text for c in all_.completions}

    def tokens(groups: list) -> int:
        return sum(len(g.prompt_ids) + sum(len(c.token_ids) for c in g.completions) for g in groups)

    size = equal_work(bench, Trial("copg", 0.1, k=2, work=3), pairs)
    assert size["epochs"] * tokens(kept) == pytest.approx(3 * tokens(whole), rel=0.5 / size["epochs"] + 0.01)
    steps = size["epochs"] * -(-len(kept) // size["groups_per_step"])
    assert steps == pytest.approx(3 * -(-len(whole) // 16), abs=size["epochs"])


@pytest.mark.nightly
def test_a_learned_reward_takes_the_place_of_the_recipes(bench: Bench, tmp_path: Path) -> None:
    learned = prepare(replace(bench, out=tmp_path), learned_reward=True)
    weights = {reward["name"]: reward.get("weight", 1) for reward in learned.recipe.rewards}
    assert weights == {"reward_model": 1, "length": 0}  # the true one is watched
    first = next(read_groups(tmp_path / "data" / "referenced", "train")).completions[0]
    assert first.reward == pytest.approx(first.parts["reward_model"])
    assert first.parts["length"] <= 0
    manifest = json.loads((tmp_path / "data" / "reward_model" / "manifest.json").read_text())
    assert manifest["schema"] == "reward_model"


@pytest.mark.nightly
def test_a_reward_is_learnt_from_what_was_drawn_and_tested_on_what_the_reference_draws(
    bench: Bench, tmp_path: Path
) -> None:
    generation = {"max_new_tokens": 8}
    stages = {
        **bench.recipe.stages,
        "validate": {**bench.recipe.stages["validate"], "read_as": "prompts"},
        "sample": {"completions": 3, "generation": generation},
    }
    model = str(save_drawing_model(tmp_path / "model"))
    drawing = replace(bench, recipe=replace(bench.recipe, stages=stages, model=model), out=tmp_path / "out")
    prepare(drawing, learned_reward=True)
    assert all(not group.completions for group in read_groups(drawing.artifact("groups"), "gate"))
    ranked = list(read_groups(drawing.artifact("ranked"), "gate"))
    drawn = [completion for group in ranked for completion in group.completions]
    assert sum(bool(group.completions) for group in ranked) == 8  # as many as are evaluated
    assert all(completion.reward is not None for completion in drawn)
    learned = read_manifest(drawing.artifact("reward_model"), schema="reward_model")
    assert 0 <= learned.facts["metrics"]["accuracy/mean"] <= 1


def test_a_claim_needs_every_seed() -> None:
    def run(method: str, seed: int, reward: float) -> dict:
        return {"method": method, "seed": seed, "rewards": {f"p{i}": reward + 0.01 * i for i in range(8)}}

    clear = [run("copg", 0, 1.0), run("ipo", 0, 0.5), run("copg", 1, 1.0), run("ipo", 1, 0.9)]
    assert summarisation._difference(clear, "copg", "ipo")["sign_in_every_seed"] == 1
    mixed = [*clear[:3], run("ipo", 1, 1.2)]
    assert summarisation._difference(mixed, "copg", "ipo")["sign_in_every_seed"] == 0
