"""``train``: referenced groups in, a policy and its training record out."""

import heapq
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from copg.artifacts import Manifest, begin, read_manifest, seal, warnings_of
from copg.data.group_files import read_groups
from copg.errors import MismatchError
from copg.stores.model_files import policy_digest
from copg.stores.promised import weights_as_promised
from copg.training.config import TrainConfig
from copg.training.launch import hold_group, run_processes, take_part

if TYPE_CHECKING:
    from accelerate import Accelerator

    from copg.lm.forms import Fit
    from copg.lm.text import TextCodec
    from copg.training.data import TrainData
    from copg.training.loop import Loop, LoopState
    from copg.training.samples import Sampler
    from copg.training.value import PromptValues

__all__ = ["TrainConfig", "train_policy"]

WORKER = "copg.stages.train"
"""This module: ``torchrun -m copg.stages.train FOLDER`` starts the processes of one training."""

CHECKED_GROUPS = 32
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
        MismatchError: the reference's weights do not give the cached reference log-probabilities.
        ModelError: model or tokeniser cannot be loaded.
    """
    import torch

    if config.start_from is not None and not config.start_digest:
        config = replace(config, start_digest=policy_digest(config.start_from))
    processes = config.launch.processes or torch.cuda.device_count() or 1
    if processes == 1 or torch.distributed.is_torchelastic_launched():
        return _take_part(config, referenced, policy, training)
    paths = {"referenced": referenced, "policy": policy, "training": training}
    run_processes(WORKER, asdict(config), processes, shutdown_s=config.launch.shutdown_s, **paths)
    metrics: dict[str, float] = read_manifest(training, schema="training").facts["metrics"]
    return metrics


def _take_part(config: TrainConfig, referenced: Path, policy: Path, training: Path) -> dict[str, float]:
    """Train in this process, alone or as one of several, of which the main one writes the artifacts."""
    with ExitStack() as held:
        return _train(config, referenced, policy, training, held)


def _train(
    config: TrainConfig, referenced: Path, policy: Path, training: Path, held: ExitStack
) -> dict[str, float]:
    import torch
    from accelerate import Accelerator, InitProcessGroupKwargs

    from copg.tracking.runs import Tracker
    from copg.training.checkpoint_store import checkpoint_store
    from copg.training.ending import hints
    from copg.training.loop import Loop

    if config.threads:
        torch.set_num_threads(config.threads)
    parent = read_manifest(referenced, schema="referenced")
    _doubt(config, parent)
    data, values = _read(config, referenced)
    patience = InitProcessGroupKwargs(timeout=PATIENCE)
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), kwargs_handlers=[patience])
    hold_group(held)
    model, codec, fit = _load_policy(config, parent, data, accelerator)
    fitted = replace(config, rows=fit.rows)
    checkpoints = checkpoint_store(config, parent.digest)
    if accelerator.is_main_process:
        held.enter_context(checkpoints.held(config.launch.shutdown_s + WAIT_S))
    if accelerator.is_local_main_process:
        checkpoints.fetch()
    accelerator.wait_for_everyone()
    sampler = _sampler(fitted, parent, referenced, codec, model)
    loop = Loop(fitted, data, model, sampler, checkpoints, accelerator)
    params = {**asdict(config.trial), "learning_rate": config.optimizer.learning_rate, "model": config.model}
    uri = config.tracking.uri if accelerator.is_main_process else None
    tracker = Tracker(
        uri,
        experiment=config.tracking.experiment,
        run_name=config.trial.label,
        params=params,
        training=checkpoints.folder.name,
    )
    with tracker as run:
        state = loop.run(run)
    accelerator.wait_for_everyone()
    trained = loop.gathered.gather()
    accelerator.end_training()
    if not accelerator.is_main_process:
        return {}
    metrics = {**values.metrics(), **_metrics(loop, state)}
    told = [] if state.reason else hints(metrics)
    for hint in told:
        print(f"hint: trial {config.trial.label} {hint}", file=sys.stderr, flush=True)
    facts = {
        "trial": config.trial.label,
        "method": config.trial.method,
        "beta": config.trial.beta,
        "seed": config.trial.seed,
        "diverged": state.reason is not None,
        "reason": state.reason,
        "steps": state.step,
        "ladder": parent.facts.get("ladder"),
        "hints": told,
        "text": codec.about(),
        "metrics": metrics,
        "warnings": [*warnings_of(parent), *_warnings(config.trial.label, data, state)],
    }
    parents = {"referenced": parent.digest}
    written = _write_policy(config, loop, trained, codec.tokenizer, policy, parents, facts)
    begin(training)
    if loop.log:
        shutil.copyfile(loop.log.path, training / "metrics.jsonl")
    pq.write_table(values.table(), training / "prompts.parquet", compression="zstd")
    facts |= {
        "policy": written.digest,
        "resumed_from": loop.resumed_from,
        "threads": torch.get_num_threads(),
        "processes": accelerator.num_processes,
        "device": str(accelerator.device),
        "rows": fit.about(data.token_groups(range(len(data))), accelerator.device),
    }
    seal(
        training,
        schema="training",
        stage="train",
        rows=len(data),
        config=asdict(config),
        parents=parents,
        facts=facts,
        volatile=("metrics.jsonl",),
    )
    if config.checkpoint.when_done == "remove":
        checkpoints.remove()
    return metrics


def _read(config: TrainConfig, referenced: Path) -> "tuple[TrainData, PromptValues]":
    """The prompts to train on, and what each of all there are is worth."""
    from copg.losses.units import has_reward_units
    from copg.training.data import TrainData
    from copg.training.value import value_prompts

    every = TrainData(read_groups(referenced, "train"))
    trial = config.trial
    values = value_prompts(every, trial.beta if has_reward_units(trial.method) else None)
    if config.data == "all" and config.transform == "none":
        return every, values
    kept = values.best(config.data)
    groups = (group for group in read_groups(referenced, "train") if group.id in kept)
    return TrainData(groups, config.transform), values


def _doubt(config: TrainConfig, parent: Manifest) -> None:
    """Say before any work that a beta lies far outside of what the logs support."""
    from copg.losses.units import has_reward_units
    from copg.rewards.ladder import read_ladder

    ladder = read_ladder(parent.facts.get("ladder"))
    doubt = ladder.doubt(config.trial.beta) if ladder and has_reward_units(config.trial.method) else None
    if doubt:
        print(f"warning: trial {config.trial.label}: {doubt}", file=sys.stderr, flush=True)


def _load_policy(
    config: TrainConfig, parent: Manifest, data: "TrainData", accelerator: "Accelerator"
) -> "tuple[Any, TextCodec, Fit]":
    """The reference's weights, checked against the cached values; then those the policy starts from; and the
    rows in which both are exact.
    """
    import torch

    from copg.lm.forms import fit_reference
    from copg.lm.load import check_vocabulary, load_codec, load_model
    from copg.lm.scorer import DTYPES
    from copg.training.optim import add_adapter, disable_dropout, freeze_towers

    dtype = DTYPES[config.rows.parameter_dtype]
    with weights_as_promised(config.model, config.model_digest):
        codec = load_codec(config.model, revision=config.revision, text=config.text)
        model: Any = load_model(config.model, dtype=dtype, revision=config.revision)
    model = model.to(accelerator.device)
    groups = data.token_groups(range(len(data)))
    fit = fit_reference(config.model, model, groups, config.rows)
    _check_reference(replace(config, rows=fit.rows), parent, data, model, codec)
    if config.start_from is not None:
        start, revision = config.start_from, config.start_revision
        check_vocabulary(start, codec.tokenizer, config.model, revision=revision)
        with weights_as_promised(start, config.start_digest):
            model = load_model(start, dtype=dtype, revision=revision, trainable=True)
        model = model.to(accelerator.device)
        fit = fit_reference(start, model, groups, config.rows)
    disable_dropout(model)
    freeze_towers(model)
    if config.lora is not None and not hasattr(model, "disable_adapter"):
        model = add_adapter(model, config.lora, seed=config.trial.seed)
    torch.manual_seed(config.trial.seed)
    return model, codec, fit


def _check_reference(
    config: TrainConfig, parent: Manifest, data: "TrainData", model: Any, codec: "TextCodec"
) -> None:
    """Run the reference through train's own path on sampled groups and compare with the cached values.

    Raises:
        MismatchError: names what moved: model, tokeniser, template or precision.
    """
    from copg.lm.reference import TOLERANCES, mean_difference, text_digests
    from copg.training.data import epoch_order

    chosen = epoch_order(len(data), seed=0, epoch=0)[:CHECKED_GROUPS].tolist()
    groups = [data.token_group(i) for i in chosen]
    stored = [data.stored_logps(i) for i in chosen]
    difference = mean_difference(model, groups, stored, config.rows)
    tolerance = TOLERANCES[config.rows.compute_dtype]
    if difference <= tolerance:
        return
    now = {
        "parameter_dtype": config.rows.parameter_dtype,
        "compute_dtype": config.rows.compute_dtype,
        **text_digests(codec),
    }
    then = parent.facts["numerics"]
    moved = sorted(name for name, value in now.items() if then.get(name) != value) or ["weights or device"]
    raise MismatchError(
        f"{config.model}: differs from the cached reference by {difference:.2g} nats a token, over "
        f"{tolerance:g}; changed since stage 'reference': {', '.join(moved)}"
    )


def _sampler(
    config: TrainConfig, parent: Manifest, referenced: Path, codec: "TextCodec", policy: Any
) -> "Sampler":
    from copg.lm.generation import max_prompt_tokens
    from copg.lm.load import load_model
    from copg.lm.scorer import DTYPES
    from copg.rewards.contract import Scale
    from copg.training.samples import Sampler

    @contextmanager
    def reference(policy: Any) -> Iterator[Any]:
        """With an adapter on the reference that model itself, adapter off; else loaded, and never kept."""
        if config.start_from is None and hasattr(policy, "disable_adapter"):
            with policy.disable_adapter():
                yield policy
        else:
            dtype = DTYPES[config.rows.parameter_dtype]
            yield load_model(config.model, dtype=dtype, revision=config.revision).to(policy.device)

    room = max_prompt_tokens(policy.config, config.samples.generation)
    fitting = (group for group in read_groups(referenced, "select") if len(group.prompt_ids or ()) <= room)
    groups = heapq.nsmallest(config.samples.num_prompts, fitting, key=lambda group: group.id)
    scales = {part: Scale(**scale) for part, scale in parent.facts.get("scales", {}).items()}
    return Sampler(config.samples, groups, codec, config.rows, reference, scales)


def _metrics(loop: "Loop", state: "LoopState") -> dict[str, float]:
    """Of the whole training and of its last steps; the residual only where beta has the unit of rewards."""
    from copg.losses.units import has_reward_units
    from copg.training.ending import last_means
    from copg.training.log import read_metrics

    best = {} if state.best_reward is None else {"best/step": float(state.best_step)}
    counts = {"steps/done": float(state.step), "steps/clipped": float(state.clipped)}
    last = last_means(read_metrics(loop.log.path)) if loop.log else {}
    if not has_reward_units(loop.config.trial.method):
        last.pop("residual/last", None)
    return {**counts, **last, **best, **state.latest}


def _warnings(trial: str, data: "TrainData", state: "LoopState") -> list[str]:
    """What went otherwise than asked."""
    found = []
    if state.reason is not None:
        found.append(f"diverged at step {state.step}, and cannot be promoted: {state.reason}")
    return [f"train-{trial}: {line}" for line in found]


def _write_policy(
    config: TrainConfig,
    loop: "Loop",
    trained: Any,
    tokenizer: Any,
    policy: Path,
    parents: dict[str, str],
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
        parents=parents,
        facts=facts,
    )


if __name__ == "__main__":
    take_part(Path(sys.argv[1]), train_policy)
