"""Reference log-probabilities, ours against the precomputation of TRL: what is computed again, what is stale.

A run shares its cache with the runs before it. A value is wrong when it differs from that of the same run
with an empty cache by more than 1e-5 nats a token. Every run is a process of its own.
"""

import argparse
import json
import os
import statistics
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.changes import CHANGES, SIZE, Setting, base_setting, more_rows
from benchmarks.harness import Stopwatch, run_child, table, tell, write_report
from benchmarks.made import Size

TOLERANCE = 1e-5
TIMED = Size(8_000, 4, 256, 688, 4, 4)
NOT_FOR_TRL = {"tokeniser: chat template", "ids: no end of sequence"}
"""Its records here are text, and it always adds the end of sequence."""


def run_copg(setting: Setting, cache: Path) -> dict[str, Any]:
    """Stage ``reference`` on scored groups; the cache is a store."""
    from copg.artifacts import GroupWriter, begin, read_groups, seal
    from copg.records import Completion, Group, prompt_id
    from copg.settings import RowConfig
    from copg.stages.reference import ReferenceConfig, reference_groups

    clock = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        scored, referenced = Path(folder, "scored"), Path(folder, "referenced")
        begin(scored)
        with GroupWriter(scored) as writer:
            for i, (text, texts) in enumerate(zip(setting.prompts, setting.completions, strict=True)):
                prompt = [{"role": "user", "content": text}] if i < setting.chat else text
                completions = [
                    Completion(t, finished=setting.finished, reward=-float(rank))
                    for rank, t in enumerate(texts)
                ]
                writer.write("train", Group(prompt_id(prompt), prompt, completions))
        seal(scored, schema="scored", stage="score", rows=len(setting.prompts), config={}, parents={})
        config = ReferenceConfig(
            model=str(setting.model),
            store=str(cache),
            max_tokens=setting.max_tokens,
            rows=RowConfig(**setting.rows),
        )
        with clock:
            metrics = reference_groups(config, scored, referenced)
        values = {
            f"{group.source}{group.id} {k}": (c.ref_logps, len(c.token_ids or ()))
            for group in read_groups(referenced, "train")
            for k, c in enumerate(group.completions)
        }
    return {
        "cpu_s": clock.cpu_s,
        "wall_s": clock.wall_s,
        "computed": metrics["reference/computed"],
        "checked": metrics["reference/checked"],
        "values": values,
    }


def run_trl(setting: Setting, cache: Path) -> dict[str, Any]:
    """The constructor of ``trl.DPOTrainer``; the cache is the folder of ``datasets``."""
    os.environ["HF_DATASETS_CACHE"] = str(cache)
    from datasets import load_dataset
    from trl import DPOConfig, DPOTrainer

    cache.mkdir(parents=True, exist_ok=True)
    records = cache / "records.jsonl"
    lines = [
        json.dumps({"prompt": prompt, "chosen": best, "rejected": worst})
        for prompt, (best, worst) in zip(setting.prompts, setting.completions, strict=True)
    ]
    records.write_text("\n".join(lines))
    computed = 0
    plain = DPOTrainer.compute_ref_log_probs

    def counted(self: Any, model: Any, inputs: Any) -> Any:
        nonlocal computed
        computed += len(inputs["input_ids"])
        return plain(self, model, inputs)

    DPOTrainer.compute_ref_log_probs = counted
    clock = Stopwatch()
    with tempfile.TemporaryDirectory() as folder, clock:
        trainer = DPOTrainer(
            str(setting.model),
            args=DPOConfig(
                folder,
                beta=setting.beta,
                loss_type=["ipo"],
                precompute_ref_log_probs=True,
                per_device_train_batch_size=16,
                use_cpu=True,
                bf16=setting.rows.get("compute_dtype") == "bfloat16",
                model_init_kwargs={
                    "dtype": setting.rows.get("parameter_dtype", "float32"),
                    "attn_implementation": "sdpa",
                },
                max_length=setting.max_tokens or None,
                dataloader_pin_memory=False,
                report_to=[],
                disable_tqdm=True,
            ),
            train_dataset=load_dataset("json", data_files=str(records), split="train"),
        )
    rows = trainer.train_dataset
    values = {
        f"{i} {k}": (row[f"ref_{side}_logps"], len(row[f"{side}_ids"]))
        for i, row in enumerate(rows)
        for k, side in enumerate(("chosen", "rejected"))
    }
    return {
        "cpu_s": clock.cpu_s,
        "wall_s": clock.wall_s,
        "computed": computed,
        "checked": 0,
        "values": values,
    }


def run(side: str, setting: Setting, cache: Path, threads: int) -> dict[str, Any]:
    """One process."""
    plain = {**asdict(setting), "model": str(setting.model)}
    task = {"side": side, "setting": plain, "cache": str(cache)}
    task_file = cache.parent / f"{cache.name}.task.json"
    task_file.write_text(json.dumps(task))
    return run_child("benchmarks.reference", {"file": str(task_file)}, threads=threads)


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
    steps = {
        "first time": base,
        "again": base,
        "10 % more rows": more_rows(base, 0.1),
        "another beta": replace(base, beta=0.5),
        "in bfloat16": replace(base, rows={"compute_dtype": "bfloat16"}),
    }
    lines = []
    for place, (name, setting) in enumerate(steps.items()):
        found = run(side, setting, root / "cache", threads)
        wrong = wrong_values(found, run(side, setting, root / f"empty_{place}", threads)) if place else 0
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
    lines = []
    for place, (name, change) in enumerate(CHANGES.items()):
        if side == "trl" and name in NOT_FOR_TRL:
            continue
        folder = root / f"change_{place}"
        folder.mkdir()
        setting = change(base, folder)
        run(side, base, folder / "cache", threads)
        found, true = (run(side, setting, folder / f, threads) for f in ("cache", "empty"))
        lines.append(
            {
                "change": name,
                "side": side,
                "values": len(found["values"]),
                "computed": int(found["computed"]),
                "wrong": wrong_values(found, true),
            }
        )
    return lines


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
        task = json.loads(Path(json.loads(args.child)["file"]).read_text())
        setting = Setting(**{**task["setting"], "model": Path(task["setting"]["model"])})
        tell((run_copg if task["side"] == "copg" else run_trl)(setting, Path(task["cache"])))
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
