"""How far a training step is from what the machine's matrix products allow, and from the fewest tokens.

Achieved: the least operations a step could do, by count, over the time it took. Peak: the best of some matrix
products of the same precision on the same threads, in the same process.
"""

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.flops import least_flops, trl_flops
from benchmarks.harness import Stopwatch, interleave, medians, tell, write_report
from benchmarks.made import make_examples, save_model
from benchmarks.train_sides import CASES, CUDA_CASES, SMOKE, Case, pairs, run_copg


def matrix_peak(device: str) -> dict[str, float]:
    """Operations a second of large matrix products: of wall time, and of CPU time over all threads."""
    import torch

    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    best_wall = best_cpu = 0.0
    for n in (1024, 2048, 4096) if device == "cpu" else (4096, 8192):
        a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
        for _ in range(5):
            clock = Stopwatch(device)
            with clock:
                a @ b
            best_wall = max(best_wall, 2 * n**3 / clock.wall_s)
            best_cpu = max(best_cpu, 2 * n**3 / clock.cpu_s)
    return {"peak_wall": best_wall, "peak_cpu": best_cpu}


def token_counts(case: Case, attention: str) -> dict[str, float]:
    """Tokens that go through the body, and completion tokens through the head, a prompt."""
    from copg.lm.config import RowConfig
    from copg.lm.row_batch import build_batch
    from copg.lm.rows import TokenGroup, plan_batches

    rows = RowConfig(tokens_per_batch=case.tokens_per_batch, attention=attention)  # type: ignore[arg-type]
    groups = [
        TokenGroup([3] * case.prompt, [[k] * case.completion for k in range(case.completions)])
        for _ in range(case.prompts_per_step)
    ]
    plan = plan_batches(groups, rows)
    batches = [build_batch(groups, of_batch, rows) for of_batch in plan]
    return {
        "body_tokens": sum(batch.input_ids.numel() for batch in batches) / len(groups),
        "head_tokens": sum(len(batch.targets) for batch in batches) / len(groups),
    }


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
    peak = matrix_peak(task["device"])
    tell({**run_copg(case, examples, task), **peak, **token_counts(case, "auto")})


def summarise(name: str, case: Case, m: dict[str, float], device: str) -> dict[str, Any]:
    """One line of the table."""
    lengths = {"prompt": case.prompt, "completion": case.completion}
    least = least_flops(case.size, **lengths, completions=case.completions)
    seconds = "wall" if device == "cuda" else "cpu"
    theirs = {
        side: trl_flops(case.size, **lengths, pairs=len(pairs(case, side)), every_position=device == "cpu")
        for side in case.sides
        if side != "copg"
    }
    least_tokens = case.prompt + case.completions * case.completion
    return {
        "case": name,
        "least GFLOP/prompt": least / 1e9,
        "achieved GFLOP/s": least / m[f"pass_{seconds}_s"] / 1e9,
        "peak GFLOP/s": m[f"peak_{seconds}"] / 1e9,
        "share of peak": least / m[f"pass_{seconds}_s"] / m[f"peak_{seconds}"],
        "body tokens / least": m["body_tokens"] / least_tokens,
        "head tokens / least": m["head_tokens"] / (case.completions * case.completion),
        "TRL disjoint FLOP / least": theirs["trl_disjoint"] / least,
        "TRL all FLOP / least": theirs["trl_all"] / least if "trl_all" in theirs else "",
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--cases", nargs="*", help="of " + ", ".join({**CASES, **CUDA_CASES, **SMOKE}))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/roofline.json"))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(json.loads(args.child))
        return
    lines, details = [], {}
    for name in args.cases or (CUDA_CASES if args.device == "cuda" else CASES):
        case = {**CASES, **CUDA_CASES, **SMOKE}[name]
        with tempfile.TemporaryDirectory() as folder:
            task = {
                "case": name,
                "device": args.device,
                "model": str(save_model(case.size, Path(folder))),
                "tokens_per_batch": 0,
            }
            runs = interleave(
                "benchmarks.roofline", {name: task}, repeats=args.repeats, threads=args.threads
            )[name]
        lines.append(summarise(name, case, medians(runs), args.device))
        details[name] = {"case": asdict(case), "runs": runs}
    write_report(args.out, lines, device=args.device, details={"threads": args.threads, "cases": details})


if __name__ == "__main__":
    main()
