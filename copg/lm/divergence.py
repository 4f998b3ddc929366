"""KL(policy || reference) over the whole vocabulary, with one of the two models in memory at a time.

The policy's pass leaves its hidden states and its head; the reference's pass sets both distributions side by
side at each position.
"""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from copg.errors import ModelError
from copg.lm.config import RowConfig
from copg.lm.head import Head
from copg.lm.row_batch import RowBatch
from copg.lm.rows import TokenGroup
from copg.lm.scorer import DTYPES, SequenceScorer, scorer_logps

IN_MEMORY = 4 * 2**30  # 4 GiB
_CELLS = 2**25
"""Logits of one model at a time, 128 MiB: two of them and what is computed from them lie side by side."""


@dataclass(frozen=True, slots=True)
class Trace:
    """What a policy leaves on the CPU for the reference's pass."""

    states: Tensor
    """[num_tokens, H] that predict the completion tokens, in the compute dtype and the groups' order."""
    head: Head


def token_kl(
    policy: tuple[Tensor, Head],
    reference: tuple[Tensor, Head],
    targets: Tensor,
    *,
    dtype: torch.dtype,
    tile: int = 4096,
    weight: float = 1.0,
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
        weight: of the policy in the mix that is set beside the reference (``copg.lm.mixing``); 1: itself.

    Returns:
        [N, 2] KL and log-ratio, nats, float64.
    """
    result = torch.empty(len(targets), 2, dtype=torch.float64, device=targets.device)
    tile = min(tile, max(1, _CELLS // _vocabulary(*policy)))
    with torch.autocast(targets.device.type, enabled=False):
        for start in range(0, len(targets), tile):
            part = slice(start, start + tile)
            logps, gap = (head.logits(states[part], dtype) for states, head in (policy, reference))
            logps.sub_(logps.logsumexp(-1, keepdim=True))
            gap.sub_(gap.logsumexp(-1, keepdim=True)).neg_().add_(logps)
            if weight != 1.0:
                logps, gap = _mixed(logps, gap, weight)
            result[part, 1] = gap.gather(1, targets[part, None])[:, 0].double()
            result[part, 0] = logps.exp_().mul_(gap).sum(-1).double()
    return result


def _mixed(logps: Tensor, gap: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the mix, and what they are over the reference's, in the place of the policy's."""
    logps.add_(gap, alpha=weight - 1)  # ref + weight (policy - ref)
    norm = logps.logsumexp(-1, keepdim=True)
    return logps.sub_(norm), gap.mul_(weight).sub_(norm)


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
    rows = rows.unlimited
    scorer, dtype, places = SequenceScorer(model, rows), DTYPES[rows.compute_dtype], _Places(groups)
    kept: list[Tensor] = []

    def record(batch: RowBatch) -> Tensor:
        """Keeps the states of every batch; what it returns has no meaning."""
        states = batch.of_completions(scorer.states(batch))
        if not kept:
            kept.append(_allocate(places.num_tokens, states.shape[1], dtype, in_memory))
        kept[0][places.of(batch)] = states.to("cpu", dtype)
        return states.new_zeros(batch.num_completions)

    device = next(model.parameters()).device
    scorer_logps(record, groups, rows, device, description=description)
    return Trace(kept[0] if kept else torch.empty(0, 0), scorer.head.to("cpu", dtype))


def compare_reference(
    model: Any,
    groups: Sequence[TokenGroup],
    trace: Trace,
    rows: RowConfig,
    *,
    weight: float = 1.0,
    description: str | None = None,
) -> tuple[list[list[float]], list[list[float]]]:
    """The reference's pass: KLs and log-ratios, one list of each a group, one value a completion, nats.

    Args:
        model: in evaluation mode, on its device.
        groups: those of the trace.
        rows: in which this model is exact; the trace may be from others.
        weight: of the policy in the mix that drew the groups' completions; 1: the policy itself.

    Raises:
        ModelError: the heads are over vocabularies of different sizes.
    """
    rows, device, places = rows.unlimited, next(model.parameters()).device, _Places(groups)
    scorer, head, dtype = SequenceScorer(model, rows), trace.head.to(device), DTYPES[rows.compute_dtype]

    def compare(batch: RowBatch) -> Tensor:
        """[num_completions, 2] KL and log-ratio, summed over completion tokens."""
        theirs = batch.of_completions(scorer.states(batch))
        pair = (trace.states[places.of(batch)].to(device), head), (theirs, scorer.head)
        sizes = [_vocabulary(*each) for each in pair]
        if sizes[0] != sizes[1]:
            found = f"the policy's head has {sizes[0]} tokens, the reference's {sizes[1]}"
            raise ModelError(f"{found}: there is no KL over them")
        targets = batch.of_completions(batch.targets)
        each = token_kl(*pair, targets, dtype=dtype, tile=rows.tile_tokens, weight=weight)
        return each.new_zeros(batch.num_completions, 2).index_add(0, batch.completion, each)

    pairs: Any = scorer_logps(compare, groups, rows, device, description=description)
    kls = [[kl for kl, _ in group] for group in pairs]
    return kls, [[log_ratio for _, log_ratio in group] for group in pairs]


def _vocabulary(states: Tensor, head: Head) -> int:
    return states.shape[1] if head.weight is None else len(head.weight)


class _Places:
    """Where the states of the tokens of groups stand, whatever rows a model reads them in."""

    def __init__(self, groups: Sequence[TokenGroup]) -> None:
        self._first = np.cumsum([0, *(sum(map(len, group.completion_ids)) for group in groups)])

    @property
    def num_tokens(self) -> int:
        """Of all completions."""
        return int(self._first[-1])

    def of(self, batch: RowBatch) -> Tensor:
        """[N] of the completion tokens of a batch, in the order of its targets."""
        spans = [np.arange(self._first[i], self._first[i + 1]) for i in batch.groups]
        return torch.from_numpy(np.concatenate(spans))


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
