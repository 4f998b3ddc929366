"""Which gains the gate of a run will be able to see, told once the logs are scored: before any training."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from copg.artifacts import read_manifest
from copg.config import configuration, parse_config
from copg.errors import ConfigError
from copg.evaluation.power import Gate, outlook
from copg.rewards.bounds import bounds_of_parts
from copg.rewards.contract import RewardSpec, Scale
from copg.rewards.registry import build_reward


@configuration
class GateSize:
    """What of a recipe decides which gains its gate can see."""

    num_prompts: int
    """Gate prompts that are evaluated at most."""
    samples: int
    """Completions of each."""
    level: float
    """What one promotion tried may spend."""
    refuse_hopeless: bool = False
    """As in ``promote.error``."""


def gate_size(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The fields of ``GateSize``, from the settings of all stages."""
    evaluate, error = configs["evaluate"], configs["promote"]["error"]
    num_prompts = evaluate["num_prompts"]
    return {
        "num_prompts": num_prompts["gate"] if isinstance(num_prompts, Mapping) else num_prompts,
        "samples": evaluate["samples_per_prompt"],
        "level": error["budget"] / error["horizon"],
        "refuse_hopeless": error["refuse_hopeless"],
    }


def tell_outlook(size: Mapping[str, Any] | None, scored: Path) -> None:
    """Print which gains the gate will see, by the spread of the logged rewards within a prompt.

    Args:
        size: the plan's; None, as of a stage alone, tells nothing.
        scored: artifact of schema ``scored``.

    Raises:
        ConfigError: there are too few gate prompts for any, and the recipe says to stop then.
    """
    if size is None:
        return
    given, manifest = parse_config(GateSize, size, where="gate"), read_manifest(scored, schema="scored")
    splits = manifest.facts["splits"]
    spread = splits["train"]["metrics"].get("reward/spread", 0.0)
    if not spread > 0:
        return
    gate = Gate(spread=spread, samples=given.samples, level=given.level, bounds=_bounds(manifest))
    num_prompts = min(given.num_prompts, splits["gate"]["groups"])
    told = outlook(gate, num_prompts)
    if given.refuse_hopeless and num_prompts < gate.fewest:
        raise ConfigError(f"{told}: hold out more, or set promote.error.refuse_hopeless: false")
    print(told, file=sys.stderr, flush=True)


def _bounds(manifest: Any) -> tuple[float, float] | None:
    """Of the rewards that judge, where they have such."""
    specs = [parse_config(RewardSpec, each, where="rewards") for each in manifest.config["rewards"]]
    scales = {part: Scale(**scale) for part, scale in manifest.facts.get("scales", {}).items()}
    rewards = {spec.part: build_reward(spec) for spec in specs}
    return bounds_of_parts(specs, rewards, scales).get("reward")
