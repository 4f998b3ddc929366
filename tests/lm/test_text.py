"""Text to ids and back: what is scored is what would be drawn, to the token."""

from pathlib import Path
from typing import Any

import pytest
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from copg.config import parse_config
from copg.errors import ConfigError, ModelError, RecordError
from copg.lm.config import TextConfig
from copg.lm.judged import judged_ids
from copg.lm.template import Opening
from copg.lm.text import TextCodec
from tests import tiny

ASK = [{"role": "user", "content": "why"}]
TURNS = (
    "{{ bos_token }}{% for m in messages %}<turn>{{ m.role }}\n{{ m.content | trim }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<turn>assistant\n{% endif %}"
)
THINKS = TURNS.replace(
    "{{ m.content | trim }}",
    "{% if m.role == 'assistant' %}<think>\n\n</think>\n\n{{ m.content.split('</think>')[-1].lstrip('\n') }}"
    "{% else %}{{ m.content }}{% endif %}",
)
OPENS_THINKING = TURNS.replace("<turn>assistant\n", "<turn>assistant\n<think>\n")
LLAMA_2 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content | trim }} [/INST]"
    "{% else %} {{ m.content | trim }} {{ eos_token }}{% endif %}{% endfor %}"
)


def build(template: str | None = TURNS, *, spaces: bool = False) -> PreTrainedTokenizerFast:
    """A token a character, and for some words; with ``spaces``, a space in front of any text, as Llama's."""
    specials = ["<pad>", "<s>", "</s>", "<unk>", "<turn>", "<end>"]
    letters = [chr(c) for c in range(33, 127)] + ["\n", "▁", "é"]
    words = ["ye", "yes", "▁yes"]
    merges = [("y", "e"), ("ye", "s"), ("▁", "yes")]
    vocabulary = {word: i for i, word in enumerate([*specials, *letters, *words])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>"))
    replace = normalizers.Replace(" ", "▁")
    put = [normalizers.Prepend("▁")] if spaces else []
    tokenizer.normalizer = normalizers.Sequence([*put, replace])  # type: ignore[assignment]
    strip = [decoders.Strip(" ", 1, 0)] if spaces else []
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), *strip])  # type: ignore[assignment]
    tokenizer.pre_tokenizer = pre_tokenizers.Split(pattern="▁", behavior="merged_with_next")  # type: ignore[assignment]
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens=["<turn>", "<end>"],
        chat_template=template,
    )
    made.add_tokens([AddedToken("<think>", special=False), AddedToken("</think>", special=False)])
    return made


def tokens(codec: TextCodec, ids: list[int]) -> list[str]:
    return list(codec.tokenizer.convert_ids_to_tokens(ids))


def opened(codec: TextCodec, prompt: Any = ASK) -> Opening:
    return codec.open(prompt)


def test_a_turn_ends_as_the_template_ends_it_and_a_text_with_the_end_of_text() -> None:
    codec = TextCodec(build())
    assert tokens(codec, codec.encode(opened(codec), "no", finished=True).ids) == ["n", "o", "<end>"]
    assert tokens(codec, codec.encode(opened(codec), "no", finished=False).ids) == ["n", "o"]
    assert tokens(codec, codec.encode(opened(codec, "why"), "no", finished=True).ids) == ["n", "o", "</s>"]
    assert codec.about() == {"end_of_turn": "<end>", "end_of_text": "</s>", "stops": ["</s>", "<end>"]}


@pytest.mark.parametrize("template", [TURNS, THINKS, LLAMA_2])
@pytest.mark.parametrize("spaces", [False, True])
@pytest.mark.parametrize("lead", ["prompt", "drawn"])
@pytest.mark.parametrize("text", ["yes", "no yes", " yes", "a\n\nb", "ye s", ""])
def test_ids_are_those_of_the_conversation_rendered_whole(
    template: str, spaces: bool, lead: Any, text: str
) -> None:
    codec = TextCodec(build(template, spaces=spaces), TextConfig(lead=lead))
    opening = opened(codec)
    encoded = codec.encode(opening, text, finished=True)
    whole = judged_ids(codec, ASK, text, {})
    assert whole[: len(opening.ids) + len(encoded.ids)] == opening.ids + encoded.ids
    assert whole.count(1) == 1  # one start token
    rest = codec.tokenizer.decode(whole[len(opening.ids) + len(encoded.ids) :])
    assert rest.strip() == ""
    kept = text.strip() if template != THINKS else text
    assert codec.said(opening, codec.decode(encoded.ids, opening.ids)) == kept
    assert ("changed_by_template" in encoded.notes) == (kept != text)
    assert "merges_with_prompt" not in encoded.notes


@pytest.mark.parametrize("template", [TURNS, LLAMA_2])
@pytest.mark.parametrize("text", ["yes <turn> no", "<turn>yes"])
def test_words_that_spell_a_token_are_judged_by_the_ids_that_are_drawn(template: str, text: str) -> None:
    codec = TextCodec(build(template, spaces=True))
    opening = opened(codec)
    drawn = codec.encode(opening, text, finished=True)
    assert drawn.notes == ("spells_special_tokens",)
    known = opening.ids + drawn.ids
    assert judged_ids(codec, ASK, text, {})[: len(known)] == known


@pytest.mark.parametrize("spaces", [False, True])
@pytest.mark.parametrize("text", ["yes", " yes", "  no", "\nyes", "no ", " "])
def test_plain_text_has_no_space_that_was_not_written_and_keeps_those_that_were(
    spaces: bool, text: str
) -> None:
    codec = TextCodec(build(None, spaces=spaces))
    opening = opened(codec, "why?")
    encoded = codec.encode(opening, text, finished=True)
    assert codec.decode(encoded.ids, opening.ids) == text
    assert "changed_by_tokenizer" not in encoded.notes
    first = {"yes": "yes", " yes": "▁yes", "  no": "▁", "\nyes": "\n", "no ": "n", " ": "▁"}[text]
    assert tokens(codec, encoded.ids)[0] == first
    if not spaces:  # as they always were: the tokeniser's own
        own = codec.tokenizer(text, add_special_tokens=False).input_ids
        assert encoded.ids == [*own, codec.end_of_text]


def test_a_tokeniser_of_words_has_no_space_to_cut() -> None:
    codec = TextCodec(tiny.build_tokenizer())
    assert not codec.pieces.puts_space
    opening = opened(codec, "red cat")
    ids = codec.encode(opening, "blue dog", finished=True).ids
    assert tokens(codec, ids) == ["blue", "dog", "</s>"]
    assert codec.decode(ids, opening.ids) == codec.tokenizer.decode(ids[:2])


def test_a_space_is_put_after_a_token_by_some_tokenisers_and_by_others_at_the_start_alone() -> None:
    for scheme, after in (("always", "▁yes"), ("first", "yes")):
        tokenizer = build(TURNS.replace("\n", ""))
        tokenizer.backend_tokenizer.normalizer = normalizers.Sequence([])
        space = pre_tokenizers.Metaspace(prepend_scheme=scheme)
        tokenizer.backend_tokenizer.pre_tokenizer = space
        tokenizer.backend_tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
        codec = TextCodec(tokenizer)
        opening = codec.open([*ASK, {"role": "assistant", "content": "<turn>"}])
        encoded = codec.encode(opening, "yes", finished=True)
        assert tokens(codec, encoded.ids) == [after, "<end>"]
        assert codec.decode(encoded.ids, opening.ids) == "yes"
        assert encoded.notes == ()


def test_a_planted_end_of_text_or_space_of_the_tokeniser_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def exact(template: str, *, spaces: bool) -> bool:
        codec = TextCodec(build(template, spaces=spaces))
        opening = opened(codec)
        ids = opening.ids + codec.encode(opening, "yes", finished=True).ids
        return judged_ids(codec, ASK, "yes", {})[: len(ids)] == ids

    assert exact(TURNS, spaces=False)
    assert exact(LLAMA_2, spaces=True)
    with monkeypatch.context() as planted:  # whatever the template writes
        planted.setattr(TextCodec, "end_of_turn", property(lambda codec: codec.end_of_text))
        assert not exact(TURNS, spaces=False)
    with monkeypatch.context() as planted:  # by encoding alone
        planted.setattr("copg.lm.pieces.Pieces._is_inside", lambda self, after_token: False)
        assert not exact(LLAMA_2, spaces=True)


def test_a_token_that_would_span_the_boundary_is_counted() -> None:
    codec = TextCodec(build(None))
    opening = opened(codec, "why? ")
    assert codec.encode(opening, "yes", finished=True).notes == ("merges_with_prompt",)  # "▁yes" in one text
    assert codec.encode(opening, "no", finished=True).notes == ()


def test_text_that_the_tokeniser_changes_and_tokens_spelled_in_it_are_told() -> None:
    codec = TextCodec(build(None))
    opening = opened(codec, "why?")
    assert codec.encode(opening, "▁", finished=True).notes == ("changed_by_tokenizer",)
    spelled = codec.encode(opening, "a<end>b", finished=True)
    assert spelled.notes == ("spells_special_tokens",)
    assert tokens(codec, spelled.ids) == [*"a<end>b", "</s>"]
    reads = TextCodec(build(None), TextConfig(special_tokens="tokens"))
    ids = reads.encode(opening, "a<end>b", finished=True).ids
    assert tokens(reads, ids) == ["a", "<end>", "b", "</s>"]
    assert reads.decode(ids, opening.ids) == "a<end>b"
    assert codec.decode(ids, opening.ids) == "ab"


def test_an_empty_think_block_is_of_the_prompt_or_drawn_by_one_setting() -> None:
    for lead, in_prompt in (("prompt", True), ("drawn", False)):
        codec = TextCodec(build(THINKS), TextConfig(lead=lead))
        opening = opened(codec)
        ids = codec.encode(opening, "no", finished=True).ids
        block = ["<think>", "\n", "\n", "</think>", "\n", "\n"]
        assert (tokens(codec, opening.ids)[-6:] == block) is in_prompt
        assert tokens(codec, ids) == [*([] if in_prompt else block), "n", "o", "<end>"]
        assert codec.said(opening, codec.decode(ids, opening.ids)) == "no"


def test_the_header_of_a_channel_that_is_drawn_is_tokens_though_logs_are_text() -> None:
    header = TURNS.replace("{{ m.content", "{% if m.role == 'assistant' %}a<turn>b{% endif %}{{ m.content")
    codec = TextCodec(build(header), TextConfig(lead="drawn"))
    opening = opened(codec)
    ids = codec.encode(opening, "n<end>o", finished=True).ids
    assert tokens(codec, ids) == ["a", "<turn>", "b", *"n<end>o", "<end>"]
    assert codec.said(opening, codec.decode(ids, opening.ids)) == "n<end>o"


def test_thinking_in_logs_is_refused_stripped_or_kept_and_told() -> None:
    text = "<think>\nhm\n</think>\n\nno"
    codec = TextCodec(build(THINKS))
    with pytest.raises(RecordError, match=r"thinking up to '</think>': set text.thinking to strip or keep"):
        codec.encode(opened(codec), text, finished=True)
    strips = TextCodec(build(THINKS), TextConfig(thinking="strip"))
    encoded = strips.encode(opened(strips), text, finished=True)
    assert (tokens(strips, encoded.ids), encoded.notes) == (["n", "o", "<end>"], ("thinking_stripped",))
    keeps = TextCodec(build(THINKS), TextConfig(thinking="keep", lead="drawn"))
    encoded = keeps.encode(opened(keeps), text, finished=True)
    # this template writes an empty block whatever was thought: not as it renders the conversation whole
    assert encoded.notes == ("not_as_rendered",)
    assert keeps.tokenizer.decode(encoded.ids) == text + "<end>"
    plain = TextCodec(build(TURNS))  # a template that knows of no thinking: words like any other
    assert plain.encode(opened(plain), text, finished=True).notes == ()
    with pytest.raises(ConfigError, match="thinking='keep' needs lead='drawn'"):
        parse_config(TextConfig, {"thinking": "keep"}, where="text")


def test_where_the_generation_prompt_begins_to_think_logs_without_thinking_are_read_from_the_whole() -> None:
    codec = TextCodec(build(OPENS_THINKING))
    assert opened(codec).before.endswith("<turn>assistant\n")
    drawn = TextCodec(build(OPENS_THINKING), TextConfig(lead="drawn"))
    assert opened(drawn).before.endswith("<turn>assistant\n<think>\n")
    with pytest.raises(RecordError, match="no thinking in a completion"):
        drawn.encode(opened(drawn), "no", finished=True)


def test_an_assistants_message_at_the_end_of_a_prompt_is_gone_on_with() -> None:
    codec = TextCodec(build())
    prompt = [*ASK, {"role": "assistant", "content": "Well, "}]
    opening = opened(codec, prompt)
    assert opening.before.endswith("<turn>assistant\nWell,")
    ids = codec.encode(opening, "yes", finished=True).ids
    assert tokens(codec, ids) == ["▁yes", "<end>"]
    assert codec.said(opening, codec.decode(ids, opening.ids)) == "yes"


@pytest.mark.parametrize("more", [{"tool_calls": [{"function": {}}]}, {"reasoning_content": "hm"}])
def test_a_prompt_that_ends_with_more_of_an_assistant_than_words_is_refused(more: dict[str, Any]) -> None:
    codec, message = TextCodec(build()), {"role": "assistant", "content": "so"}
    said = f"ends with an assistant's message that holds {next(iter(more))}, and completions go on with its"
    prompt, columns = [*ASK, message], {"_prompt_messages": [*ASK, {**message, **more}]}
    with pytest.raises(RecordError, match=said):
        codec.open(prompt, columns)
    with pytest.raises(RecordError, match=said):
        judged_ids(codec, prompt, "yes", columns)
    nothing = dict.fromkeys(more)
    assert codec.open(prompt, {"_prompt_messages": [*ASK, {**message, **nothing}]}).begun == "so"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (TURNS.replace("<end>", "<|im_end|>"), r"ends a turn with '<\|im_end\|>'.*ends with '</s>'"),
        (TURNS.replace("<end>\n", "\nUser: "), r"ends a turn with 'User:'.*ends with '</s>'"),
        (  # <end> at the end, <turn> in between: neither is named as an end
            "{% for m in messages %}<turn>{{ m.content }}{% if loop.last %}<end>{% endif %}{% endfor %}",
            "a turn ends with '<turn>' or '<end>'",
        ),
    ],
)
def test_an_end_that_cannot_be_told_is_refused_by_both_names(template: str, message: str) -> None:
    codec = TextCodec(build(template))
    with pytest.raises(ModelError, match=message):
        opened(codec)
    assert codec.stops == {codec.end_of_text}
    assert opened(codec, "plain text").ids


def test_of_two_ends_the_one_that_the_model_names_is_taken() -> None:
    template = "{% for m in messages %}<turn>{{ m.content }}{% if loop.last %}<end>{% endif %}{% endfor %}"
    tokenizer = build(template)
    end = tokenizer.convert_tokens_to_ids("<end>")
    assert TextCodec(tokenizer, named_ends=[end]).end_of_turn == end


def test_a_template_of_another_model_is_refused_by_the_marker_it_lacks() -> None:
    codec = TextCodec(build(TURNS.replace("<turn>assistant", "<|assistant|>")))
    assert opened(codec).ids  # in plain words, as Zephyr's
    mixed = "{% for m in messages %}<|im_start|>{{ m.content }}<|end|>{% endfor %}"
    tokenizer = build(mixed)
    tokenizer.add_tokens([AddedToken("<|end|>", special=True)])
    with pytest.raises(ModelError, match=r"writes '<\|im_start\|>', which is no token"):
        opened(TextCodec(tokenizer))


def test_a_template_that_refuses_messages_or_is_not_there_is_told() -> None:
    refuses = "{% if messages[0].role != 'user' %}{{ raise_exception('a user first') }}{% endif %}" + TURNS
    codec = TextCodec(build(refuses))
    with pytest.raises(RecordError, match="the chat template refuses the messages: a user first"):
        opened(codec, [{"role": "system", "content": "a"}])
    with pytest.raises(ModelError, match="no chat template"):
        opened(TextCodec(build(None)))
    with pytest.raises(RecordError, match="prompt '' has no tokens"):
        opened(TextCodec(build(None)), "")


@pytest.mark.parametrize("spaces", [False, True])
@pytest.mark.parametrize("lead", ["prompt", "drawn"])
def test_white_space_of_a_begun_answer_that_a_template_trims_with_the_words_is_no_room(
    spaces: bool, lead: Any
) -> None:
    """The space before the end of the turn is not at once that of the prompt."""
    codec = TextCodec(build(LLAMA_2, spaces=spaces), TextConfig(lead=lead))
    opening = opened(codec, [*ASK, {"role": "assistant", "content": "no "}])
    for text in ("", "\n", " "):
        with pytest.raises(RecordError, match="writes these words of an assistant differently from others"):
            codec.encode(opening, text, finished=True)
    ids = opening.ids + codec.encode(opening, "yes", finished=True).ids
    assert codec.ids_of(codec.template.render([*ASK, {"role": "assistant", "content": "no yes"}])) == ids


def test_settings_of_the_template_reach_it() -> None:
    template = TURNS.replace("{{ bos_token }}", "{{ bos_token }}{{ mood }}")
    codec = TextCodec(build(template), TextConfig(template_kwargs={"mood": "glad"}))
    assert opened(codec).before.startswith("<s>glad<turn>")


DATED = TURNS.replace("{{ bos_token }}", "{{ bos_token }}{{ strftime_now('%d %b %Y') }}")


def test_a_template_that_writes_the_day_writes_that_of_the_settings_and_never_today() -> None:
    assert opened(TextCodec(build(DATED))).before.startswith("<s>26 Jul 2024<turn>")
    codec = TextCodec(build(DATED), TextConfig(date="2026-11-30"))
    assert opened(codec).before.startswith("<s>30 Nov 2026<turn>")
    assert codec.template.writes_the_day()
    assert not TextCodec(build()).template.writes_the_day()


def test_a_stopped_clock_moves_nothing_else_of_what_a_template_writes() -> None:
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    for before in ("", "\n", "  ", "\n\n {% if true %}\n x\n{% endif %}\n"):
        plain = f"{before}{TURNS}"
        dated = f"{before}{DATED}".replace("'%d %b %Y'", "''")
        expected = TextCodec(build(plain)).template.render(said)
        assert TextCodec(build(dated)).template.render(said) == expected
    marked = DATED.replace(
        "{{ m.content | trim }}", "{% generation %}{{ m.content | trim }}{% endgeneration %}"
    )
    template = TextCodec(build(marked), TextConfig(date="2026-11-30")).template
    at = template.render(said).index("b<end>")
    assert (template.generated(said) or [])[-1] == (at, at + 1)


def test_the_module_loads_without_torch() -> None:
    import subprocess
    import sys

    code = "import sys, copg.lm.text; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0


@pytest.mark.parametrize(("prompt", "end"), [(ASK, "<end>"), ("why", "</s>")])
def test_a_text_that_spells_its_end_as_a_token_ends_once(prompt: Any, end: str) -> None:
    codec = TextCodec(build(), TextConfig(special_tokens="tokens"))
    opening = opened(codec, prompt)
    for finished in (True, False):
        encoded = codec.encode(opening, f"yes{end}", finished=finished)
        assert tokens(codec, encoded.ids) == ["yes", end]
        assert codec.read_back(opening, encoded) == "yes"
    # drawn in a chat, the end of text is what ended it; in plain text the end of a turn ends as well
    other = {"<end>": "</s>", "</s>": "<end>"}[end]
    assert tokens(codec, codec.encode(opening, f"yes{other}", finished=True).ids) == ["yes", other]
    with pytest.raises(RecordError, match=f"it goes on after '{end}', at which the model stops"):
        codec.encode(opening, f"yes{end}no", finished=True)
    as_text = TextCodec(build())
    ids = as_text.encode(opened(as_text, prompt), f"yes{end}", finished=True).ids
    assert tokens(as_text, ids) == ["yes", *end, end]


def unmarked() -> PreTrainedTokenizerFast:
    """Whose template ends turns with a token that is none of the special ones."""
    tokenizer = build(TURNS.replace("<end>", "<done>"))
    tokenizer.add_tokens([AddedToken("<done>", special=False)])
    return tokenizer


@pytest.mark.parametrize("special_tokens", ["text", "tokens"])
def test_an_end_that_is_no_special_token_ends_and_is_no_word(special_tokens: Any) -> None:
    codec = TextCodec(unmarked(), TextConfig(special_tokens=special_tokens))
    opening = opened(codec)
    for text in ("yes", "yes<done>"):
        encoded = codec.encode(opening, text, finished=True)
        assert tokens(codec, encoded.ids) == ["yes", "<done>"]
        assert codec.read_back(opening, encoded) == "yes"
    with pytest.raises(RecordError, match="it goes on after '<done>'"):
        codec.encode(opening, "yes<done>no", finished=True)


def test_text_that_was_rendered_before_has_one_start_token() -> None:
    tokenizer = build(None)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    codec = TextCodec(tokenizer)
    assert opened(codec, "<s>why").ids == opened(codec, "why").ids
    assert tokens(codec, opened(codec, "<s>why").ids) == ["<s>", *"why"]


@pytest.mark.parametrize(("side", "text"), [("rstrip", " yes"), ("lstrip", "yes ")])
def test_white_space_that_a_token_takes_in_a_whole_text_is_told(side: str, text: str) -> None:
    template = "{% for m in messages %}<bot>{{ m.content }}<done>{% endfor %}"
    tokenizer = build(template + "{% if add_generation_prompt %}<bot>{% endif %}")
    added = [AddedToken(name, special=True, **{side: True}) for name in ("<bot>", "<done>")]
    tokenizer.add_tokens(added, special_tokens=True)
    codec = TextCodec(tokenizer)
    opening = opened(codec)
    encoded = codec.encode(opening, text, finished=True)
    same = judged_ids(codec, ASK, text, {}) == opening.ids + encoded.ids
    # what the prompt takes can be drawn all the same; what the end takes cannot be in its conversation
    expected = (("merges_with_prompt",), False) if side == "rstrip" else (("changed_by_tokenizer",), True)
    assert (encoded.notes, same) == expected
    assert codec.encode(opening, "yes", finished=True).notes == ()


@pytest.mark.parametrize("template", [None, TURNS])
def test_a_space_that_byte_level_tokens_put_in_front_is_none_of_the_text(template: str | None) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<s>", "</s>", "<turn>", "<end>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=270, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["yes no yes"] * 9, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", extra_special_tokens=specials[2:]
    )
    made.chat_template = template
    codec = TextCodec(made)
    opening = opened(codec, "why?" if template is None else ASK)
    for text in ("yes", " yes", "no yes", "\nyes"):
        encoded = codec.encode(opening, text, finished=True)
        kept = text if template is None else text.strip()
        assert codec.read_back(opening, encoded) == kept
        assert set(encoded.notes) <= {"changed_by_template"}
        if template is not None:
            whole = judged_ids(codec, ASK, text, {})
            assert whole[: len(opening.ids) + len(encoded.ids)] == opening.ids + encoded.ids
