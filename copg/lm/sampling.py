"""Completions for prompts of records: who draws them, and a model that does, through an engine."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from copg.errors import ModelError, RecordError
from copg.lm.config import GenerationConfig, RowConfig, TextConfig
from copg.lm.tally import Tally
from copg.lm.template import Opening
from copg.lm.text import TextCodec
from copg.lm.tokenizer import has_tokenizer
from copg.records import Group
from copg.stores.completion_store import Drawn
from copg.stores.model_files import ADAPTER, adapter_base, policy_digest

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
    doubts: list[str]
    """What of the answers may not be meant, a line each."""

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
    doubts: list[str] = field(default_factory=list)
    num_other: int = 0
    """Completions whose text has other token ids than were drawn."""

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
        sources: list[str] = []
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
            sources += [each.group.source] * len(each.keys)
        if not keys:
            return
        try:
            prompts, names = [opening.ids for opening in openings], [key.hex() for key in keys]
            drawn = load_engine(self.generation)(self._policy, prompts, names, self.generation)
        except FloatingPointError as error:
            raise ModelError(f"{self.model}: {error}") from None
        for key, opening, source, one in zip(keys, openings, sources, drawn, strict=True):
            text = self._policy.codec.said(opening, one.text)
            if self._differs(opening, text, one):
                self.num_other += 1
                tally.note("drawn_as_other_tokens", source)
            yield key, Drawn(text, one.finished, len(one.token_ids))

    def metrics(self) -> dict[str, float]:
        """What is no longer what was drawn, though its text is."""
        return {"completions/other_tokens": float(self.num_other)}

    def _differs(self, opening: Opening, text: str, drawn: Any) -> bool:
        """Whether the ids of a text, by which it is trained on, are others than were drawn.

        Of one that was cut off they may end earlier, before a character of which a part was drawn.
        """
        try:
            codec = self._policy.codec
            ids = codec.encode(opening, text, finished=drawn.finished, boundary=False).ids
        except RecordError:  # it is left out, and that is counted
            return False
        return bool(ids != (drawn.token_ids if drawn.finished else drawn.token_ids[: len(ids)]))

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
