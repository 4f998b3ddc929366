"""Completions for prompts of records: by a model through an engine, or by an endpoint."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from copg.errors import ModelError, RecordError
from copg.lm.chat_api import CONTINUE, CONTINUES, is_begun, parsed, sent_messages
from copg.lm.config import EndpointConfig, GenerationConfig, RowConfig, TextConfig
from copg.lm.endpoint import RETRIES, Endpoint
from copg.lm.tally import Tally
from copg.lm.template import Opening
from copg.lm.text import TextCodec
from copg.lm.tokenizer import has_tokenizer
from copg.records import MESSAGES, SETTINGS, TOOLS, Group
from copg.stores.completion_store import Drawn
from copg.stores.model_files import ADAPTER, adapter_base, policy_digest

_DRAWN_BY = ("temperature", "top_p", "seed")
"""What a body may say otherwise than the settings."""
ENDPOINT = "endpoint"
"""Stands for an engine where an endpoint draws."""
GROUPS_PER_CALL = {"own": 64, "vllm": 8192}
"""What is drawn before it is stored: little where it costs nothing, much where an engine starts for it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A prompt, and the keys of its completions that are to be drawn."""

    group: Group
    keys: dict[bytes, int]
    """With the number that each has among the prompt's, from 0."""


class Sampler(Protocol):
    """Draws completions of prompts."""

    about: dict[str, Any]
    """All that a completion depends on beside its prompt and key."""
    groups_per_call: int
    """How many prompts it should be given at a time."""
    max_failed_fraction: float
    """Share of the completions that may not come."""

    def draw(self, wanted: Sequence[Wanted], tally: Tally) -> Iterator[tuple[bytes, Drawn | None]]:
        """The completions under their keys, in any order, as they come; None for one that failed.

        Args:
            wanted: each key draws a completion of its own.
            tally: counts prompts and completions for which nothing comes.
        """
        ...

    def metrics(self) -> dict[str, float]:
        """Counts of what it took."""
        ...


def described(generation: GenerationConfig) -> dict[str, Any]:
    """What of the settings a completion depends on, whoever draws it."""
    names = ("temperature", "top_p", "max_new_tokens", "seed")
    return {"engine": generation.engine_name, **{name: getattr(generation, name) for name in names}}


@dataclass
class ModelSampler:
    """A model directory, an adapter's or a name of the hub, through an engine of ``copg.lm.engines``."""

    model: str
    revision: str | None
    digest: str
    """Of its weights; empty: computed here."""
    generation: GenerationConfig
    rows: RowConfig
    text: TextConfig
    about: dict[str, Any] = field(init=False)
    groups_per_call: int = field(init=False)
    max_failed_fraction: float = 0.0

    def __post_init__(self) -> None:
        self.groups_per_call = GROUPS_PER_CALL.get(self.generation.engine_name, 1024)
        self.about = {
            **described(self.generation),
            "model": self.digest or policy_digest(self.model),
            "parameter_dtype": self.rows.parameter_dtype,
            "compute_dtype": self.rows.compute_dtype,
            "text": asdict(self.text),
        }

    def draw(self, wanted: Sequence[Wanted], tally: Tally) -> Iterator[tuple[bytes, Drawn]]:
        """As ``Sampler`` says; noise is a function of (seed, key), so a prompt's place changes nothing.

        Raises:
            ModelError: the model cannot be loaded, the engine cannot run, or logits are not finite.
        """
        from copg.lm.generation import load_engine

        keys: list[bytes] = []
        openings: list[Opening] = []
        for each in wanted:
            try:
                opening = self._policy.codec.open(each.group.prompt, each.group.columns)
            except RecordError as error:
                tally.drop("prompts_refused", each.group.source, str(error))
                continue
            if len(opening.ids) > self._room:
                tally.drop("prompts_without_room", each.group.source)
                continue
            keys += each.keys
            openings += [opening] * len(each.keys)
        if not keys:
            return
        try:
            prompts, names = [opening.ids for opening in openings], [key.hex() for key in keys]
            drawn = load_engine(self.generation)(self._policy, prompts, names, self.generation)
        except FloatingPointError as error:
            raise ModelError(f"{self.model}: {error}") from None
        for key, opening, one in zip(keys, openings, drawn, strict=True):
            text = self._policy.codec.said(opening, one.text)
            yield key, Drawn(text, one.finished, len(one.token_ids))

    def metrics(self) -> dict[str, float]:
        """Nothing beside what the stage counts."""
        return {}

    @cached_property
    def _policy(self) -> Any:
        from copg.lm.generation import Policy
        from copg.lm.load import load_codec

        model, revision = self.reads_as
        codec: TextCodec = load_codec(model, revision=revision, text=self.text)
        return Policy(codec=codec, location=self.model, revision=self.revision, rows=self.rows)

    @property
    def _base(self) -> tuple[str, str | None]:
        """Of an adapter, what it lies on; else the model itself."""
        if not (Path(self.model) / ADAPTER).is_file():
            return self.model, self.revision
        return adapter_base(Path(self.model)), None

    @property
    def reads_as(self) -> tuple[str, str | None]:
        """Beside which model its tokeniser lies: an adapter may have none of its own."""
        return (self.model, self.revision) if has_tokenizer(Path(self.model)) else self._base

    @cached_property
    def _room(self) -> int:
        from copg.lm.generation import max_prompt_tokens
        from copg.lm.load import load_config

        model, revision = self._base
        return max_prompt_tokens(load_config(model, revision=revision), self.generation)


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
            if answer.text is None:
                self.num_failed += 1
                tally.drop("completions_failed", groups[key].source, answer.problem)
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


def _asked(group: Group) -> Any:
    """Its prompt, with the calls and results that it may hold."""
    return group.columns.get(MESSAGES) or group.prompt


def _seed(seed: int, key: str) -> int:
    """31 bits, the most that every endpoint takes."""
    return int.from_bytes(hashlib.sha256(f"{seed}\n{key}".encode()).digest()[:4], "big") >> 1
