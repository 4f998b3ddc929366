"""A reference store of a million completions: appending, looking up a batch, and the memory of each."""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness import Stopwatch, interleave, medians, peak_memory_gib, tell, write_report

NEW_SHARDS = 16
"""What a look-up's worth of groups adds when all of it is new."""


def make_keys(first: int, count: int) -> list[bytes]:
    """Keys as ``completion_key`` makes them: 128 bits that look random, a function of their number."""
    from hashlib import blake2b

    return [blake2b(i.to_bytes(8, "little"), digest_size=16).digest() for i in range(first, first + count)]


def child(task: dict[str, Any]) -> None:
    """One process: fill the store, look something up, or compact it."""
    from copg.stores.reference_store import Numerics, open_references

    store = open_references(task["root"], Numerics("weights", "float32", "float32"))
    before = peak_memory_gib()
    clock = Stopwatch()
    found = 0
    if task["what"] == "fill":
        for first in range(0, task["rows"], task["shard_rows"]):
            count = min(task["shard_rows"], task["rows"] - first)
            keys = make_keys(first, count)
            with clock:
                store.append(
                    keys,
                    [-(0.731 * i**1.5 % 300) for i in range(first, first + count)],
                    [64] * count,
                    ["cpu"] * count,
                    [""] * count,
                )
    elif task["what"] == "compact":
        with clock:
            store.compact()
    else:
        step = task["rows"] // task["batch"]
        keys = [key for i in range(task["batch"]) for key in make_keys(i * step, 1)]
        if task["what"] == "lookup later":
            store.lookup(keys)
            there = len(store.shards.paths())  # more at each repeat
            for shard in range(there, there + NEW_SHARDS):
                new = make_keys(task["rows"] + shard * task["shard_rows"], task["shard_rows"])
                store.append(new, [-1.0] * len(new), [64] * len(new), ["cpu"] * len(new), [""] * len(new))
                keys = [*keys, new[0]]
        with clock:
            found = len(store.lookup(keys))
        assert found == len(keys)
    tell(
        {
            "wall_s": clock.wall_s,
            "cpu_s": clock.cpu_s,
            "peak_gib": peak_memory_gib(),
            "grown_gib": peak_memory_gib() - before,
            "found": found,
        }
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=["cpu"])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--shard-rows", type=int, default=2048, help="what one chunk of the stage appends")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/store.json"))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(json.loads(args.child))
        return
    lines = []
    with tempfile.TemporaryDirectory() as root:
        task = {"root": root, "rows": args.rows, "shard_rows": args.shard_rows, "batch": args.rows // 100}
        for name, what, repeats in (
            ("append all", "fill", 1),
            ("look up 1 %, many shards", "lookup", args.repeats),
            ("compact", "compact", 1),
            ("look up 1 %, one shard", "lookup", args.repeats),
            ("later in a process, 16 shards more", "lookup later", args.repeats),
        ):
            tasks = {name: {**task, "what": what}}
            runs = interleave("benchmarks.store", tasks, repeats=repeats, threads=args.threads)[name]
            m = medians(runs)
            shards = list(Path(root).rglob("*.parquet"))
            lines.append(
                {
                    "what": name,
                    "rows": args.rows,
                    "shards": len(shards),
                    "MiB on disk": sum(Path(path).stat().st_size for path in shards) / 2**20,
                    "wall s": m["wall_s"],
                    "peak MiB": m["peak_gib"] * 1024,
                    "grown MiB": m["grown_gib"] * 1024,
                }
            )
    write_report(args.out, lines, device=args.device, details={})


if __name__ == "__main__":
    main()
