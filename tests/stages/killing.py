"""A process that forks a child for each stage it is asked to run, so that hundreds can be killed in minutes.

It loads each library once, for the first stage that needs it. A child that is to die at its n-th write sees
its own by Python's audit events: files opened to be written, renamed and removed, and folders made, below the
folder of its outputs.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from copg.artifacts import is_sealed
from copg.errors import CopgError, disk_mistake
from copg.lm.config import GenerationConfig
from copg.rewards.contract import RewardSpec

ROOT = Path(__file__).parents[2]
WRITES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir")
"""Audit events beside ``open`` that change what lies on a disk; their first argument is a path."""
SHORT = RewardSpec("length", params={"max": 4})
FEW = GenerationConfig(max_new_tokens=4)


def validate(given: Path, out: Path) -> None:
    from copg.stages.validate import ValidateConfig, validate_records

    validate_records(
        ValidateConfig(workers=0, select_fraction=0.25, gate_fraction=0.25),
        str(given / "records.jsonl"),
        out / "groups",
    )


def reward(given: Path, out: Path) -> None:
    from copg.stages.reward import RewardConfig, train_reward_once

    config = RewardConfig(model=str(given / "model"), groups_per_step=4)
    train_reward_once(config, given / "groups", out / "reward_model")


def sample(given: Path, out: Path) -> None:
    from copg.stages.sample import SampleConfig, sample_groups

    config = SampleConfig(model=str(given / "drawer"), store=str(out / "completions"), generation=FEW)
    sample_groups(config, given / "groups", out / "sampled")


def score(given: Path, out: Path) -> None:
    from copg.stages.score import ScoreConfig, score_groups

    config = ScoreConfig(rewards=[SHORT], store=str(out / "rewards"))
    score_groups(config, given / "groups", out / "scored")


def reference(given: Path, out: Path) -> None:
    from copg.stages.reference import ReferenceConfig, reference_groups

    config = ReferenceConfig(model=str(given / "model"), store=str(out / "store"))
    reference_groups(config, given / "scored", out / "referenced")


def train(given: Path, out: Path) -> None:
    from copg.stages.train import train_policy
    from copg.training.config import CheckpointConfig, MonitorConfig, TrainConfig, TrialConfig

    config = TrainConfig(
        model=str(given / "model"),
        trial=TrialConfig(beta=0.1),
        groups_per_step=4,
        threads=1,
        checkpoint=CheckpointConfig(folder=str(out / "checkpoints"), every_steps=1),
        samples=MonitorConfig(num_prompts=0),
    )
    # of an artifact that is whole a rerun of the DAG would begin another, elsewhere
    if not is_sealed(out / "training"):
        train_policy(config, given / "referenced", out / "policy", out / "training")


def evaluate(given: Path, out: Path) -> None:
    from copg.stages.evaluate import EvaluateConfig, evaluate_policy

    several = {"num_prompts": 2, "samples_per_prompt": 2, "generation": FEW, "threads": 1}
    config = EvaluateConfig(model=str(given / "model"), rewards=[SHORT], **several)  # type: ignore[arg-type]
    policy = given / "policy"
    for name, path in (("reference", None), ("copg_0.1", policy if policy.is_dir() else None)):
        evaluation = out / f"evaluation-{name}"
        if (path is not None or name == "reference") and not is_sealed(evaluation):
            evaluate_policy(config, given / "scored", evaluation, policy=path)


def report(given: Path, out: Path) -> None:
    from copg.stages.report import ReportConfig, report_trials

    report_trials(
        ReportConfig(name="x"),
        groups=given / "groups",
        reference=given / "evaluation-reference",
        champion=None,
        evaluations=[given / "evaluation-copg_0.1"],
        trainings=[given / "training"],
        report=out / "report",
    )


def promote(given: Path, out: Path) -> None:
    from copg.stages.promote import PromoteConfig, promote_best

    uri = f"sqlite:///{out}/mlflow.db"
    promote_best(
        PromoteConfig(tracking_uri=uri, model_name="x", champions=str(out / "champions")),
        groups=given / "groups",
        reference=given / "evaluation-reference",
        champion=None,
        evaluations=[given / "evaluation-copg_0.1"],
        registration=out / "registration",
    )


WORK: dict[str, Callable[[Path, Path], None]] = {
    "validate": validate,
    "reward": reward,
    "sample": sample,
    "score": score,
    "reference": reference,
    "train": train,
    "evaluate": evaluate,
    "report": report,
    "promote": promote,
}
"""What each stage does here, from a folder of inputs into one of outputs, stores and checkpoints."""
LIBRARIES = {
    **dict.fromkeys(("validate", "score"), ("great_expectations",)),
    "report": ("pandas",),
    **dict.fromkeys(("reward", "sample", "reference", "train", "evaluate"), ("torch", "transformers")),
}
"""What a stage loads only when it needs it, and a child would load each time."""


class Forks:
    """The process that forks; it ends with the block."""

    def __enter__(self) -> "Forks":
        command = [sys.executable, "-m", "tests.stages.killing"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=60)

    def run(
        self, stage: str, given: Path, out: Path, *, at_write: int = 0, after_s: float | None = None
    ) -> tuple[int, list[str], int]:
        """Run a stage, to its end or until it is killed.

        Args:
            at_write: number of the write at which it kills itself; 0: at none.
            after_s: seconds until it is killed; None: never.

        Returns:
            Its exit code, minus the signal that ended it; the lines of its error; how many writes it began.
        """
        order = {"stage": stage, "given": str(given), "out": str(out), "at": at_write, "after_s": after_s}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        code, lines, writes = json.loads(self._process.stdout.readline())
        return code, lines, writes


def serve() -> None:
    """Fork a child for each line of orders, and tell what became of it."""
    for line in sys.stdin:
        order = json.loads(line)
        for module in (f"copg.stages.{order['stage']}", *LIBRARIES.get(order["stage"], ())):
            importlib.import_module(module)
        began = time.monotonic()
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            _work(order, write)
        os.close(write)
        if order["after_s"] is not None:
            time.sleep(max(0.0, order["after_s"] - (time.monotonic() - began)))
            os.kill(pid, signal.SIGKILL)
        with os.fdopen(read) as told:
            said = told.read()
        _, status = os.waitpid(pid, 0)
        lines = [each for each in said.splitlines() if each != "."]
        print(json.dumps([os.waitstatus_to_exitcode(status), lines, said.count(".\n")]), flush=True)


def _work(order: dict[str, Any], told: int) -> None:
    """Run a stage in a child, which never returns."""
    out, quiet = Path(order["out"]), os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    writes = 0

    def watch(event: str, args: tuple[Any, ...]) -> None:
        nonlocal writes
        if event == "open":
            changes = isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        else:
            changes = event in WRITES
        if changes and str(args[0]).startswith(str(out)):
            writes += 1
            os.write(told, b".\n")
            if writes == order["at"]:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    try:
        WORK[order["stage"]](Path(order["given"]), out)
    except Exception as error:
        mistake = error if isinstance(error, CopgError) else disk_mistake(error)
        os.write(told, f"{mistake or repr(error)}\n".encode())
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    serve()
