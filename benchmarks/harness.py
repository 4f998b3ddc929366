"""What every benchmark shares: children that measure themselves, interleaved repeats, a table, JSON."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

GIB = 2**30
RESULT = "RESULT "


def peak_memory_gib(device: str = "cpu") -> float:
    """The most this process held so far: resident on the CPU, allocated by torch on a GPU."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / GIB
    # VmHWM, not ru_maxrss: that one is inherited from the parent across fork and exec
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 2**20


class Stopwatch:
    """CPU seconds of all threads and wall seconds, summed over the intervals it was running."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self.cpu_s = self.wall_s = 0.0
        self.count = 0

    def _sync(self) -> None:
        if self.device == "cuda":
            import torch

            torch.cuda.synchronize()

    def __enter__(self) -> "Stopwatch":
        self._sync()
        self._started = time.process_time(), time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self._sync()
        self.cpu_s += time.process_time() - self._started[0]
        self.wall_s += time.monotonic() - self._started[1]
        self.count += 1


def tell(result: Mapping[str, Any]) -> None:
    """Last line of a child: what it measured."""
    print(RESULT + json.dumps(result), flush=True)


def run_child(
    module: str, task: Mapping[str, Any], *, threads: int, checkout: Path | None = None
) -> dict[str, Any]:
    """Run ``python -m module --child task`` in a process of its own and return what it told.

    Args:
        module: of ``benchmarks``.
        task: what it measures.
        threads: of its own.
        checkout: of this repository, perhaps at another commit, whose module it is; None: this one.

    Raises:
        RuntimeError: it failed; with the end of its standard error.
    """
    numbers = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    path = {} if checkout is None else {"PYTHONPATH": str(checkout.resolve())}
    quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", module, "--child", json.dumps(task)],
        env={**os.environ, **numbers, **quiet, **path},
        cwd=checkout,
        capture_output=True,
        text=True,
    )
    told = [line for line in done.stdout.splitlines() if line.startswith(RESULT)]
    if done.returncode or not told:
        raise RuntimeError(f"{module} {task}: exit code {done.returncode}\n{done.stderr[-3000:]}")
    return dict(json.loads(told[-1].removeprefix(RESULT)))


def interleave(
    module: str, tasks: Mapping[str, Mapping[str, Any]], *, repeats: int, threads: int
) -> dict[str, list[dict[str, Any]]]:
    """Run every task ``repeats`` times, in turn, so that a busy minute hits all of them alike."""
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in tasks}
    for repeat in range(repeats):
        for name, task in tasks.items():
            started = time.monotonic()
            results[name].append(run_child(module, task, threads=threads))
            seconds = time.monotonic() - started
            print(f"{name}: repeat {repeat + 1} of {repeats}, {seconds:.0f} s", file=sys.stderr, flush=True)
    return results


def medians(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The median of each number over the runs."""
    return {
        key: statistics.median(run[key] for run in runs)
        for key, value in runs[0].items()
        if isinstance(value, int | float)
    }


def machine(device: str) -> dict[str, Any]:
    """What a figure depends on: processor, cores, load, versions, day."""
    model = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    about: dict[str, Any] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": model[0] if model else platform.machine(),
        "cores": os.cpu_count(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("torch", "transformers", "trl", "accelerate")},
    }
    if device == "cuda":
        import torch

        about["gpu"] = torch.cuda.get_device_name()
    return about


def _version(package: str) -> str | None:
    try:
        return version(package)
    except ImportError:
        return None


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of equal keys as a Markdown table."""
    heads = list(rows[0])
    cells = [heads, *([_cell(row[head]) for head in heads] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(heads))]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def write_report(
    out: Path, rows: Sequence[Mapping[str, Any]], *, device: str, details: Mapping[str, Any]
) -> None:
    """Print the table; write it and everything it came from to ``out`` as JSON."""
    print(table(rows))
    report = {"machine": machine(device), "table": list(rows), **details}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\n{out}")
