"""The rule on real tokenisers and templates: the ids that are scored are those that would be drawn."""

import pytest

from copg.data.columns import to_portion
from copg.data.found import Reading
from copg.data.rows import Row
from copg.data.shapes import RecordReader
from copg.lm.fit import RecordFit
from copg.lm.text import TextCodec
from copg.lm.tokenizer import Limits, read_codec
from tests import real

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(
        not all((real.FOLDER / name).is_dir() for name in real.TOKENIZERS),
        reason="needs real tokenisers in build/real: make real",
    ),
]
CASES = len(real.TEXTS) * len(real.PROMPTS)
ENDS = {  # of each tokeniser's own template, as its model's page has it
    "gemma3": ("gemma3 (own)", "<end_of_turn>"),
    "llama2": ("llama2 (published)", "</s>"),
    "llama3_1": ("llama3_1 (own)", "<|eot_id|>"),
    "qwen3": ("qwen3 (own)", "<|im_end|>"),
    "deepseek_v3": ("deepseek_v3 (own)", "<｜end▁of▁sentence｜>"),
    "gptoss": ("gptoss", "<|return|>"),
    "mistral_v1": ("mistral (published)", "</s>"),
    "mistral_v3": ("tekken (published)", "</s>"),
    "tekken": ("tekken (published)", "</s>"),
}


NORMALISED = {"decomposed: cafe\u0301", "a literal ▁ mark"}
"""Texts that some tokenisers cannot say as they are written."""


def changed_texts(name: str) -> list[str]:
    """Plain texts that do not come back; the codec says so of every one."""
    codec = TextCodec(real.tokenizer(name))
    opening = codec.open("Why? Because")
    found = []
    for text in real.TEXTS:
        encoded = codec.encode(opening, text, finished=True)
        same = codec.decode(encoded.ids, opening.ids) == text
        assert same != ("changed_by_tokenizer" in encoded.notes), text
        found += [] if same else [text]
    return found


@pytest.mark.parametrize("name", [*real.NPM, "mistral_v1", "mistral_v3"])
def test_the_files_alone_give_the_tokeniser_that_auto_tokenizer_gives(name: str) -> None:
    light, heavy = read_codec(str(real.FOLDER / name)).tokenizer, real.tokenizer(name)
    assert type(light) is type(heavy)
    assert light.backend_tokenizer.to_str() == heavy.backend_tokenizer.to_str()
    assert light.special_tokens_map == heavy.special_tokens_map


@pytest.mark.parametrize("name", real.TOKENIZERS)
def test_what_rewards_read_has_the_ids_of_what_was_logged(name: str) -> None:
    loaded = real.tokenizer(name)
    for template in (None, real.templates()[ENDS[name][0]]):
        loaded.chat_template = template
        codec = TextCodec(loaded)
        prompt = "Why? Because" if template is None else real.PROMPTS[0]
        logged = [text for text in real.TEXTS if text.strip()]
        row = {"prompt": prompt, "completions": logged}
        fit = RecordFit(codec, Limits(None, None))
        portion = fit(to_portion([Row("a", 1, value=row)], RecordReader(Reading())))
        (read,) = portion.records["texts"].to_pylist()
        opening = codec.open(prompt)
        for before, after in zip(logged, read, strict=True):
            ids = codec.encode(opening, before, finished=True).ids
            assert codec.encode(opening, after, finished=True).ids == ids, before
        assert fit.tally.noted["not_as_drawn"] == 0


@pytest.mark.parametrize("name", real.TOKENIZERS)
def test_every_template_is_exact_or_refused_by_its_marker(name: str) -> None:
    templates = real.templates()
    title, end = ENDS[name]
    if title not in templates:
        pytest.skip(f"template {title} needs the extra 'trl'")
    for lead in ("prompt", "drawn"):
        own = real.judge(name, templates[title], lead)
        assert (own.refused, own.end, own.passed) == ("", end, CASES)
    held = real.tokenizer(name).get_vocab()
    for title, template in templates.items():
        found = real.judge(name, template)
        assert found.missed == [], title
        assert found.notes.get("changed_by_tokenizer", 0) <= len(NORMALISED) * len(real.PROMPTS), title
        assert found.passed == (0 if found.refused else CASES), title
        if not found.refused:
            assert found.end in held, title
        else:
            assert "which is no token" in found.refused or "is undefined" in found.refused, title


@pytest.mark.parametrize("name", real.TOKENIZERS)
def test_plain_text_comes_back_as_it_was_written(name: str) -> None:
    assert set(changed_texts(name)) <= NORMALISED


@pytest.mark.parametrize("name", ["llama2", "mistral_v1"])
def test_a_planted_bug_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    template = real.OWN["llama2"]
    assert real.judge(name, template).missed == []
    with monkeypatch.context() as patched:  # a space put in front, and taken away, as by encoding alone
        patched.setattr("copg.lm.pieces.Pieces._is_inside", lambda self, after_token: False)
        assert " a space before" in changed_texts(name)
        assert real.judge(name, template).notes["changed_by_tokenizer"] == CASES
    with monkeypatch.context() as patched:  # an end that is not the template's
        patched.setattr(TextCodec, "end_of_turn", 0)
        assert real.judge(name, template).missed


def test_the_table_in_the_docs_is_the_one_that_was_measured() -> None:
    if not real.trl_templates():
        pytest.skip("needs the extra 'trl'")
    assert real.TABLE.read_text() == real.table()
