"""Reference log-probabilities, ours against the precomputation of TRL: what is computed again, what is stale.

A run shares its cache with the runs before it. A value is wrong when it differs from that of the same run
with an empty cache by more than 1e-5 nats a token. Every run is a process of its own.
"""

import argparse
import json
import statistics
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.changes import CHANGES, SIZE, Setting, base_setting, more_rows
from benchmarks.harness import run_child, table, tell, write_report
from benchmarks.made import Size
from benchmarks.reference_sides import run_copg, run_trl

TOLERANCE = 1e-5
TIMED = Size(8_000, 4, 256, 688, 4, 4)
NOT_FOR = {
    "copg": {"truncation: 28 tokens, cut at the start"},
    "trl": {"tokeniser: chat template", "ids: no end of sequence"},
}
"""Ours never cuts. TRL's records here are text, and it always adds the end of sequence."""


def run(side: str, runs: list[tuple[Setting, Path]], threads: int) -> list[dict[str, Any]]:
    """Runs (setting, cache), one after the other, in one process."""
    plain = [({**asdict(setting), "model": str(setting.model)}, str(cache)) for setting, cache in runs]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"side": side, "runs": plain}, file)
        file.flush()
        told = run_child("benchmarks.reference", {"file": file.name}, threads=threads)
    results: list[dict[str, Any]] = told["results"]
    return results


def child(file: Path) -> None:
    """Some runs."""
    task = json.loads(file.read_text())
    one = run_copg if task["side"] == "copg" else run_trl
    settings = [
        (Setting(**{**setting, "model": Path(setting["model"])}), Path(cache))
        for setting, cache in task["runs"]
    ]
    tell({"results": [one(setting, cache) for setting, cache in settings]})


def wrong_values(found: dict[str, Any], true: dict[str, Any]) -> int:
    """Values of a run with a used cache that differ from those of a run with an empty one."""
    assert found["values"].keys() == true["values"].keys()
    return sum(
        abs(value - true["values"][key][0]) > TOLERANCE * tokens
        for key, (value, tokens) in found["values"].items()
    )


def time_runs(side: str, root: Path, num_prompts: int, threads: int) -> list[dict[str, Any]]:
    """Runs one after the other that share a cache: first, again, more rows, other beta, other precision."""
    base = base_setting(root, size=TIMED, num_prompts=num_prompts, prompt=128, completion=32, chat=0)
    first: dict[str, Any] = {}
    steps = {
        "first time": base,
        "again": base,
        "10 % more rows": more_rows(base, 0.1),
        "another beta": replace(base, beta=0.5),
        "in bfloat16": replace(base, rows={"compute_dtype": "bfloat16"}),
    }
    lines = []
    for place, (name, setting) in enumerate(steps.items()):
        # the first run met an empty cache, so its values are the true ones of the same reference and records
        known = replace(setting, beta=base.beta) == base
        empty = [] if known else [(setting, root / f"empty_{place}")]
        found, *true = run(side, [(setting, root / "cache"), *empty], threads)
        first = first or found
        wrong = wrong_values(found, true[0] if true else first)
        lines.append(
            {
                "run": name,
                "side": side,
                "CPU-s": found["cpu_s"],
                "computed": int(found["computed"]),
                "checked": int(found["checked"]),
                "values": len(found["values"]),
                "wrong": wrong,
            }
        )
    for line in lines:
        line["of first"] = line["CPU-s"] / lines[0]["CPU-s"]
    return lines


def try_changes(side: str, root: Path, threads: int) -> list[dict[str, Any]]:
    """Every change once, each against a cache that only the unchanged run has filled."""
    base = base_setting(root, chat=20 if side == "copg" else 0)
    run(side, [(base, root / "cache")], threads)
    names = [name for name in CHANGES if name not in NOT_FOR[side]]
    runs = []
    for place, name in enumerate(names):
        folder = root / f"change_{place}"
        folder.mkdir()
        changed = CHANGES[name](base, folder)
        # TRL's cache lies under its path; nothing that a changed run adds serves another change
        runs += [(changed, root / "cache"), (changed, folder / "empty")]
    results = run(side, runs, threads)
    return [
        {
            "change": name,
            "side": side,
            "values": len(found["values"]),
            "computed": int(found["computed"]),
            "wrong": wrong_values(found, true),
        }
        for name, found, true in zip(names, results[::2], results[1::2], strict=True)
    ]


def median_lines(repeats: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Medians of times over repeats; counts are the largest."""
    return [
        {
            key: statistics.median(line[key] for line in same)
            if isinstance(value, float)
            else (max(line[key] for line in same) if isinstance(value, int) else value)
            for key, value in same[0].items()
        }
        for same in zip(*repeats, strict=True)
    ]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=["cpu"])
    parser.add_argument("--prompts", type=int, default=1000, help="of the timed runs, two completions each")
    parser.add_argument("--repeats", type=int, default=3, help="of the timed runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/reference.json"))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(Path(json.loads(args.child)["file"]))
        return
    timed: dict[str, list[list[dict[str, Any]]]] = {"copg": [], "trl": []}
    changes: list[dict[str, Any]] = []
    for repeat in range(args.repeats):
        for side in timed:
            with tempfile.TemporaryDirectory() as folder:
                timed[side].append(time_runs(side, Path(folder), args.prompts, args.threads))
            if repeat == 0:
                with tempfile.TemporaryDirectory() as folder:
                    changes += try_changes(side, Path(folder), args.threads)
    print(table(changes), end="\n\n")
    lines = [line for side in timed.values() for line in median_lines(side)]
    details = {
        "changes": changes,
        "sizes": {"timed": asdict(TIMED), "changes": asdict(SIZE)},
        "repeats": timed,
    }
    write_report(args.out, lines, device=args.device, details=details)


if __name__ == "__main__":
    main()
