"""The reference point of a step: how far the policy moved on completions of other prompts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

from copg.errors import ConfigError
from copg.lm.config import RowConfig
from copg.lm.row_batch import build_batch
from copg.lm.rows import plan_batches
from copg.lm.scorer import score_batch
from copg.training.config import TrialConfig
from copg.training.data import TrainData


def reference_point(
    accelerator: Accelerator,
    scorer: Any,
    data: TrainData,
    mine: Sequence[int],
    weight: float,
    rows: RowConfig,
) -> float:
    """Mean of log(policy / ref) over the mismatched completions of a step, at least 0, in nats.

    One forward without gradient of a completion a group with its prompt, before the loss of any group is
    known. It is the same however the step is cut into batches and dealt out to processes, all of which must
    ask together.

    Args:
        scorer: ``SequenceScorer``, prepared by the accelerator.
        data: read with ``mismatched``.
        mine: groups of the step that this process has.
        weight: theirs, 0 for what stands in for none.
        rows: budgets and form of the rows.

    Returns:
        0 where no group of the step has a mismatched completion.
    """
    groups, ref_logps = data.mismatched(mine)
    plan = plan_batches(groups, rows) if groups else []
    found = len(plan)
    if isinstance(scorer, FSDPModule):  # each forward gathers weights: every process must run as many
        most = int(accelerator.gather(torch.tensor([found], device=accelerator.device)).max())
        groups = [*groups, data.token_group(mine[0])]
        plan = plan + [[[len(groups) - 1]]] * (most - found)
    # without what exchanges gradients, which would wait for a forward of each process
    bare = scorer.module if isinstance(scorer, DistributedDataParallel) else scorer
    total = torch.zeros(2, dtype=torch.float64, device=accelerator.device)
    with torch.no_grad():
        for place, rows_of_batch in enumerate(plan):
            batch = build_batch(groups, rows_of_batch, rows).to(accelerator.device)
            logps = score_batch(bare, batch, rows).double()
            if place < found:
                ref = torch.tensor([ref_logps[i] for i in batch.groups], device=logps.device)
                total += weight * torch.stack([(logps - ref).sum(), total.new_tensor(len(ref))])
    moved, count = accelerator.reduce(total, reduction="sum")
    return float((moved / count.clamp(min=1)).clamp(min=0))


def check_mismatched(trial: TrialConfig, data: TrainData, referenced: Path) -> None:
    """Refuse logs that a method with a reference point learns nothing from.

    Raises:
        ConfigError: no group has a mismatched completion, or no completion is better or worse than another.
    """
    if not data.mismatched(range(len(data)))[0]:
        raise ConfigError(
            f"{referenced}: no training prompt has a completion of another one beside its own, which "
            f"method={trial.method} compares with: set reference.mismatched: true"
        )
    lowest, highest = float(data.rewards.min()), float(data.rewards.max())
    if lowest == highest:
        raise ConfigError(
            f"trial {trial.label}: every training completion has reward {lowest:g}, so none is desirable and "
            f"none undesirable: method={trial.method} needs some of either side"
        )
