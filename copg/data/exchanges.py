"""What a model was asked and answered, as inputs and outputs of a logged call, and the feedback on it."""

import re
from collections.abc import Iterator
from typing import Any

from copg.data.found import Found, Wish
from copg.data.gemini import as_choices
from copg.data.json_lines import Defect, kind_of, listed, spelled
from copg.data.langchain import of_langchain, was_cut
from copg.data.marks import as_number, may_mark, read_thumb
from copg.data.messages import is_chat, read_messages
from copg.data.system_words import after_system, system_of
from copg.data.turns import Messages, as_completion, begin_of_turn, tools_of
from copg.records import TOOLS, Prompt, as_chat

Mark = tuple[str, bool, Any]
"""Name, whether a person gave it, and value of a feedback."""

_ASKED = (
    *("messages", "prompt", "prompts", "question", "query", "input", "inputs", "text", "message"),
    *("request", "contents"),
)
_ANSWERED = (
    *("choices", "generations", "messages", "output", "outputs", "answer", "response", "completion", "text"),
    *("content", "result"),
)
_HOLDS = {"message", "text"}
"""What a choice or a generation holds."""
_DESCRIBES = (
    *("type", "id", "status", "annotations", "logprobs", "finish_reason", "index", "model", "usage"),
    *("stop_reason", "stop_sequence", "created", "object"),
)
"""Keys of messages in outputs that say how they came, and nothing else."""
_STREAM = re.compile(r"(?:(?:event|id|retry|):[^\n]*\n|\s)*data: ?[{\[]")
"""How a stream of events begins, whose first lines may name one or be a comment."""


def read_exchange(asked: Any, answered: Any, marks: Iterator[Mark], wish: Wish) -> Found:
    """What a call was given and what it gave, with the feedback on it.

    Args:
        asked: its inputs, objects and not the JSON that spells them.
        answered: its outputs.
        marks: of its feedback.

    Raises:
        Defect: it holds no text that was asked or answered, or several kinds of feedback.
    """
    answers = [completion_of(each, wish.dropped) for each in _choices(as_choices(answered))]
    prompt, before = prompt_of(asked, wish.dropped), answers[0][0]
    prompt = _gone_on(prompt, before) if before else prompt
    prompt, beside = after_system(asked, prompt), _beside(asked)
    texts, finished = [text for _, text, _ in answers], [ended for _, _, ended in answers]
    found = Found(prompt, texts, finished=finished, more=tools_of(asked))
    found = with_feedback(found, marks, wish)
    if beside:
        said = f"{listed(beside)} of the inputs: no part of the prompt"
        found.unused = "; ".join(filter(None, [found.unused, said]))
    return found


def _choices(answered: Any) -> list[Any]:
    """Each of several completions that were drawn at a time, else the outputs as they are."""
    for name in ("choices", "generations"):
        drawn: Any = _one_of_batch(answered.get(name), "outputs") if type(answered) is dict else None
        if is_chat(drawn) and len(drawn) > 1 and all(_HOLDS & each.keys() for each in drawn):
            return list(drawn)
    return [answered]


def _beside(asked: Any) -> list[str]:
    """Texts and lists among inputs that are not the prompt, where that is no chat."""
    if type(asked) is not dict or "messages" in asked:
        return []
    texts = [name for name, held in asked.items() if held and type(held) in (str, list, dict)]
    chosen = next((name for name in _ASKED if name in texts), None)
    return (
        [name for name in texts if name not in (chosen, TOOLS, "model", system_of(asked))] if chosen else []
    )


def _gone_on(asked: Prompt, before: Messages) -> Messages:
    """What outputs that hold a conversation have before its last turn, which ends with what was asked.

    Raises:
        Defect: ``ambiguous_shape``, where it does not.
    """
    chat = as_chat(asked)
    if before[-len(chat) :] != chat:
        readings = "the inputs as the prompt, or what stands in the outputs before their last turn"
        raise Defect("ambiguous_shape", f"the trace can be read with {readings}, which is another")
    return before


def with_feedback(found: Found, marks: Iterator[Mark], wish: Wish) -> Found:
    """With the feedback that is the reward, its mean where several gave it; people's goes before others'."""
    given = [mark for mark in marks if wish.feedback in (None, mark[0])]
    every = [mark for mark in given if _as_reward(mark[2]) is not None]
    if len(found.completions) != 1 and every:
        found.unused = "feedback of a call with several completions is not used: it names none of them"
        return found
    if not every and (names := sorted({name for name, _, value in given if may_mark(value)})):
        found.unused = f"feedback {', '.join(names)} is not used: neither yes, no nor a number"
    chosen = every
    if wish.feedback is None and any(by_person for _, by_person, _ in chosen):
        chosen = [mark for mark in chosen if mark[1]]
    names = sorted({name for name, _, _ in chosen})
    if len(names) > 1:
        readings = " or ".join(f"{name!r} as the reward" for name in names)
        hint = f"name one, as in columns: {{reward: {names[0]}}}"
        raise Defect("ambiguous_shape", f"the trace can be read with {readings}; {hint}")
    values = [_as_reward(value) or 0.0 for _, _, value in chosen]
    if values:
        found.rewards = [sum(values) / len(values)]
        found.note = f"feedback {names[0]!r} as the reward"
    return found


def _as_reward(value: Any) -> float | None:
    if type(value) in (int, float):
        return float(value)
    thumb = read_thumb(value)
    if thumb is None and type(value) is str:
        number = as_number(value)
        said = {"pass": 1.0, "fail": 0.0}.get(value.strip().lower())
        return number if said is None and not isinstance(number, str) else said
    return thumb


def prompt_of(value: Any, dropped: set[str]) -> Prompt:
    """The prompt among the inputs of a call.

    Raises:
        Defect: ``missing_field``, where there is no one text or chat.
    """
    value = _one_of_batch(value, "inputs")
    if type(value) is dict:
        for name in _ASKED:
            if type(value.get(name)) in (str, list, dict):
                return prompt_of(value[name], dropped)
        texts = [held for held in value.values() if type(held) is str]
        value = texts[0] if len(texts) == 1 else value
    if is_chat(value):
        items = any(str(item.get("type")).startswith("function_call") for item in value)
        return read_messages(_said(value) if items else value, "the inputs", dropped)
    if type(value) is not str:
        found = sorted(value) if type(value) is dict else kind_of(value)
        raise Defect("missing_field", f"the inputs hold neither one text nor 'messages', found {found}")
    return value


def completion_of(value: Any, dropped: set[str]) -> tuple[Messages, str | Messages, bool]:
    """What stands before the completion among the outputs of a call, the completion, and whether it came to
    its end.

    Raises:
        Defect: ``missing_field``, where there is no one text or message.
    """
    value = _one_of_batch(value, "outputs")
    if type(value) is dict:
        if "role" in value or of_langchain(value) is not None:
            before, text, _ = completion_of([value], dropped)
            return before, text, not was_cut(value)
        if type(value.get("message")) is dict:  # a choice, or a generation
            before, text, _ = completion_of([value["message"]], dropped)
            return before, text, not was_cut(value)
        if type(value.get("text")) is str and was_cut(value):
            return [], value["text"], False
        for name in _ANSWERED:
            if type(value.get(name)) in (str, list, dict):
                before, text, ended = completion_of(value[name], dropped)
                return before, text, ended and not was_cut(value)
    if type(value) is list and len(value) == 1 and type(value[0]) is dict and _HOLDS & value[0].keys():
        return completion_of(value[0], dropped)
    if is_chat(value):
        messages = read_messages(_said(value), "the outputs", dropped)
        begin = begin_of_turn(messages)
        if begin < len(messages):
            return messages[:begin], as_completion(messages[begin:]), not was_cut(value[-1])
    if type(value) is str and _STREAM.match(value):
        raise Defect("wrong_type", "the outputs are a stream of events, of which none is the whole answer")
    if type(value) is not str:
        found = sorted(value) if type(value) is dict else kind_of(value)
        raise Defect("missing_field", f"the outputs hold neither one text nor a message, found {found}")
    return [], value, True


def _said(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages of a reply, or of a conversation, without what describes them; calls that stand as items of
    their own belong to the message before them.
    """
    said: list[dict[str, Any]] = []
    for item in items:
        if (message := of_langchain(item)) is not None:
            said.append(message)
        elif item.get("type") == "function_call":
            call = {"id": item.get("call_id"), "function": {n: item.get(n) for n in ("name", "arguments")}}
            if not said or said[-1].get("role") != "assistant":
                said.append({"role": "assistant"})
            said[-1] = {**said[-1], "tool_calls": [*said[-1].get("tool_calls", ()), call]}
        elif item.get("type") == "function_call_output":
            said.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")})
        elif item.get("type") in (None, "message"):
            said.append({name: held for name, held in item.items() if name not in _DESCRIBES})
    return said


def _one_of_batch(value: Any, what: str) -> Any:
    """What stands in a list of one list, as LangChain has it; any other value as it is.

    Raises:
        Defect: ``ambiguous_shape``, for more lists than one.
    """
    if type(value) is list and value and all(type(each) is list for each in value):
        if len(value) > 1:
            raise Defect(
                "ambiguous_shape", f"the {what} are those of {len(value)} calls at a time, not of one"
            )
        value = value[0]
    return value[0] if type(value) is list and len(value) == 1 and type(value[0]) is str else value


def as_list(value: Any) -> list[Any]:
    """The value as it is where it is a list, else in one."""
    return value if type(value) is list else [value]


def plain(value: Any) -> Any:
    """What JSON in a text means; any other value as it is."""
    return spelled(value) if type(value) is str and value[:1] in ("{", "[", '"') else value
