"""The tokeniser that lies beside a model, and what its configuration says of lengths, read without torch."""

import json
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from copg.artifacts import json_value
from copg.errors import ModelError
from copg.lm.anatomy import CONTEXTS, plain_context, plain_text_config, read_anatomy, text_config
from copg.lm.config import TextConfig
from copg.lm.text import TextCodec

TEKKEN, OWN = "tekken.json", "tokenizer.json"
"""Mistral's file of a tokeniser, and that of ``tokenizers``."""
TEMPLATES = ("chat_template.jinja", "chat_template.json")
"""Files in which a chat template may lie beside Mistral's."""
FILES = ("tokenizer_config.json", OWN, TEKKEN, "*.model", "vocab.*")
"""Of which every tokeniser has one."""
PLAIN = ("PreTrainedTokenizerFast", "TokenizersBackend", "PythonBackend")
"""Names under which ``tokenizer.json`` alone says all."""
MOST_CHARS = 500
"""Of what others say of an error."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model can read, by its configuration; None where nothing limits it, or nothing tells."""

    context: int | None
    """Tokens of prompt and completion together."""
    num_embeddings: int | None
    """Rows of the table of tokens: a greater id has none."""


def read_codec(model: str, *, revision: str | None = None, text: TextConfig | None = None) -> TextCodec:
    """Text to ids and back, as ``copg.lm.load.load_codec`` gives it, without torch wherever that can be.

    Where only ``AutoTokenizer`` can load a tokeniser, it says so and loads torch.

    Raises:
        ModelError: there is no tokeniser, or it has no end-of-sequence token.
    """
    check_tokenizer(model, revision)
    name = _class_of(model, revision)
    if needs_auto(model, revision):
        print(
            f"{model}: only AutoTokenizer can load its tokeniser: torch is loaded",
            file=sys.stderr,
            flush=True,
        )
        # by name: what a stage means does not depend on how models are loaded
        codec: TextCodec = import_module("copg.lm.load").load_codec(model, revision=revision, text=text)
        return codec
    try:
        if name is None:
            tokenizer = auto_tokenizer(model, revision)
        else:
            tokenizer = getattr(import_module("transformers"), name).from_pretrained(model, revision=revision)
    except Exception as error:  # tokenizers and templates each raise their own
        raise ModelError(no_tokenizer(model, error)) from None
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{model}: the tokeniser has no end-of-sequence token")
    return open_codec(model, tokenizer, text, revision=revision)


def needs_auto(model: str, revision: str | None = None) -> bool:
    """Whether only ``AutoTokenizer`` can load its tokeniser, and torch is loaded for it.

    Raises:
        ModelError: a file of it is no JSON.
    """
    return _class_of(model, revision) is None and _tekken(model, revision) is None


def leaves_lengths(model: str, revision: str | None = None) -> bool:
    """Whether ``config.json`` leaves a length to the defaults of its kind, for which torch is loaded.

    Raises:
        ModelError: it is no JSON, or one of them is no whole number above 0.
    """
    config = _read_json(model, "config.json", revision)
    text = plain_text_config(config)
    for name in (*CONTEXTS, "vocab_size"):
        size = text.get(name)
        if size is not None and (type(size) is not int or size < 1):
            raise ModelError(f"{model}: config.json: {name}={size!r:.100} must be a whole number > 0")
    return "model_type" in config and None in (plain_context(text), text.get("vocab_size"))


def check_tokenizer(model: str, revision: str | None = None) -> None:
    """Refuse a directory without the files of a tokeniser, before anything is loaded.

    Raises:
        ModelError: names the file that is missing.
    """
    folder = Path(model)
    if not folder.is_dir() or (folder / OWN).is_file() or (folder / TEKKEN).is_file():
        return
    declared = _read_json(model, "tokenizer_config.json", revision).get("tokenizer_class")
    if declared in PLAIN or not has_tokenizer(folder):
        told = f"{OWN} is missing; copy it there from where the model came from"
        raise ModelError(f"{model}: no tokeniser can be loaded: {told}")


def auto_tokenizer(model: str, revision: str | None = None) -> Any:
    """The tokeniser beside a model, by ``AutoTokenizer``; of Mistral's file alone what ``transformers`` makes
    of it, with its special tokens, which ``AutoTokenizer`` leaves unnamed.

    ``mistral-common`` never stands in its place: it has no chat template that could be asked, and reads no
    text as a special token.

    Raises:
        Exception: whatever ``transformers`` meets there.
    """
    file = _tekken(model, revision)
    if file is None:
        options = {"trust_remote_code": False, "mistral_format": False}
        return import_module("transformers").AutoTokenizer.from_pretrained(
            model, revision=revision, **options
        )
    for name in TEMPLATES:  # of the hub, so that they lie beside it
        _file(model, name, revision)
    own = _read_json(model, "tokenizer_config.json", revision).get("chat_template")
    convert = import_module("transformers.integrations.mistral").convert_tekken_tokenizer
    tokenizer = convert(str(file), chat_template=own)
    tokenizer.add_bos_token = True  # as its models were trained
    return tokenizer


def has_tokenizer(folder: Path) -> bool:
    """Whether a tokeniser lies in a directory, whatever its files are called."""
    return any(True for pattern in FILES for _ in folder.glob(pattern))


def _tekken(model: str, revision: str | None) -> Path | None:
    """Mistral's file where no other tokeniser lies beside it."""
    others = (_file(model, name, revision) for name in (OWN, "tokenizer.model"))
    return None if any(others) else _file(model, TEKKEN, revision)


def open_codec(
    model: str | Path, tokenizer: Any, text: TextConfig | None, *, revision: str | None = None
) -> TextCodec:
    """Text to ids and back by a tokeniser that was loaded, and the ends that the model's files name.

    Args:
        model: where those lie.
        tokenizer: of ``transformers``.
        text: how prompts and completions become tokens.
        revision: of the hub.

    Raises:
        ModelError: what its files say of tokens is none of what it may be.
    """
    named = _read_json(str(model), "generation_config.json", revision).get("eos_token_id")
    if named is None:  # a model need not have one, or name no end there
        named = plain_text_config(_read_json(str(model), "config.json", revision)).get("eos_token_id")
    ends = named if isinstance(named, list) else [] if named is None else [named]
    if not all(type(end) is int for end in ends):
        raise ModelError(f"{model}: eos_token_id={named!r:.100} must be an id, or a list of ids")
    if not isinstance(tokenizer.chat_template, str | dict | None):
        raise ModelError(f"{model}: its chat template is {type(tokenizer.chat_template).__name__}, not text")
    try:
        return TextCodec(tokenizer, text, ends)
    except ModelError:
        raise
    except Exception as error:  # ``tokenizers`` raises bare ones
        raise ModelError(no_tokenizer(model, error)) from None


def no_tokenizer(model: str | Path, error: Exception) -> str:
    """What is said of a tokeniser that cannot be loaded, in one line."""
    reason = " ".join(str(error).split())[:MOST_CHARS] or type(error).__name__
    return f"{model}: no tokeniser can be loaded: {reason}"


def read_limits(model: str, *, revision: str | None = None) -> Limits:
    """Lengths by ``config.json`` alone; where it leaves one to the defaults of its kind, as that of Gemma 3
    does, it says so and loads torch, as ``transformers`` knows them in no other way.

    Raises:
        ModelError: one of them is no whole number above 0, or the kind is unknown.
    """
    config = _read_json(model, "config.json", revision)
    text = plain_text_config(config)
    if not leaves_lengths(model, revision):
        return Limits(plain_context(text), text.get("vocab_size"))
    kind = config["model_type"]
    print(f"{model}: config.json leaves lengths to model type {kind!r}: torch is loaded", file=sys.stderr)
    whole = import_module("copg.lm.load").load_config(model, revision=revision)
    return Limits(read_anatomy(whole).context, getattr(text_config(whole), "vocab_size", None))


def _class_of(model: str, revision: str | None) -> str | None:
    """The class in ``transformers`` that ``AutoTokenizer`` would choose; None where it must choose itself."""
    settings = _read_json(model, "tokenizer_config.json", revision)
    declared = settings.get("tokenizer_class")
    if declared is None or "auto_map" in settings or _file(model, OWN, revision) is None:
        return None
    name = PLAIN[0] if declared in PLAIN else str(declared).removesuffix("Fast")
    if name == "LlamaTokenizer":  # its class knows nothing of bytes
        rules = _read_json(model, OWN, revision)
        if '"ByteLevel"' in json.dumps([rules.get("pre_tokenizer"), rules.get("decoder")]):
            return PLAIN[0]
    return name if hasattr(import_module("transformers"), name) else None


def _read_json(model: str, name: str, revision: str | None) -> dict[str, Any]:
    """A file beside a model; empty where there is none.

    Raises:
        ModelError: it is no JSON.
    """
    path = _file(model, name, revision)
    if path is None:
        return {}
    try:
        found = json_value(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: is no JSON: {error}") from None
    return found if isinstance(found, dict) else {}


def _file(model: str, name: str, revision: str | None) -> Path | None:
    folder = Path(model)
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    from transformers.utils.hub import cached_file

    quiet = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_gated_repo": False}
    try:
        found = cached_file(model, name, revision=revision, **quiet)
    except OSError as error:
        reason = str(error).strip().split("\n")[0]
        raise ModelError(f"{model}: {name} cannot be fetched: {reason}") from None
    return None if found is None else Path(found)
