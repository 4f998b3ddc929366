"""A training step, ours against TRL's DPO trainer: the same model, prompts, loss (IPO) and optimiser steps.

TRL gets pairs: of K > 2 completions all of them, or K/2 disjoint ones; ours gets whole groups. Both have the
reference's log-probabilities cached. Every measurement is a process of its own.
"""

import argparse
import json
import statistics
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.harness import interleave, medians, tell, write_report
from benchmarks.made import make_examples, save_model
from benchmarks.train_sides import CASES, CUDA_CASES, SMOKE, Case, pairs, run_copg, run_trl


def child(task: dict[str, Any]) -> None:
    """One measurement."""
    case = {**CASES, **CUDA_CASES, **SMOKE}[task["case"]]
    examples = make_examples(
        case.prompts_per_step,
        vocab=case.size.vocab,
        prompt=case.prompt,
        completion=case.completion,
        completions=case.completions,
    )
    tell((run_copg if task["side"] == "copg" else run_trl)(case, examples, task))


def summarise(case: Case, name: str, runs: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One line a side; ratios are medians of the ratios of interleaved runs, ours over TRL's."""
    lines = []
    for side, of_side in runs.items():
        m = medians(of_side)
        contrasts = (
            case.completions * (case.completions - 1) / 2 if side == "copg" else len(pairs(case, side))
        )
        ratio = {
            key: statistics.median(t[key] / o[key] for t, o in zip(of_side, runs["copg"], strict=True))
            for key in ("pass_cpu_s", "step_cpu_s", "step_wall_s", "peak_gib")
        }
        lines.append(
            {
                "case": name,
                "side": side,
                "CPU-s/prompt, passes": m["pass_cpu_s"],
                "prompts/s": 1 / m["step_wall_s"],
                "contrasts/s": contrasts / m["step_wall_s"],
                "peak GiB": m["peak_gib"],
                "ours faster, passes (CPU)": ratio["pass_cpu_s"],
                "step (CPU)": ratio["step_cpu_s"],
                "step (wall)": ratio["step_wall_s"],
                "our memory": 1 / ratio["peak_gib"],
                "gradient norm": m["gradient_norm"],
            }
        )
    return lines


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--cases", nargs="*", help="of " + ", ".join({**CASES, **CUDA_CASES, **SMOKE}))
    parser.add_argument("--sides", nargs="*", help="copg, trl_disjoint, trl_all; all of them unless said")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs-per-batch", type=int, default=0, help="of TRL; 0: the case's")
    parser.add_argument("--tokens-per-batch", type=int, default=0, help="of ours; 0: the case's")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/train_step.json"))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(json.loads(args.child))
        return
    known = {**CASES, **CUDA_CASES, **SMOKE}
    lines, details = [], {}
    for name in args.cases or (CUDA_CASES if args.device == "cuda" else CASES):
        case = known[name]
        with tempfile.TemporaryDirectory() as folder:
            task = {
                "case": name,
                "device": args.device,
                "model": str(save_model(case.size, Path(folder))),
                "pairs_per_batch": args.pairs_per_batch,
                "tokens_per_batch": args.tokens_per_batch,
            }
            tasks = {side: {**task, "side": side} for side in args.sides or case.sides}
            runs = interleave("benchmarks.train_step", tasks, repeats=args.repeats, threads=args.threads)
        lines += summarise(case, name, runs)
        details[name] = {"case": asdict(case), "runs": runs}
    write_report(args.out, lines, device=args.device, details={"threads": args.threads, "cases": details})


if __name__ == "__main__":
    main()
