"""How a training ended: metrics; unfinished, clipped, without effect, or off its logs; a hint for each."""

from collections.abc import Iterable, Mapping
from itertools import accumulate
from statistics import fmean
from typing import TYPE_CHECKING, Any

from copg.losses.units import has_reward_units
from copg.training.log import LAST, read_metrics

if TYPE_CHECKING:
    from copg.training.loop import Loop, LoopState

UNFINISHED = 0.3
"""Var(R_beta) / Var(R) from which a training is called unfinished."""
UNLEARNT = 0.9
"""The same from which a policy has learnt next to nothing of the rewards."""
OVERSHOT = 1.3
"""How many times its lowest so far the residual becomes on the way where the learning rate is too high."""
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
    drifted = kl is not None and moved is not None and kl > DRIFTED_NATS and kl > DRIFTED * max(moved, 0.0)
    found = []
    still = residual is not None and residual > UNLEARNT
    if still and kl is not None and abs(kl) < UNMOVED_NATS:
        found.append(
            f"moved nothing: residual {residual:.2g} and KL {kl:.2g} nats after {steps:.0f} steps: raise the "
            "learning rate"
        )
    elif residual is not None and residual > UNFINISHED:
        rise = metrics.get("residual/rise", 1.0)
        if rise > OVERSHOT:
            text = (
                f"overshot: residual rose {rise:.1f}-fold on the way and is {residual:.2g} after {steps:.0f} "
                "steps: lower the learning rate, or take more groups a step"
            )
        elif residual < 1:
            text = (
                f"unfinished: residual {residual:.2g} after {steps:.0f} steps: take more steps, by epochs or "
                f"fewer groups_per_step{'' if drifted else ', or raise the learning rate'}"
            )
        else:
            text = (
                f"worse than at the start: residual {residual:.2g} after {steps:.0f} steps: lower the "
                "learning rate or beta"
            )
        found.append(text)
    if clipped > CLIPPED:
        found.append(
            f"clipped in {100 * clipped:.0f} % of the steps: the clip decides how far they go: raise "
            "optimizer.max_grad_norm, or let it follow the norms (null)"
        )
    if drifted:
        found.append(
            f"drifted off the logs: drawn completions lie {kl:.2g} nats away, logged ones show {moved:.2g}: "
            f"{'' if still else 'lower the learning rate, '}raise beta, or draw fresh completions"
        )
    return found


def last_means(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Means over the last steps of a training's log, and how far its residual rose before.

    Returns:
        ``residual/last`` and ``log_ratio/weighted_last``; ``residual/rise``: the largest quotient of the
        residual's mean over as many steps and of the lowest such mean before it, 1 where it only fell.
    """
    steps = [row for row in rows if "residual/fraction" in row]
    # no more than the last quarter of all
    size = min(LAST, max(1, len(steps) // 4))
    means: dict[str, float] = {}
    for name in LAST_OF:
        values = [step[name] for step in steps[-size:] if step.get(name) is not None]
        means |= {LAST_OF[name]: fmean(values)} if values else {}
    # of a step whose groups are all tied there is none
    residuals = [left for step in steps if (left := step["residual/fraction"]) is not None]
    parts = [fmean(residuals[end - size : end]) for end in range(len(residuals), size - 1, -size)][::-1]
    if lowest := list(accumulate(parts, min)):
        means["residual/rise"] = max(
            part / low if low > 0 else 1.0 for part, low in zip(parts, lowest, strict=True)
        )
    return means


def final_metrics(loop: "Loop", state: "LoopState") -> dict[str, float]:
    """Of the whole training and of its last steps; residuals only where beta has the unit of rewards."""
    best = {} if state.best_reward is None else {"best/step": float(state.best_step)}
    counts = {"steps/done": float(state.step), "steps/clipped": float(state.clipped)}
    last = last_means(read_metrics(loop.log.path)) if loop.log else {}
    if not has_reward_units(loop.config.trial.method):
        last = {name: value for name, value in last.items() if not name.startswith("residual/")}
    return {**counts, **last, **best, **state.latest}
