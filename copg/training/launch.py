"""Several processes of one training: started by torchrun, stopped together, their error passed on."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import copg.errors
from copg.artifacts import MANIFEST
from copg.config import parse_config
from copg.data.parents import describe_process, end_with
from copg.errors import CopgError, disk_mistake, without_secrets
from copg.lm.memory import memory_mistake
from copg.stores.sealed import read_sealed, write_sealed
from copg.training.config import TrainConfig

REQUEST, FAILURE = "request.json", "failure.json"
"""What the processes are to do, and why the first that failed did: in a folder that all of them see."""

LAUNCHER = "launcher"
"""Key of the process that asked, without which they end."""

ALIVE = "alive"
"""Touched there over and over by whoever follows the training from elsewhere."""


class ProcessError(RuntimeError):
    """A process failed for a reason that is not the user's."""


def hold_group(held: ExitStack) -> None:
    """Let the default process group, where there is one, go after all that trains on it.

    A reducer of DDP frees its group with the interpreter's lock in hand, and the group then waits for a
    thread of its own, which may want that lock to free the last work: where the reducer is the last to let
    go, a process hangs for ever at its end. The group's own object gives the lock away first.

    Args:
        held: closed when nothing trains any more.
    """
    import torch

    if torch.distributed.is_initialized():
        held.callback(id, torch.distributed.group.WORLD)


def torchrun_command(worker: str, folder: Path, *options: str, shutdown_s: int) -> list[str]:
    """The command that starts the processes, as many as its options or ``PET_*`` variables say.

    Args:
        worker: module that calls ``take_part`` when it is run with ``folder``.
        options: of torchrun.
        shutdown_s: seconds that they have after SIGTERM.
    """
    launcher = [sys.executable, "-m", "torch.distributed.run", *options]
    return [*launcher, "--shutdown-timeout", str(shutdown_s), "-m", worker, str(folder)]


def write_request(folder: Path, config: Mapping[str, Any], **paths: Path) -> None:
    """Say what the processes are to do; an earlier failure there is forgotten.

    Args:
        folder: that all of them see.
        config: of the stage, as plain values.
        paths: of its artifacts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FAILURE).unlink(missing_ok=True)
    told = {"config": config, LAUNCHER: describe_process()}
    write_sealed(folder / REQUEST, {**told, **{name: str(path) for name, path in paths.items()}})


def raise_failure(folder: Path, otherwise: str) -> None:
    """Raise what the first process that failed noted down.

    Raises:
        CopgError: of the same class, with the same line, when it was the user's mistake.
        ProcessError: anything else, and ``otherwise`` when no process lived to say why.
    """
    path = folder / FAILURE
    failure = read_sealed(path, remedy="run again") or {"kind": "", "message": otherwise}
    kind = getattr(copg.errors, failure["kind"], None)
    raise (kind if isinstance(kind, type) and issubclass(kind, CopgError) else ProcessError)(
        failure["message"]
    )


def run_processes(
    worker: str, config: Mapping[str, Any], num_processes: int, *, shutdown_s: int, **paths: Path
) -> None:
    """Run the stage in ``num_processes`` processes and wait for them; what they print is passed on.

    SIGTERM goes on to them, so that they save a checkpoint, and ends this process as it ends them.

    Args:
        config: of the stage, as plain values.
        num_processes: on this machine.
        shutdown_s: seconds that they have after SIGTERM.

    Raises:
        CopgError: the user's mistake that ended them.
        ProcessError: what else did.
    """
    with tempfile.TemporaryDirectory(prefix="copg-launch-") as name:
        folder = Path(name)
        write_request(folder, config, **paths)
        options = ("--standalone", f"--nproc-per-node={num_processes}")
        command = torchrun_command(worker, folder, *options, shutdown_s=shutdown_s)
        with subprocess.Popen(command) as process, sigterm_noted(process.send_signal) as asked:
            try:
                code = process.wait()
            finally:  # no way out of here leaves it running
                if process.poll() is None:
                    process.terminate()
        if asked:
            raise SystemExit(128 + asked[0])
        if code:
            raise_failure(folder, f"one of {num_processes} processes was killed: torchrun ended with {code}")


@contextmanager
def sigterm_noted(then: Callable[[int], object] = lambda number: None) -> Iterator[list[int]]:
    """Yields a list that holds SIGTERM's number once it came, so that a pre-empted pod gets to save its step.

    Args:
        then: called at once, with the number.
    """
    asked: list[int] = []

    def note(number: int, _: Any) -> None:
        asked.append(number)
        then(number)

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)


def end_when_abandoned(folder: Path, limit_s: float) -> None:
    """Send this process SIGTERM, for it to save a checkpoint and end, once nobody follows it any more.

    That is so when ``ALIVE`` lies in ``folder`` and has not been touched for a while. No signal would say it:
    KFP kills the task that follows without one that its program could hear.

    Args:
        limit_s: how long a while is; 0: for ever.
    """

    def silence_s() -> float:
        try:
            return time.time() - (folder / ALIVE).stat().st_mtime
        except OSError:  # nobody follows from elsewhere, or the volume is away
            return 0.0

    def look() -> None:
        while silence_s() <= limit_s:
            time.sleep(min(15.0, limit_s / 4))
        line = f"nobody has followed this training for {limit_s:g} s: its task is gone; it saves and ends"
        print(line, file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)

    if limit_s:
        threading.Thread(target=look, name="abandoned", daemon=True).start()


def take_part(folder: Path, train: Callable[..., Any]) -> None:
    """Be one of the processes of the training that the request in ``folder`` describes.

    Args:
        train: the stage, from a ``TrainConfig`` and the paths of its artifacts.
    """
    settings: dict[str, Any] = {}
    try:
        request = read_sealed(folder / REQUEST, remedy="run again")
        settings = request.pop("config")
        end_with(request.pop(LAUNCHER, {}), describe_process(os.getppid()))
        config = parse_config(TrainConfig, settings, where="train")
        paths = {name: Path(path) for name, path in request.items()}
        if (paths["training"] / MANIFEST).exists():  # sealed last: all pods were started again after the end
            return
        if os.environ.get("RANK", "0") == "0":  # torchrun's; all processes stop as soon as one wants to
            end_when_abandoned(folder, config.launch.abandoned_s)
        train(config, **paths)
    except Exception as problem:
        error = memory_mistake(problem, {"train": settings}) or disk_mistake(problem) or problem
        user = isinstance(error, CopgError)
        if user or not (folder / FAILURE).exists():  # else another process was faster, which tells no mistake
            said = without_secrets(f"{type(error).__name__}: {error}")  # a library's, of any address
            message = str(error) if user else said.partition("\n")[0]
            write_sealed(folder / FAILURE, {"kind": type(error).__name__ if user else "", "message": message})
        raise
