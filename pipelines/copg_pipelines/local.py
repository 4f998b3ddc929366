"""Run a DAG on this machine: each task a process, answered by the cache where nothing changed."""

import builtins
import contextlib
import fcntl
import functools
import logging
import os
import signal
import socket
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import psutil

from copg.errors import ConfigError, CopgError, without_secrets
from copg.run.check import check_recipe
from copg.run.cut_off import make_way
from copg.run.machine import write_machine
from copg.run.recipe import Recipe, parse_recipe
from copg.run.summary import SUMMARY, read_records, write_summary
from copg.run.task_record import RUN, read_json
from copg.stores.addresses import is_finished
from copg.stores.sealed import write_sealed
from copg_pipelines.dags import Shape, build_dag
from copg_pipelines.dags.compiling import arguments, taken
from copg_pipelines.local_cache import CACHE, vouched
from copg_pipelines.watch import watching

RECIPE = "recipe.json"
"""The recipe of the latest run of the whole DAG, with which ``resume`` goes on."""
PROCESS = "copg"
"""Stands for the image of a task that is a process: the local cache goes by it, so it holds no version."""
EXECUTOR_MODULE = "kfp.dsl.executor_main"
"""Stands in the command of a task that is a process: ``kfp.local`` runs no other as one."""
TASKS_AT_ONCE = 2
"""As many tasks of a loop as ``kfp.local`` runs together."""
ENVIRONMENT = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1"}


class RunError(CopgError):
    """A local run cannot start or did not succeed."""


def run_local(dag: str, recipe: Recipe, root: Path, *, runner: Any = None, image: str = "") -> dict[str, Any]:
    """Run a DAG with a recipe through ``kfp.local``, with everything it leaves under ``root``.

    The terminal gets one line a task, ``root/logs`` the rest.

    Args:
        dag: its name.
        recipe: what to align, with absolute paths.
        root: directory of the runs; the same one again reuses what has not changed.
        runner: of ``kfp.local``; None runs each task as a process.
        image: of the tasks, for a runner of containers, which must reach ``root`` and the recipe's paths.

    Returns:
        The contents of ``summary.json``.

    Raises:
        RunError: another run is using ``root``.
        ConfigError: there is no such DAG, or the recipe is wrong.
    """
    root = root.resolve()
    check_recipe(recipe, root)
    with _alone(root):
        make_way(root)
        write_sealed(root / RECIPE, {"dag": dag, **asdict(recipe)})
        succeeded, log = _run_and_watch(lambda: _build(dag, recipe, image), recipe, root, runner)
        summary = read_json(root / SUMMARY) or write_summary(root, succeeded=succeeded)
        return {
            **summary,
            "failure": summary["failure"] or missing_outputs(root, succeeded=succeeded),
            "log": str(log),
            "tracking": recipe.tracking or f"sqlite:///{root}/mlflow.db",
        }


def kept_recipe(root: Path) -> tuple[str, Recipe]:
    """Name of the DAG and recipe of the latest run under ``root``.

    Raises:
        ConfigError: no run has been there.
    """
    kept = read_json(root / RECIPE)
    if not kept:
        raise ConfigError(f"{root}: no run has been there, {RECIPE} is missing")
    dag = str(kept.pop("dag", "align"))  # 0.1.0 had no other, and did not write its name
    try:
        return dag, parse_recipe(kept)
    except ConfigError as error:
        raise ConfigError(f"{root / RECIPE}: {error}; run the recipe itself instead") from None


def place_here(task: Any, image: str = PROCESS) -> Any:
    """A task as a process on this machine, or in a container of an image."""
    if task.component_spec.name == "summary":
        task.set_env_variable("COPG_WEBHOOK_URL", "")  # who started the run tells the webhook
    task.container_spec.args.append(EXECUTOR_MODULE)
    return task.set_container_image(image)


def _build(dag: str, recipe: Recipe, image: str) -> Any:
    place = functools.partial(place_here, image=image or PROCESS)
    return build_dag(dag, Shape(place=place, trains_reward=recipe.trains_reward, samples=recipe.samples))


def run_stage_local(recipe: Recipe, root: Path, build: Callable[[], Any]) -> Path:
    """Run a DAG of one stage, with the parameters of the whole one; its record tells how it went.

    Args:
        recipe: what to align, with absolute paths.
        root: directory of the runs.
        build: makes the DAG, which takes the parameters of ``align``.

    Returns:
        The log.

    Raises:
        RunError: another run is using ``root``.
        ConfigError: the recipe is wrong.
    """
    root = root.resolve()
    check_recipe(recipe, root)
    with _alone(root):
        return _run_and_watch(build, recipe, root)[1]


def count_cores() -> int:
    """Cores that this process may use, or as many threads as the user asked for."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) else len(os.sched_getaffinity(0))


def _run_and_watch(
    build: Callable[[], Any], recipe: Recipe, root: Path, runner: Any = None
) -> tuple[bool, Path]:
    """Whether ``kfp.local`` says that the pipeline succeeded, and the log."""
    write_machine(root, cores=count_cores(), tasks_at_once=TASKS_AT_ONCE)
    log = root / "logs" / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}.log"
    log.parent.mkdir(exist_ok=True)
    try:
        print(f"log: {log}", flush=True)
        watch = watching(root, sys.stdout, log=log, at_once=TASKS_AT_ONCE)
        with log.open("w", buffering=1) as stream, vouched(root), watch:
            return _run_pipeline(build, recipe, root, stream, runner), log
    finally:
        write_machine(root, cores=count_cores(), tasks_at_once=TASKS_AT_ONCE, ended=True)


def _run_pipeline(build: Callable[[], Any], recipe: Recipe, root: Path, log: TextIO, runner: Any) -> bool:
    """Whether ``kfp.local`` says that the pipeline succeeded, which is not to be relied on."""
    os.environ.update(ENVIRONMENT)
    with _captured(log), _stoppable(), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of settings without effect on one machine
        from kfp import local

        local.init(
            runner or local.SubprocessRunner(use_venv=False),
            pipeline_root=str(root / "artifacts"),
            workspace_root=tempfile.mkdtemp(prefix="copg-workspace-"),  # deleted after the run
            enable_caching=True,
            cache_root=str(root / CACHE),
        )
        try:
            pipeline = build()
            pipeline(**taken(pipeline, arguments(recipe, str(root), tasks_at_once=TASKS_AT_ONCE)))
        except Exception:  # whatever it is, it goes into the log and makes the run a failure
            print(without_secrets(traceback.format_exc()), flush=True)
            return False
    return True


def missing_outputs(root: Path, *, succeeded: bool) -> dict[str, Any] | None:
    """Why a run that calls itself a success is none: an artifact is not there, or the runner disagrees."""
    if not succeeded:
        return {"stage": "pipeline", "trial": None, "cause": "failed outside of the stages"}
    for record in read_records(root, read_json(root / RUN)).values():
        for name, address in record.outputs.items():
            if not is_finished(address):
                return {
                    "stage": record.stage,
                    "trial": None,
                    "cause": f"left no finished {name} at {address}",
                }
    return None


@contextlib.contextmanager
def _captured(log: TextIO) -> Iterator[None]:
    """Send what ``kfp.local`` and the tasks print to the log, and undo what it leaves changed.

    Its threads swap ``print`` and the root logger's handlers, each for the other's.
    """
    root = logging.getLogger()
    printed, handlers, level = builtins.print, root.handlers[:], root.level
    root.handlers[:] = [logging.StreamHandler(log)]
    root.setLevel(logging.INFO)
    try:
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            yield
    finally:
        builtins.print = printed
        root.handlers[:] = handlers
        root.setLevel(level)


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Being asked to stop also stops the tasks; a training then saves a checkpoint first."""

    def stop(number: int, frame: Any) -> None:
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.terminate()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    try:
        root.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:  # though its parents are made: there can be no such folder
        raise ConfigError(f"run_dir={str(root)!r} cannot be made: {error.strerror}; choose another") from None
    with (root / ".lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            who = f" ({found})" if (found := lock.read().strip()) else ""
            raise RunError(
                f"{root}: another run{who} is using it; wait, or choose another --run-dir"
            ) from None
        except OSError as error:  # a volume without locks
            print(f"warning: {lock.name}: cannot be locked: {error.strerror}", file=sys.stderr, flush=True)
        lock.truncate(0)
        lock.write(f"process {os.getpid()} of {socket.gethostname()}")
        lock.flush()
        yield
