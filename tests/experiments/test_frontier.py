"""Mixes beside trained trials at equal KL: worked values, and what repeated measurements spread by."""

import json

import numpy as np
import pytest

from experiments.bench import Bench
from experiments.frontier import compare, run, show
from experiments.places import Place
from tests.experiments.test_summarisation import bench

__all__ = ["bench"]  # fixture


def place(name: str, rewards: list[float], kls: list[float]) -> Place:
    return Place(name, np.array(rewards), np.array(kls))


LINE = [
    place("far", [0.8, 0.6], [4.0, 4.0]),
    place("reference", [0.3, 0.1], [0.0, 0.0]),
    place("near", [0.5, 0.3], [0.9, 1.1]),
]


def test_a_trial_is_held_against_the_line_between_its_neighbours() -> None:
    # the root of KL 2.25 lies half-way from near (1, .4) to far (2, .7): .55 there, .05 over the trial's .5
    row = compare(LINE, place("copg_0.1", [0.6, 0.4], [2.25, 2.25]))
    assert row is not None
    assert (row.kl, row.reward, row.mixed) == pytest.approx((2.25, 0.5, 0.55))
    assert row.difference == pytest.approx(0.05)
    # slope .3, near counts half: .65 - .6 + .3 * .5 * .1 / 2 = .0575; .45 - .4 - .3 * .5 * .1 / 2 = .0425
    assert row.error == pytest.approx(np.std([0.0575, 0.0425], ddof=1) / 2**0.5)
    assert not row.holds  # the error is over .005


@pytest.mark.parametrize(("reward", "holds"), [(0.569, True), (0.571, False)])
def test_a_mix_may_lie_so_far_below_and_no_farther(reward: float, holds: bool) -> None:
    flat = [place(p.name, [p.rewards.mean()] * 2, [p.kl] * 2) for p in LINE]
    row = compare(flat, place("copg_0.1", [reward] * 2, [2.25] * 2))
    assert row is not None
    assert row.holds == holds


def test_beyond_the_line_nothing_is_compared() -> None:
    assert compare(LINE, place("copg_0.01", [0.9, 0.9], [5.0, 5.0])) is None


def test_the_standard_error_is_that_of_measuring_again() -> None:
    rng, found, errors = np.random.default_rng(0), [], []
    for _ in range(400):
        hard = rng.normal(0, 0.2, 100)  # of a prompt, for every policy
        made = []
        for kl, reward in ((0.0, 0.2), (1.0, 0.5), (2.0, 0.7), (1.4, 0.55)):
            spread = rng.normal(0, 0.5 * kl, 100)
            made.append(Place("", reward + hard + 0.1 * spread + rng.normal(0, 0.05, 100), kl + spread))
        row = compare(made[:3], made[3])
        assert row is not None
        found.append(row.difference)
        errors.append(row.error)
    # (sqrt 1.4 - 1) / (sqrt 2 - 1) = .442 of the way: .5884; 400 repeats tell a spread to within 3.5 %
    assert np.mean(found) == pytest.approx(0.5884 - 0.55, abs=0.005)
    assert np.std(found) == pytest.approx(np.mean(errors), rel=0.12)


@pytest.mark.nightly
def test_all_is_trained_and_mixed_once_and_a_second_call_repeats_nothing(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = {"betas": (5.0,), "mixed_beta": 0.01, "weights": (0.3, 0.6), "samples": 2}
    found = run(bench, **sizes)
    assert found["draws"] == {"prompts": 8, "completions": 16}
    assert [point["name"] for point in found["line"]] == ["reference", "x 1", "x 0.3", "x 0.6"]
    near, far = (point["kl"] for point in found["line"][2:])
    assert 0 == found["line"][0]["kl"] < near < far < found["line"][1]["kl"]
    assert [each["num_drawn"] for each in found["best_of"]] == [1, 2]
    (row,) = found["rows"]
    assert row["name"] == "copg_5"
    assert json.loads((bench.out / "frontier.json").read_text()) == found
    written = {path: path.stat().st_mtime_ns for path in (bench.out / "runs").rglob("manifest.json")}
    assert len(written) == 7  # policy, training and evaluation of two, and the reference's evaluation
    assert run(bench, **sizes) == found
    assert {path: path.stat().st_mtime_ns for path in written} == written
    show(found)
    assert "16 completions of 8 prompts for each policy" in capsys.readouterr().out
