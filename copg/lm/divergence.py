"""KL(policy || reference) over the whole vocabulary, with one of the two models in memory at a time.

The policy's pass leaves its hidden states and its head; the reference's pass sets both distributions side by
side at each position.
"""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from copg.errors import ModelError
from copg.lm.config import RowConfig
from copg.lm.head import Head
from copg.lm.load import model_head
from copg.lm.rows import RowBatch, TokenGroup
from copg.lm.scorer import DTYPES, SequenceScorer, scorer_logps

IN_MEMORY = 4 * 2**30  # 4 GiB
_CELLS = 2**25
"""Logits of one model at a time, 128 MiB: two of them and what is computed from them lie side by side."""


@dataclass(frozen=True, slots=True)
class Trace:
    """What a policy leaves on the CPU for the reference's pass."""

    states: Tensor
    """[num_tokens, H] that predict the completion tokens, in the compute dtype and the batches' order."""
    head: Head


def token_kl(
    policy: tuple[Tensor, Head],
    reference: tuple[Tensor, Head],
    targets: Tensor,
    *,
    dtype: torch.dtype,
    tile: int = 4096,
) -> Tensor:
    r"""KL over the vocabulary, and the log-ratio of the token that was drawn, at each position.

    KL_t = sum over v of pi(v|s_t) (log pi(v|s_t) - log ref(v|s_t)). Summed over the positions of completions
    drawn from the policy it has the mean of the log-ratio (the KL of a chain is the expected sum of its
    steps'), without the noise of which token was drawn: the Rao-Blackwell estimator of
    https://arxiv.org/abs/2504.10637.

    Args:
        policy: [N, H] states and their head.
        reference: [N, H'] states and their head, over the same vocabulary.
        targets: [N] the tokens drawn.
        dtype: of the matrix products; log-softmaxes are float32.
        tile: tokens projected at once, at most.

    Returns:
        [N, 2] KL and log-ratio, nats, float64.
    """
    result = torch.empty(len(targets), 2, dtype=torch.float64, device=targets.device)
    tile = min(tile, max(1, _CELLS // policy[1].weight.shape[0]))
    with torch.autocast(targets.device.type, enabled=False):
        for start in range(0, len(targets), tile):
            part = slice(start, start + tile)
            logps, gap = (head.logits(states[part], dtype) for states, head in (policy, reference))
            logps.sub_(logps.logsumexp(-1, keepdim=True))
            gap.sub_(gap.logsumexp(-1, keepdim=True)).neg_().add_(logps)
            result[part, 1] = gap.gather(1, targets[part, None])[:, 0].double()
            result[part, 0] = logps.exp_().mul_(gap).sum(-1).double()
    return result


def trace_policy(
    model: Any,
    groups: Sequence[TokenGroup],
    rows: RowConfig,
    *,
    description: str | None = None,
    in_memory: int = IN_MEMORY,
) -> Trace:
    """The policy's pass: a forward of every completion, without its head.

    Args:
        model: in evaluation mode, on its device.
        groups: with completions that the policy drew.
        in_memory: bytes of hidden states kept in memory; more of them go to a temporary file.

    Raises:
        ModelError: the temporary directory has no room for the hidden states.
    """
    head, dtype = model_head(model), DTYPES[rows.compute_dtype]
    on_cpu = replace(
        head,
        weight=head.weight.detach().to("cpu", dtype),
        bias=None if head.bias is None else head.bias.detach().to("cpu", dtype),
    )
    num_tokens = sum(len(ids) for group in groups for ids in group.completion_ids)
    trace = Trace(_allocate(num_tokens, head.weight.shape[1], dtype, in_memory), on_cpu)
    scorer, done = SequenceScorer(model, rows), 0

    def record(batch: RowBatch) -> Tensor:
        """Keeps the states of every batch; what it returns has no meaning."""
        nonlocal done
        states = scorer.states(batch)
        trace.states[done : done + len(states)] = states
        done += len(states)
        return states.new_zeros(batch.num_completions)

    scorer_logps(record, groups, rows, head.weight.device, description=description)
    return trace


def compare_reference(
    model: Any, groups: Sequence[TokenGroup], trace: Trace, rows: RowConfig, *, description: str | None = None
) -> tuple[list[list[float]], list[list[float]]]:
    """The reference's pass: KLs and log-ratios, one list of each a group, one value a completion, nats.

    Args:
        model: in evaluation mode, on its device.
        groups: those of the trace.
        rows: those of the trace: they settle the order of its tokens.

    Raises:
        ModelError: the heads are over vocabularies of different sizes.
    """
    sizes = [len(head.weight) for head in (trace.head, model_head(model))]
    if sizes[0] != sizes[1]:
        raise ModelError(
            f"the policy's head has {sizes[0]} tokens, the reference's {sizes[1]}: there is no KL over them"
        )
    device = next(model.parameters()).device
    bias = None if trace.head.bias is None else trace.head.bias.to(device)
    head = replace(trace.head, weight=trace.head.weight.to(device), bias=bias)
    scorer, done = SequenceScorer(model, rows), 0

    def compare(batch: RowBatch) -> Tensor:
        """[num_completions, 2] KL and log-ratio, summed over completion tokens."""
        nonlocal done
        states = scorer.states(batch)
        traced = trace.states[done : done + len(states)].to(device)
        done += len(states)
        dtype, tile = DTYPES[rows.compute_dtype], rows.tile_tokens
        each = token_kl((traced, head), (states, model_head(model)), batch.targets, dtype=dtype, tile=tile)
        return each.new_zeros(batch.num_completions, 2).index_add(0, batch.completion, each)

    pairs: Any = scorer_logps(compare, groups, rows, device, description=description)
    kls = [[kl for kl, _ in group] for group in pairs]
    return kls, [[log_ratio for _, log_ratio in group] for group in pairs]


def _allocate(num_tokens: int, width: int, dtype: torch.dtype, in_memory: int) -> Tensor:
    """[num_tokens, width] in memory, or in a file that vanishes with the tensor."""
    size = num_tokens * width * dtype.itemsize
    if size <= in_memory:
        return torch.empty(num_tokens, width, dtype=dtype)
    with tempfile.TemporaryDirectory(prefix="copg-states-") as folder:
        free = shutil.disk_usage(folder).free
        if size > free:
            raise ModelError(
                f"{Path(folder).parent}: {size / 2**30:.1f} GiB of hidden states do not fit its "
                f"{free / 2**30:.1f} GiB: set TMPDIR to more room, or evaluate fewer prompts"
            )
        file = str(Path(folder) / "states")
        kept = torch.from_file(file, shared=True, size=num_tokens * width, dtype=dtype)
        return kept.view(num_tokens, width)
