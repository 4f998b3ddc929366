"""Log-probabilities of chosen tokens from hidden states, without a [T, V] tensor of logits."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

BLOCK_ELEMENTS = 2**19
"""2 MiB of float32: what stays in the cache of a core between two operations."""


@dataclass(frozen=True, slots=True)
class Head:
    """How a model turns hidden states into logits: ``cap * tanh(scale * (h W^T + b) / cap)``."""

    weight: Tensor | None
    """[V, H]; None where the states are logits already, of a model whose head is not of this kind."""
    bias: Tensor | None = None
    """[V]."""
    scale: float = 1.0
    """Cohere multiplies its logits, Granite divides them."""
    cap: float | None = None
    """Soft cap of the logits, as in Gemma 2."""

    def to(self, device: str | torch.device, dtype: torch.dtype | None = None) -> "Head":
        """The same without gradients, somewhere else."""
        moved = [None if x is None else x.detach().to(device, dtype) for x in (self.weight, self.bias)]
        return Head(moved[0], moved[1], self.scale, self.cap)

    def logits(self, hidden: Tensor, dtype: torch.dtype) -> Tensor:
        """[N, V] in float32, a new tensor; the product is computed in ``dtype``."""
        if self.weight is None:
            return hidden.to(torch.float32, copy=True)
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
        dtype: of the matrix products; sums and exponentials are float32.

    Returns:
        [N] float32.
    """
    if head.weight is None:
        return hidden.float().log_softmax(-1).gather(1, targets[:, None])[:, 0]
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
                for rows, block in _blocks(logits):
                    top = block.amax(-1)
                    norm = (block - top[:, None]).exp_().sum(-1).log_().add_(top)
                    log_norm[part][rows] = norm
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
        grad_weight = grad_bias = None
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, len(targets), ctx.tile):
                part = slice(start, start + ctx.tile)
                logits = head.logits(hidden[part], dtype) if kept is None else kept
                delta = _delta(logits, targets[part], log_norm[part], grad[part], head).to(dtype)
                if grad_hidden is not None:
                    grad_hidden[part] = delta @ weight.to(dtype)
                if needs_weight:
                    product = (delta.T @ hidden[part].to(dtype)).to(weight.dtype)
                    grad_weight = product if grad_weight is None else grad_weight.add_(product)
                if needs_bias:
                    total = delta.sum(0, dtype=torch.float32)
                    grad_bias = total if grad_bias is None else grad_bias.add_(total)
        return grad_hidden, grad_weight, grad_bias, None, None, None, None


def _delta(logits: Tensor, targets: Tensor, log_norm: Tensor, grad: Tensor, head: Head) -> Tensor:
    """[N, V] gradient of the product h W^T + b, in the place of the logits."""
    for rows, block in _blocks(logits):
        slope = None if head.cap is None else 1 - (block / head.cap) ** 2
        block.sub_(log_norm[rows, None]).exp_().mul_(-grad[rows, None])
        block.scatter_add_(1, targets[rows, None], grad[rows, None])
        if slope is not None:
            block.mul_(slope)
        if head.scale != 1.0:
            block.mul_(head.scale)
    return logits


def _blocks(logits: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Rows of the logits, on a CPU some at a time, so that several operations meet them in the cache."""
    step = max(1, BLOCK_ELEMENTS // logits.shape[1]) if logits.device.type == "cpu" else max(1, len(logits))
    for start in range(0, len(logits), step):
        rows = slice(start, start + step)
        yield rows, logits[rows]
