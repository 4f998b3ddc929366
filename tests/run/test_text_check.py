"""Model, chat template, context and lengths against one another, by ``resolve``."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub.constants
import pytest

from copg.errors import ConfigError, ModelError
from copg.lm.config import GenerationConfig, TextConfig
from copg.run.text_check import check_text
from copg.training.config import LoraConfig
from tests.lm.test_text import DATED, TURNS, build

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def check(
    folder: Path, template: str = TURNS, *, drawn: int = 8, sampled: int = 8, longest: int = 0, **more: Any
) -> tuple[str, list[str]]:
    """With a model of 64 positions and 200 embeddings, in a folder or under the ``name`` that it has."""
    name, revision = more.pop("name", str(folder)), more.pop("revision", None)
    build(template).save_pretrained(folder)
    known = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "max_position_embeddings": 64,
        "vocab_size": more.pop("vocab_size", 200),
        **more.pop("config", {}),
    }
    lora = more.pop("lora", None)
    (folder / "config.json").write_text(json.dumps(known))
    text, num_prompts = TextConfig(**more), 4 if sampled else 0
    samples = SimpleNamespace(
        num_prompts=num_prompts, generation=GenerationConfig(max_new_tokens=sampled or 99)
    )
    return check_text(
        {
            "reference": SimpleNamespace(model=name, revision=revision, text=text, max_tokens=longest),
            "evaluate": SimpleNamespace(generation=GenerationConfig(max_new_tokens=drawn)),
            "train": SimpleNamespace(samples=samples, lora=lora),
        }
    )


def test_what_ends_a_turn_is_told_and_nothing_else_of_what_fits(tmp_path: Path) -> None:
    assert check(tmp_path, drawn=63) == ("a turn ends with `<end>`, plain text with `</s>`", [])
    assert check(tmp_path, sampled=0)[1] == []


@pytest.mark.parametrize(
    ("settings", "mistake"),
    [
        ({"drawn": 64}, "evaluate.generation.max_new_tokens=64 leaves no room for a prompt"),
        ({"sampled": 99}, "train.samples.generation.max_new_tokens=99 leaves no room for a prompt"),
        ({"template_kwargs": {"loud": 1}}, "text.template_kwargs: 'loud' is nothing that the chat template"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(tmp_path: Path, settings: Any, mistake: str) -> None:
    with pytest.raises(ConfigError, match=mistake):
        check(tmp_path, **settings)


def test_weights_in_which_none_is_trained_are_refused_without_an_adapter(tmp_path: Path) -> None:
    stored = {method: {"quantization_config": {"quant_method": method}} for method in ("awq", "mxfp4")}
    with pytest.raises(
        ConfigError, match="its weights are stored as 'awq', in which none is trained: set tr"
    ):
        check(tmp_path, config=stored["awq"])
    assert check(tmp_path, config=stored["awq"], lora=LoraConfig())[1] == []
    assert check(tmp_path, config=stored["mxfp4"])[1] == []  # which is loaded in full


def test_the_day_that_a_template_writes_is_said_unless_it_was_given(tmp_path: Path) -> None:
    (warning,) = check(tmp_path, DATED)[1]
    assert (
        warning == "the chat template writes the day: every prompt says 2024-07-26; another one is text.date"
    )
    assert check(tmp_path, DATED, date="2026-11-30")[1] == []


def test_a_template_that_leaves_out_what_the_system_says_is_doubted_by_its_model_s_name(
    tmp_path: Path,
) -> None:
    loop = "{% for m in messages %}"
    assert loop in TURNS
    silent = TURNS.replace(loop, "{% for m in messages if m['role'] != 'system' %}")
    (warning,) = check(tmp_path, silent)[1]
    assert warning.startswith(f"the chat template of {tmp_path} writes nothing of a system message")
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + TURNS
    assert check(tmp_path, refusing)[1] == []  # such records are rejected, and counted


@pytest.mark.parametrize("size", [-64, 0, True])
def test_a_length_that_nothing_fits_into_is_refused_by_name(tmp_path: Path, size: int) -> None:
    told = rf"config\.json: max_position_embeddings={size} must be a whole number > 0"
    with pytest.raises(ModelError, match=told):
        check(tmp_path, config={"max_position_embeddings": size})


def test_what_may_not_be_meant_is_a_warning(tmp_path: Path) -> None:
    (warning,) = check(tmp_path, longest=65)[1]
    assert warning == "reference.max_tokens=65 is beyond the model's context of 64, which counts"
    foreign = TURNS.replace("<end>", "<|im_end|>")
    ending, (warning,) = check(tmp_path, foreign)
    assert ending == "a completion ends with `</s>`"
    assert warning.startswith("chats will be refused: the chat template")
    assert "'<|im_end|>'" in warning
    (warning,) = check(tmp_path, vocab_size=100)[1]
    assert "the tokeniser knows 108 tokens, the model 100: records that hold one of the others" in warning


def test_an_end_without_embedding_is_another_model_s(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'<end>' ends a completion and has the id 5, the model 5 "):
        check(tmp_path, vocab_size=5)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the hub's cache has a commit of ``owner/tiny``."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path / "models--owner--tiny/snapshots" / COMMIT


def test_a_model_of_the_hub_is_held_against_the_same(hub: Path) -> None:
    named: Any = {"name": "owner/tiny", "revision": COMMIT}
    assert check(hub, drawn=63, **named) == ("a turn ends with `<end>`, plain text with `</s>`", [])
    with pytest.raises(
        ConfigError, match=r"evaluate.generation.max_new_tokens=64 leaves no room for a prompt"
    ):
        check(hub, drawn=64, **named)
    with pytest.raises(ConfigError, match="'loud' is nothing that the chat template reads"):
        check(hub, template_kwargs={"loud": 1}, **named)
    with pytest.raises(ModelError, match="the model 5 embeddings: the tokeniser is another model's"):
        check(hub, vocab_size=5, **named)


def test_a_model_that_is_neither_in_the_hub_s_cache_nor_to_be_had_is_one_line(hub: Path) -> None:
    with pytest.raises(ModelError, match=r"^owner/other: config.json cannot be fetched: We couldn't conn.*$"):
        check(hub, name="owner/other", revision=COMMIT)
