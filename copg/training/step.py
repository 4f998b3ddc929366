"""One optimiser step: rows, loss averaged over the whole step's groups, diagnostics, update."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from copg.diagnostics import extreme_log_ratios, residual_fraction, reward_spread
from copg.losses import select_loss
from copg.packing import build_batch, plan_batches, score_batch
from copg.settings import RowConfig
from copg.training.config import TrialConfig
from copg.training.data import TrainData, share_groups


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one pass over the groups of a step left behind, beside the gradients."""

    loss: float
    """Mean over the groups of the step, on all processes."""
    policy_logps: Tensor
    """[N] of this process's completions, on the CPU."""
    indices: list[int]
    """Groups of this process, in the order of ``policy_logps``."""
    num_tokens: int
    """Tokens of this process's rows, padding apart."""


def accumulate_gradients(
    accelerator: Accelerator,
    scorer: torch.nn.Module,
    data: TrainData,
    indices: Sequence[int],
    trial: TrialConfig,
    rows: RowConfig,
) -> StepResult:
    """Add the gradient of the mean group loss over ``indices``, in micro-batches, across processes.

    Args:
        accelerator: processes and devices.
        scorer: ``SequenceScorer``, prepared by the accelerator.
        data: of the train split.
        indices: all groups of this optimiser step; each process takes its share.
        trial: method and beta.
        rows: budget and precision.
    """
    share = share_groups([data.num_tokens(i) for i in indices], accelerator.num_processes)
    mine = [indices[place] for place in share[accelerator.process_index]]
    # With fewer groups than processes the idle ones still take part in the exchange, at weight 0.
    weight, mine = (1.0, mine) if mine else (0.0, [indices[0]])
    groups = [data.token_group(i) for i in mine]
    plan = plan_batches([group.num_tokens for group in groups], rows)
    total, order = torch.zeros(()), []
    logps: list[Tensor] = []
    for place, rows_of_batch in enumerate(plan):
        batch = build_batch(groups, rows_of_batch).to(accelerator.device)
        rewards, ref_logps, group, num_tokens = (
            value.to(accelerator.device) for value in data.values([mine[i] for i in batch.groups])
        )
        last = place == len(plan) - 1
        with nullcontext() if last else accelerator.no_sync(scorer):
            policy_logps = score_batch(scorer, batch, rows)
            losses = select_loss(trial.method, num_tokens)(
                policy_logps, ref_logps, rewards, group, beta=trial.beta
            )
            loss = weight * losses.sum() / len(indices)
            accelerator.backward(loss * accelerator.num_processes)
        total += loss.detach().cpu()
        logps.append(policy_logps.detach().cpu())
        order += [mine[i] for i in batch.groups]
    mean = accelerator.reduce(total.to(accelerator.device), reduction="sum")
    return StepResult(
        loss=float(mean),
        policy_logps=torch.cat(logps),
        indices=order,
        num_tokens=sum(group.num_tokens for group in groups),
    )


def diagnose(data: TrainData, result: StepResult, beta: float) -> dict[str, float]:
    """Metrics of the completions of a step, under the policy before its update.

    Returns:
        ``log_ratio/*`` in nats, ``residual/fraction`` = Var(R_beta)/Var(R) within groups, the spread of
        rewards within groups in reward units, and the share of tied groups.
    """
    rewards, ref_logps, group, _ = data.values(result.indices)
    best, worst = extreme_log_ratios(result.policy_logps, ref_logps, rewards, group)
    spread = reward_spread(rewards, group)
    return {
        "residual/fraction": float(
            residual_fraction(result.policy_logps, ref_logps, rewards, group, beta=beta)
        ),
        "log_ratio/mean": float((result.policy_logps - ref_logps).mean()),
        "log_ratio/best": float(best.mean()),
        "log_ratio/worst": float(worst.mean()),
        "reward_spread/mean": float(spread.mean()),
        "groups/tied": float((spread == 0).float().mean()),
    }


def update(
    accelerator: Accelerator, scorer: Any, optimizer: Any, *, learning_rate: float, max_grad_norm: float
) -> float:
    """Clip, step and clear the gradients; returns their L2 norm before clipping.

    Nothing moves when the norm is not finite, so the weights stay those of the last good step.
    """
    norm = float(accelerator.clip_grad_norm_(scorer.parameters(), max_grad_norm))
    if norm == norm and abs(norm) != float("inf"):
        for settings in optimizer.param_groups:
            settings["lr"] = learning_rate
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm
