"""Chats with tools under real tokenisers and their templates: what is scored is what was drawn."""

from pathlib import Path

import pytest

from copg.errors import RecordError
from copg.lm.config import TextConfig
from tests import real
from tests.tool_chats import Marks, Plain, compare, read_by, refer, save_tiny

KINDS = {  # the npm package's own template of Llama 3.1 is an early one, which knows no tools
    "qwen3 (own)": ("qwen3", Marks("<|im_start|>assistant\n", "<|im_end|>"), TextConfig(lead="drawn")),
    "llama3_1": (
        "llama3_1",
        Marks("<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"),
        TextConfig(),
    ),
    "nemotron_3_nano": (
        "qwen3",
        Marks("<|im_start|>assistant\n<think></think>", "<|im_end|>"),
        TextConfig(),
    ),
    "qwen3_instruct_2507": ("qwen3", Marks("<|im_start|>assistant\n", "<|im_end|>"), TextConfig()),
}
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(
        not all((real.FOLDER / name).is_dir() for name in real.TOKENIZERS),
        reason="needs real tokenisers in build/real: make real",
    ),
]


@pytest.mark.parametrize("title", KINDS)
def test_log_probabilities_are_those_of_plain_transformers_under_a_real_template(
    title: str, tmp_path: Path
) -> None:
    name, marks, text = KINDS[title]
    if title not in real.templates():
        pytest.skip(f"template {title} needs the extra 'trl'")
    tokenizer = real.tokenizer(name)
    tokenizer.chat_template = real.templates()[title]
    model = save_tiny(tokenizer, tmp_path / "model")
    referenced = refer(model, tmp_path, 12, text)
    assert compare(referenced, Plain(model, marks)) < 1e-4
    scored, read = read_by(referenced, tokenizer)
    assert ("found" in scored, "look" in scored, "In shelf" in scored) == (False, True, True)
    assert ("found" in read, "look" in read, "In shelf" in read) == (True, False, False)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("llama3_1", r"writes nothing of calls of tools: it knows none; take a model that does"),
        ("gemma3", r"; they hold calls or results of tools, which it may not know"),
        (
            "deepseek_v3",
            r"reads 'tool_calls' in no form in which .* a content of null; take another",
        ),
    ],
)
def test_a_template_that_writes_no_calls_is_refused_and_the_line_says_why(
    name: str, says: str, tmp_path: Path
) -> None:
    tokenizer = real.tokenizer(name)
    tokenizer.chat_template = real.templates()[f"{name} (own)"]
    (tmp_path / "model").mkdir()
    tokenizer.save_pretrained(tmp_path / "model")
    with pytest.raises(RecordError, match=says):
        refer(tmp_path / "model", tmp_path, 12)
