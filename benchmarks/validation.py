"""Speed and memory of ``validate`` on records made on the spot: ``python -m benchmarks.validation``.

Each case runs in a process of its own. Seconds include everything from the first import to the sealed
artifact, CPU seconds those of the parsing processes too. Memory is the highest resident size of all
processes together, sampled; pages they share count once for each.
"""

import argparse
import json
import random
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks.harness import interleave, medians, peak_memory_gib, tell, write_report

WORDS_PER_PROMPT = 50
WORDS_PER_COMPLETION = 18
COMPLETIONS = 4
DUPLICATE_EVERY = 1000
BAD_EVERY = 5000
SHAPES = ("group", "row_shuffled")
"""One line a prompt; one line a completion, in random order, so that nothing lies together."""


def make_records(path: Path, num_rows: int, shape: str) -> None:
    """Write JSON lines of about 1 kB (``group``) or .5 kB (``row_shuffled``), the same at every call."""
    rng = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        rows = _groups(rng, num_rows) if shape == "group" else _singles(rng, num_rows)
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _groups(rng: random.Random, num_rows: int) -> Iterator[dict[str, object]]:
    words = _vocabulary(rng)
    for number in range(num_rows):
        # every thousandth prompt came before, every five-thousandth record is bad
        key = number - rng.randrange(number) if number and number % DUPLICATE_EVERY == 0 else number
        completions: list[str] = [_text(rng, words, WORDS_PER_COMPLETION) for _ in range(COMPLETIONS)]
        if number % BAD_EVERY == 7:
            completions[0] = " "
        yield {
            "id": str(number),
            "prompt": _prompt(words, key),
            "completions": completions,
            "rewards": [rng.random() for _ in range(COMPLETIONS)],
            "reference": _text(rng, words, 15),
        }


def _singles(rng: random.Random, num_rows: int) -> Iterator[dict[str, object]]:
    words = _vocabulary(rng)
    keys = [number // COMPLETIONS for number in range(num_rows)]
    rng.shuffle(keys)
    for key in keys:
        text = _text(rng, words, WORDS_PER_COMPLETION)
        yield {"prompt": _prompt(words, key), "completion": text, "reward": rng.random()}


def _vocabulary(rng: random.Random) -> list[str]:
    """Of 5,000 words, of which one in 500 is not ASCII: then one prompt in ten is not, as in SciTLDR."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(rng.choices(letters, k=rng.randint(2, 9))) for _ in range(5000)]
    return [f"{word}é" if number % 500 == 0 else word for number, word in enumerate(words)]


def _text(rng: random.Random, words: list[str], length: int) -> str:
    return " ".join(rng.choices(words, k=length)).capitalize() + "."


def _prompt(words: list[str], key: int) -> str:
    return _text(random.Random(key), words, WORDS_PER_PROMPT)


class PeakOfAll(threading.Thread):
    """Samples the resident size of this process and its children."""

    def __init__(self, every_s: float = 0.05) -> None:
        super().__init__(daemon=True)
        self.peak_gib = 0.0
        self._every_s = every_s

    def run(self) -> None:
        """Until the process ends."""
        own = psutil.Process()
        while True:
            total = 0
            for process in (own, *own.children()):
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.peak_gib = max(self.peak_gib, total / 2**30)
            time.sleep(self._every_s)


def child(task: dict[str, Any]) -> None:
    """Run the stage in this process, on records that lie there already."""
    wall, cpu = time.monotonic(), time.process_time()
    sampled = PeakOfAll()
    sampled.start()
    import great_expectations  # noqa: F401 - timed apart: it is most of the stage's start

    from copg.stages.validate import ValidateConfig, validate_records

    imported = time.process_time() - cpu
    groups = Path(task["folder"]) / f"groups_{time.monotonic_ns()}"
    metrics = validate_records(ValidateConfig(workers=task["workers"]), task["records"], groups)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    tell(
        {
            "wall_s": time.monotonic() - wall,
            "cpu_s": time.process_time() - cpu + children.ru_utime + children.ru_stime,
            "import_cpu_s": imported,
            "peak_gib": max(sampled.peak_gib, peak_memory_gib()),
            "groups": metrics["groups/count"],
            "rejected": metrics["records/rejected"],
            "torch_imported": float("torch" in sys.modules),
        }
    )


def run_case(shape: str, rows: int, options: argparse.Namespace) -> dict[str, Any]:
    """One line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        records = Path(folder) / "records.jsonl"
        make_records(records, rows, shape)
        task = {"records": str(records), "folder": folder, "workers": options.workers}
        name = f"{shape} {rows}"
        runs = interleave("benchmarks.validation", {name: task}, repeats=options.repeats, threads=1)[name]
        size = records.stat().st_size
    m = medians(runs)
    return {
        "shape": shape,
        "records": rows,
        "MiB": size / 2**20,
        "wall s": m["wall_s"],
        "CPU s": m["cpu_s"],
        "import CPU s": m["import_cpu_s"],
        "records/s": round(rows / m["wall_s"]),
        "records/CPU s": round(rows / m["cpu_s"]),
        "peak MiB": round(m["peak_gib"] * 1024),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=["cpu"])
    parser.add_argument("--rows", type=int, nargs="+", default=[10**4, 10**5, 10**6])
    parser.add_argument("--shapes", choices=SHAPES, nargs="+", default=list(SHAPES))
    parser.add_argument("--workers", type=int, default=2, help="processes that parse beside the main one")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/validation.json"))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(json.loads(options.child))
        return
    lines = [run_case(shape, rows, options) for shape in options.shapes for rows in options.rows]
    write_report(options.out, lines, device=options.device, details={"workers": options.workers})


if __name__ == "__main__":
    main()
