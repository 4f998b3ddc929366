"""The two sides of ``benchmarks.reference``: one run each, with a cache that may have been used before."""

import json
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks.changes import Setting
from benchmarks.harness import Stopwatch


def run_copg(setting: Setting, cache: Path) -> dict[str, Any]:
    """Stage ``reference`` on scored groups; the cache is a store."""
    import transformers.models.llama.modeling_llama  # noqa: F401  # not timed: neither side's imports are

    import copg.lm.reference  # noqa: F401
    from copg.artifacts import begin, seal
    from copg.data.group_files import GroupWriter, read_groups
    from copg.lm.config import RowConfig
    from copg.records import Completion, Group, prompt_id
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
    """The constructor of ``trl.DPOTrainer``; the cache is the folder of ``datasets``.

    The output folder stays the same, since another one makes TRL compute everything again.
    """
    import transformers.models.llama.modeling_llama  # noqa: F401
    from datasets import load_dataset
    from trl import DPOConfig, DPOTrainer

    cache.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({"prompt": prompt, "chosen": best, "rejected": worst})
        for prompt, (best, worst) in zip(setting.prompts, setting.completions, strict=True)
    ]
    # equal records stay in an untouched file: its time of change is part of what TRL keys on
    records = cache / f"records_{sha256(repr(lines).encode()).hexdigest()[:12]}.jsonl"
    if not records.exists():
        records.write_text("\n".join(lines))
    computed = 0
    plain = DPOTrainer.compute_ref_log_probs

    def counted(self: Any, model: Any, inputs: Any) -> Any:
        nonlocal computed
        computed += len(inputs["input_ids"])
        return plain(self, model, inputs)

    DPOTrainer.compute_ref_log_probs = counted
    clock = Stopwatch()
    with clock:
        trainer = DPOTrainer(
            str(setting.model),
            args=DPOConfig(
                str(cache / "out"),
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
                truncation_mode="keep_end" if setting.keep_end else "keep_start",
                dataloader_pin_memory=False,
                report_to=[],
                disable_tqdm=True,
            ),
            train_dataset=load_dataset("json", data_files=str(records), split="train", cache_dir=str(cache)),
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
