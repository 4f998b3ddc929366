"""Speed and memory of ``validate`` on records made on the spot: ``python benchmarks/validation.py``.

Each case runs in a process of its own. Seconds include everything from the first import to the sealed
artifact, CPU seconds also those of the workers; memory is the sum of the highest resident sizes of the
main process and of each worker, which they need not reach at the same time.
"""

import argparse
import json
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

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


def measure(records: Path, groups: Path, workers: int) -> dict[str, float]:
    """Run the stage in this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    import great_expectations  # noqa: F401 - timed apart: most of the stage's start

    from copg.stages.validate import ValidateConfig, validate_records

    imported = time.process_time() - cpu
    config = ValidateConfig(workers=workers)
    metrics = validate_records(config, str(records), groups)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu + children.ru_utime + children.ru_stime,
        "import_cpu_s": imported,
        "peak_mib": own / 1024 + workers * children.ru_maxrss / 1024,
        "main_peak_mib": own / 1024,
        "groups": metrics["groups/count"],
        "rejected": metrics["records/rejected"],
        "torch_imported": float("torch" in sys.modules),
    }


def run_case(num_rows: int, shape: str, workers: int) -> dict[str, object]:
    """Make the records, measure a fresh process, throw both away."""
    with tempfile.TemporaryDirectory() as folder:
        records = Path(folder) / "records.jsonl"
        make_records(records, num_rows, shape)
        command = [sys.executable, __file__, "--workers", str(workers)]
        command += ["--measure", str(records), str(Path(folder) / "groups")]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        result = json.loads(done.stdout.splitlines()[-1])
        size = records.stat().st_size
    return {
        "rows": num_rows,
        "shape": shape,
        "mib": size / 2**20,
        "rows_per_s": num_rows / result["wall_s"],
        "rows_per_cpu_s": num_rows / result["cpu_s"],
        **result,
    }


def main() -> None:
    """Measure every size and shape, print a table, write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10**4, 10**5, 10**6])
    parser.add_argument("--shapes", choices=SHAPES, nargs="+", default=list(SHAPES))
    parser.add_argument("--workers", type=int, default=2, help="processes that parse beside the main one")
    parser.add_argument("--out", type=Path, default=Path("validation.json"), help="where the JSON goes")
    parser.add_argument("--measure", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*options.measure, options.workers)))
        return
    cases = [run_case(rows, shape, options.workers) for shape in options.shapes for rows in options.rows]
    heads = ("shape", "rows", "MiB", "wall s", "CPU s", "rows/s", "rows/CPU s", "peak MiB")
    print("".join(f"{head:>13}" for head in heads))
    for c in cases:
        print(
            f"{c['shape']:>13}{c['rows']:>13,}{c['mib']:>13.0f}{c['wall_s']:>13.1f}{c['cpu_s']:>13.1f}"
            f"{c['rows_per_s']:>13,.0f}{c['rows_per_cpu_s']:>13,.0f}{c['peak_mib']:>13.0f}"
        )
    machine = {
        "platform": platform.platform(),
        "processor": platform.processor(),
        "python": sys.version.split()[0],
    }
    libraries = {name: version(name) for name in ("great-expectations", "pyarrow", "pandas", "numpy")}
    options.out.write_text(
        json.dumps({"machine": machine, "libraries": libraries, "cases": cases}, indent=2) + "\n"
    )
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
