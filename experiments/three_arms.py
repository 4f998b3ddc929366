"""The paper's bandit: three arms, two bad samplers, the exact optimum and where each method really goes."""

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
    weights = SAMPLERS[0][:, None] * SAMPLERS[1][None, :]
    weights = weights + weights.T
    np.fill_diagonal(weights, 0)
    wanted = 1 / (1 + np.exp(REWARDS[None, :] - REWARDS[:, None])) - 0.5
    laplacian = np.diag(weights.sum(1)) - weights
    log_ratio = np.linalg.pinv(BETA * laplacian) @ (weights * wanted).sum(1)
    policy = REFERENCE * np.exp(log_ratio)
    return policy / policy.sum()


def pg_fixed_point(method: str) -> np.ndarray:
    """[3] where the expected off-policy gradient is zero, by gradient flow from the reference and Newton.

    With m the mean sampler and A = R_beta - b, the gradient in the logits is m A - policy * sum(m A): zero
    where m A is proportional to the policy. For b = E[R_beta] that is pi*, where A is 0.
    """
    logits = torch.zeros(3, dtype=torch.float64)
    for _ in range(4000):
        logits = logits + 0.5 * _expected_gradient(logits, method)
    for _ in range(20):
        jacobian = torch.autograd.functional.jacobian(lambda x: _expected_gradient(x, method), logits)
        # The pseudo-inverse, since adding a constant to all logits changes nothing.
        logits = logits - torch.linalg.pinv(jacobian, rtol=1e-9) @ _expected_gradient(logits, method)
    assert _expected_gradient(logits, method).abs().max() < 1e-12, method
    return logits.softmax(0).numpy()


def _expected_gradient(logits: Tensor, method: str) -> Tensor:
    policy = logits.softmax(0)
    rewards = torch.from_numpy(REWARDS)
    scores = rewards - BETA * (policy / torch.from_numpy(REFERENCE)).log()
    baseline = {"pg": 0.0, "pg_value": policy @ rewards, "pg_regularised_value": policy @ scores}[method]
    weighted = torch.from_numpy(SAMPLERS.mean(0)) * (scores - baseline)
    return weighted - policy * weighted.sum()


def fixed_point(method: str) -> np.ndarray:
    """[3] the policy a method converges to with endless data; pi* for CoPG by Theorem 1."""
    if method == "copg":
        return optimum()
    return ipo_fixed_point() if method == "ipo" else pg_fixed_point(method)
