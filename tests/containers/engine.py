"""The engine that runs containers, and how tight a container of ours is."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

SERVICE_START_S = 60
UID = 65532
MACHINE = {name: os.environ[name] for name in ("OMP_NUM_THREADS",) if name in os.environ}
TIGHT: dict[str, Any] = {
    "user": f"{UID}:{UID}",
    "read_only": True,
    "tmpfs": {"/tmp": "rw,mode=1777"},
    "network_mode": "none",
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "environment": {"HF_HUB_OFFLINE": "1", **MACHINE},
}
"""What every container gets: no root, no capability, no network, and nothing to write to but /tmp."""


@contextmanager
def docker_api(folder: Path) -> Iterator[None]:
    """``DOCKER_HOST`` of podman's service while the block runs; docker's own where there is no podman."""
    if "DOCKER_HOST" in os.environ or shutil.which("podman") is None:
        yield
        return
    socket = folder / "podman.sock"
    log = folder / "service.log"
    command = ["podman", "system", "service", "--time=0", f"unix://{socket}"]
    with log.open("w") as stream, subprocess.Popen(command, stdout=stream, stderr=stream) as service:
        try:
            _wait_for(socket, service, log)
            os.environ["DOCKER_HOST"] = f"unix://{socket}"
            yield
        finally:
            os.environ.pop("DOCKER_HOST", None)
            service.terminate()


def _wait_for(socket: Path, service: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + SERVICE_START_S
    while not socket.exists():
        if service.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"podman's service does not start: {log.read_text().strip()}")
        time.sleep(0.1)


def kfp_runner(run_dir: Path, *read_only: Path) -> Any:
    """A DockerRunner of tight containers that see the run's directory, and what they may only read.

    Args:
        run_dir: made, and open to the containers' user.
        read_only: records, model, artifacts of another run.
    """
    from docker.types import Mount
    from kfp import local

    for folder in (run_dir, run_dir / "artifacts"):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o777)
    for each in read_only:
        for path in (each, *each.rglob("*")):  # weights are saved for their owner alone
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
    mounts = [Mount(str(run_dir), str(run_dir), type="bind")]
    mounts += [Mount(str(path), str(path), type="bind", read_only=True) for path in read_only]
    return local.DockerRunner(**TIGHT, mounts=mounts)


def execute(dag: Any, runner: Any, run_dir: Path) -> str:
    """Run a DAG without parameters through ``kfp.local``; what it printed, whether it failed or not."""
    from kfp import local

    local.init(runner, pipeline_root=str(run_dir / "artifacts"), raise_on_error=False)
    with redirect_stdout(StringIO()) as said:
        dag()
    return said.getvalue()


def run_inside(image: str, *command: str) -> str:
    """What a command prints in a tight container.

    Raises:
        docker.errors.ContainerError: it failed; with its standard error.
    """
    import docker

    client = docker.from_env()
    try:
        container = client.containers.create(image, list(command), **TIGHT)
        try:
            container.start()
            code = container.wait()["StatusCode"]
            out, error = (container.logs(stdout=own, stderr=not own).decode() for own in (True, False))
        finally:
            container.remove(force=True)
    finally:
        client.close()
    assert code == 0, error or out
    return str(out)
