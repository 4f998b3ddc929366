"""Figure 1: the regrets of the paper's bandit, from the command to the figure."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from copg.losses import load_loss
from copg.losses.groups import Completions
from experiments import bandit, three_arms

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bandit")
    command = [sys.executable, "-m", "experiments.bandit", "--out", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=240)
    return out


def test_the_optimum_is_the_tilted_reference() -> None:
    # exp(5), exp(4), exp(2) = 148.4, 54.6, 7.39 over 210.4; J* = .5 * log(210.4 / 3) = 2.1252
    assert three_arms.optimum() == pytest.approx([0.7054, 0.2595, 0.0351], abs=1e-4)
    assert three_arms.objective(three_arms.optimum()) == pytest.approx(2.1252, abs=1e-4)
    # E[R] = 5.5 / 3 at the uniform reference, where the KL is 0
    assert three_arms.objective(three_arms.REFERENCE) == pytest.approx(5.5 / 3)


@pytest.mark.parametrize("method", bandit.METHODS)
def test_at_the_fixed_point_the_expected_gradient_of_the_products_loss_is_zero(method: str) -> None:
    logits = torch.tensor(np.log(three_arms.fixed_point(method)))[None].requires_grad_()
    first, second = three_arms.SAMPLERS[0][bandit.FIRST], three_arms.SAMPLERS[1][bandit.SECOND]
    weights = first * second
    if method == "ipo":
        wins = 1 / (1 + np.exp(three_arms.REWARDS[bandit.SECOND] - three_arms.REWARDS[bandit.FIRST]))
        # pair (j, i), number 3 j + i, is also what (i, j) becomes when j wins
        swapped = 3 * bandit.SECOND + bandit.FIRST
        weights = weights * wins + (weights * (1 - wins))[swapped]
    losses = bandit.pair_losses(method, 1)(logits.softmax(-1))
    (torch.from_numpy(weights) * losses).sum().backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-10


def test_pairs_and_labels_are_drawn_once_and_every_pair_is_seen_once_an_epoch() -> None:
    sampled, ranked = bandit.draw_batches(0, epochs=2)
    assert sampled.shape == (40, 9)
    assert (sampled[:20].sum(0) == sampled[20:].sum(0)).all()
    assert (ranked[:20].sum(0) == ranked[20:].sum(0)).all()
    assert sampled[:20].sum() == 10_000
    # the third arm is drawn with .7 and .9: 6,300 pairs, give or take three deviations of 48
    assert abs(sampled[:20, 8].sum() - 6300) < 150


@pytest.mark.nightly
def test_the_regrets_are_those_of_the_paper(out: Path) -> None:
    found = json.loads((out / "bandit.json").read_text())
    assert found["optimum"]["pi"] == pytest.approx([0.7054, 0.2595, 0.0351], abs=1e-4)
    assert found["initial_regret"] == pytest.approx(0.2919, abs=1e-4)
    expected = {  # at 100 epochs, at 200, at the fixed point, tolerance
        "copg": (0.0131, 0.0000, 0, 0.003),
        "pg_value": (0.0274, 0.0049, 0.0148, 0.003),
        "ipo": (0.1526, 0.1510, 0.1525, 0.006),
        "pg": (0.6369, 0.6347, 0.6378, 0.01),
        "rpo": (0.0163, 0.0000, 0, 0.003),
        "astar_po": (0.1723, 0.1724, 0.1729, 0.003),
        "qrpo": (0.4315, 0.4319, 0.4323, 0.006),
    }
    assert set(found["methods"]) == {*expected, "pg_regularised_value"} == {*bandit.METHODS}
    for method, (printed, later, fixed, tolerance) in expected.items():
        regret = found["methods"][method]
        assert regret["epochs"] == list(range(201))
        assert regret["regret_mean"][0] == pytest.approx(0.2919, abs=1e-4)
        assert regret["regret_mean"][100] == pytest.approx(printed, abs=tolerance), method
        assert regret["regret_mean"][200] == pytest.approx(later, abs=tolerance), method
        assert regret["fixed_point_regret"] == pytest.approx(fixed, abs=1e-4), method
        assert max(regret["regret_se"]) < tolerance
    assert found["methods"]["pg_regularised_value"]["fixed_point_regret"] == pytest.approx(0, abs=1e-12)


@pytest.mark.nightly
def test_the_order_is_that_of_figure_1(out: Path) -> None:
    methods = json.loads((out / "bandit.json").read_text())["methods"]
    final = {name: methods[name]["regret_mean"][100] for name in ("copg", "pg_value", "ipo", "pg")}
    assert sorted(final, key=lambda name: final[name]) == ["copg", "pg_value", "ipo", "pg"]


@pytest.mark.nightly
def test_the_figure_is_drawn(out: Path) -> None:
    assert (out / "bandit.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "bandit.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(("method", "k"), [("astar_po", 2), ("astar_po", 4), ("qrpo", 3)])
def test_of_groups_that_the_reference_draws_the_expected_gradient_is_zero_too(method: str, k: int) -> None:
    # every group there can be, each as probable as the next: the reference is uniform
    arms = torch.cartesian_prod(*[torch.arange(3)] * k).flatten()
    logits = torch.tensor(np.log(three_arms.regression_fixed_point(method, k))).requires_grad_()
    completions = Completions(
        logits.log_softmax(0)[arms],
        torch.from_numpy(np.log(three_arms.REFERENCE))[arms],
        torch.from_numpy(three_arms.REWARDS)[arms],
        torch.ones_like(arms),
        torch.arange(3**k).repeat_interleave(k),
    )
    load_loss(method)(completions, beta=three_arms.BETA).mean().backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-10


def test_astar_po_nears_the_optimum_of_copg_with_more_draws_of_the_reference() -> None:
    few, many = (bandit.regret(three_arms.regression_fixed_point("astar_po", k)) for k in (2, 16))
    assert few == pytest.approx(0.0372, abs=1e-4)
    assert many == pytest.approx(0.0003, abs=1e-4)
    # and the quantile is another reward: the best beta of the grid does not come to the same policy
    assert bandit.regret(three_arms.regression_fixed_point("qrpo", 2, 0.2)) == pytest.approx(0.0031, abs=1e-4)
