"""What will come of a run, told before any training: which gains its gate will see, and whether any could
pass; and whether the rewards hold anything to learn.

``score`` finds what of the logs decides it, and tells; of a run that learns a reward or draws completions
``validate`` tells what is known by then. Where an earlier run did these, ``resolve`` tells from its records.
"""

import heapq
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from copg.artifacts import Manifest, read_manifest
from copg.config import configuration, parse_config
from copg.data.group_files import read_groups
from copg.errors import ConfigError
from copg.evaluation.power import Gate, first_outlook, outlook, refusal
from copg.losses import WITHOUT_CONTRAST
from copg.records import CLUSTER, cluster_of
from copg.rewards.bounds import bounds_of_parts
from copg.rewards.contract import RewardSpec, Scale
from copg.rewards.registry import build_reward
from copg.run.task_names import trial_method
from copg.run.task_record import read_record, record_path
from copg.run.trained_reward import means_trained

GATE = "gate"
"""Of the plans of ``validate`` and ``score``: the settings; among the facts of records: what the logs say."""
ALL_THE_SAME = "train all the same with promote.error.refuse_hopeless: false"


@configuration
class GateSize:
    """What of a recipe decides which gains its gate can see."""

    num_prompts: int
    """Gate prompts that are evaluated at most."""
    samples: int
    """Completions of each."""
    level: float
    """What one promotion tried may spend."""
    min_gain: float = 0.0
    """Reward units, as in ``promote``."""
    cluster: str = CLUSTER
    """Column whose equal values make prompts count as one."""
    refuse_hopeless: bool = True
    """As in ``promote.error``."""
    needs_contrast: bool = True
    """Whether no trial learns anything where the rewards of every prompt are equal."""
    bounds: tuple[float, float] | None = None
    """Of the reward, as far as they are known before anything is scored."""


def gate_size(
    configs: Mapping[str, Mapping[str, Any]], trials: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """The fields of ``GateSize``, from the settings of all stages and the trials of the recipe."""
    evaluate, promote = configs["evaluate"], configs["promote"]
    num_prompts, error = evaluate["num_prompts"], promote["error"]
    return {
        "num_prompts": num_prompts["gate"] if isinstance(num_prompts, Mapping) else num_prompts,
        "samples": evaluate["samples_per_prompt"],
        "level": error["budget"] / error["horizon"],
        "min_gain": promote["min_gain"],
        "cluster": evaluate["cluster"],
        "refuse_hopeless": error["refuse_hopeless"],
        "needs_contrast": not any(trial_method(trial) in WITHOUT_CONTRAST for trial in trials),
    }


def measure_gate(size: Mapping[str, Any] | None, scored: Path) -> dict[str, Any] | None:
    """What of scored logs decides which gains the gate sees.

    Args:
        size: the plan's; None, as of a stage alone.
        scored: artifact of schema ``scored``.

    Returns:
        ``spread`` of rewards within a training prompt, ``bounds`` of the reward or None, how many ``prompts``
        are in gate, those of one cluster as one, and why there is ``no_contrast``, in words, or "". None
        without a size.
    """
    if size is None:
        return None
    manifest = read_manifest(scored, schema="scored")
    return {
        "spread": manifest.facts["splits"]["train"]["metrics"].get("reward/spread", 0.0),
        "bounds": _bounds(manifest),
        **(count_gate(size, scored) or {}),
        "no_contrast": _lack_of_contrast(manifest),
    }


def count_gate(size: Mapping[str, Any] | None, groups: Path) -> dict[str, Any] | None:
    """How many ``prompts`` of groups are judged on, those of one cluster as one, ``of`` how many at most.

    Args:
        size: the plan's; None, as of a stage alone.
        groups: artifact of groups, scored or not.
    """
    if size is None:
        return None
    given = _given(size)
    first = heapq.nsmallest(given.num_prompts, read_groups(groups, "gate"), key=lambda group: group.id)
    prompts = {cluster_of(group, given.cluster) or group.id for group in first}
    return {"prompts": len(prompts), "of": given.num_prompts}


def tell_outlook(size: Mapping[str, Any] | None, logs: Mapping[str, Any] | None) -> str:
    """Print which gains the gate will see, and return the line; empty where there is nothing to tell.

    Args:
        size: the plan's; None, as of a stage alone, tells nothing.
        logs: from ``measure_gate``.

    Raises:
        ConfigError: there is nothing to learn, or whatever came out, none could pass; and the recipe does
            not say to go on.
    """
    if size is None or logs is None:
        return ""
    given, bounds = _given(size), logs["bounds"]
    if given.refuse_hopeless and given.needs_contrast and (reason := logs.get("no_contrast")):
        raise ConfigError(
            f"nothing can be learnt: {reason}; mend the reward, name one that tells these completions apart, "
            f"bring others (sample draws more), or {ALL_THE_SAME}"
        )
    gate = Gate(
        spread=logs["spread"],
        samples=given.samples,
        level=given.level,
        bounds=(bounds[0], bounds[1]) if bounds else None,
        min_gain=given.min_gain,
    )
    num_prompts = min(given.num_prompts, logs["prompts"])
    told = outlook(gate, num_prompts)
    if given.refuse_hopeless and refusal(gate, num_prompts):
        remedy = _remedy(gate, given, logs)
        raise ConfigError(f"{told}: {remedy}, or {ALL_THE_SAME}")
    if told:
        print(told, file=sys.stderr, flush=True)
    return told


def first_size(size: Mapping[str, Any], rewards: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """``gate_size`` with what is known of the reward before anything is scored.

    Args:
        size: from ``gate_size``.
        rewards: by which will be scored, one that the run trains among them.
    """
    specs = [parse_config(RewardSpec, each, where="rewards") for each in rewards]
    built = {spec.part: build_reward(spec) for spec in specs if not means_trained(vars(spec))}
    found = {**size, "bounds": bounds_of_parts(specs, built, {}).get("reward")}
    if any(spec.standardise for spec in specs):  # the width, against which a gain is held, is not known yet
        found["min_gain"] = 0.0
    return found


def tell_first_outlook(size: Mapping[str, Any] | None, logs: Mapping[str, Any] | None) -> str:
    """``tell_outlook`` before a reward is learnt or anything drawn.

    Args:
        size: from ``first_size``; None, as of a stage alone, tells nothing.
        logs: from ``count_gate``.

    Raises:
        ConfigError: whatever came out, none could pass, and the recipe does not say to go on.
    """
    if size is None or logs is None:
        return ""
    given = _given(size)
    gate = Gate(
        spread=1.0, samples=given.samples, level=given.level, bounds=given.bounds, min_gain=given.min_gain
    )
    num_prompts = min(given.num_prompts, logs["prompts"])
    told = refusal(gate, num_prompts)
    if told and given.refuse_hopeless:
        raise ConfigError(f"{told}: {_remedy(gate, given, logs)}, or {ALL_THE_SAME}")
    if not told and given.bounds is None:
        told = first_outlook(given.samples, given.level, num_prompts)
    if told:
        print(told, file=sys.stderr, flush=True)
    return told


def tell_known_outlook(run_dir: Path, plans: Mapping[str, Mapping[str, Any]]) -> str:
    """``tell_outlook`` of logs that an earlier run scored, or what one that merely read them would tell;
    nothing where none did.

    Args:
        run_dir: directory of the runs.
        plans: of the stages, by name.

    Raises:
        ConfigError: as ``tell_outlook``.
    """
    for stage, tell in (("score", tell_outlook), ("validate", tell_first_outlook)):
        size = plans.get(stage, {}).get(GATE)
        record = None if size is None else read_record(record_path(run_dir, stage, plans[stage]["key"]))
        logs = None if record is None else record.facts.get(GATE)
        if logs is not None and logs["of"] >= _given(size or {}).num_prompts:
            return tell(size, logs)
    return ""


def _given(size: Mapping[str, Any]) -> GateSize:
    found: GateSize = parse_config(GateSize, size, where=GATE)
    return found


def _remedy(gate: Gate, given: GateSize, logs: Mapping[str, Any]) -> str:
    """Which setting is in the way."""
    if math.isinf(gate.fewest):
        return "lower promote.min_gain"
    if logs["prompts"] < given.num_prompts:
        return "bring more prompts or raise validate.gate_fraction"
    return f"raise evaluate.num_prompts={given.num_prompts}"


def _bounds(manifest: Manifest) -> tuple[float, float] | None:
    """Of the rewards that judge, where they have such."""
    specs = [parse_config(RewardSpec, each, where="rewards") for each in manifest.config["rewards"]]
    scales = {part: Scale(**scale) for part, scale in manifest.facts.get("scales", {}).items()}
    rewards = {spec.part: build_reward(spec) for spec in specs}
    return bounds_of_parts(specs, rewards, scales).get("reward")


def _lack_of_contrast(manifest: Manifest) -> str:
    """Why no training prompt has completions of different rewards, in words; empty where one has."""
    train = manifest.facts["splits"]["train"]
    metrics = train["metrics"]
    if metrics.get("groups/single") == 1:
        return f"each of {train['groups']} training prompts has a single completion, with nothing to compare"
    if metrics.get("groups/tied") != 1:
        return ""
    several = round(train["groups"] * (1 - metrics["groups/single"]))
    names = "; ".join(_sameness(train)) or "their weighted sum is one value a prompt"
    return f"in none of {several} training prompts of several completions do rewards differ ({names})"


def _sameness(train: Mapping[str, Any]) -> Iterator[str]:
    """What is one value of each reward that does not differ within a prompt, or of those of the records."""
    quantiles, metrics = train["quantiles"], train["metrics"]
    for name in [each for each in quantiles if each != "reward"] or ["reward"]:
        if metrics.get(f"{name}/spread") == 0:
            called = "those of the records" if name == "reward" else f"'{name.removeprefix('reward_')}'"
            low, high = quantiles[name]["0"], quantiles[name]["1"]
            told = f"always {low:g}" if low == high else "one value a prompt"
            yield f"{called}: {told}"
