"""A Kubernetes cluster with KFP and one of our overlays, as the tests talk to it."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from copg.run.task_record import TaskRecord

ROOT = Path(__file__).parents[2]
VOLUME_POD = "copg-volume"
ACCOUNT = "copg-runner"
TRAINJOBS = "trainjobs.trainer.kubeflow.org"
API = ("kubeflow", "svc/ml-pipeline", 8888)
"""KFP's namespace, the service of its API and the port of it, wherever the tasks run."""


@dataclass
class Cluster:
    """One cluster, as one context of kubectl names it."""

    context: str
    namespace: str
    image: str
    host: str = ""
    """Address of KFP's API, while it is forwarded."""
    addresses: dict[str, str] = field(default_factory=dict)
    """Of artifacts that tests left, by name."""

    def kubectl(self, *words: str, given: str | None = None, check: bool = True) -> str:
        """What a command of kubectl prints.

        Raises:
            AssertionError: it failed; with what it said.
        """
        command = ["kubectl", "--context", self.context, "--namespace", self.namespace, *words]
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=600)
        if check:
            assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
        return done.stdout if check else done.stdout + done.stderr

    def pipelines(self, *words: str, code: int = 0) -> str:
        """What ``copg`` prints, with its errors where one is expected, when it ends so."""
        done = subprocess.run(
            [sys.executable, "-m", "copg.cli", *words, *self._whose()],
            env={**os.environ, "KF_PIPELINES_ENDPOINT": self.host},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=3000,
        )
        assert done.returncode == code, f"{' '.join(words)}: {done.stdout}\n{done.stderr}"
        return done.stdout + (done.stderr if code else "")

    def _whose(self) -> list[str]:
        return [] if self.namespace == API[0] else ["--namespace", self.namespace]

    def sh(self, script: str, *, check: bool = True) -> str:
        """What a shell script prints in the pod that holds the volume."""
        return self.kubectl("exec", VOLUME_POD, "--", "sh", "-c", script, check=check)

    def read(self, path: str) -> Any:
        """A JSON file on the volume; None where there is none."""
        text = self.sh(f"cat {path} 2>/dev/null || true")
        return json.loads(text) if text.strip() else None

    def records(self, run_dir: str) -> dict[str, TaskRecord]:
        """Of the tasks that ran in a directory of runs, by their names."""
        names = self.sh(f"ls {run_dir}/stages/*.json 2>/dev/null || true").split()
        known = {each.name for each in fields(TaskRecord)}
        read = [each for each in map(self.read, names) if each is not None]
        found = [TaskRecord(**{name: each[name] for name in known & set(each)}) for each in read]
        return {record.task: record for record in sorted(found, key=lambda record: record.started)}

    def may(self, verb: str, what: str) -> bool:
        """Whether tasks have a right."""
        who = f"system:serviceaccount:{self.namespace}:{ACCOUNT}"
        # exits with 1 for "no"; where the kind of resource is not installed, a warning follows
        return self.kubectl("auth", "can-i", verb, what, "--as", who, check=False).split()[0] == "yes"

    def pods(self, selector: str) -> list[dict[str, Any]]:
        """The pods that carry some labels."""
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", "pods", "-l", selector, "-o", "json"))[
            "items"
        ]
        return found


def wait_until(what: str, found: Callable[[], Any], *, minutes: float, every_s: float = 3.0) -> Any:
    """The first true value of ``found``.

    Raises:
        AssertionError: none within the time.
    """
    give_up = time.monotonic() + 60 * minutes
    while time.monotonic() < give_up:
        value = found()
        if value:
            return value
        time.sleep(every_s)
    raise AssertionError(f"{what}: not within {minutes:g} minutes")


@contextmanager
def forwarded(cluster: Cluster, where: tuple[str, str, int] = API) -> Iterator[str]:
    """The address of a service, KFP's API or another, on this machine, for as long as it is needed."""
    namespace, service, port = where
    command = ["kubectl", "--context", cluster.context, "--namespace", namespace]
    process = subprocess.Popen(
        [*command, "port-forward", service, f":{port}"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        assert found, f"port-forward to {service}: {line!r}"
        yield f"http://127.0.0.1:{found[1]}"
    finally:
        process.terminate()
        process.wait(30)


def function_of(pod: dict[str, Any]) -> str:
    """Which component a task's pod runs: the word after ``python3 -m copg_components``."""
    main = next((c for c in pod["spec"]["containers"] if c["name"] == "main"), None)
    words = [*main.get("command", []), *main.get("args", [])] if main else []
    after = words.index("copg_components") + 1 if "copg_components" in words else len(words)
    return words[after] if after < len(words) else ""


def collect(cluster: Cluster, folder: Path) -> None:
    """Leave pods, events, workflows and every log in a folder, after a failure."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, words in {
        "pods.txt": ("get", "pods", "-o", "wide"),
        "describe.txt": ("describe", "pods", "-l", "app.kubernetes.io/part-of=copg"),
        "events.txt": ("get", "events", "--sort-by=.lastTimestamp"),
        "workflows.yaml": ("get", "workflows.argoproj.io", "-o", "yaml"),
        "claims.txt": ("describe", "persistentvolumeclaims"),
    }.items():
        (folder / name).write_text(cluster.kubectl(*words, check=False))
    for pod in cluster.kubectl("get", "pods", "-o", "name", check=False).split():
        if not pod.startswith("pod/"):
            continue
        log = cluster.kubectl("logs", pod, "--all-containers", "--prefix", "--tail=2000", check=False)
        (folder / f"{pod.removeprefix('pod/')}.log").write_text(log)
