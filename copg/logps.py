"""Log-probabilities of chosen tokens from hidden states, without a [T, V] tensor of logits."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Head:
    """How a model turns hidden states into logits: ``cap * tanh(scale * (h W^T + b) / cap)``."""

    weight: Tensor
    """[V, H]."""
    bias: Tensor | None = None
    """[V]."""
    scale: float = 1.0
    """Cohere multiplies its logits, Granite divides them."""
    cap: float | None = None
    """Soft cap of the logits, as in Gemma 2."""

    def logits(self, hidden: Tensor, dtype: torch.dtype) -> Tensor:
        """[N, V] in float32; the product is computed in ``dtype``."""
        bias = None if self.bias is None else self.bias.to(dtype)
        logits = torch.nn.functional.linear(hidden.to(dtype), self.weight.to(dtype), bias).float()
        if self.scale != 1.0:
            logits.mul_(self.scale)
        return logits if self.cap is None else logits.div_(self.cap).tanh_().mul_(self.cap)


def token_logps(
    hidden: Tensor, targets: Tensor, head: Head, *, dtype: torch.dtype, tile: int = 4096
) -> Tensor:
    """Log softmax(logits(hidden))[targets], in nats, with gradients to ``hidden`` and the head.

    The vocabulary is met in tiles of ``tile`` tokens. A single tile keeps its logits for the backward
    pass; several are computed again there, so that memory stays at one tile. No gradient of a frozen
    head is computed.

    Args:
        hidden: [N, H] states that predict the targets.
        targets: [N] token ids.
        head: of the model.
        dtype: of the matrix products; sums and exponentials are float32.
        tile: tokens a tile.

    Returns:
        [N] float32.
    """
    result: Tensor = _TokenLogps.apply(hidden, head.weight, head.bias, targets, head, dtype, tile)  # type: ignore[no-untyped-call]
    return result


class _TokenLogps(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        head: Head,
        dtype: torch.dtype,
        tile: int,
    ) -> Tensor:
        kept = None
        log_norm = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
        chosen = torch.empty_like(log_norm)
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, len(targets), tile):
                part = slice(start, start + tile)
                logits = head.logits(hidden[part], dtype)
                log_norm[part] = torch.logsumexp(logits, dim=-1)
                chosen[part] = logits.gather(1, targets[part, None])[:, 0]
                kept = logits if len(targets) <= tile else None
        ctx.save_for_backward(hidden, weight, bias, targets, log_norm, kept)
        ctx.head, ctx.dtype, ctx.tile = head, dtype, tile
        return chosen - log_norm

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        """From d logp / d logits = onehot(target) - softmax(logits) through cap, scale and product."""
        (grad,) = grads
        hidden, weight, bias, targets, log_norm, kept = ctx.saved_tensors
        head, dtype = Head(weight, bias, ctx.head.scale, ctx.head.cap), ctx.dtype
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        grad_hidden = torch.empty_like(hidden) if needs_hidden else None
        grad_weight = torch.zeros_like(weight) if needs_weight else None
        grad_bias = torch.zeros_like(bias) if needs_bias else None
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, len(targets), ctx.tile):
                part = slice(start, start + ctx.tile)
                logits = head.logits(hidden[part], dtype) if kept is None else kept
                slope = None if head.cap is None else 1 - (logits / head.cap) ** 2
                delta = logits.sub_(log_norm[part, None]).exp_().mul_(-grad[part, None])
                delta.scatter_add_(1, targets[part, None], grad[part, None])
                if slope is not None:
                    delta.mul_(slope)
                delta = (delta.mul_(head.scale) if head.scale != 1.0 else delta).to(dtype)
                if grad_hidden is not None:
                    grad_hidden[part] = delta @ weight.to(dtype)
                if grad_weight is not None:
                    grad_weight += delta.T @ hidden[part].to(dtype)
                if grad_bias is not None:
                    grad_bias += delta.sum(0)
        return grad_hidden, grad_weight, grad_bias, None, None, None, None
