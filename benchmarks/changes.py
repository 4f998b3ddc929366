"""What can change between two runs that share cached reference log-probabilities."""

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.made import Size, make_examples, save_model, to_text

SIZE = Size(2_000, 2, 128, 344, 4, 4)
TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"


@dataclass(frozen=True)
class Setting:
    """One run: which reference scores which records, and how."""

    model: Path
    prompts: list[str]
    completions: list[list[str]]
    """Of each prompt, best first."""
    finished: bool = True
    """Whether completions end with the end of sequence."""
    chat: int = 0
    """How many of the prompts are chat messages."""
    rows: dict[str, Any] = field(default_factory=dict)
    """Of our ``RowConfig``."""
    max_tokens: int = 0
    """Of a prompt and a completion; 0: no limit."""
    keep_end: bool = False
    """TRL alone: cut at the start instead of the end."""
    beta: float = 0.1


def base_setting(
    folder: Path,
    *,
    size: Size = SIZE,
    num_prompts: int = 40,
    prompt: int = 24,
    completion: int = 8,
    chat: int,
) -> Setting:
    """A model and records on the spot; every prompt is different."""
    model = save_model(size, folder / "base")
    _edit_json(model / "tokenizer_config.json", lambda settings: {**settings, "chat_template": TEMPLATE})
    examples = make_examples(
        num_prompts, vocab=size.vocab, prompt=prompt, completion=completion, completions=2
    )
    # every third prompt has completions of half the length, so that a limit drops some and not others
    lengths = [(completion if i % 3 else completion // 2) - 1 for i in range(num_prompts)]
    texts = [
        [to_text(ids[:length]) for ids in e.completion_ids]
        for e, length in zip(examples, lengths, strict=True)
    ]
    return Setting(model, [to_text(e.prompt_ids) for e in examples], texts, chat=chat)


def more_rows(setting: Setting, fraction: float) -> Setting:
    """The same records and, at the end, a share of new ones: the first prompts, read backwards."""
    count = round(fraction * len(setting.prompts))
    prompts = [" " + " ".join(reversed(prompt.split())) for prompt in setting.prompts[:count]]
    completions = setting.completions + setting.completions[:count]
    return replace(setting, prompts=setting.prompts + prompts, completions=completions)


def _edit_json(path: Path, edit: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(edit(content)))


def _copy(setting: Setting, folder: Path) -> Setting:
    shutil.copytree(setting.model, folder / "model")
    return replace(setting, model=folder / "model")


def _weights(setting: Setting, folder: Path, edit: Callable[[dict[str, Any]], None]) -> Setting:
    from safetensors.torch import load_file, save_file

    changed = _copy(setting, folder)
    tensors = load_file(changed.model / "model.safetensors")
    edit(tensors)
    save_file(tensors, changed.model / "model.safetensors", metadata={"format": "pt"})
    return changed


def _norm(tensors: dict[str, Any]) -> None:
    tensors["model.norm.weight"] = tensors["model.norm.weight"] * 1.01


def _one_embedding(tensors: dict[str, Any]) -> None:
    tensors["model.embed_tokens.weight"][5] += 1.0


def _rounded(tensors: dict[str, Any]) -> None:
    import torch

    for name, tensor in tensors.items():
        tensors[name] = tensor.to(torch.bfloat16).to(torch.float32)


def _other_seed(setting: Setting, folder: Path) -> Setting:
    changed = _copy(setting, folder)
    save_model(SIZE, folder / "other", seed=1)
    shutil.copyfile(folder / "other" / "model.safetensors", changed.model / "model.safetensors")
    return changed


def _config(key: str, value: Any) -> Callable[[Setting, Path], Setting]:
    def change(setting: Setting, folder: Path) -> Setting:
        changed = _copy(setting, folder)
        _edit_json(changed.model / "config.json", lambda config: {**config, key: value})
        return changed

    return change


def _swapped_words(setting: Setting, folder: Path) -> Setting:
    """The even words and the odd ones change places."""
    changed = _copy(setting, folder)

    def edit(tokenizer: dict[str, Any]) -> dict[str, Any]:
        vocab = tokenizer["model"]["vocab"]
        last = len(vocab) - len(vocab) % 2
        ids = {word: (i ^ 1 if 4 <= i < last else i) for word, i in vocab.items()}
        return {**tokenizer, "model": {**tokenizer["model"], "vocab": ids}}

    _edit_json(changed.model / "tokenizer.json", edit)
    return changed


def _template(setting: Setting, folder: Path) -> Setting:
    changed = _copy(setting, folder)
    _edit_json(
        changed.model / "tokenizer_config.json", lambda config: {**config, "chat_template": "w9 " + TEMPLATE}
    )
    return changed


def _moved_boundary(setting: Setting, folder: Path) -> Setting:
    """The last word of each prompt becomes the first of its completions: the same sequences."""
    words = [prompt.split() for prompt in setting.prompts]
    return replace(
        setting,
        prompts=[" " + " ".join(w[:-1]) for w in words],
        completions=[[f" {w[-1]}{c}" for c in cs] for w, cs in zip(words, setting.completions, strict=True)],
    )


def _last_word(setting: Setting, folder: Path) -> Setting:
    rng = random.Random(1)
    return replace(
        setting,
        completions=[
            [" " + " ".join([*c.split()[:-1], f"w{rng.randrange(3, SIZE.vocab)}"]) for c in cs]
            for cs in setting.completions
        ],
    )


CHANGES: dict[str, Callable[[Setting, Path], Setting]] = {
    "weights: final norm scaled by 1.01": lambda s, f: _weights(s, f, _norm),
    "weights: embedding of one word": lambda s, f: _weights(s, f, _one_embedding),
    "weights: rounded to bfloat16": lambda s, f: _weights(s, f, _rounded),
    "weights: of another seed": _other_seed,
    "config.json: rope_theta": _config("rope_parameters", {"rope_theta": 100.0, "rope_type": "default"}),
    "config.json: rms_norm_eps": _config("rms_norm_eps", 1e-2),
    "tokeniser: words swapped": _swapped_words,
    "tokeniser: chat template": _template,
    "precision: products in bfloat16": lambda s, _: replace(s, rows={"compute_dtype": "bfloat16"}),
    "precision: weights in bfloat16": lambda s, _: replace(
        s, rows={"parameter_dtype": "bfloat16", "compute_dtype": "bfloat16"}
    ),
    "truncation: 28 tokens": lambda s, _: replace(s, max_tokens=28),
    "truncation: 28 tokens, cut at the start": lambda s, _: replace(s, max_tokens=28, keep_end=True),
    "ids: no end of sequence": lambda s, _: replace(s, finished=False),
    "ids: one more word in front": lambda s, _: replace(s, prompts=[f" w7{p}" for p in s.prompts]),
    "ids: prompt ends a word earlier": _moved_boundary,
    "ids: last word of completions": _last_word,
}
"""Of weights, configuration, tokeniser, precision, truncation and ids, by name."""
