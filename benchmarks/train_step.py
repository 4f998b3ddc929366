"""A training step, ours against TRL's DPO trainer: the same model, prompts, loss (IPO) and optimiser steps.

TRL gets pairs: of K > 2 completions all of them, or K/2 disjoint ones; ours gets whole groups. Both have the
reference's log-probabilities cached. Every measurement is a process of its own.
"""

import argparse
import json
import statistics
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import Stopwatch, interleave, medians, peak_memory_gib, tell, write_report
from benchmarks.made import (
    BODY_HEAVY,
    HEAD_HEAVY,
    ONE_BILLION,
    TINY,
    Example,
    Size,
    make_examples,
    save_model,
)

TAU = 0.1


@dataclass(frozen=True)
class Case:
    """One line of the comparison; lengths in tokens."""

    size: Size
    prompt: int
    completion: int
    completions: int
    prompts_per_step: int = 4
    pairs_per_batch: int = 4
    """Of TRL, in one forward."""
    tokens_per_batch: int = 2560
    """Of ours, in one forward."""
    steps: int = 2
    """Measured, after one that is not."""

    @property
    def sides(self) -> list[str]:
        """Who takes part."""
        return ["copg", "trl_disjoint", *(["trl_all"] if self.completions > 2 else [])]


CASES = {
    "head_heavy_k2": Case(HEAD_HEAVY, 384, 128, 2),
    "head_heavy_k4": Case(HEAD_HEAVY, 384, 128, 4, steps=1),
    "body_heavy_k2": Case(BODY_HEAVY, 512, 64, 2),
    "body_heavy_k4": Case(BODY_HEAVY, 512, 64, 4, steps=1),
    "short_prompts_k2": Case(HEAD_HEAVY, 64, 512, 2),
}
CUDA_CASES = {
    "one_billion_k2": Case(ONE_BILLION, 512, 128, 2, 32, 8, 16384, steps=4),
    "one_billion_k4": Case(ONE_BILLION, 512, 128, 4, 32, 8, 16384, steps=4),
}
SMOKE = {"smoke": Case(TINY, 24, 8, 4, 4, 4, 512)}


def pairs(case: Case, side: str) -> list[tuple[int, int]]:
    """(winner, loser) among the K completions of a prompt, which are sorted best first."""
    k = case.completions
    if side == "trl_all":
        return [(i, j) for i in range(k) for j in range(i + 1, k)]
    return [(i, k - 1 - i) for i in range(k // 2)]


def run_copg(case: Case, examples: list[Example], task: dict[str, Any]) -> dict[str, float]:
    """Steps through ``copg.training``, as stage ``train`` takes them."""
    from accelerate import Accelerator

    from copg.models import load_model
    from copg.packing import SequenceScorer, TokenGroup, group_logps
    from copg.records import Completion, Group
    from copg.settings import RowConfig
    from copg.training.config import OptimizerConfig, TrialConfig
    from copg.training.data import TrainData
    from copg.training.optim import build_optimizer
    from copg.training.step import accumulate_gradients, update

    device = task["device"]
    rows = RowConfig(
        tokens_per_batch=task["tokens_per_batch"] or case.tokens_per_batch,
        compute_dtype="bfloat16" if device == "cuda" else "float32",
    )
    accelerator = Accelerator(cpu=device == "cpu")
    model = load_model(task["model"]).to(accelerator.device)
    reference = Stopwatch(device)
    groups = [TokenGroup(e.prompt_ids, e.completion_ids) for e in examples]
    with reference:
        ref_logps = group_logps(model, groups, rows=rows)
    data = TrainData(
        Group(
            str(i),
            "",
            [
                Completion("", token_ids=ids, reward=-float(rank), ref_logps=logp)
                for rank, (ids, logp) in enumerate(zip(e.completion_ids, logps, strict=True))
            ],
            prompt_ids=e.prompt_ids,
        )
        for i, (e, logps) in enumerate(zip(examples, ref_logps, strict=True))
    )
    scorer = accelerator.prepare_model(SequenceScorer(model, rows))
    optimizer = build_optimizer(model, OptimizerConfig())
    trial = TrialConfig(beta=TAU, method="ipo_length_normalised")
    model.train()
    passes, whole, norms = Stopwatch(device), Stopwatch(device), []
    for step in range(case.steps + 1):
        if step == 1:
            passes, whole = Stopwatch(device), Stopwatch(device)
        with whole:
            with passes:
                accumulate_gradients(accelerator, scorer, data, range(len(data)), trial, rows)
            norms.append(update(accelerator, scorer, optimizer, learning_rate=1e-6, max_grad_norm=1.0))
    return measured(case, passes, whole, reference, norms[0] * 2 / (TAU * case.completions / 2), device)


def run_trl(case: Case, examples: list[Example], task: dict[str, Any]) -> dict[str, float]:
    """Steps through ``trl.DPOTrainer.train``."""
    from transformers import TrainerCallback
    from trl import DPOTrainer

    device = task["device"]
    passes, whole, reference = Stopwatch(device), Stopwatch(device), Stopwatch(device)

    class Clock(TrainerCallback):
        """Starts after the first step, which is not counted."""

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 1:
                passes.__init__(device)  # type: ignore[misc]
                whole.__enter__()
            elif state.global_step == state.max_steps:
                whole.__exit__()

    with tempfile.TemporaryDirectory() as folder, reference:
        trainer = DPOTrainer(
            task["model"],
            args=trl_settings(case, task, folder),
            train_dataset=preference_dataset(case, examples, task["side"]),
            callbacks=[Clock()],
        )
    step, clip, norms = trainer.training_step, trainer.accelerator.clip_grad_norm_, []

    def training_step(*args: Any, **kwargs: Any) -> Any:
        with passes:
            return step(*args, **kwargs)

    def clip_grad_norm(*args: Any, **kwargs: Any) -> Any:
        norms.append(clip(*args, **kwargs))
        return norms[-1]

    trainer.training_step = training_step
    trainer.accelerator.clip_grad_norm_ = clip_grad_norm
    trainer.train()
    return measured(case, passes, whole, reference, float(norms[0]), device)


def preference_dataset(case: Case, examples: list[Example], side: str) -> Any:
    """The pairs as text that tokenises to the same ids, with their lengths."""
    from datasets import Dataset

    from benchmarks.made import to_text

    return Dataset.from_list(
        [
            {
                "prompt": to_text(e.prompt_ids),
                "chosen": to_text(e.completion_ids[winner]),
                "rejected": to_text(e.completion_ids[loser]),
                "length": case.prompt + case.completion,
            }
            for e in examples
            for winner, loser in pairs(case, side)
        ]
    )


def trl_settings(case: Case, task: dict[str, Any], folder: str) -> Any:
    """TRL's best: cached reference, no truncation, like lengths together, fused optimiser."""
    from importlib.util import find_spec

    from trl import DPOConfig

    cuda = task["device"] == "cuda"
    batch = task["pairs_per_batch"] or case.pairs_per_batch
    num_pairs = case.prompts_per_step * len(pairs(case, task["side"]))
    kernels = {"use_kernels": True} if cuda and find_spec("kernels") else {}
    return DPOConfig(
        folder,
        loss_type=["ipo"],
        beta=TAU,
        learning_rate=1e-6,
        lr_scheduler_type="constant",
        precompute_ref_log_probs=True,
        per_device_train_batch_size=min(batch, num_pairs),
        gradient_accumulation_steps=num_pairs // min(batch, num_pairs),
        num_train_epochs=case.steps + 1,
        gradient_checkpointing=False,
        use_cpu=not cuda,
        bf16=cuda,
        model_init_kwargs={"dtype": "float32", "attn_implementation": "sdpa", **kernels},
        max_length=None,
        train_sampling_strategy="group_by_length",
        remove_unused_columns=False,
        dataloader_pin_memory=cuda,
        optim="adamw_torch_fused",
        logging_steps=100,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )


def measured(
    case: Case, passes: Stopwatch, whole: Stopwatch, reference: Stopwatch, norm: float, device: str
) -> dict[str, float]:
    """Throughput, memory, and the gradient's norm in TRL's unit (equal when the work was)."""
    prompts = case.prompts_per_step * case.steps
    return {
        "pass_cpu_s": passes.cpu_s / prompts,
        "pass_wall_s": passes.wall_s / prompts,
        "step_cpu_s": whole.cpu_s / prompts,
        "step_wall_s": whole.wall_s / prompts,
        "reference_wall_s": reference.wall_s,
        "peak_gib": peak_memory_gib(device),
        "gradient_norm": norm,
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
