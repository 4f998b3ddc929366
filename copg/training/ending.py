"""How a training ended: metrics; unfinished, clipped, without effect, or off its logs; a hint for each."""

from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import TYPE_CHECKING, Any

from copg.losses.units import has_reward_units
from copg.training.log import LAST, read_metrics

if TYPE_CHECKING:
    from copg.training.loop import Loop, LoopState

UNFINISHED = 0.3
"""Var(R_beta) / Var(R) from which a training is called unfinished."""
CLIPPED = 0.5
"""Share of clipped steps from which the clip decides how far they go."""
UNMOVED_NATS = 0.01
"""KL of drawn completions below which a policy that has something to learn is called unmoved."""
DRIFTED, DRIFTED_NATS = 3.0, 1.0
"""How many times as far from the reference drawn completions lie as the logs show, and from which KL on."""
LAST_OF = {"residual/fraction": "residual/last", "log_ratio/weighted": "log_ratio/weighted_last"}


def hints(metrics: Mapping[str, float]) -> list[str]:
    """What a look at the last steps of a training says, a sentence each; none where all is well.

    Args:
        metrics: ``steps/done``, ``steps/clipped``, ``kl/mean`` of the last draw, and what ``last_means``
            gives. What is missing is not judged.
    """
    steps, residual = metrics.get("steps/done", 0.0), metrics.get("residual/last")
    clipped = metrics.get("steps/clipped", 0.0) / steps if steps else 0.0
    kl, moved = metrics.get("kl/mean"), metrics.get("log_ratio/weighted_last")
    found = []
    still = residual is not None and residual > 1 - UNFINISHED / 3
    if still and kl is not None and abs(kl) < UNMOVED_NATS:
        found.append(
            f"moved nothing: residual {residual:.2g} and KL {kl:.2g} nats after {steps:.0f} steps: raise the "
            "learning rate"
        )
    elif residual is not None and residual > UNFINISHED:
        found.append(
            f"unfinished: residual {residual:.2g} after {steps:.0f} steps: train longer or raise the rate"
            if residual < 1
            else f"worse than at the start: residual {residual:.2g} after {steps:.0f} steps: lower the "
            "learning rate or beta"
        )
    if clipped > CLIPPED:
        found.append(
            f"clipped in {100 * clipped:.0f} % of the steps: the clip decides how far they go: raise "
            "optimizer.max_grad_norm"
        )
    if kl is not None and moved is not None and kl > DRIFTED_NATS and kl > DRIFTED * max(moved, 0.0):
        found.append(
            f"drifted off the logs: drawn completions lie {kl:.2g} nats away, logged ones show {moved:.2g}: "
            "lower the learning rate, raise beta, or draw fresh completions"
        )
    return found


def last_means(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """``residual/last`` and ``log_ratio/weighted_last``: means over the last steps of a training's log."""
    steps = [row for row in rows if "residual/fraction" in row]
    # no more than the last quarter of all
    last = steps[-min(LAST, max(1, len(steps) // 4)) :]
    means: dict[str, float] = {}
    for name in ("residual/fraction", "log_ratio/weighted"):
        values = [step[name] for step in last if step.get(name) is not None]
        means |= {LAST_OF[name]: fmean(values)} if values else {}
    return means


def final_metrics(loop: "Loop", state: "LoopState") -> dict[str, float]:
    """Of the whole training and of its last steps; the residual only where beta has the unit of rewards."""
    best = {} if state.best_reward is None else {"best/step": float(state.best_step)}
    counts = {"steps/done": float(state.step), "steps/clipped": float(state.clipped)}
    last = last_means(read_metrics(loop.log.path)) if loop.log else {}
    if not has_reward_units(loop.config.trial.method):
        last.pop("residual/last", None)
    return {**counts, **last, **best, **state.latest}
