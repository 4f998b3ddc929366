"""The two sides of ``benchmarks.train_step``: what they are given, and how each takes a step."""

import tempfile
from dataclasses import dataclass
from typing import Any

from benchmarks.harness import Stopwatch, peak_memory_gib
from benchmarks.made import BODY_HEAVY, HEAD_HEAVY, ONE_BILLION, TINY, Example, Size

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
    "head_heavy_k4": Case(HEAD_HEAVY, 384, 128, 4, prompts_per_step=2),
    "body_heavy_k2": Case(BODY_HEAVY, 512, 64, 2),
    "body_heavy_k4": Case(BODY_HEAVY, 512, 64, 4, prompts_per_step=2),
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

    from copg.lm.config import RowConfig
    from copg.lm.load import load_model
    from copg.lm.rows import TokenGroup
    from copg.lm.scorer import SequenceScorer, group_logps
    from copg.records import Completion, Group
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
