"""Tiny real models, tokenisers and groups, made where a test needs them."""

import json
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    GemmaConfig,
    GemmaForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from copg.artifacts import begin, seal
from copg.data.group_files import GroupWriter
from copg.lm.load import load_model
from copg.records import Completion, Group, prompt_id
from examples import tiny_llama

WORDS = ["red", "green", "blue", "cat", "dog", "bird", "runs", "sleeps", "eats", "here", "there", "now", "?"]
VOCABULARY = ["<pad>", "<s>", "</s>", "<unk>", *WORDS]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}?{% endif %}"
)

WINDOW = 40
"""Tokens seen by the layers of Mistral and Gemma 2 that have a sliding window."""

_SIZES = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 160,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
ARCHITECTURES = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**_SIZES, num_key_value_heads=2)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**_SIZES, num_key_value_heads=2, head_dim=8)),
    "gemma": lambda: GemmaForCausalLM(GemmaConfig(**_SIZES, num_key_value_heads=1, head_dim=8)),
    "gemma2": lambda: Gemma2ForCausalLM(
        Gemma2Config(
            **_SIZES,
            num_key_value_heads=2,
            head_dim=8,
            sliding_window=WINDOW,
            attn_logit_softcapping=2.0,
            final_logit_softcapping=4.0,
        )
    ),
    "mistral": lambda: MistralForCausalLM(
        MistralConfig(**_SIZES, num_key_value_heads=2, sliding_window=WINDOW)
    ),
    "gpt_neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**_SIZES)),
}


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word, a start token in front, as Llama's."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.Metaspace(replacement="▁")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        chat_template=CHAT_TEMPLATE,
    )


def build_model(kind: str = "llama", seed: int = 0) -> PreTrainedModel:
    """A model with random weights, spread enough for completions to differ in probability, loaded."""
    torch.manual_seed(seed)
    return saved_and_loaded(_spread(ARCHITECTURES[kind]()))


def build_composite() -> PreTrainedModel:
    """Gemma 3 with a tower for images: window, context, layers and sizes stand in an inner configuration."""
    text = {
        **{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
        **{"num_key_value_heads": 2, "head_dim": 8, "vocab_size": 40, "sliding_window": 8},
        **{"max_position_embeddings": 64, "layer_types": ["sliding_attention", "full_attention"]},
    }
    vision = {
        **{"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
        **{"image_size": 28, "patch_size": 14},
    }
    torch.manual_seed(0)
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    return saved_and_loaded(_spread(Gemma3ForConditionalGeneration(config)))


def saved_and_loaded(model: PreTrainedModel) -> PreTrainedModel:
    """The model as our loader gives it: what a test computes with has been a model directory."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_model(folder)


def _spread(model: PreTrainedModel) -> PreTrainedModel:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(5.0)
    return model


def save_model(directory: Path, kind: str = "llama", seed: int = 0) -> Path:
    """A model directory with weights, configuration and tokeniser."""
    torch.manual_seed(seed)
    _spread(ARCHITECTURES[kind]()).save_pretrained(directory)
    build_tokenizer().save_pretrained(directory)
    return directory


def text(rng: random.Random, least: int, most: int) -> str:
    """Words of the vocabulary."""
    return " ".join(rng.choices(WORDS, k=rng.randint(least, most)))


def write_records(path: Path, num_prompts: int, num_completions: int, *, rewarded: bool = False) -> None:
    """JSON lines of prompts with completions, with their numbers of words as rewards or without any."""
    rng = random.Random(0)
    with path.open("w") as file:
        for _ in range(num_prompts):
            completions = [text(rng, 2, 8) for _ in range(num_completions)]
            row: dict[str, Any] = {"prompt": text(rng, 4, 9), "completions": completions}
            if rewarded:
                row["rewards"] = [len(each.split()) for each in completions]
            file.write(json.dumps(row) + "\n")


def write_prompts(path: Path, count: int) -> None:
    """Records that hold prompts and nothing else."""
    rng = random.Random(0)
    rows = [{"prompt": text(rng, 4, 9)} for _ in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def save_drawing_model(directory: Path) -> Path:
    """Random weights with a byte-level tokeniser: what it draws can be said again."""
    rng = random.Random(0)
    tokenizer = tiny_llama.build_tokenizer([text(rng, 4, 9) for _ in range(99)], vocab_size=300)
    model = tiny_llama.build_model(tokenizer, width=32, layers=2, context=160, seed=0)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def make_groups(num_groups: int, seed: int = 0) -> list[Group]:
    """Groups of 2 to 5 distinct completions, rewarded by their share of the word ``cat``."""
    rng = random.Random(seed)
    groups = []
    for _ in range(num_groups):
        prompt = text(rng, 3, 9)
        texts = list(dict.fromkeys(text(rng, 2, 8) for _ in range(rng.randint(3, 5))))
        completions = [
            Completion(t, reward=t.split().count("cat") / len(t.split()), parts={"cat": 0.0}) for t in texts
        ]
        groups.append(Group(prompt_id(prompt), prompt, completions, {"facts": ["cat"]}, source="made:1"))
    return groups


def write_scored(
    directory: Path,
    *,
    train: int = 24,
    select: int = 8,
    gate: int = 8,
    seed: int = 0,
    completions: int | None = None,
) -> Path:
    """A sealed artifact of schema ``scored``; of each prompt the first ``completions``, or all."""
    groups = iter(make_groups(train + select + gate, seed))
    begin(directory)
    with GroupWriter(directory) as writer:
        for split, count in (("train", train), ("select", select), ("gate", gate)):
            for _ in range(count):
                group = next(groups)
                writer.write(split, replace(group, completions=group.completions[:completions]))
    seal(directory, schema="scored", stage="score", rows=train + select + gate, config={}, parents={})
    return directory
