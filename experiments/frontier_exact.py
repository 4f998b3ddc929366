"""What mixing token by token loses: exact optima of a world that can be counted, at equal KL.

    python -m experiments.frontier_exact --out DIR

A completion is what ``experiments.enumerable`` lets one say: at most two letters of five, or the end. The
best policy at each beta is known, ref * exp(R / beta) / Z, and so is each mix of one of them with the
reference. On whole completions the mix of weight w would be the optimum at beta / w; drawn token by token it
is another policy. ``frontier_exact.json`` has its reward beside the optimum's of the same KL, in units in
which a prompt's rewards spread by 1. A second of one core, no training and no estimate.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from copg.artifacts import write_json
from experiments.enumerable import LETTERS, STRINGS, World

Floats = NDArray[np.float64]
BETAS = (3.0, 1.5, 1.0, 0.7, 0.5, 0.4, 0.35, 0.3)
"""Of the optima that mixes are held against: from .05 to 2 nats."""
MIXED_BETA = 0.25
"""Of the one that is mixed: 2.4 nats."""
SIZE = len(LETTERS)


def build(num_prompts: int = 64, seed: int = 0) -> World:
    """References of random logits at each token, and normal rewards of spread 1."""
    rng = np.random.default_rng(seed)
    first = _normed(np.exp(rng.normal(size=(num_prompts, SIZE + 1))))
    second = _normed(np.exp(rng.normal(size=(num_prompts, SIZE, SIZE + 1))))
    rewards = rng.normal(size=(num_prompts, len(STRINGS)))
    return World([str(p) for p in range(num_prompts)], rewards, join(first, second), MIXED_BETA)


def split(policy: Floats) -> tuple[Floats, Floats]:
    """[P, 6] and [P, 5, 6] probabilities of the first token, and of the second after each letter.

    The end is the last token.

    Args:
        policy: [P, 31] in the order of ``STRINGS``.
    """
    ended, cut = policy[:, 1 : SIZE + 1], policy[:, SIZE + 1 :].reshape(-1, SIZE, SIZE)
    letters = ended + cut.sum(-1)
    second = np.concatenate([cut, ended[:, :, None]], -1) / letters[:, :, None]
    return np.concatenate([letters, policy[:, :1]], -1), second


def join(first: Floats, second: Floats) -> Floats:
    """[P, 31] of what ``split`` gives."""
    said = first[:, :SIZE, None] * second
    cut = said[:, :, :SIZE].reshape(len(first), SIZE * SIZE)
    return np.concatenate([first[:, SIZE:], said[:, :, SIZE], cut], -1)


def mix(policy: Floats, reference: Floats, weight: float) -> Floats:
    """[P, 31] of the mix by logits, token by token."""
    pairs = zip(split(policy), split(reference), strict=True)
    return join(*(_normed(mine**weight * theirs ** (1 - weight)) for mine, theirs in pairs))


def compare(world: World, betas: Sequence[float]) -> list[dict[str, float]]:
    """The optimum at each beta beside the mix of the same KL, whose weight is found by halving."""
    policy = _optimum(world, world.beta)
    rows = []
    for beta in betas:
        optimum = _optimum(world, beta)
        kl, low, high = _kl(world, optimum), 0.0, 1.0
        for _ in range(50):
            weight = (low + high) / 2
            low, high = (
                (weight, high) if _kl(world, mix(policy, world.reference, weight)) < kl else (low, weight)
            )
        mixed = _reward(world, mix(policy, world.reference, weight))
        best, nothing = _reward(world, optimum), _reward(world, world.reference)
        rows.append(
            {"beta": beta, "kl": kl, "gain": best - nothing, "weight": weight, "difference": mixed - best}
        )
    return rows


def _optimum(world: World, beta: float) -> Floats:
    return World(world.prompts, world.rewards, world.reference, beta).optimum()


def _kl(world: World, policy: Floats) -> float:
    return float((policy * np.log(policy / world.reference)).sum(-1).mean())


def _reward(world: World, policy: Floats) -> float:
    return float((policy * world.rewards).sum(-1).mean())


def _normed(weights: Floats) -> Floats:
    found: Floats = weights / weights.sum(-1, keepdims=True)
    return found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the result")
    args = parser.parse_args()
    rows = compare(build(), BETAS)
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "frontier_exact.json", {"mixed_beta": MIXED_BETA, "rows": rows})
    print(" beta   KL, nats   gain of the optimum   weight   mix less optimum")
    for row in rows:
        print(
            f"{row['beta']:>5g}{row['kl']:>11.3f}{row['gain']:>22.4f}{row['weight']:>9.3f}"
            f"{row['difference']:>+19.4f}"
        )


if __name__ == "__main__":
    main()
