"""One optimiser step: rows, loss averaged over the whole step's groups, diagnostics, update."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from copg.lm.config import RowConfig
from copg.lm.row_batch import build_batch
from copg.lm.rows import TokenGroup, plan_batches
from copg.lm.scorer import score_batch
from copg.losses import load_loss
from copg.losses.diagnostics import (
    extreme_log_ratios,
    residual_fraction,
    reward_spread,
    tied_groups,
    weighted_log_ratio,
)
from copg.losses.groups import group_sizes
from copg.losses.units import has_reward_units
from copg.training.config import TrialConfig
from copg.training.data import TrainData, share_groups
from copg.training.split_groups import weigh_pieces


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one pass over the groups of a step left behind, beside the gradients."""

    loss: float
    """Mean over the groups of the step, on all processes."""
    policy_logps: Tensor
    """[N] of the completions of all processes, on the CPU."""
    indices: list[int]
    """Groups of the step, in the order of ``policy_logps``."""
    num_tokens: int
    """Tokens of those groups, padding apart."""


def accumulate_gradients(
    accelerator: Accelerator,
    scorer: torch.nn.Module,
    data: TrainData,
    indices: Sequence[int],
    trial: TrialConfig,
    rows: RowConfig,
    *,
    whole_step: int = 0,
) -> StepResult:
    """Add the gradient of the mean group loss over ``indices``, in micro-batches, across processes.

    Args:
        scorer: ``SequenceScorer``, prepared by the accelerator.
        indices: all groups of this optimiser step; each process takes its share.
        whole_step: groups of a step that is not cut short by the end of an epoch, where fewer must not weigh
            more; 0: as many as there are indices.
    """
    mine, weight = _share(accelerator, data, indices)
    whole = max(whole_step, len(indices))
    loss_of = partial(_loss, data, trial, weight / whole)
    large = [i for i in mine if rows.split_groups and data.num_tokens(i) > rows.tokens_per_row]
    small = [i for i in mine if i not in set(large)]
    split = weigh_pieces(scorer, data.token_groups(large), rows, partial(loss_of, large), accelerator.device)
    total, logps, order = split.loss, [split.policy_logps], list(large)
    queue = [*_plan(split.pieces, split.coefficients, rows), *_plan(data.token_groups(small), None, rows)]
    if isinstance(scorer, FSDPModule):
        queue += _idle(queue[0], len(queue), accelerator)
    for place, (groups, plan, coefficients) in enumerate(queue):
        batch = build_batch(groups, plan, rows).to(accelerator.device)
        last = place == len(queue) - 1
        with nullcontext() if last else accelerator.no_sync(scorer):
            policy_logps = score_batch(scorer, batch, rows)
            if coefficients is None:
                chosen = [small[i] for i in batch.groups]
                loss = loss_of(chosen, policy_logps)
                total, order = total + loss.detach(), order + chosen
                logps.append(policy_logps.detach())
            else:
                loss = torch.dot(torch.cat([coefficients[i] for i in batch.groups]), policy_logps)
            accelerator.backward(loss * accelerator.num_processes)
    found = (order, torch.cat(logps).cpu()) if weight else ([], torch.empty(0))
    gathered = gather_object([found])  # of all processes, in their order
    return StepResult(
        loss=float(accelerator.reduce(total, reduction="sum")) * (whole / len(indices)),
        policy_logps=torch.cat([each for _, each in gathered]),
        indices=[index for each, _ in gathered for index in each],
        num_tokens=sum(map(data.num_tokens, indices)),
    )


def _share(accelerator: Accelerator, data: TrainData, indices: Sequence[int]) -> tuple[list[int], float]:
    """Groups of this process, and the weight of their loss."""
    share = share_groups([data.num_tokens(i) for i in indices], accelerator.num_processes)
    mine = [indices[place] for place in share[accelerator.process_index]]
    # With fewer groups than processes the idle ones still take part in the exchange, at weight 0.
    return (mine, 1.0) if mine else ([indices[0]], 0.0)


Micro = tuple[Sequence[TokenGroup], list[list[int]], Sequence[Tensor] | None]
"""Groups, rows of one batch of them, and of pieces the weights of their log-probabilities."""


def _plan(
    groups: Sequence[TokenGroup], coefficients: Sequence[Tensor] | None, rows: RowConfig
) -> list[Micro]:
    return [(groups, plan, coefficients) for plan in plan_batches(groups, rows)]


def _idle(first: Micro, num_mine: int, accelerator: Accelerator) -> list[Micro]:
    """Micro-batches of weight 0: where weights are gathered from all processes, each must run as many."""
    most = int(accelerator.gather(torch.tensor([num_mine], device=accelerator.device)).max())
    groups, plan, _ = first
    zeros = [torch.zeros(len(group.completion_ids), device=accelerator.device) for group in groups]
    return [(groups, plan, zeros)] * (most - num_mine)


def group_losses(data: TrainData, trial: TrialConfig, indices: Sequence[int], policy_logps: Tensor) -> Tensor:
    """[G] losses of groups ``indices``, from the [N] log-probabilities of their completions.

    Where beta is in reward units, rewards and beta are counted in spreads of the training rewards. The loss
    then has no unit, and no step knows the reward's scale: clip, epsilon and decay act alike for (R, beta)
    and (s R + c, s beta), which have the same optimum. Of ``pg`` alone, without a baseline, c moves it.
    """
    completions, beta = data.completions(indices, policy_logps), trial.price
    if has_reward_units(trial.method):
        completions = completions._replace(rewards=completions.rewards / data.spread)
        beta /= data.spread
    return load_loss(trial.method)(completions, beta=beta)


def _loss(
    data: TrainData, trial: TrialConfig, scale: float, indices: Sequence[int], policy_logps: Tensor
) -> Tensor:
    """``scale`` times the sum of the losses of groups."""
    return scale * group_losses(data, trial, indices, policy_logps).sum()


def diagnose(data: TrainData, result: StepResult, beta: float) -> dict[str, float]:
    """Metrics of the completions of a step, under the policy before its update.

    Returns:
        ``log_ratio/*`` in nats, ``residual/fraction`` = Var(R_beta)/Var(R) within groups, the spread of
        rewards within groups in reward units, and the share of tied groups, both of groups of several
        completions: NaN without any.
    """
    completions = data.completions(result.indices, result.policy_logps)
    best, worst = extreme_log_ratios(completions)
    spread = reward_spread(completions.rewards, completions.group)
    compared = group_sizes(completions.group) > 1  # one completion has no spread and no tie, as for score
    return {
        "residual/fraction": float(residual_fraction(completions, beta=beta)),
        "log_ratio/mean": float((completions.policy_logps - completions.ref_logps).mean()),
        "log_ratio/weighted": float(weighted_log_ratio(completions).mean()),
        "log_ratio/best": float(best.mean()),
        "log_ratio/worst": float(worst.mean()),
        "reward_spread/mean": float(spread[compared].mean()),
        "groups/tied": float(tied_groups(completions.rewards, completions.group)[compared].float().mean()),
    }


def update(
    accelerator: Accelerator, scorer: Any, optimizer: Any, *, learning_rate: float, max_grad_norm: float
) -> float:
    """Clip, step and clear the gradients; returns their L2 norm before clipping.

    Nothing moves when the norm is not finite, so the weights stay those of the last good step.
    """
    found = accelerator.clip_grad_norm_(scorer.parameters(), max_grad_norm)
    norm = float(found.full_tensor() if isinstance(found, DTensor) else found)
    if norm == norm and abs(norm) != float("inf"):
        for settings in optimizer.param_groups:
            settings["lr"] = learning_rate
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm
