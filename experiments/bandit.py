"""Figure 1: regret on three arms, off-policy, of CoPG, IPO and policy gradient with and without baseline.

    python -m experiments.bandit --out DIR

writes DIR/bandit.json and DIR/bandit.png (.pdf). The losses are those of the product: a pair of arms is a
group of two completions, and since only nine pairs exist, a batch is nine groups with counts as weights. All
seeds are trained at once.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from copg.artifacts import write_json
from copg.losses import load_loss
from copg.losses.groups import Completions
from copg.progress import track
from experiments.figures import LINES, new_figure, save_figure
from experiments.three_arms import (
    BETA,
    REFERENCE,
    REWARDS,
    SAMPLERS,
    fixed_point,
    objective,
    optimum,
    regression_fixed_point,
)

NUM_PAIRS = 10_000
BATCH = 512
LEARNING_RATE = 1e-3
PRINTED_EPOCHS = 100
EPOCHS = 200
PAPERS = ("copg", "ipo", "pg", "pg_value", "pg_regularised_value")
"""What the figure shows."""
METHODS = (*PAPERS, "rpo", "astar_po", "qrpo")
GROUP_SIZES = (2, 4, 8, 16, 64)
QRPO_BETAS = (0.03, 0.1, 0.2, 0.3, 0.5, 1.0)
"""Per unit of quantile."""

FIRST, SECOND = np.divmod(np.arange(9), 3)
"""The arms of the nine possible pairs."""


def draw_batches(seed: int, epochs: int) -> tuple[np.ndarray, np.ndarray]:
    """What one seed trains on: counts of the nine pairs in each step's batch.

    Returns:
        [steps, 9] counts as sampled, and [steps, 9] counts after the preference labels: pair (i, j) then
        means that i was preferred. Pairs and labels are drawn once, the order of pairs every epoch.
    """
    rng = np.random.default_rng(seed)
    first, second = (rng.choice(3, NUM_PAIRS, p=sampler) for sampler in SAMPLERS)
    first_wins = rng.random(NUM_PAIRS) < 1 / (1 + np.exp(REWARDS[second] - REWARDS[first]))
    pairs = 3 * first + second
    ranked = np.where(first_wins, pairs, 3 * second + first)
    steps = []
    for _ in range(epochs):
        order = rng.permutation(NUM_PAIRS)
        for batch in np.split(order, range(BATCH, NUM_PAIRS, BATCH)):
            steps.append([np.bincount(kind[batch], minlength=9) for kind in (pairs, ranked)])
    counts = np.array(steps)
    return counts[:, 0], counts[:, 1]


def pair_losses(method: str, num_seeds: int) -> Callable[[Tensor], Tensor]:
    """The function from policies [S, 3] to the loss [S, 9] of each of the nine pairs under each of them."""
    arms = torch.from_numpy(np.stack([FIRST, SECOND], 1).ravel())
    group = torch.arange(9 * num_seeds).repeat_interleave(2)
    ref_logps = torch.from_numpy(np.log(REFERENCE))[arms].repeat(num_seeds)
    rewards = torch.from_numpy(REWARDS)[arms].repeat(num_seeds)
    ranks = torch.tensor([1.0, 0.0]).repeat(9 * num_seeds)
    loss = load_loss("pg" if method.startswith("pg") else method)

    def losses(policy: Tensor) -> Tensor:
        logps = policy.log()[:, arms].flatten()
        completions = Completions(logps, ref_logps, rewards, torch.ones_like(group), group)
        if method == "ipo":
            completions = completions._replace(rewards=ranks)
        elif method.startswith("pg"):
            # The baseline is exact here, which is the same as subtracting it from the rewards.
            advantage = rewards - _baseline(method, policy).repeat_interleave(18)
            completions = completions._replace(rewards=advantage)
        return loss(completions, beta=BETA).view(num_seeds, 9)

    return losses


def _baseline(method: str, policy: Tensor) -> Tensor:
    policy = policy.detach()
    if method == "pg":
        return torch.zeros_like(policy[:, 0])
    values = torch.from_numpy(REWARDS)
    if method == "pg_regularised_value":
        values = values - BETA * (policy.log() - torch.from_numpy(np.log(REFERENCE)))
    return (policy * values).sum(-1)


def train(method: str, counts: np.ndarray, epochs: int) -> np.ndarray:
    """Regret [S, epochs + 1] of S seeds, before training and after each epoch.

    Args:
        method: one of ``METHODS``.
        counts: [S, steps, 9] pairs in each batch.
        epochs: steps are split evenly over them.
    """
    weights = torch.from_numpy(counts / counts.sum(-1, keepdims=True)).unbind(1)
    logits = torch.zeros(len(counts), 3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=LEARNING_RATE, fused=True)
    losses = pair_losses(method, len(counts))
    steps_per_epoch = len(weights) // epochs
    policies = [logits.detach().softmax(-1).numpy()]
    for step, weight in enumerate(track(weights, f"bandit, {method}"), 1):
        optimizer.zero_grad()
        (weight * losses(logits.softmax(-1))).sum().backward()
        optimizer.step()
        if step % steps_per_epoch == 0:
            policies.append(logits.detach().softmax(-1).numpy())
    return (objective(optimum()) - objective(np.stack(policies, 1))).clip(min=0)


def run(num_seeds: int, epochs: int) -> dict:
    """Regret of each method along training and at its fixed point, as bandit.json holds it."""
    sampled, ranked = (
        np.stack(kind) for kind in zip(*(draw_batches(s, epochs) for s in range(num_seeds)), strict=True)
    )
    best = objective(optimum())
    methods = {}
    for method in METHODS:
        regrets = train(method, ranked if method == "ipo" else sampled, epochs)
        methods[method] = {
            "epochs": list(range(epochs + 1)),
            "regret_mean": regrets.mean(0).tolist(),
            "regret_se": (regrets.std(0, ddof=1) / num_seeds**0.5).tolist(),
            "fixed_point_regret": regret(fixed_point(method)),
        }
    return {
        "optimum": {"pi": optimum().tolist(), "J": float(best)},
        "initial_regret": float(best - objective(REFERENCE)),
        "num_seeds": num_seeds,
        "methods": methods,
        "drawn_by_reference": regrets_of_reference_draws(),
    }


def regret(policy: np.ndarray) -> float:
    """J(pi*) - J(policy), in reward units; policy [3]."""
    return float(max(objective(optimum()) - objective(policy), 0))


def regrets_of_reference_draws() -> dict:
    """Exact regrets where both have what they ask for, groups that the reference drew.

    ``astar_po`` by the completions of a group, ``qrpo`` by its beta; its quantile has no bias at any K.
    """
    return {
        "astar_po": {str(k): regret(regression_fixed_point("astar_po", k)) for k in GROUP_SIZES},
        "qrpo": {str(beta): regret(regression_fixed_point("qrpo", 2, beta)) for beta in QRPO_BETAS},
    }


def draw(result: dict, path: Path) -> None:
    """Left as the paper has it; right to convergence, with the fixed points as thin lines."""
    figure, axes = new_figure(2, height=2.9)
    for method in PAPERS:
        found, line = result["methods"][method], LINES[method]
        epochs, mean, error = (np.array(found[key]) for key in ("epochs", "regret_mean", "regret_se"))
        for ax, shown in ((axes[0, 0], epochs <= PRINTED_EPOCHS), (axes[0, 1], epochs >= 0)):
            ax.plot(epochs[shown], mean[shown], **line.plot())
            low, high = (mean - error)[shown], (mean + error)[shown]
            ax.fill_between(epochs[shown], low.clip(1e-9), high, color=line.color, alpha=0.25, linewidth=0)
        axes[0, 1].axhline(found["fixed_point_regret"], color=line.color, linewidth=0.6)
    axes[0, 0].set(
        title=f"As printed: 100 epochs; mean ± s.e. of {result['num_seeds']} seeds",
        ylabel=r"regret $J(\pi^*) - J(\pi)$ (reward units)",
        ylim=(0, None),
    )
    axes[0, 1].set(title="To convergence; thin lines: exact fixed points", yscale="log", ylim=(1e-5, 1))
    for ax in axes[0]:
        ax.set_xlabel("epochs over 10,000 pairs (20 steps each)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    save_figure(figure, path)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for bandit.json and the figure")
    parser.add_argument(
        "--seeds", type=int, default=10, help="of data and order; mean and standard error over them"
    )
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="%(default)s; the paper prints 100")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    result = run(args.seeds, args.epochs)
    write_json(args.out / "bandit.json", result)
    draw(result, args.out / "bandit")
    print(f"{'method':<22}{'epoch 100':>11}{f'epoch {args.epochs}':>11}{'fixed point':>13}")
    for method, found in result["methods"].items():
        at = [found["regret_mean"][min(e, args.epochs)] for e in (PRINTED_EPOCHS, args.epochs)]
        print(f"{method:<22}{at[0]:>11.4f}{at[1]:>11.4f}{found['fixed_point_regret']:>13.4f}")
    for method, regrets in result["drawn_by_reference"].items():
        told = ", ".join(f"{regret:.4f} at {setting}" for setting, regret in regrets.items())
        print(f"{method}, fixed points of groups that the reference drew: {told}")


if __name__ == "__main__":
    main()
