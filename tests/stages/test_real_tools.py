"""Chats with tools under real tokenisers and their templates: what is scored is what was drawn."""

from pathlib import Path

import pytest

from copg.lm.config import TextConfig
from tests import real
from tests.tool_chats import Marks, Plain, compare, read_by, refer, save_tiny

KINDS = {
    "qwen3": (Marks("<|im_start|>assistant\n", "<|im_end|>"), TextConfig(lead="drawn")),
    "llama3_1": (Marks("<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"), TextConfig()),
}
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(
        not all((real.FOLDER / name).is_dir() for name in KINDS),
        reason="needs real tokenisers in build/real: make real",
    ),
]


@pytest.mark.parametrize("name", KINDS)
def test_log_probabilities_are_those_of_plain_transformers_under_a_real_template(
    name: str, tmp_path: Path
) -> None:
    marks, text = KINDS[name]
    tokenizer = real.tokenizer(name)
    tokenizer.chat_template = real.templates()[f"{name} (own)"]
    model = save_tiny(tokenizer, tmp_path / "model")
    referenced = refer(model, tmp_path, 12, text)
    assert compare(referenced, Plain(model, marks)) < 1e-4
    scored, read = read_by(referenced, tokenizer)
    assert ("found" in scored, '"look"' in scored, "In shelf" in scored) == (False, True, True)
    assert ("found" in read, '"look"' in read, "In shelf" in read) == (True, False, False)
