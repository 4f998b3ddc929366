"""Completions for prompts of records by a model behind an endpoint, and what it does not heed."""

import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from copg.errors import ModelError
from copg.lm.chat_api import CONTINUE, CONTINUES, Answer, is_begun, parsed, sent_messages
from copg.lm.config import EndpointConfig, GenerationConfig, TextConfig
from copg.lm.endpoint import RETRIES, Endpoint
from copg.lm.sampling import Wanted, described
from copg.lm.tally import Tally
from copg.records import MESSAGES, SETTINGS, TOOLS, Group
from copg.stores.completion_store import Drawn

_DRAWN_BY = ("temperature", "top_p", "seed")
"""What a body may say otherwise than the settings."""
ENDPOINT = "endpoint"
"""Stands for an engine where an endpoint draws."""
EXTRA = {
    CONTINUE: "it answers anew instead of going on with what the prompt begins",
    SETTINGS: "the settings of the template change nothing",
}
"""Fields of a request that are not the API's own: what an endpoint does that passes over them in silence."""
LEAST_BEGUN = 8
"""Characters of the start of an answer that is not said again by chance."""


@dataclass
class EndpointSampler:
    """A model behind an endpoint. Text is sent as a user's message, a chat as it is."""

    config: EndpointConfig
    generation: GenerationConfig
    text: TextConfig
    """Of which its settings of the chat template are sent, unless a record has its own."""
    about: dict[str, Any] = field(init=False)
    groups_per_call: int = field(init=False)
    max_failed_fraction: float = field(init=False)
    num_failed: int = 0
    """Completions that no attempt brought."""
    doubts: list[str] = field(default_factory=list)
    _compared: set[str] = field(default_factory=set)
    """Of ``EXTRA``, those of which it is known whether the endpoint reads them."""

    def __post_init__(self) -> None:
        named = {name: getattr(self.config, name) for name in ("url", "model", "body")}
        said = {name: value for name, value in self.config.body.items() if name in _DRAWN_BY}
        self.about = {**described(self.generation), **said, "engine": ENDPOINT, **named}
        if self.text.template_kwargs:  # without any, what a store holds from before is found
            self.about[SETTINGS] = self.text.template_kwargs
        self.groups_per_call = 64 * self.config.num_parallel
        self.max_failed_fraction = self.config.max_failed_fraction
        limits = ("key_file", "max_requests", "requests_per_minute", "num_parallel", "timeout_s")
        self._endpoint = Endpoint(
            f"{self.config.url.rstrip('/')}/chat/completions",
            cache=None,
            retries=replace(RETRIES, attempts=self.config.attempts),
            bears=True,
            error=ModelError,
            **{name: getattr(self.config, name) for name in limits},
        )

    def draw(self, wanted: Sequence[Wanted], tally: Tally) -> Iterator[tuple[bytes, Drawn | None]]:
        """As ``Sampler`` says; each key is a seed of its own, for endpoints that heed one.

        Raises:
            ModelError: the endpoint refuses whoever asks, cannot be used, or the budget is spent.
        """
        asked = [each for each in wanted if not self._refuses(each.group, tally)]
        groups = {key.hex(): each.group for each in asked for key in each.keys}
        bodies = {key: self._body(group, key) for key, group in groups.items()}
        for key, answer in self._endpoint.answers(bodies, accept=lambda text: bool(text.strip())):
            problem = answer.problem or _answers_anew(_asked(groups[key]), answer)
            if not problem:
                self._compare(bodies[key], answer, groups[key].source)
            if answer.text is None or problem:
                self.num_failed += 1
                tally.drop("completions_failed", groups[key].source, problem)
                yield bytes.fromhex(key), None
            else:
                yield bytes.fromhex(key), Drawn(answer.text, answer.finished)

    def metrics(self) -> dict[str, float]:
        """Requests sent, and those of them that were sent again."""
        sent, answered = self._endpoint.num_requests, self._endpoint.num_answered
        return {
            "requests/sent": float(sent),
            "requests/again": float(sent - answered - self.num_failed),
            "completions/failed": float(self.num_failed),
        }

    def _compare(self, body: Mapping[str, Any], answer: Answer, source: str) -> None:
        """Once for each of ``EXTRA``: ask for the length of the prompt without it, and tell where that is the
        same. Nothing is told of an endpoint that does not say how many tokens a prompt has.
        """
        for name, what in EXTRA.items():
            if name not in body or name in self._compared or answer.prompt_tokens is None:
                continue
            self._compared.add(name)
            left_out = CONTINUES if name == CONTINUE else {name}
            without = {key: value for key, value in body.items() if key not in left_out}
            count = answer.prompt_tokens
            if self._endpoint.count_prompt({**without, "max_tokens": 1}) == count:
                told = (
                    f"{self.config.url}: with {name} the prompt of {source} has {count} tokens, as "
                    f"without: where the endpoint does not read it, {what}"
                )
                self.doubts.append(told)
                print(told, file=sys.stderr, flush=True)

    def _refuses(self, group: Group, tally: Tally) -> bool:
        """Whether its prompt ends with the beginning of an answer, and the endpoint goes on with none."""
        refused = is_begun(_asked(group)) and self.config.body.get(CONTINUE, True) is None
        if refused:
            why = f"its prompt ends with the start of an answer, and endpoint.body says {CONTINUE}: null"
            tally.drop("prompts_refused", group.source, why)
        return refused

    def _body(self, group: Group, key: str) -> dict[str, Any]:
        drawing = self.generation
        body: dict[str, Any] = {
            "model": self.config.model,
            "messages": sent_messages(_asked(group)),
            "max_tokens": drawing.max_new_tokens,
            "temperature": drawing.temperature,
            "top_p": drawing.top_p,
            "seed": _seed(drawing.seed, key),
            **({TOOLS: tools} if (tools := parsed(group.columns.get(TOOLS))) else {}),
            **({SETTINGS: settings} if (settings := self._settings(group)) else {}),
            **(CONTINUES if is_begun(_asked(group)) else {}),
            **self.config.body,
        }
        return {name: value for name, value in body.items() if value is not None}

    def _settings(self, group: Group) -> Any:
        """Of the chat template: the recipe's, and over them the record's own."""
        own = parsed(group.columns.get(SETTINGS)) or {}
        return {**self.text.template_kwargs, **own} if isinstance(own, dict) else own


def _answers_anew(prompt: Any, answer: Answer) -> str:
    """Why an answer is none, though it has a text: it begins as its prompt ends, and goes on with nothing."""
    if answer.text is None or not is_begun(prompt):
        return ""
    begun = str(prompt[-1]["content"] or "").strip()
    if len(begun) < LEAST_BEGUN or not answer.text.lstrip().startswith(begun):
        return ""
    return (
        f"the answer says again how it begins in its prompt ({begun!r:.40}): the endpoint goes on with no "
        f"answer; {CONTINUE}: null in endpoint.body refuses such prompts"
    )


def _asked(group: Group) -> Any:
    """Its prompt, with the calls and results that it may hold."""
    return group.columns.get(MESSAGES) or group.prompt


def _seed(seed: int, key: str) -> int:
    """31 bits, the most that every endpoint takes."""
    return int.from_bytes(hashlib.sha256(f"{seed}\n{key}".encode()).digest()[:4], "big") >> 1
