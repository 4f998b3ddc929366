"""Stage ``reward``: a reward model trained on preferences, for those who have nothing else."""

import json
import shutil
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from copg.artifacts import MANIFEST, begin, read_groups, read_manifest, seal
from copg.config import AtLeastOne, Natural, NotNegative, configuration
from copg.errors import ModelError, RewardError
from copg.training.config import LoraConfig, OptimizerConfig

if TYPE_CHECKING:
    from copg.training.reward_model import Comparisons

HELD_OUT = ("select", "gate")


@configuration
class RewardConfig:
    """From which model, on which pairs, and how."""

    model: str
    """Where it starts: a language model, which gets a new head, or a reward model. Directory or hub name."""
    revision: str | None = None
    """Of the hub."""
    form: Literal["chat", "pair", "text"] | None = None
    """What it reads (see the reward ``reward_model``); None: as its tokeniser suggests."""
    seed: Natural = 0
    """Of the new head and of the order of groups."""
    epochs: AtLeastOne = 1
    """How often every prompt of the train split is seen."""
    groups_per_step: AtLeastOne = 32
    """The loss is averaged over these; every prompt weighs the same."""
    pairs_per_group: AtLeastOne = 8
    """Most pairs of one prompt; of more, a sample."""
    min_gap: NotNegative = 0.0
    """Reward units by which a pair must differ; ties are never a pair."""
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=1e-5))
    lora: LoraConfig | None = None
    """None trains all weights; an adapter is merged into them at the end."""
    tokens_per_batch: AtLeastOne = 8192
    """Tokens in one forward, padding included; at least one group goes in whatever its length."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """Of matrix products; weights and optimiser stay float32."""


def train_reward(config: RewardConfig, groups: Path, reward_model: Path) -> dict[str, float]:
    """Fit scores to the ranking of each prompt's completions (Bradley-Terry); test them on held-out pairs.

    Args:
        groups: artifact of schema ``groups`` whose records came with rewards; preferences count as 1 and 0.
        reward_model: where the artifact of schema ``reward_model`` goes: a model directory.

    Returns:
        Of held-out pairs: accuracy with its 95 % interval over prompts, log loss (nats a pair), calibration
        error, and the accuracy of preferring the longer completion, which any reward model should beat.

    Raises:
        RewardError: no pair to learn from or to test on, a record without reward, or a loss not finite.
        ModelError: the model cannot be loaded.
    """
    from copg.lm.text import TextCodec
    from copg.rewards.reward_model import pick_form
    from copg.training.reward_model import read_comparisons

    manifest = read_manifest(groups, schema="groups")
    begin(reward_model)
    model, tokenizer, max_tokens = _load(config)
    codec = TextCodec(tokenizer)
    dropped: Counter[str] = Counter()
    train, held_out = (
        list(
            read_comparisons(
                chain.from_iterable(read_groups(groups, split) for split in splits),
                codec,
                form=config.form or pick_form(tokenizer),
                max_tokens=max_tokens,
                min_gap=config.min_gap,
                limit=config.pairs_per_group,
                dropped=dropped,
            )
        )
        for splits in (("train",), HELD_OUT)
    )
    for name, data in (("train", train), ("select and gate", held_out)):
        if len(data) < 2:
            raise RewardError(f"{groups}: {len(data)} prompts of {name} hold a pair; at least 2 are needed")
    steps = _fit(config, model, tokenizer, train, reward_model)
    metrics, table = _test(config, reward_model, held_out)
    metrics |= {"steps/done": float(len(steps)), "loss/train": steps[-1]["loss/mean"]}
    metrics |= {f"dropped/{reason}": float(count) for reason, count in sorted(dropped.items())}
    seal(
        reward_model,
        schema="reward_model",
        stage="reward",
        rows=len(train),
        config=asdict(config),
        parents={"groups": manifest.digest},
        facts={"metrics": metrics, "reliability": table},
        volatile=("metrics.jsonl",),
    )
    return metrics


def train_reward_once(config: RewardConfig, groups: Path, reward_model: Path) -> dict[str, float]:
    """``train_reward``, unless the finished model lies there already; others see it whole or not at all.

    Args:
        reward_model: a path that stands for these settings and groups, and for no others.
    """
    if not (reward_model / MANIFEST).is_file():
        part = reward_model.with_name(f"{reward_model.name}.{uuid.uuid4().hex}.part")
        try:
            train_reward(config, groups, part)
            with suppress(OSError):  # another run was faster: its model is as good
                part.rename(reward_model)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    found = read_manifest(reward_model, schema="reward_model").facts["metrics"]
    return {name: float(value) for name, value in found.items()}


def _fit(
    config: RewardConfig, model: Any, tokenizer: Any, train: "Sequence[Comparisons]", reward_model: Path
) -> list[dict[str, float]]:
    """Train, and write model, tokeniser and the metrics of each step."""
    import torch

    from copg.training.reward_model import fit

    model.train()
    names = ("epochs", "groups_per_step", "tokens_per_batch", "seed")
    settings = {name: getattr(config, name) for name in names}
    dtype = getattr(torch, config.compute_dtype)
    steps = list(fit(model, train, config.optimizer, **settings, compute_dtype=dtype))
    if config.lora is not None:
        model = model.merge_and_unload()
    model.eval().save_pretrained(reward_model)
    tokenizer.save_pretrained(reward_model)
    lines = [json.dumps({"step": number, **step}) + "\n" for number, step in enumerate(steps, 1)]
    (reward_model / "metrics.jsonl").write_text("".join(lines))
    return steps


def _load(config: RewardConfig) -> tuple[Any, Any, int]:
    """A float32 model with one output in training mode, its tokeniser, and the longest it reads."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from copg.lm.anatomy import read_anatomy
    from copg.lm.load import pick_device
    from copg.training.optim import add_adapter, disable_dropout

    torch.manual_seed(config.seed)
    try:
        tokenizer = AutoTokenizer.from_pretrained(config.model, revision=config.revision)
        model: Any = AutoModelForSequenceClassification.from_pretrained(
            config.model,
            revision=config.revision,
            num_labels=1,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{config.model}: cannot be loaded: {str(error).splitlines()[0]}") from None
    disable_dropout(model)
    if config.lora is not None:
        # the task keeps the new head trainable beside the adapter
        model = add_adapter(model, config.lora, seed=config.seed, task="SEQ_CLS")
    limits = [tokenizer.model_max_length, read_anatomy(model.config).context]
    return model.to(pick_device()), tokenizer, min(limit for limit in limits if limit)


def _test(
    config: RewardConfig, reward_model: Path, held_out: "Sequence[Comparisons]"
) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Metrics on held-out pairs, by the model as it was written and as ``score`` will load it."""
    import torch

    from copg.evaluation.estimates import estimate
    from copg.rewards.classifier import Classifier
    from copg.training.reward_model import calibration_error, log_loss, pair_outcomes, reliability, win

    classifier = Classifier(str(reward_model), revision=None, dtype=torch.float32)
    encodings = [e for group in held_out for e in group.encodings]
    flat = iter(classifier.logits(encodings, tokens_per_batch=config.tokens_per_batch))
    scores = [[next(flat)[0] for _ in group.encodings] for group in held_out]
    outcomes = pair_outcomes(held_out, scores)
    differences = [difference for group in outcomes for difference in group]
    accuracy = estimate([[win(difference) for difference in group] for group in outcomes])
    longer = pair_outcomes(held_out, [group.lengths for group in held_out])
    table = reliability(differences)
    return {
        "accuracy/mean": accuracy.mean,
        "accuracy/low": accuracy.low,
        "accuracy/high": accuracy.high,
        "length_accuracy/mean": estimate([[win(d) for d in group] for group in longer]).mean,
        "loss/mean": log_loss(differences),
        "calibration/error": calibration_error(table),
        "pairs/count": float(len(differences)),
        "prompts/count": float(len(held_out)),
    }, table
