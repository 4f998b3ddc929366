"""The paper's bandit: three arms, two bad samplers, the exact optimum and where each method really goes."""

import itertools
from collections.abc import Callable
from math import comb

import numpy as np
import torch
from torch import Tensor

REWARDS = np.array([2.5, 2.0, 1.0])
SAMPLERS = np.array([[0.1, 0.2, 0.7], [0.05, 0.05, 0.9]])
"""mu1 and mu2: the first completion of each pair comes from one, the second from the other."""
REFERENCE = np.full(3, 1 / 3)
BETA = 0.5


def objective(policy: np.ndarray) -> np.ndarray:
    """J = E[R] - beta * KL(policy || reference), in reward units; policy [..., 3]."""
    return (policy * (REWARDS - BETA * np.log(policy / REFERENCE))).sum(-1)


def optimum() -> np.ndarray:
    """[3] pi* = ref * exp(R / beta) / Z, Eq. 2."""
    tilted = REFERENCE * np.exp(REWARDS / BETA)
    return tilted / tilted.sum()


def ipo_fixed_point() -> np.ndarray:
    """[3] where IPO ends with endless data: least squares, so a linear system.

    Of a pair {i, j}, drawn with probability w and won by i with probability p = sigmoid(R(i) - R(j)), the
    loss p (1/2 - x)**2 + (1 - p) (1/2 + x)**2 with x = beta * (d(i) - d(j)) is least at x = p - 1/2. Three
    pairs ask for two numbers, and p - 1/2 does not add up around them: the w decide, and with them the
    samplers.
    """
    weights = _pairs()
    np.fill_diagonal(weights, 0)
    wanted = 1 / (1 + np.exp(REWARDS[None, :] - REWARDS[:, None])) - 0.5
    laplacian = np.diag(weights.sum(1)) - weights
    log_ratio = np.linalg.pinv(BETA * laplacian) @ (weights * wanted).sum(1)
    policy = REFERENCE * np.exp(log_ratio)
    return policy / policy.sum()


def _pairs() -> np.ndarray:
    """[3, 3] how often two arms are a pair, in either order."""
    weights = SAMPLERS[0][:, None] * SAMPLERS[1][None, :]
    return weights + weights.T


def pg_fixed_point(method: str) -> np.ndarray:
    """[3] where the policy gradient ends with endless data: with m the mean sampler and A = R_beta - b.

    For b = E[R_beta] that is pi*, where A is 0.
    """
    rewards = torch.from_numpy(REWARDS)

    def advantage(policy: Tensor) -> Tensor:
        scores = rewards - BETA * _log_ratio(policy)
        baseline = {"pg": 0.0, "pg_value": policy @ rewards, "pg_regularised_value": policy @ scores}[method]
        return scores - baseline

    return _settled(SAMPLERS.mean(0), advantage)


def regression_fixed_point(method: str, k: int | None = None, beta: float = BETA) -> np.ndarray:
    """[3] where the squares of ``astar_po`` or ``qrpo`` are least with endless data.

    Of an arm all squares but one that the policy does not move are (target - beta * d)**2, with the mean of
    the targets of the groups in which it is met: R less the mean V, or the mean quantile less beta * log Z.

    Args:
        method: one of the two.
        k: completions of a group, all drawn by the reference; None: the paper's pairs.
        beta: of the method.
    """
    if k is None:
        weights = _pairs()
        met = [[((j,), weights[i, j] / weights[i].sum()) for j in range(3)] for i in range(3)]
    else:
        # the others of an arm's group are drawn as if it were not there
        others = [_counted(each) for each in itertools.combinations_with_replacement(range(3), k - 1)]
        met = [others] * 3
    drawn = SAMPLERS.mean(0) if k is None else REFERENCE
    targets = [sum(p * _target(method, i, others, beta) for others, p in met[i]) for i in range(3)]
    wanted = torch.tensor(targets, dtype=torch.float64)
    return _settled(drawn, lambda policy: wanted - beta * _log_ratio(policy))


def _counted(arms: tuple[int, ...]) -> tuple[tuple[int, ...], float]:
    """Arms in any order, and how probable the reference is to draw them."""
    left, orders = len(arms), 1
    for arm in range(3):
        orders *= comb(left, arms.count(arm))
        left -= arms.count(arm)
    return arms, orders * float(REFERENCE[list(arms)].prod())


def _target(method: str, arm: int, others: tuple[int, ...], beta: float) -> float:
    """What beta * d of an arm is to be, by the group in which it is met with others."""
    if method == "astar_po":
        value = beta * np.log(np.exp(REWARDS[[arm, *others]] / beta).mean())
        return float(REWARDS[arm] - value)
    quantile = (REWARDS[list(others)] <= REWARDS[arm]).mean()
    return float(quantile - beta * np.log(beta * (np.exp(1 / beta) - 1)))


def _log_ratio(policy: Tensor) -> Tensor:
    return (policy / torch.from_numpy(REFERENCE)).log()


def _settled(drawn: np.ndarray, advantage: Callable[[Tensor], Tensor]) -> np.ndarray:
    """[3] where the expected gradient is zero, by gradient flow from the reference and Newton.

    With m the probabilities with which arms are met and A what pulls at each, the gradient in the logits is
    m A - policy * sum(m A): zero where m A is proportional to the policy.
    """

    def gradient(logits: Tensor) -> Tensor:
        policy = logits.softmax(0)
        weighted = torch.from_numpy(drawn) * advantage(policy)
        return weighted - policy * weighted.sum()

    logits = torch.zeros(3, dtype=torch.float64)
    for _ in range(4000):
        logits = logits + 0.5 * gradient(logits)
    for _ in range(20):
        jacobian = torch.autograd.functional.jacobian(gradient, logits)
        # The pseudo-inverse, since adding a constant to all logits changes nothing.
        logits = logits - torch.linalg.pinv(jacobian, rtol=1e-9) @ gradient(logits)
    assert gradient(logits).abs().max() < 1e-12
    return logits.softmax(0).numpy()


def fixed_point(method: str) -> np.ndarray:
    """[3] the policy a method converges to with endless pairs of the paper's samplers.

    It is pi* for CoPG by Theorem 1, and for RPO as every pair asks for the same: beta * dd = dR.
    """
    if method in ("copg", "rpo"):
        return optimum()
    if method in ("astar_po", "qrpo"):
        return regression_fixed_point(method)
    return ipo_fixed_point() if method == "ipo" else pg_fixed_point(method)
