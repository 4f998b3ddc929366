"""Theorem 1: exact values by counting, and the product's own training reaching pi* from bad samplers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from copg.data.group_files import read_groups
from copg.lm.load import load_model
from experiments import enumerable, theorem
from experiments.enumerable import END, LETTERS, STRINGS, World


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("theorem")


@pytest.fixture(scope="module")
def world(out: Path) -> World:
    return theorem.open_world(out, num_prompts=4)


def test_the_31_completions_are_all_there_is(world: World) -> None:
    assert len(STRINGS) == 1 + 5 + 25
    assert world.reference.sum(-1) == pytest.approx(np.ones(4))
    assert (world.reference > 0).all()


def test_probabilities_are_those_of_one_completion_at_a_time(world: World, out: Path) -> None:
    model = load_model(out / "model")
    for y in (0, 3, 17):  # "", "c" and "cb": the first two end, the last is cut off
        ids = [LETTERS.index(letter) for letter in STRINGS[y]] + [END] * (len(STRINGS[y]) < 2)
        prompt = [LETTERS.index(letter) for letter in world.prompts[1]]
        with torch.no_grad():
            logps = model(input_ids=torch.tensor([prompt + ids])).logits[0].double().log_softmax(-1)
        alone = sum(float(logps[len(prompt) - 1 + i, token]) for i, token in enumerate(ids))
        assert np.log(world.reference[1, y]) == pytest.approx(alone, abs=1e-5)
    assert STRINGS[17] == "cb"


def test_at_the_optimum_every_completion_has_the_same_regularised_reward(world: World) -> None:
    best = world.optimum()
    regularised = world.rewards - world.beta * np.log(best / world.reference)
    assert np.ptp(regularised, axis=1) == pytest.approx(np.zeros(4), abs=1e-12)
    # J* = beta * log Z, and no policy has more
    z = (world.reference * np.exp(world.rewards / world.beta)).sum(-1)
    assert world.objective(best) == pytest.approx(float(np.log(z).mean()) * world.beta)
    assert world.regret(0.9 * best + 0.1 * world.reference) > 0


def test_groups_are_written_by_two_samplers_in_turn(world: World, tmp_path: Path) -> None:
    enumerable.write_groups(
        tmp_path / "scored", world, mixture="adverse", k=4, completions_per_prompt=2000, seed=0
    )
    groups = list(read_groups(tmp_path / "scored", "train"))
    assert (len(groups), {len(g.completions) for g in groups}) == (2000, {4})
    own = [g for g in groups if g.prompt == world.prompts[0]]
    adverse, flat = (sampler[0] for sampler in world.samplers("adverse"))
    for turn, sampler in ((0, adverse), (1, flat)):
        drawn = [STRINGS.index(g.completions[i].text) for g in own for i in (turn, turn + 2)]
        seen = np.bincount(drawn, minlength=31) / len(drawn)
        # 1,000 draws: a deviation of at most .016 each
        assert np.abs(seen - sampler).max() < 0.05
    assert all(c.finished == (len(c.text) < 2) for g in own for c in g.completions)
    assert {c.reward for c in own[0].completions} <= set(world.rewards[0].tolist())


@pytest.mark.nightly
def test_copg_reaches_the_optimum_off_policy_and_the_others_do_not(world: World, out: Path) -> None:
    def train(method: str) -> dict:
        return theorem.run_trial(
            world, out, method=method, beta=theorem.BETA, mixture="adverse", k=4, seed=0, epochs=16
        )

    copg, ipo, pg = train("copg"), train("ipo"), train("pg")
    initial = world.regret(world.reference)
    assert copg["regret"][0] == pytest.approx(initial, rel=1e-6)
    assert copg["regret"][-1] < 0.05 * initial
    assert enumerable.distance(np.array(copg["policy"]), world.optimum()) < 0.15
    assert ipo["regret"][-1] > 0.1 * initial
    assert pg["regret"][-1] > 0.1 * initial
    # a second call reads what the first kept
    assert train("copg") == copg
    summary = theorem.summarise(world, [copg, ipo, pg])
    assert [row["method"] for row in summary["rows"]] == ["copg", "ipo", "pg"]
    theorem.draw(theorem.best_betas([copg, ipo, pg]), out / "theorem", initial=initial, beta=theorem.BETA)
    assert (out / "theorem.png").stat().st_size > 10_000
