"""What the benchmarks train on: models of stated size with random weights, and prompts of stated length."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Size:
    """A Llama of random weights."""

    vocab: int
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int

    @property
    def body_parameters(self) -> int:
        """Of all matrices but embedding and head."""
        kv = self.hidden * self.kv_heads // self.heads
        return self.layers * (2 * self.hidden * (self.hidden + kv) + 3 * self.hidden * self.intermediate)


HEAD_HEAVY = Size(50_000, 8, 512, 1376, 8, 8)
BODY_HEAVY = Size(8_000, 12, 768, 2048, 12, 12)
ONE_BILLION = Size(128_256, 16, 2048, 8192, 32, 8)
TINY = Size(1_000, 2, 64, 192, 4, 4)


def save_model(size: Size, directory: Path, *, dtype: str = "float32", seed: int = 0) -> Path:
    """Write a model directory whose tokeniser knows one word a token: ``w5`` is token 5."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=size.vocab,
        hidden_size=size.hidden,
        intermediate_size=size.intermediate,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).to(getattr(torch, dtype)).save_pretrained(directory)
    _tokenizer(size.vocab).save_pretrained(directory)
    return directory


def _tokenizer(vocab: int) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<s>", "</s>", *(f"w{i}" for i in range(3, vocab))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


@dataclass(frozen=True)
class Example:
    """Token ids of a prompt and of its completions, best first; each ends with the end of sequence."""

    prompt_ids: list[int]
    completion_ids: list[list[int]]


def make_examples(
    count: int, *, vocab: int, prompt: int, completion: int, completions: int, seed: int = 0
) -> list[Example]:
    """Prompts of ``prompt`` tokens with completions of ``completion`` tokens."""
    rng = random.Random(seed)

    def ids(length: int) -> list[int]:
        return [rng.randrange(3, vocab) for _ in range(length)]

    return [
        Example(ids(prompt), [[*ids(completion - 1), 2] for _ in range(completions)]) for _ in range(count)
    ]


def to_text(ids: list[int]) -> str:
    """What the tokeniser turns back into ``ids``."""
    return "".join(f" w{i}" if i > 2 else " </s>" for i in ids)
