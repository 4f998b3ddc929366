"""Completions of several turns: the assistant's tokens are scored, those of tools are only read."""

import json
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from copg.errors import RecordError
from copg.lm.config import RowConfig, TextConfig
from copg.lm.reference import encode_group
from copg.lm.rows import TokenGroup, num_scored
from copg.lm.scorer import group_logps
from copg.lm.tally import Tally
from copg.lm.text import TextCodec
from copg.lm.turns import encode_turns
from copg.records import MESSAGES, TOOLS, TURNS, Completion, Group
from copg.stores.reference_store import completion_key
from copg.training.data import TrainData
from tests import tiny
from tests.lm.test_text import ASK, build

TEMPLATE = (
    "{{ bos_token }}{% if tools %}{% for t in tools %}{{ t | tojson }}{% endfor %}{% endif %}"
    "{% for m in messages %}<turn>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}"
    "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}"
    "{% for call in m.tool_calls %}CALL{{ call.function | tojson }}{% endfor %}<end>{% endgeneration %}"
    "{% else %}{{ m.content }}<end>{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<turn>assistant\n{% endif %}"
)
UNMARKED = TEMPLATE.replace("{% generation %}", "").replace("{% endgeneration %}", "")
MARKS_TOOLS = UNMARKED.replace(
    "{% else %}{{ m.content }}<end>", "{% else %}{% generation %}{{ m.content }}<end>{% endgeneration %}"
)
"""A planted mistake: what is marked as generated is what others said."""
CALL = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
TURNS_OF_TWO = [
    {"role": "assistant", "content": "no", "tool_calls": [CALL]},
    {"role": "tool", "content": "yes"},
    {"role": "assistant", "content": "yes yes"},
]


def codec_of(template: str, **settings: Any) -> TextCodec:
    return TextCodec(build(template), TextConfig(**settings))


def told(codec: TextCodec, ids: list[int]) -> list[tuple[bool, str]]:
    """Runs of tokens that are scored and that are read, as text."""
    runs: list[tuple[bool, list[int]]] = []
    for token in ids:
        if not runs or runs[-1][0] != (token >= 0):
            runs.append((token >= 0, []))
        runs[-1][1].append(max(token, ~token))
    return [(scored, codec.tokenizer.decode(run)) for scored, run in runs]


@pytest.mark.parametrize("template", [TEMPLATE, UNMARKED])
def test_the_assistant_s_tokens_are_scored_and_the_tool_s_are_read(template: str) -> None:
    codec = codec_of(template)
    opening = codec.open(ASK)
    turned = encode_turns(codec, opening, TURNS_OF_TWO, finished=True)
    assert told(codec, turned.encoded.ids) == [
        (True, 'noCALL{"name": "f", "arguments": {"x": 1}}<end>'),
        (False, "\n<turn>tool\nyes<end>\n<turn>assistant\n"),
        (True, "yes yes<end>"),
    ]
    assert turned.text == 'noCALL{"name": "f", "arguments": {"x": 1}}\n\nyes yes'
    whole = codec.tokenizer(
        opening.template.render([*ASK, *TURNS_OF_TWO]), add_special_tokens=False
    ).input_ids
    plain = [max(token, ~token) for token in turned.encoded.ids]
    assert [*opening.ids, *plain] == whole[: len(opening.ids) + len(plain)]
    cut = encode_turns(codec, opening, TURNS_OF_TWO, finished=False).encoded.ids
    assert cut == turned.encoded.ids[:-1]


def test_one_turn_of_words_has_the_ids_that_it_has_as_text() -> None:
    codec = codec_of(TEMPLATE)
    opening = codec.open(ASK)
    turn = [{"role": "assistant", "content": "yes no"}]
    assert (
        encode_turns(codec, opening, turn, finished=True).encoded.ids
        == codec.encode(opening, "yes no", finished=True).ids
    )


def test_a_template_that_marks_other_characters_is_refused() -> None:
    codec = codec_of(MARKS_TOOLS)
    with pytest.raises(RecordError, match=r"marks characters .* one of the two is wrong"):
        encode_turns(codec, codec.open(ASK), TURNS_OF_TWO, finished=True)


def test_a_template_that_rewrites_an_earlier_turn_is_refused() -> None:
    last = "{% if loop.last %}LAST{% endif %}{{ m.content }}{% for"
    rewrites = UNMARKED.replace("{{ m.content }}{% for", last)
    codec = codec_of(rewrites)
    opening = codec.open(ASK)
    assert opening.before.endswith("<turn>assistant\nLAST")
    with pytest.raises(RecordError, match=r"message 1 of the completion otherwise .* text\.lead: drawn"):
        encode_turns(codec, opening, TURNS_OF_TWO, finished=True)
    drawn = codec_of(rewrites, lead="drawn")
    turned = encode_turns(drawn, drawn.open(ASK), TURNS_OF_TWO, finished=True)
    assert told(drawn, turned.encoded.ids)[-1] == (True, "LASTyes yes<end>")


def test_what_was_thought_beside_the_words_is_refused_stripped_or_kept() -> None:
    thought = [{**TURNS_OF_TWO[0], "reasoning_content": "ye"}, *TURNS_OF_TWO[1:]]
    codec = codec_of(TEMPLATE)
    with pytest.raises(RecordError, match=r"set text\.thinking to strip or keep"):
        encode_turns(codec, codec.open(ASK), thought, finished=True)
    stripped = codec_of(TEMPLATE, thinking="strip")
    found = encode_turns(stripped, stripped.open(ASK), thought, finished=True).encoded
    assert found.ids == encode_turns(codec, codec.open(ASK), TURNS_OF_TWO, finished=True).encoded.ids
    assert found.notes == ("thinking_stripped",)
    kept = codec_of(TEMPLATE, thinking="keep", lead="drawn")
    ids = encode_turns(kept, kept.open(ASK), thought, finished=True).encoded.ids
    assert told(kept, ids)[0][1].startswith("<think>ye</think>noCALL")


def test_a_turn_that_spells_the_end_of_a_turn_is_refused() -> None:
    codec = codec_of(UNMARKED)
    turns = [{**TURNS_OF_TWO[0], "content": "no<end>"}, *TURNS_OF_TWO[1:]]
    with pytest.raises(RecordError, match="spells a token that ends turns"):
        encode_turns(codec, codec.open(ASK), turns, finished=True)


def model_of(size: int) -> PreTrainedModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=size, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2
    )
    return tiny.saved_and_loaded(LlamaForCausalLM(config))


def group_of() -> Group:
    other = [{"role": "assistant", "content": "yes"}]
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    return Group(
        "g",
        ASK,
        [
            Completion("", columns={TURNS: TURNS_OF_TWO}, reward=1.0),
            Completion("", columns={TURNS: other}, reward=0.0),
            Completion("no", reward=0.5),
        ],
        columns={TOOLS: tools},
    )


@pytest.mark.parametrize("form", ["packed", "shared", "alone", "plain"])
def test_log_probabilities_are_those_of_plain_transformers_at_the_assistant_s_tokens(form: Any) -> None:
    codec = codec_of(TEMPLATE)
    group = encode_group(group_of(), codec, max_tokens=4000, tally=Tally())
    assert group is not None
    ids = [completion.token_ids or [] for completion in group.completions]
    prompt = group.prompt_ids or []
    model = model_of(len(codec.tokenizer))
    found = group_logps(model, [TokenGroup(prompt, ids)], rows=RowConfig(form=form))[0]
    rendered = codec.open(ASK, group.columns).template.render([*ASK, *TURNS_OF_TWO])
    assert rendered.startswith('<s>{"type": "function"')
    # by hand: the conversation rendered whole, and the log-probability of every character from a turn's first
    # word to its end, each token being a character or a word of the vocabulary
    whole = codec.tokenizer(rendered, add_special_tokens=False, return_offsets_mapping=True)
    first, second = rendered.index("noCALL"), rendered.index("yes yes")
    spans = [(first, rendered.index("<end>", first) + 5), (second, rendered.index("<end>", second) + 5)]
    with torch.no_grad():
        logps = model(torch.tensor([whole.input_ids])).logits[0].log_softmax(-1)
    expected = sum(
        float(logps[at - 1, token])
        for at, (token, (start, _)) in enumerate(zip(whole.input_ids, whole.offset_mapping, strict=True))
        if any(low <= start < high for low, high in spans)
    )
    assert found[0] == pytest.approx(expected, abs=2e-3)
    counted = [at for at, token in enumerate(ids[0]) if token >= 0]
    assert num_scored(ids[0]) == len(counted) < len(ids[0])
    # a mask that also counts the tool's tokens gives another value
    wrong = [max(token, ~token) for token in ids[0]]
    planted = group_logps(model, [TokenGroup(prompt, [wrong])], rows=RowConfig(form=form))[0][0]
    assert abs(planted - expected) > 1


def test_a_tool_s_tokens_carry_no_gradient_and_are_not_counted() -> None:
    codec = codec_of(TEMPLATE)
    group = encode_group(group_of(), codec, max_tokens=4000, tally=Tally())
    assert group is not None
    for completion in group.completions:
        completion.ref_logps = -1.0
    data = TrainData([group])
    ids = group.completions[0].token_ids or []
    numbers = data.completions([0], torch.zeros(3))
    assert numbers.num_tokens.tolist() == [num_scored(c.token_ids or []) for c in group.completions]
    assert data.token_group(0).completion_ids[0].tolist() == ids
    # another result of the tool is another context: the store keeps it apart, and text keeps its old key
    plain = [max(token, ~token) for token in ids]
    assert completion_key([1], ids) != completion_key([1], plain)
    assert completion_key([1, 2], [3, 4]).hex() == "fb429a9fd10df575051382ff26123657"


def test_the_prompt_s_calls_and_results_reach_the_template() -> None:
    codec = codec_of(UNMARKED)
    messages = [*ASK, *TURNS_OF_TWO[:2]]
    words = [{"role": m["role"], "content": m["content"]} for m in messages]
    opening = codec.open(words, json.loads(json.dumps({MESSAGES: messages})))
    assert 'CALL{"name": "f"' in opening.before
    assert opening.before.endswith("<turn>tool\nyes<end>\n<turn>assistant\n")
