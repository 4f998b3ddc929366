"""``train``: referenced groups in, a policy and its training record out."""

import json
import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from copg.artifacts import Manifest, begin, check_free, is_sealed, read_manifest, seal, warnings_of
from copg.data.group_files import read_groups
from copg.errors import ConfigError
from copg.progress import noting_warnings
from copg.stores.model_files import policy_digest
from copg.training.config import TargetKL, TrainConfig
from copg.training.launch import hold_group, run_processes, take_part

if TYPE_CHECKING:
    from copg.training.data import TrainData
    from copg.training.loop import Loop, LoopState
    from copg.training.value import PromptValues

__all__ = ["TrainConfig", "train_policy"]

WORKER = "copg.stages.train"
"""This module: ``torchrun -m copg.stages.train FOLDER`` starts the processes of one training."""
WAIT_S = 30
"""Beyond the time that another training of the same has to save: it may be the one whose task was killed."""
PATIENCE = timedelta(hours=2)
"""For which processes wait for one another: one of them draws completions and has them scored."""


def train_policy(config: TrainConfig, referenced: Path, policy: Path, training: Path) -> dict[str, float]:
    """Train one trial, on all GPUs there are; a killed run goes on from its latest checkpoint.

    A trial whose loss or gradient is not finite, or whose sampled completions lose their reward, ends
    here, marked ``diverged`` in the facts of both artifacts, with the last weights that were finite.

    Args:
        referenced: artifact of schema ``referenced``.
        policy: where the policy goes: a model directory, or an adapter's.
        training: where metrics and facts go, small enough to be fetched without the weights.

    Returns:
        Metrics of the last completions drawn, and the number of steps.

    Raises:
        ArtifactError: an output is there already, other than what this training left when it was interrupted.
        MismatchError: the reference's weights do not give the cached reference log-probabilities.
        ModelError: model or tokeniser cannot be loaded.
        ConfigError: another process trains the same.
    """
    import torch

    from copg.training.pilot import settled

    if config.start_from is not None and not config.start_digest:
        config = replace(config, start_digest=policy_digest(config.start_from))
    if isinstance(config.trial.beta, TargetKL) and torch.distributed.is_torchelastic_launched():
        raise ConfigError(
            f"trial {config.trial.label}: a pilot runs in one task, not over several nodes: train it there "
            "once, and give the beta that it found"
        )
    patience_s = config.launch.shutdown_s + WAIT_S
    with noting_warnings() as warned:
        config = settled(config, referenced, train_policy, patience_s=patience_s)
        processes = config.launch.processes or torch.cuda.device_count() or 1
        if processes == 1 or torch.distributed.is_torchelastic_launched():
            return _take_part(config, referenced, policy, training, warned)
    paths = {"referenced": referenced, "policy": policy, "training": training}
    run_processes(WORKER, asdict(config), processes, shutdown_s=config.launch.shutdown_s, **paths)
    metrics: dict[str, float] = read_manifest(training, schema="training").facts["metrics"]
    return metrics


def _take_part(
    config: TrainConfig, referenced: Path, policy: Path, training: Path, warned: Sequence[str]
) -> dict[str, float]:
    """Train in this process, alone or as one of several, of which the main one writes the artifacts."""
    with ExitStack() as held:
        return _train(config, referenced, policy, training, warned, held)


def _train(
    config: TrainConfig,
    referenced: Path,
    policy: Path,
    training: Path,
    warned: Sequence[str],
    held: ExitStack,
) -> dict[str, float]:
    import torch
    from accelerate import Accelerator, InitProcessGroupKwargs

    from copg.losses import WITH_MISMATCHED
    from copg.training.checkpoint_store import checkpoint_store
    from copg.training.ending import final_metrics
    from copg.training.loop import Loop
    from copg.training.reference_point import check_mismatched
    from copg.training.samples import open_sampler
    from copg.training.start import load_policy

    if config.threads:
        torch.set_num_threads(config.threads)
    parent = read_manifest(referenced, schema="referenced")
    left = _left(policy, config, parent)
    for output in (training, *([] if left else [policy])):
        check_free(output)
    doubts = _doubts(config, parent)
    data, values = _read(config, referenced, parent)
    if config.trial.method in WITH_MISMATCHED:
        check_mismatched(config.trial, data, referenced)
    patience = InitProcessGroupKwargs(timeout=PATIENCE)
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), kwargs_handlers=[patience])
    hold_group(held)
    model, codec, fit = load_policy(config, parent, data, accelerator)
    fitted = replace(config, rows=fit.rows)
    checkpoints = checkpoint_store(config, parent.digest)
    if accelerator.is_main_process:
        held.enter_context(checkpoints.held(config.launch.shutdown_s + WAIT_S))
    if accelerator.is_local_main_process:
        checkpoints.fetch()
    accelerator.wait_for_everyone()
    sampler = open_sampler(fitted, parent, referenced, codec, model)
    loop = Loop(fitted, data, model, sampler, checkpoints, accelerator)
    state = _run(loop)
    trained = loop.gathered.gather()
    accelerator.end_training()
    if not accelerator.is_main_process:
        return {}
    metrics = {**values.metrics(), **final_metrics(loop, state)}
    facts = {**_facts(config, parent, state, metrics), "text": codec.about()}
    facts["hints"] += doubts
    facts["warnings"] += [f"train-{config.trial.label}: {line}" for line in warned]
    written = left or _write_policy(config, loop, trained, codec.tokenizer, policy, parent, facts)
    rows = fit.about(data.token_groups(range(len(data))), accelerator.device)
    _write_training(config, loop, values, training, parent, {**facts, "policy": written.digest, "rows": rows})
    if config.checkpoint.when_done == "remove":
        checkpoints.remove()
    return metrics


def _left(policy: Path, config: TrainConfig, parent: Manifest) -> Manifest | None:
    """The policy of this very training, which was interrupted before its record was whole."""
    if not is_sealed(policy):
        return None
    found = read_manifest(policy, schema="policy")
    same = found.config == json.loads(json.dumps(asdict(config)))
    return found if same and found.parents == {"referenced": parent.digest} else None


def _read(config: TrainConfig, referenced: Path, parent: Manifest) -> "tuple[TrainData, PromptValues]":
    """The prompts to train on, and what each of all there are is worth."""
    from copg.losses import WITH_MISMATCHED
    from copg.losses.units import has_reward_units
    from copg.training.data import TrainData
    from copg.training.value import value_prompts

    mismatched = config.trial.method in WITH_MISMATCHED and bool(parent.config.get("mismatched"))
    every = TrainData(read_groups(referenced, "train"), mismatched=mismatched)
    trial = config.trial
    values = value_prompts(every, trial.price if has_reward_units(trial.method) else None)
    if config.data == "all" and config.transform == "none" and not config.prompts:
        return every, values
    best = values.best(config.data)
    kept = {*sorted(best)[: config.prompts or len(best)]}
    groups = (group for group in read_groups(referenced, "train") if group.id in kept)
    return TrainData(groups, config.transform, mismatched=mismatched), values


def _doubts(config: TrainConfig, parent: Manifest) -> list[str]:
    """Say before any work what the logs do not support, a beta or a method; what was said."""
    from copg.losses import DRAWN_BY_REFERENCE
    from copg.losses.units import has_reward_units
    from copg.rewards.ladder import read_ladder

    ladder = read_ladder(parent.facts.get("ladder"))
    method = config.trial.method
    doubts = [ladder.doubt(config.trial.price)] if ladder and has_reward_units(method) else []
    if method in DRAWN_BY_REFERENCE and ladder and ladder.base != "reference":
        doubts.append(
            f"method={method} takes the completions for draws of the reference, and others drew these "
            "(score.completions_from)"
        )
    found = [doubt for doubt in doubts if doubt]
    for doubt in found:
        print(f"warning: trial {config.trial.label}: {doubt}", file=sys.stderr, flush=True)
    return found


def _run(loop: "Loop") -> "LoopState":
    """Train to the end, with metrics in MLflow where there is one."""
    from copg.tracking.runs import Tracker

    config = loop.config
    params = {**asdict(config.trial), "learning_rate": config.peak_rate, "model": config.model}
    tracker = Tracker(
        config.tracking.uri if loop.accelerator.is_main_process else None,
        experiment=config.tracking.experiment,
        run_name=config.trial.label,
        params=params,
        training=loop.folder.name,
    )
    with tracker as run:
        state = loop.run(run)
    loop.accelerator.wait_for_everyone()
    return state


def _facts(
    config: TrainConfig, parent: Manifest, state: "LoopState", metrics: dict[str, float]
) -> dict[str, Any]:
    """What both artifacts say of the trial and its end; hints are printed."""
    from copg.training.ending import hints

    label = config.trial.label
    follows = config.optimizer.max_grad_norm is None
    told = [] if state.reason else hints(metrics, clip_follows=follows)
    for hint in told:
        print(f"hint: trial {label} {hint}", file=sys.stderr, flush=True)
    diverged = f"train-{label}: diverged at step {state.step}, and cannot be promoted: {state.reason}"
    return {
        "trial": label,
        "method": config.trial.method,
        "beta": config.trial.beta,
        "pilot": config.pilot,
        "seed": config.trial.seed,
        "diverged": state.reason is not None,
        "reason": state.reason,
        "steps": state.step,
        "ladder": parent.facts.get("ladder"),
        "hints": told,
        "metrics": metrics,
        "warnings": [*warnings_of(parent), *([] if state.reason is None else [diverged])],
    }


def _write_policy(
    config: TrainConfig,
    loop: "Loop",
    trained: Any,
    tokenizer: Any,
    policy: Path,
    parent: Manifest,
    facts: dict[str, Any],
) -> Manifest:
    from copg.lm.scorer import DTYPES
    from copg.training.checkpoint import load_tensors
    from copg.training.loop import BEST

    begin(policy)
    if (loop.folder / BEST).exists():
        load_tensors(loop.folder / BEST, trained)
    trained.to(DTYPES[config.checkpoint.save_dtype]).save_pretrained(policy)
    tokenizer.save_pretrained(policy)
    return seal(
        policy,
        schema="policy",
        stage="train",
        rows=len(loop.data),
        config=asdict(config),
        parents={"referenced": parent.digest},
        facts=facts,
    )


def _write_training(
    config: TrainConfig,
    loop: "Loop",
    values: "PromptValues",
    training: Path,
    parent: Manifest,
    facts: dict[str, Any],
) -> None:
    """Metrics of every step, what each prompt was worth, and on what machine it was."""
    import torch

    begin(training)
    if loop.log:
        shutil.copyfile(loop.log.path, training / "metrics.jsonl")
    pq.write_table(values.table(), training / "prompts.parquet", compression="zstd")
    where = {
        "resumed_from": loop.resumed_from,
        "threads": torch.get_num_threads(),
        "processes": loop.accelerator.num_processes,
        "device": str(loop.accelerator.device),
    }
    seal(
        training,
        schema="training",
        stage="train",
        rows=len(loop.data),
        config=asdict(config),
        parents={"referenced": parent.digest},
        facts={**facts, **where},
        volatile=("metrics.jsonl",),
    )


if __name__ == "__main__":
    take_part(Path(sys.argv[1]), train_policy)
