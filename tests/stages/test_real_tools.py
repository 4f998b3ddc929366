"""Chats with tools under real tokenisers and their templates: what is scored is what was drawn."""

from pathlib import Path

import pytest

from copg.errors import RecordError
from copg.lm.config import TextConfig
from tests import real
from tests.tool_chats import Marks, Plain, compare, read_by, refer, save_tiny

KINDS = {  # the npm package's own template of Llama 3.1 is an early one, which knows no tools
    "qwen3": ("qwen3 (own)", Marks("<|im_start|>assistant\n", "<|im_end|>"), TextConfig(lead="drawn")),
    "llama3_1": (
        "llama3_1",
        Marks("<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"),
        TextConfig(),
    ),
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
    title, marks, text = KINDS[name]
    if title not in real.templates():
        pytest.skip(f"template {title} needs the extra 'trl'")
    tokenizer = real.tokenizer(name)
    tokenizer.chat_template = real.templates()[title]
    model = save_tiny(tokenizer, tmp_path / "model")
    referenced = refer(model, tmp_path, 12, text)
    assert compare(referenced, Plain(model, marks)) < 1e-4
    scored, read = read_by(referenced, tokenizer)
    assert ("found" in scored, '"look"' in scored, "In shelf" in scored) == (False, True, True)
    assert ("found" in read, '"look"' in read, "In shelf" in read) == (True, False, False)


@pytest.mark.parametrize(
    ("name", "title"),
    [("llama3_1", "llama3_1 (own)"), ("gemma3", "gemma3 (own)"), ("deepseek_v3", "deepseek_v3 (own)")],
)
def test_a_template_that_knows_no_tools_is_refused_and_the_line_says_so(
    name: str, title: str, tmp_path: Path
) -> None:
    tokenizer = real.tokenizer(name)
    tokenizer.chat_template = real.templates()[title]
    (tmp_path / "model").mkdir()
    tokenizer.save_pretrained(tmp_path / "model")
    with pytest.raises(
        RecordError, match=r"it knows none; take a model|calls or results of tools, which it may not know"
    ):
        refer(tmp_path / "model", tmp_path, 12)
