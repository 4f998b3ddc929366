"""Tiled log-probabilities against autograd through a full softmax."""

import pytest
import torch

from copg.logps import Head, token_logps

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


def test_a_frozen_head_gets_no_gradient() -> None:
    hidden, weight = torch.randn(4, H, requires_grad=True), torch.randn(V, H)
    token_logps(hidden, torch.arange(4), Head(weight), dtype=torch.float32).sum().backward()
    assert weight.grad is None
    assert hidden.grad is not None


def test_bfloat16_products_are_summed_in_float32() -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(N, H), torch.randn(V, H)
    found = token_logps(hidden, torch.arange(N), Head(weight), dtype=torch.bfloat16)
    exact = token_logps(hidden, torch.arange(N), Head(weight), dtype=torch.float32)
    assert found.dtype == torch.float32
    assert 0 < (found - exact).abs().max() < 0.1
