"""The loop: step, sample, save; it stops early when a trial has diverged or the machine asks it to."""

import signal
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from math import isfinite
from statistics import fmean
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from copg.errors import DamageError
from copg.progress import track, warn
from copg.tracking.runs import Tracker
from copg.training.checkpoint import (
    load_latest,
    read_tensors,
    save_checkpoint,
    save_tensors,
    trained_tensors,
)
from copg.training.checkpoint_store import CheckpointStore
from copg.training.clipping import clip_at, remember
from copg.training.config import TrainConfig
from copg.training.data import TrainData, step_groups
from copg.training.launch import sigterm_noted
from copg.training.log import LAST, MetricsLog
from copg.training.optim import build_optimizer, learning_rate
from copg.training.samples import Sampler, collapse
from copg.training.sharding import GatheredPolicy, shard_scorer
from copg.training.step import accumulate_gradients, diagnose, update
from copg.training.value_head import open_scorer, train_head

METRICS = "metrics.jsonl"
BEST = "best.safetensors"


@dataclass
class LoopState:
    """What a checkpoint must carry beside tensors."""

    step: int = 0
    """Optimiser steps done."""
    clipped: int = 0
    """Steps whose gradient was scaled down."""
    norms: list[float] = field(default_factory=list)
    """Of the gradients of the latest steps before they were scaled down."""
    start: dict[str, float] = field(default_factory=dict)
    """Metrics of the completions drawn before the first step."""
    latest: dict[str, float] = field(default_factory=dict)
    """Metrics of the completions drawn last."""
    best_step: int = 0
    best_reward: float | None = None
    reason: str | None = None
    """Why the trial diverged."""


class Loop:
    """One trial's training, from its latest checkpoint or from the start."""

    def __init__(
        self,
        config: TrainConfig,
        data: TrainData,
        policy: Any,
        sampler: Sampler,
        checkpoints: CheckpointStore,
        accelerator: Accelerator,
    ) -> None:
        """Prepare model, optimiser and log; nothing is trained yet.

        Args:
            policy: with the weights it starts from, on the accelerator's device.
            sampler: of held-out completions.
            checkpoints: of this run, with its metrics.
        """
        self.config, self.data, self.policy, self.sampler = config, data, policy, sampler
        self.checkpoints, self.folder, self.accelerator = checkpoints, checkpoints.folder, accelerator
        self.step_size = config.step_size(len(data))
        self.num_steps = config.epochs * -(-len(data) // self.step_size)
        sharded = config.launch.sharding == "fsdp2" and accelerator.num_processes > 1
        self.gathered = GatheredPolicy(policy, accelerator, sharded=sharded)
        if config.gradient_checkpointing:
            policy.activation_checkpointing_enable({"use_reentrant": False})
        scorer = open_scorer(policy, config.rows, config.trial.method)
        self.scorer = shard_scorer(scorer, accelerator) if sharded else accelerator.prepare_model(scorer)
        self.optimizer = build_optimizer(policy, config.optimizer)
        self._checkpointed = train_head(scorer, self.optimizer, config)
        self.state = LoopState()
        self._residuals: deque[float] = deque(maxlen=LAST)
        found = (self.folder, self._checkpointed, self.optimizer)
        stored = load_latest(*found) if self._best_is_whole() else None
        if stored is not None:
            self.state = LoopState(**{name: stored[name] for name in LoopState.__dataclass_fields__})
        self.resumed_from = self.state.step
        self.log = MetricsLog(self.folder / METRICS, steps_done=self.state.step) if self._main else None

    def _best_is_whole(self) -> bool:
        """Whether the best weights so far can be read; if not, they come again from the very start."""
        path = self.folder / BEST
        if path.exists():
            try:
                read_tensors(path)
            except DamageError as error:
                warn(f"{error}; the training begins anew")
                return False
        return True

    @property
    def _main(self) -> bool:
        return bool(self.accelerator.is_main_process)

    def run(self, tracker: Tracker) -> LoopState:
        """Train to the last step, or to the step that diverged."""
        saved_at = time.monotonic()
        if self.state.step == 0 and not self.state.start:
            self._sample(tracker)
        steps = range(self.state.step, self.num_steps)
        with sigterm_noted() as asked:
            shown = track(steps, self.config.trial.label, before=self.state.step) if self._main else steps
            for step in shown:
                if self.state.reason:
                    break
                self._step(step, tracker)
                last = self.state.step if self._settled() else self.num_steps
                if self.sampler.due(self.state.step, last) and not self.state.reason:
                    self._sample(tracker)
                stop, due = self._agreed(bool(asked), self._checkpoint_due(saved_at))
                if stop or due:
                    self._save()
                    saved_at = time.monotonic()
                if stop:
                    self.accelerator.wait_for_everyone()  # a process that ended would have the others killed
                    raise SystemExit(128 + (asked or [signal.SIGTERM])[0])
                if self._settled():
                    break
            if self._stays and self.state.step > self.resumed_from:
                self._save(keep=1)
        return self.state

    def _step(self, step: int, tracker: Tracker) -> None:
        started = time.monotonic()
        config, trial = self.config, self.config.trial
        indices = step_groups(len(self.data), self.step_size, step, seed=trial.seed)
        rate = learning_rate(step, self.num_steps, config.optimizer, peak=config.peak_rate)
        self.policy.train()
        result = accumulate_gradients(
            self.accelerator,
            self.scorer,
            self.data,
            indices,
            trial,
            config.rows,
            whole_step=min(self.step_size, len(self.data)),
        )
        limit = clip_at(config.optimizer.max_grad_norm, self.state.norms)
        norm = update(self.accelerator, self.scorer, self.optimizer, learning_rate=rate, max_grad_norm=limit)
        if not (isfinite(result.loss) and isfinite(norm)):
            self.state.reason = f"step {step + 1}: loss {result.loss} or gradient norm {norm} is not finite"
            return
        self.state.step = step + 1
        self.state.clipped += norm > limit
        self.state.norms = remember(self.state.norms, norm)
        metrics = {
            "loss/mean": result.loss,
            "gradient/norm": norm,
            "gradient/clipped_fraction": self.state.clipped / self.state.step,
            "learning_rate/value": rate,
            **diagnose(self.data, result, trial.price),
            "tokens/per_s": result.num_tokens / (time.monotonic() - started),
        }
        self._residuals.extend(filter(isfinite, [metrics["residual/fraction"]]))  # none where all tie
        self._write(metrics, tracker, seldom=True)

    def _settled(self) -> bool:
        """Whether the residual of the latest steps is as low as it was to become."""
        latest, until = self._residuals, self.config.until_residual
        return until > 0 and len(latest) == latest.maxlen and fmean(latest) <= until

    def _sample(self, tracker: Tracker) -> None:
        """Draw, log, remember the best, and notice a collapse."""
        if not self.sampler.groups:
            return
        with self.gathered.computing() as policy:
            if policy is not None:
                policy.eval()
            # one process draws, and every one must come to the same verdict
            metrics, failure = broadcast_object_list([self._draw(policy) if self._main else None])[0]
        state = self.state
        if failure:
            state.reason = f"step {state.step}: {failure}"
            return
        state.start, state.latest = state.start or metrics, metrics
        self._write(metrics, tracker)
        reward = metrics.get("reward/mean")
        if reward is not None and (state.best_reward is None or reward > state.best_reward):
            state.best_reward, state.best_step = reward, state.step
            if self.config.checkpoint.yields == "best":
                policy = self.gathered.gather()
                if self._main:
                    self.folder.mkdir(parents=True, exist_ok=True)
                    save_tensors(self.folder / BEST, trained_tensors(policy))
        state.reason = collapse(state.start, metrics, self.config.samples.collapse_spreads)

    def _draw(self, policy: Any) -> tuple[dict[str, float], str | None]:
        try:
            return self.sampler.draw(policy), None
        except FloatingPointError as error:
            return {}, str(error)

    def _write(self, metrics: dict[str, float], tracker: Tracker, *, seldom: bool = False) -> None:
        if self.log is None:
            return
        self.log.write(self.state.step, metrics)
        every = self.config.tracking.every_steps
        if not seldom or self.state.step % every == 0 or self.state.step == self.num_steps:
            tracker.log(metrics, self.state.step)

    @property
    def _stays(self) -> bool:
        return self.config.checkpoint.when_done == "keep"

    def _checkpoint_due(self, saved_at: float) -> bool:
        if self._stays and self.state.step == self.num_steps:
            return False  # it is saved in any case
        every = self.config.checkpoint.every_steps
        return (
            every > 0 and self.state.step % every == 0
        ) or time.monotonic() - saved_at > self.config.checkpoint.every_s

    def _agreed(self, *flags: bool) -> list[bool]:
        """Each flag as soon as one process raises it: what follows is done by all of them, or by none."""
        if self.accelerator.num_processes == 1:
            return list(flags)
        raised = torch.tensor(flags, dtype=torch.float32, device=self.accelerator.device)
        return [bool(count) for count in self.accelerator.reduce(raised, reduction="sum")]

    def _save(self, *, keep: int = 0) -> None:
        if not self.state.reason:
            state = {**asdict(self.state), "threads": torch.get_num_threads()}
            save_checkpoint(
                self.folder,
                self.state.step,
                self._checkpointed,
                self.optimizer,
                state,
                keep=keep or self.config.checkpoint.keep,
                write=self._main,
            )
            if self._main:
                self.checkpoints.push()
