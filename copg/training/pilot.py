"""A pilot: a short training on some of the prompts, by which beta is set to a wanted distance, once.

The ladder of the logs says at which beta the optimum lies so far away. How far a policy really goes from
there, on text of its own, is what the pilot measures; beta then moves along the ladder's own slope. A pilot
that has learnt nothing of the rewards may raise beta, and does not lower it: what it lacks are steps.
"""

import gc
import math
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from copg.artifacts import read_manifest
from copg.data.group_files import count_groups
from copg.errors import ConfigError
from copg.progress import warn
from copg.rewards.ladder import Ladder, read_ladder
from copg.stores.sealed import read_sealed, write_sealed
from copg.training.checkpoint_store import checkpoint_store
from copg.training.config import SHARE, MonitorConfig, TargetKL, TrackingConfig, TrainConfig
from copg.training.ending import UNLEARNT

DRAWS = 512
"""Held-out prompts on which a pilot's KL is measured at most, one completion each."""
NEAR = 1.1
"""Factor beyond both distances between which the slope of the ladder is taken."""
SLOPES = (0.5, 2.0)
"""Powers of beta with which KL falls, at least and at most; where the pull is strong, the second."""
FURTHEST = 8.0
"""Factor by which a pilot moves beta at most."""
PILOT = "pilot.json"
"""Beside the checkpoints of its trial: a training that was killed goes on at the very beta it began with."""
Train = Callable[[TrainConfig, Path, Path, Path], Mapping[str, float]]
"""``train_policy``."""


def settled(config: TrainConfig, referenced: Path, train: Train, *, patience_s: float = 0.0) -> TrainConfig:
    """The same training at a beta that is a number: found by a pilot where the trial names a distance.

    Args:
        config: of the trial.
        referenced: what it is trained on.
        train: how a pilot is trained.
        patience_s: seconds to wait for another process that settles the same trial.

    Raises:
        ConfigError: the distance is more than the logs can support, nothing says what they do, or another
            process is at it still.
    """
    target = config.trial.beta
    if not isinstance(target, TargetKL):
        return config
    label, parent = config.trial.label, read_manifest(referenced, schema="referenced")
    ladder = read_ladder(parent.facts.get("ladder"))
    start = first_beta(ladder, target.kl, label)
    assert ladder is not None
    store = checkpoint_store(config, parent.digest)
    with store.held(patience_s):  # fetching empties the folder, in which another pilot may be trained
        store.fetch()
        pilot = read_sealed(store.folder / PILOT, remedy="remove it and run again")
        if not pilot:
            short = _short(config, target, start, count_groups(referenced, "train"))
            found = _trained(short, referenced, train, store.folder)
            pilot = {"target": target.kl, "predicted_beta": start, **found}
            pilot["beta"] = _moved(pilot, ladder)
            write_sealed(store.folder / PILOT, pilot)
            store.push()
    print(told(label, pilot), file=sys.stderr, flush=True)
    if _too_short(pilot):
        warn(
            f"trial {label}: its pilot learnt nothing, {pilot['kl']:.2g} of {target.kl:g} nats away at "
            f"residual {pilot['residual']:.2g} after {pilot['steps']:.0f} steps, so beta stays at "
            f"{pilot['beta']:.3g}, where the logs have it: take more steps, by train.epochs or fewer "
            "train.groups_per_step"
        )
    return replace(config, trial=replace(config.trial, beta=pilot["beta"], name=label), pilot=pilot)


def _too_short(pilot: Mapping[str, float]) -> bool:
    """Whether a pilot lacked steps to go as far as asked: a lower beta would pay for want of learning."""
    return pilot.get("residual", 0.0) > UNLEARNT and pilot.get("kl", math.inf) < pilot["target"]


def _moved(pilot: Mapping[str, float], ladder: Ladder) -> float:
    """Beta by how far a pilot went; that of the ladder where it ended before it could say."""
    start, reached, target = pilot["predicted_beta"], pilot.get("kl", 0.0), pilot["target"]
    if _too_short(pilot) or not reached > 0:
        return start
    return rescaled(start, reached=reached, target=target, slope=slope_between(ladder, reached, target))


def _trained(config: TrainConfig, referenced: Path, train: Train, folder: Path) -> dict[str, float]:
    """What a pilot came to, and cost; without ``kl`` where that says nothing.

    Its weights lie in ``folder`` for as long as it takes; the memory that it used is free afterwards.
    """
    import torch

    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="pilot-") as name:
        policy, training = Path(name) / "policy", Path(name) / "training"
        metrics = train(config, referenced, policy, training)
        diverged = read_manifest(training, schema="training").facts["diverged"]
    gc.collect()  # trainer and model hold one another
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    found = {
        "steps": metrics["steps/done"],
        "seconds": time.monotonic() - began,
        "residual": metrics.get("residual/last", math.nan),
        "kl": math.nan if diverged else metrics.get("kl/mean", math.nan),
    }
    return {key: value for key, value in found.items() if math.isfinite(value)}


def first_beta(ladder: Ladder | None, kl: float, label: str) -> float:
    """Where the logs say that the optimum lies ``kl`` nats away.

    Raises:
        ConfigError: it is more than they can support, or they say nothing.
    """
    beta = ladder.beta_for(kl) if ladder is not None else math.nan
    if ladder is None or not math.isfinite(beta):
        raise ConfigError(
            f"trial {label}: beta.kl={kl:g} needs rewards that differ within training prompts, by which "
            "beta is found: give beta as a number"
        )
    if kl > ladder.support:
        raise ConfigError(
            f"trial {label}: beta.kl={kl:g} is more than the most these logs can support, "
            f"{ladder.support:.2g} nats: ask for less, or bring more completions a prompt"
        )
    if ladder.rungs[-1].kl.mean < kl or any(r.lower_bound and r.beta >= beta for r in ladder.rungs):
        warn(
            f"trial {label}: of beta.kl={kl:g} these logs say little: few completions decide there, and the "
            f"most they can support is {ladder.support:.2g} nats"
        )
    return beta


def slope_between(ladder: Ladder, one: float, other: float) -> float:
    """By which power of beta the KL falls between two distances in nats, as the ladder has it.

    A policy that goes a fifth as far as the optimum bends like the optimum of a fifth of the way: the slope
    at the optimum itself, where the logs come to an end, would lower beta far too much.
    """
    near, far = min(one, other) / NEAR, max(one, other) * NEAR
    found = math.log(far / near) / math.log(ladder.beta_for(near) / ladder.beta_for(far))
    return min(max(found, SLOPES[0]), SLOPES[1])


def rescaled(beta: float, *, reached: float, target: float, slope: float) -> float:
    """Beta at which a policy goes as far as it should, from how far one went; the same where nobody can say.

    Args:
        beta: of the pilot, reward units per nat.
        reached: its KL, nats.
        target: the KL that is wanted, nats.
        slope: power of beta with which the KL falls.
    """
    if not (math.isfinite(reached) and reached > 0):
        return beta
    factor = (reached / target) ** (1 / slope)
    return float(f"{beta * min(max(factor, 1 / FURTHEST), FURTHEST):.3g}")


def told(label: str, pilot: Mapping[str, float]) -> str:
    """What a pilot cost and came to, in one line."""
    reached = f"{pilot['kl']:.2g} nats away" if "kl" in pilot else "nowhere that counts"
    return (
        f"pilot of trial {label}: {pilot['steps']:.0f} steps, {pilot['seconds']:.0f} s, residual "
        f"{pilot.get('residual', math.nan):.2g} at beta={pilot['predicted_beta']:.3g}: {reached}, asked for "
        f"{pilot['target']:g}: beta={pilot['beta']:g}"
    )


def _short(config: TrainConfig, target: TargetKL, beta: float, num_groups: int) -> TrainConfig:
    """The pilot's training: on few prompts, until it has learnt them, never longer than the trial's own."""
    num_groups = max(1, round(SHARE[config.data] * num_groups))
    num_groups = min(config.prompts or num_groups, num_groups)
    prompts, size = min(target.prompts, num_groups), config.step_size(num_groups)
    steps = config.epochs * -(-num_groups // size)
    changes: dict[str, Any] = {
        "trial": replace(config.trial, beta=beta, name=f"{config.trial.label}_pilot"),
        "prompts": prompts,
        "epochs": max(1, steps // -(-prompts // size)),
        "groups_per_step": size,
        "until_residual": target.residual,
        "samples": MonitorConfig(every_steps=0, num_prompts=DRAWS, generation=config.samples.generation),
        "tracking": TrackingConfig(),
        "checkpoint": replace(config.checkpoint, when_done="remove", yields="last"),
    }
    return replace(config, **changes)
