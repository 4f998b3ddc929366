"""What was measured of a policy on a held-out split, as plain values: what an evaluation holds."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from copg.errors import RewardError
from copg.evaluation.estimates import estimate
from copg.evaluation.held_out import HeldOut
from copg.evaluation.metrics.reward_kl.reward_kl import compute_reward_kl
from copg.evaluation.objective import worth
from copg.losses.units import has_reward_units
from copg.records import cluster_of

MEASURED = ("rewards", "kls", "log_ratios")
"""Fields of a held-out prompt, one value a completion."""


def summarise(facts: dict[str, Any], split: str, prompts: Sequence[HeldOut], cluster: str) -> dict[str, Any]:
    """An ``Evaluation`` as plain values; without prompts, of a policy that diverged, estimates are null."""
    known = {name: facts[name] for name in ("name", "method", "beta", "diverged")}
    summary = {**known, "split": split, "num_prompts": len(prompts)}
    if not prompts:
        nothing = dict.fromkeys(("reward", "kl", "kl_k1", "objective", "length", "finished_fraction"))
        return {**summary, **nothing, "parts": {}}
    columns = {name: [getattr(p, name) for p in prompts] for name in MEASURED}
    parts = {part: [p.parts[part] for p in prompts] for part in prompts[0].parts}
    together = clusters_of(prompts, cluster)
    bounds: dict[str, tuple[float, float]] = facts["bounds"]
    finished = [each.finished for p in prompts for each in p.drawn]
    try:
        return {
            **summary,
            **compute_reward_kl(**columns, bounds=bounds.get("reward"), clusters=together),
            "objective": _objective(facts, columns["rewards"], columns["kls"], together),
            "length": asdict(
                estimate([[len(each.token_ids) for each in p.drawn] for p in prompts], clusters=together)
            ),
            "finished_fraction": sum(finished) / len(finished),
            "parts": {
                part: asdict(estimate(of, bounds=bounds.get(part), clusters=together))
                for part, of in parts.items()
            },
        }
    except ValueError as error:
        raise RewardError(f"{facts['name']}, split '{split}': {error}") from None


def clusters_of(prompts: Sequence[HeldOut], cluster: str) -> list[str]:
    """What prompts that count as one share; each for itself where all are of one cluster."""
    found = [cluster_of(p.group, cluster) or p.group.id for p in prompts]
    return found if len(set(found)) > 1 else [p.group.id for p in prompts]


def _objective(
    facts: dict[str, Any],
    rewards: Sequence[Sequence[float]],
    kls: Sequence[Sequence[float]],
    clusters: Sequence[str],
) -> dict[str, float] | None:
    """J at the trial's own beta; None where that is not in reward units."""
    beta = facts["beta"] if has_reward_units(facts["method"]) else None
    return None if beta is None else asdict(worth(rewards, kls, beta, clusters=clusters))


def means(found: dict[str, dict[str, Any]]) -> dict[str, float]:
    """The means alone, by quantity and split."""
    metrics = {}
    for split, summary in found.items():
        metrics[f"prompts/{split}"] = float(summary["num_prompts"])
        if summary["reward"] is None:
            continue
        parts = {f"reward_{name}": value for name, value in summary["parts"].items()}
        if summary["objective"]:
            parts = {"objective": summary["objective"], **parts}
        for name, value in {**{n: summary[n] for n in ("reward", "kl", "kl_k1", "length")}, **parts}.items():
            metrics[f"{name}/{split}"] = value["mean"]
        metrics[f"finished/{split}"] = summary["finished_fraction"]
    return metrics
