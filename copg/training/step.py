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
from copg.losses import WITH_MISMATCHED, load_loss
from copg.losses.diagnostics import (
    extreme_log_ratios,
    residual_fraction,
    reward_spread,
    tied_groups,
    value_error_fraction,
    weighted_log_ratio,
)
from copg.losses.groups import Completions, group_sizes
from copg.losses.units import has_reward_units
from copg.training.config import TrialConfig
from copg.training.data import TrainData, share_groups
from copg.training.reference_point import reference_point
from copg.training.split_groups import weigh_pieces


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one pass over the groups of a step left behind, beside the gradients."""

    loss: float
    """Mean over the groups of the step, on all processes."""
    scored: Tensor
    """What the policy gave the completions of all processes, on the CPU: [N], or [N, 2] with values."""
    indices: list[int]
    """Groups of the step, in the order of ``scored``."""
    num_tokens: int
    """Tokens of those groups, padding apart."""
    reference_point: float | None = None
    """Mean log-ratio of completions of other prompts, nats; None for methods that need none."""


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
    point = None
    if trial.method in WITH_MISMATCHED:
        point = reference_point(accelerator, scorer, data, mine, weight, rows)
    loss_of = partial(_loss, data, trial, weight / whole, point=point)
    large = [i for i in mine if rows.split_groups and data.num_tokens(i) > rows.tokens_per_row]
    small = [i for i in mine if i not in set(large)]
    split = weigh_pieces(scorer, data.token_groups(large), rows, partial(loss_of, large), accelerator.device)
    total, found, order = split.loss, [split.scored] if large else [], list(large)
    queue = [*_plan(split.pieces, split.coefficients, rows), *_plan(data.token_groups(small), None, rows)]
    if isinstance(scorer, FSDPModule):
        queue += _idle(queue[0], len(queue), accelerator)
    for place, (groups, plan, coefficients) in enumerate(queue):
        batch = build_batch(groups, plan, rows).to(accelerator.device)
        last = place == len(queue) - 1
        with nullcontext() if last else accelerator.no_sync(scorer):
            scored = score_batch(scorer, batch, rows)
            if coefficients is None:
                chosen = [small[i] for i in batch.groups]
                loss = loss_of(chosen, scored)
                total, order = total + loss.detach(), order + chosen
                found.append(scored.detach())
            else:
                weights = torch.cat([coefficients[i] for i in batch.groups]) if coefficients else 0.0
                loss = (weights * scored).sum()
            accelerator.backward(loss * accelerator.num_processes)
    every = torch.cat(found).cpu()
    gathered = gather_object([(order, every) if weight else ([], every[:0])])  # of all, in their order
    return StepResult(
        loss=float(accelerator.reduce(total, reduction="sum")) * (whole / len(indices)),
        scored=torch.cat([each for _, each in gathered]),
        indices=[index for each, _ in gathered for index in each],
        num_tokens=sum(map(data.num_tokens, indices)),
        reference_point=point,
    )


def _share(accelerator: Accelerator, data: TrainData, indices: Sequence[int]) -> tuple[list[int], float]:
    """Groups of this process, and the weight of their loss."""
    share = share_groups([data.num_tokens(i) for i in indices], accelerator.num_processes)
    mine = [indices[place] for place in share[accelerator.process_index]]
    # With fewer groups than processes the idle ones still take part in the exchange, at weight 0.
    return (mine, 1.0) if mine else ([indices[0]], 0.0)


Micro = tuple[Sequence[TokenGroup], list[list[int]], Sequence[Tensor] | None]
"""Groups, rows of one batch of them, and of pieces the weights of what is scored; none: all weigh 0."""


def _plan(
    groups: Sequence[TokenGroup], coefficients: Sequence[Tensor] | None, rows: RowConfig
) -> list[Micro]:
    return [(groups, plan, coefficients) for plan in plan_batches(groups, rows)]


def _idle(first: Micro, num_mine: int, accelerator: Accelerator) -> list[Micro]:
    """Micro-batches of weight 0: where weights are gathered from all processes, each must run as many."""
    most = int(accelerator.gather(torch.tensor([num_mine], device=accelerator.device)).max())
    groups, plan, _ = first
    return [(groups, plan, [])] * (most - num_mine)


def group_losses(
    data: TrainData,
    trial: TrialConfig,
    indices: Sequence[int],
    scored: Tensor,
    point: float | None = None,
) -> Tensor:
    """[G] losses of groups ``indices``, from what the policy gives their completions (``completions``).

    Methods that need a reference point are given that of the step, in nats, and rewards from their mean.

    Where beta is in reward units, rewards and beta are counted in spreads of the training rewards. The loss
    then has no unit, and no step knows the reward's scale: clip, epsilon and decay act alike for (R, beta)
    and (s R + c, s beta), which have the same optimum. Of ``pg`` alone, without a baseline, c moves it.
    """
    completions, beta = data.completions(indices, scored), trial.price
    if has_reward_units(trial.method):
        completions, beta = data.in_units(completions, beta)
    if point is not None:
        completions = data.from_point(completions, point)
    return load_loss(trial.method)(completions, beta=beta)


def _loss(
    data: TrainData,
    trial: TrialConfig,
    scale: float,
    indices: Sequence[int],
    scored: Tensor,
    *,
    point: float | None = None,
) -> Tensor:
    """``scale`` times the sum of the losses of groups."""
    return scale * group_losses(data, trial, indices, scored, point).sum()


def diagnose(data: TrainData, result: StepResult, beta: float) -> dict[str, float]:
    """Metrics of the completions of a step, under the policy before its update.

    Returns:
        ``log_ratio/*`` in nats, ``residual/fraction`` = Var(R_beta)/Var(R) within groups, the spread of
        rewards within groups in reward units, and the share of tied groups, both of groups of several
        completions: NaN without any. Where values are learnt, ``value/error_fraction``: 1 at first, 0 where
        they are exact. Where completions of other prompts are compared with, ``reference_point/mean``.
    """
    completions = data.completions(result.indices, result.scored)
    best, worst = extreme_log_ratios(completions)
    spread = reward_spread(completions.rewards, completions.group)
    learnt = completions.values is not None
    compared = group_sizes(completions.group) > 1  # one completion has no spread and no tie, as for score
    return {
        "residual/fraction": float(residual_fraction(completions, beta=beta)),
        "log_ratio/mean": float((completions.policy_logps - completions.ref_logps).mean()),
        "log_ratio/weighted": float(weighted_log_ratio(completions).mean()),
        "log_ratio/best": float(best.mean()),
        "log_ratio/worst": float(worst.mean()),
        "reward_spread/mean": float(spread[compared].mean()),
        "groups/tied": float(tied_groups(completions.rewards, completions.group)[compared].float().mean()),
        **({"value/error_fraction": _value_error(data, completions, beta)} if learnt else {}),
        **({} if result.reference_point is None else {"reference_point/mean": result.reference_point}),
    }


def _value_error(data: TrainData, completions: Completions, beta: float) -> float:
    completions, beta = data.in_units(completions, beta)
    return float(value_error_fraction(completions, beta=beta))


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
            settings["lr"] = learning_rate * settings.get("rate", 1.0)
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm
