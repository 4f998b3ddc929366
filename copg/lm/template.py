"""What a chat template writes around an assistant's words, found by rendering: no template is parsed."""

import copy
import inspect
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import jinja2

from copg.errors import ModelError, RecordError
from copg.lm.calls import CALLS, CallForm, find_form
from copg.records import SETTINGS, TOOLS

SENTINEL = "Qzwordzq"
"""Stands for words of the assistant: letters alone, so that no template trims, splits or escapes it."""
CLOCK = "strftime_now"
"""The function by which templates ask for the time."""
CLOSES_THINKING = {
    "</think>": "<think>",
    "<|channel|>final<|message|>": "<|channel|>analysis<|message|>",
    "<channel|>": "<|channel>thought",
    "[/THINK]": "[THINK]",
}
"""What stands between thinking and answer in the text of models that think, and what begins it."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around the words of an assistant's turn."""

    opened: str
    """The conversation up to the generation prompt: what a server gives to the model."""
    before: str
    """The whole conversation up to the assistant's words."""
    after: str
    """What follows them."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A prompt as the model reads it, and what belongs around its completions."""

    template: "Template"
    """With what the record asks of it."""
    ids: list[int]
    messages: list[dict[str, Any]] | None
    """Of a chat, without the assistant's message that completions go on with; None for plain text."""
    begun: str
    """That message."""
    before: str
    """Text of the prompt as the template renders it."""
    lead: str | None
    """What the template writes after the prompt and before a completion's words; drawn with them. None:
    only a completion that thinks can follow this prompt."""
    after: str
    """What the template writes after a completion's words."""
    gap: str
    """The start of it, up to the end of the turn; drawn as well."""
    context: str
    """The end of the prompt, as far as a token could reach from it into a completion."""


class Template:
    """The chat template of a tokeniser, with the settings that it is given."""

    def __init__(self, tokenizer: Any, settings: dict[str, Any], day: date) -> None:
        self._tokenizer = tokenizer
        self._settings = settings
        self._day = day
        source = tokenizer.chat_template
        texts = source.values() if isinstance(source, dict) else [source or ""]
        self._source = "\n".join(texts)
        self._forms: dict[bool, CallForm | None] = {}  # without tools and with them
        self.closes_thinking = next((marker for marker in CLOSES_THINKING if marker in self._source), None)
        """What ends the thinking in its models' text; None where it knows of none."""

    def unread(self, where: str) -> list[str]:
        """A line for each of its settings that the template does not read.

        Args:
            where: how the user calls them.
        """
        return [
            f"{where}: {name!r} is nothing that the chat template reads"
            for name in self._settings
            if not self._reads(name)
        ]

    def _reads(self, name: str) -> bool:
        taken = set(inspect.signature(self._tokenizer.apply_chat_template).parameters) - {TOOLS, "documents"}
        return name not in taken and bool(re.search(rf"\b{re.escape(name)}\b", self._source))

    def asked(
        self, messages: Sequence[dict[str, Any]], columns: Mapping[str, Any], *, own: bool = True
    ) -> "Template":
        """The same with what a record asks of it: its tools, and settings of its own.

        Args:
            messages: of the record.
            columns: what else it holds.
            own: its settings are meant for this template; else those are left out that it does not read.

        Raises:
            RecordError: they are of a wrong kind, or would not reach what the template writes.
        """
        tools, settings = _parsed(columns, TOOLS, list), _parsed(columns, SETTINGS, dict)
        if not tools and not settings:
            return self
        found = copy.copy(self)
        if not own:
            settings = {name: value for name, value in settings.items() if self._reads(name)}
        found._settings = settings
        if unread := found.unread(SETTINGS):
            raise RecordError("; ".join(unread))
        found._settings = {**self._settings, **settings}
        without = found.render(messages, generation_prompt=True) if tools else None
        if tools:
            found._settings = {**found._settings, TOOLS: tools}
        if found.render(messages, generation_prompt=True) == without:
            raise RecordError(
                f"the chat template writes nothing of the {len(tools)} tools of the record: it knows "
                "none; take a model that does, or describe them in a system message and leave out 'tools'"
            )
        return found

    def render(self, messages: Sequence[dict[str, Any]], *, generation_prompt: bool = False) -> str:
        """The conversation as text.

        Raises:
            ModelError: there is no template.
            RecordError: the template refuses these messages, or writes nothing of their calls of tools.
        """
        return self._written(self._taken(messages), generation_prompt=generation_prompt)

    def _taken(self, messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Messages in the form in which the template writes the calls of tools that they hold."""
        if not any(CALLS in message for message in messages):
            return list(messages)
        key = bool(self._settings.get(TOOLS))
        if key not in self._forms:
            self._forms[key] = find_form(self._written)
        form = self._forms[key]
        if form is None:
            knows = "it knows none; take a model that does"
            if CALLS in self._source:
                knows = (
                    f"it reads {CALLS!r} in no form in which transformers hands messages over, which leaves "
                    "out a content of null; take another template"
                )
            raise RecordError(f"the chat template writes nothing of calls of tools: {knows}")
        return [form.of(message) for message in messages]

    def _written(self, messages: Sequence[dict[str, Any]], *, generation_prompt: bool = False) -> str:
        if self._tokenizer.chat_template is None:
            raise ModelError("the prompt is a chat, but the tokeniser has no chat template; give plain text")
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    list(messages),
                    tokenize=False,
                    add_generation_prompt=generation_prompt,
                    **self._settings,
                    **({"chat_template": self._dated()} if CLOCK in self._source else {}),
                )
            )
        except (jinja2.TemplateError, TypeError, KeyError, ValueError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            tools = any(CALLS in message or message["role"] == "tool" for message in messages)
            hint = "; they hold calls or results of tools, which it may not know"
            hint = hint if tools and "tool" not in reason.lower() else ""
            raise RecordError(f"the chat template refuses the messages: {reason}{hint}") from None

    def _dated(self) -> str:
        """The template, its clock stopped: a macro of its own stands for the function of ``transformers``."""
        source = str(self._tokenizer.get_chat_template(None, self._settings.get(TOOLS)))
        codes = ("%-d", "%-m", *(f"%{letter}" for letter in "aAbBdmyYjHIMSp"))
        told = "".join(f" | replace({code!r}, {self._day.strftime(code)!r})" for code in codes)
        return f"{{% macro {CLOCK}(form) %}}{{{{ form{told} }}}}{{% endmacro %}}\n{source}"

    def writes_the_day(self) -> bool:
        """Whether prompts hold the day that the codec is given."""
        other = copy.copy(self)
        other._day = self._day + timedelta(days=1)
        asked = [{"role": "user", "content": SENTINEL}]
        return self.render(asked, generation_prompt=True) != other.render(asked, generation_prompt=True)

    def generated(self, messages: Sequence[dict[str, Any]]) -> list[tuple[int, int]] | None:
        """Where in the conversation stands what the template marks as generated; None where it marks nothing.

        Marks are ``{% generation %}``, in characters of ``render``.
        """
        if "endgeneration" not in self._source:
            return None
        from transformers.utils.chat_template_utils import render_jinja_template

        settings = dict(self._settings)
        _, marks = render_jinja_template(
            conversations=[self._taken(messages)],
            tools=settings.pop(TOOLS, None),
            chat_template=self._dated(),
            return_assistant_tokens_mask=True,
            **{**self._tokenizer.special_tokens_map, **settings},
        )
        return [(start, end) for start, end in marks[0]]

    def frame(self, messages: Sequence[dict[str, Any]], begun: str = "") -> Frame:
        """What the template writes around the words that an assistant adds to ``begun``.

        Raises:
            RecordError: the template refuses these messages, or does not write what an assistant says.
        """
        opened = self.render(messages, generation_prompt=True)
        whole = self.render([*messages, spoken(begun + SENTINEL)])
        before, found, after = whole.rpartition(SENTINEL)
        if not found:
            raise RecordError("the chat template does not write what an assistant says")
        return Frame(opened, before, after)


def _parsed(columns: Mapping[str, Any], name: str, kind: type) -> Any:
    """A column, which may be JSON; empty where there is none."""
    value = columns.get(name)
    if isinstance(value, str):
        try:
            value = json.loads(value or "null")
        except (ValueError, RecursionError):
            raise RecordError(f"{name}={value!r:.60} is no JSON") from None
    if value is not None and not isinstance(value, kind):
        raise RecordError(f"{name}={value!r:.60} must be a JSON {'list' if kind is list else 'object'}")
    return value or kind()


def words_begun(message: Mapping[str, Any]) -> str:
    """Words of the assistant's message at the end of a prompt, with which completions go on.

    Raises:
        RecordError: it holds more than words, which would be lost: nothing goes on after a call of a tool.
    """
    lost = sorted(name for name, value in message.items() if value and name not in ("role", "content"))
    if lost:
        raise RecordError(
            f"the prompt ends with an assistant's message that holds {', '.join(lost)}, and completions go "
            "on with its words alone: end it before that message, or with what follows it"
        )
    return str(message["content"] or "")


def spoken(words: str) -> dict[str, str]:
    """An assistant's message."""
    return {"role": "assistant", "content": words}
