"""Tiled log-probabilities against autograd through a full softmax."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from copg.lm.head import Head, token_logps

N, H, V = 23, 8, 31


@pytest.mark.parametrize("tile", [5, 23, 100], ids=["ragged_tiles", "exact", "one"])
@pytest.mark.parametrize(
    ("bias", "scale", "cap"),
    [(False, 1.0, None), (True, 1.0, None), (False, 0.25, None), (False, 1.0, 3.0), (True, 0.5, 2.0)],
)
def test_values_and_gradients_are_those_of_the_full_softmax(
    tile: int, bias: bool, scale: float, cap: float | None
) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(N, H, dtype=torch.float64).float().requires_grad_()
    weight = torch.randn(V, H).requires_grad_()
    offset = torch.randn(V).requires_grad_() if bias else None
    targets, grad = torch.randint(V, (N,)), torch.randn(N)

    logits = torch.nn.functional.linear(hidden, weight, offset) * scale
    logits = logits if cap is None else cap * torch.tanh(logits / cap)
    expected = logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]
    inputs = [hidden, weight, *([offset] if offset is not None else [])]
    expected_grads = torch.autograd.grad(expected, inputs, grad)

    found = token_logps(hidden, targets, Head(weight, offset, scale, cap), dtype=torch.float32, tile=tile)
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-5)
    for ours, theirs in zip(torch.autograd.grad(found, inputs, grad), expected_grads, strict=True):
        torch.testing.assert_close(ours, theirs, atol=5e-6, rtol=1e-4)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_head_s_gradient_is_not_even_computed(frozen: bool) -> None:
    hidden, weight = torch.randn(4, H, requires_grad=True), torch.randn(V, H, requires_grad=not frozen)
    found = token_logps(hidden, torch.arange(4), Head(weight), dtype=torch.float32).sum()
    with FlopCounterMode(display=False) as counted:
        found.backward()
    # the gradient of the states is one product, that of the weights another of the same size
    assert counted.get_total_flops() == 2 * 4 * H * V * (1 if frozen else 2)
    assert hidden.grad is not None


def test_bfloat16_products_are_summed_in_float32() -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(N, H), torch.randn(V, H)
    found = token_logps(hidden, torch.arange(N), Head(weight), dtype=torch.bfloat16)
    logits = (hidden.bfloat16() @ weight.bfloat16().T).float()
    exact = logits.log_softmax(-1)[torch.arange(N), torch.arange(N)]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, atol=1e-5, rtol=0)
