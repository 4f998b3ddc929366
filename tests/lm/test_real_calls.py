"""Every real tokeniser and template on chats with tools: exact to the token, or refused by a true line."""

import copy
import re
from collections.abc import Sequence
from typing import Any

import pytest

from copg.data.turns import in_words
from copg.errors import CopgError
from copg.lm.config import TextConfig
from copg.lm.text import TextCodec
from copg.lm.turns import encode_turns
from copg.records import MESSAGES, TOOLS
from tests import real
from tests.lm.test_turns import told

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(
        not all((real.FOLDER / name).is_dir() for name in real.TOKENIZERS) or not real.trl_templates(),
        reason="needs real tokenisers in build/real (make real), and the extra 'trl'",
    ),
]
NAMED = {"gptoss": ["<|return|>", "<|call|>"], "llama3_1": ["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"]}
"""Ends that ``generation_config.json`` of the models names, where they are not the tokeniser's alone."""


def tool(name: str) -> dict[str, Any]:
    order = {"type": "object", "properties": {"order": {"type": "integer"}}}
    return {
        "type": "function",
        "function": {"name": name, "description": f"Zdesc {name}", "parameters": order},
    }


def calls(*numbers: int, words: str = "") -> dict[str, Any]:
    """A message that calls once for each number, and always the same tool."""
    each = [{"name": "lookup", "arguments": {"order": number, "at": f"Zat{number}"}} for number in numbers]
    held = [{"id": f"call{f['arguments']['order']:05d}", "type": "function", "function": f} for f in each]
    return {"role": "assistant", "content": words, "tool_calls": held}


def result(number: int) -> dict[str, Any]:
    told = {"tool_call_id": f"call{number:05d}", "name": "lookup", "content": f"Zresult{number}"}
    return {"role": "tool", **told}


ASKED, ANSWER = {"role": "user", "content": "Zasked"}, {"role": "assistant", "content": "Zanswer"}
AGAIN = [ASKED, calls(33333), result(33333), {"role": "assistant", "content": "Zbefore"}, ASKED]
CASES = {
    "one": ([ASKED], [calls(11111), result(11111), ANSWER]),
    "two": ([ASKED], [calls(11111, 22222), result(11111), result(22222), ANSWER]),
    "rounds": ([ASKED], [calls(11111), result(11111), calls(22222), result(22222), ANSWER]),
    "words": ([ASKED], [calls(11111, words="Zwords"), result(11111), ANSWER]),
    "open": ([ASKED], [calls(11111)]),
    "again": (AGAIN, [calls(11111), result(11111), ANSWER]),
}
"""Prompts and completions in which every word stands once, and says whose it is."""
LINES = {
    "joins calls": r"before message [13] of the completion otherwise once .*tool▁call▁begin｜>",
    "no tools": r"writes nothing of the 1 tools of the record: it knows none; take a model that does",
    "no calls": r"writes nothing of calls of tools: it knows none; take a model that does$",
    "null": r"writes nothing of calls of tools: it reads 'tool_calls' in no form .* a content of null",
    "alternate": r"refuses the messages: .*roles must alternate.*; they hold calls or results of tools",
    "single": r"refuses the messages: This model only supports single tool-calls at once!$",
    "one call": r"does not write call 2 of message 1 .* of 'lookup': .* beside what else the message holds$",
    "no call": r"does not write call 1 of message 1 .*, of 'lookup': its model cannot draw it$",
    "no words": r"writes the calls of message 1 of the completion without its words 'Zwords'",
    "lead": r"before message 1 .* otherwise .* where it adds thinking, text\.lead: drawn may help$",
    "thinks": r"before message 1 .* otherwise .* where it begins to think, text\.lead: prompt may help$",
    "drops words": r"before message 3 .* otherwise .* beside earlier calls, leave them out of the record$",
}
"""By a word of ours: why a case is refused."""


def codec_of(tokenizer: Any, template: str, lead: Any, ends: Sequence[str]) -> TextCodec:
    tokenizer.chat_template = template
    return TextCodec(tokenizer, TextConfig(lead=lead), [tokenizer.convert_tokens_to_ids(end) for end in ends])


def outcome(codec: TextCodec, case: str, tools: list[dict[str, Any]] | None) -> str:
    """``exact``, or the word for why the case is refused; anything that is neither fails."""
    asked, said = CASES[case]
    try:
        opening = codec.open(in_words(asked), {TOOLS: tools, MESSAGES: asked})
        encoded = encode_turns(codec, opening, said, finished=True).encoded
    except CopgError as error:
        (word, *_) = [word for word, line in LINES.items() if re.search(line, str(error))] or [str(error)]
        return word
    whole = codec.ids_of(opening.template.render([*asked, *said]))
    ids = [*opening.ids, *(max(token, ~token) for token in encoded.ids)]
    assert (whole[: len(ids)] == ids) != ("merges_with_prompt" in encoded.notes), case
    runs = told(codec, encoded.ids)
    turns = [message for message in said if message["role"] == "assistant"]
    assert [scored for scored, _ in runs] == ([True, False] * len(turns))[:-1], case
    assert all(encoded.ids[at] in codec.stops for at in _lasts(encoded.ids)), case
    for message, (_, text) in zip(turns, runs[::2], strict=True):
        orders = [call["function"]["arguments"]["order"] for call in message.get("tool_calls", ())]
        assert re.findall(r"\d{5}", text) == [str(n) for n in orders for _ in "12"], case
        assert sorted(re.findall("Z[a-z]+", text)) == sorted(["Zat"] * len(orders) + _words(message)), case
    read = "".join(text for _, text in runs[1::2])
    results = [message["content"] for message in said if message["role"] == "tool"]
    assert re.findall(r"Z[a-z]+\d*", read) == results, case
    return "exact"


def _words(message: dict[str, Any]) -> list[str]:
    return [message["content"]] if message["content"] else []


def _lasts(ids: Sequence[int]) -> list[int]:
    """Places of the last scored tokens of turns."""
    return [at for at, token in enumerate(ids) if token >= 0 and (ids[at + 1 : at + 2] or [-1])[0] < 0]


def outcomes(name: str, tools: list[dict[str, Any]] | None, lead: str) -> dict[str, dict[str, str]]:
    """Of each template whose markers the tokeniser holds, what becomes of the cases."""
    found = {}
    for title, template in real.templates().items():
        codec = codec_of(copy.copy(real.tokenizer(name)), template, lead, NAMED.get(name, ()))
        try:
            codec.open([ASKED])
        except CopgError:  # of another model: see test_real_tokenizers
            continue
        cases = {case: outcome(codec, case, tools) for case in CASES}
        found[title] = cases
    return found


NO_TOOLS = dict.fromkeys(CASES, "no tools") | {"again": "no calls"}
EXACT = dict.fromkeys(CASES, "exact")
LLAMA = EXACT | {"two": "single", "words": "no words"}
HARMONY = EXACT | {"two": "one call", "words": "drops words"}
UNALTERNATED = NO_TOOLS | {"again": "alternate"}
NO_NULL = NO_TOOLS | {"again": "null"}
LEAD = dict.fromkeys(CASES, "lead")
KNOWN = {
    "gemma3 (own)": UNALTERNATED,
    "gemma": UNALTERNATED,
    "gemma3": UNALTERNATED,
    "llama3_1": LLAMA,
    "llama3_2": LLAMA,
    "lfm2": dict.fromkeys(CASES, "no calls"),
    "deepseek_v3 (own)": NO_NULL,
    "deepseek_r1_distill": NO_NULL,
    "deepseekv3": dict.fromkeys(CASES, "no tools"),
    "gptoss": HARMONY,
}
"""Of templates, what becomes of the cases where it is not the same for all."""
PROMPT = KNOWN | {"gptoss": LEAD, "qwen3": LEAD | {"open": "exact"}, "qwen3 (own)": LEAD | {"open": "exact"}}
THINKS = dict.fromkeys(CASES, "thinks")
NEMOTRON = [f"nemotron_3_{size}" for size in ("5_lightning", "nano", "super", "ultra")]
DRAWN = KNOWN | dict.fromkeys(NEMOTRON, THINKS)
KNOW_NONE = ("(published)", "llama3_1 (own)", "llama3")
"""Ends of names of templates that write neither tools nor calls."""


@pytest.mark.parametrize("lead", ["prompt", "drawn"])
@pytest.mark.parametrize("name", real.TOKENIZERS)
def test_a_chat_with_tools_is_exact_or_refused_by_a_line_that_is_true(name: str, lead: str) -> None:
    found = outcomes(name, [tool("lookup")], lead)
    expected = PROMPT if lead == "prompt" else DRAWN
    assert found
    for title, cases in found.items():
        none = NO_TOOLS if title.endswith(KNOW_NONE) else EXACT
        assert cases == expected.get(title, none), title


def test_calls_without_tools_are_exact_or_refused_by_a_line_that_is_true() -> None:
    deepseek, gemma = (outcomes(name, None, "prompt") for name in ("deepseek_v3", "gemma3"))
    assert deepseek["deepseekv3"] == EXACT | {"rounds": "joins calls", "again": "joins calls"}
    assert deepseek["deepseek_v3 (own)"] == dict.fromkeys(CASES, "null")
    assert gemma["gemma3 (own)"] == dict.fromkeys(CASES, "alternate") | {"open": "no call"}


MARKERS = re.compile(r"<\|[^<>|\s'\"]+\|?>|<[^<>\s|'\"]+\|>|<(?:start|end)_of_turn>")
MARKED = {"qwen3_training": "drawn", "glm4moe_training": "prompt", "gptoss_training": "drawn"}
MARKED |= dict.fromkeys(("qwen3_6_training", "nemotron_3_nano_training", "lfm2_v2_training"), "prompt")
"""Templates in which others marked what is generated, and the lead with which they hold cases."""


@pytest.mark.parametrize("title", MARKED)
def test_what_others_mark_as_generated_is_what_is_scored(title: str) -> None:
    (path,) = [path for path in real.trl_templates() if path.stem == title]
    tokenizer = copy.deepcopy(real.tokenizer("qwen3"))  # with the markers of others
    markers = sorted(set(MARKERS.findall(path.read_text())))
    tokenizer.add_special_tokens({"additional_special_tokens": markers})
    ends = [end for end in markers if end in ("<|call|>", "<|return|>", "<|user|>", "<|observation|>")]
    codec = codec_of(tokenizer, path.read_text(), MARKED[title], ends)
    expected = HARMONY if title == "gptoss_training" else EXACT
    assert {case: outcome(codec, case, [tool("lookup")]) for case in CASES} == expected
