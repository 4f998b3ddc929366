"""Records as a model reads and says them: what it cannot is left out, what it says differently is changed.

Rewards must read what is drawn. A template that trims an answer, a tokeniser that joins an accent to its
letter: the text of a record becomes what a model says that draws the same token ids.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from copg.data.columns import DEFECT_SCHEMA, MAX_RECORD_CHARS, Portion, printable, with_completions
from copg.data.json_lines import Defect
from copg.errors import ModelError, RecordError
from copg.lm.config import ReaderConfig
from copg.lm.encoded import NOTES, Encoded
from copg.lm.tally import Tally
from copg.lm.template import Opening
from copg.lm.text import TextCodec
from copg.lm.tokenizer import Limits, read_codec, read_limits
from copg.lm.turns import encode_turns
from copg.records import MESSAGES, SETTINGS, TOOLS, TURNS, Prompt
from copg.stores.promised import text_as_promised

FLAWS = ("blank_prompts", "blank_completions", "rewards_amiss", "rewards_nonfinite")
"""Counts of a record that the checks refuse whatever a model makes of it."""
BEFALLS = (*(note for note in NOTES if note != "merges_with_prompt"), "not_as_drawn")
"""What is counted of texts that stay; ``reference`` counts what reaches over the start of a completion."""
CHANGED = (
    "changed_by_template",
    "changed_by_tokenizer",
    "thinking_stripped",
    "not_as_rendered",
    "not_as_drawn",
)
"""Of those, what makes a completion another text than the record's."""
UNLIMITED = 2**62
_READ = ["prompt", "messages", "texts", "rewards", "finished", "overlays", "columns", "source"]


class RecordFit:
    """Portions of records in, the same as one model can read and say them out."""

    def __init__(self, codec: TextCodec, limits: Limits, *, max_tokens: int = 0) -> None:
        """Keep what a record is held against.

        Args:
            codec: of the reference.
            limits: of the reference.
            max_tokens: of prompt and completion together; 0: the context.
        """
        self.tally = Tally()
        """What was dropped, a completion each, and what else befell texts."""
        self.num_completions = 0
        """Of all records that were looked at."""
        self._codec = codec
        context = limits.context or UNLIMITED
        self._max_tokens = min(context, max_tokens or context)
        self._limit = "reference.max_tokens" if self._max_tokens < context else "the model's context"
        self._num_embeddings = limits.num_embeddings or UNLIMITED

    def __call__(self, portion: Portion) -> Portion:
        """A portion without the records that the model cannot read or say, which are defects.

        Raises:
            ModelError: no chat at all can be read: there is no template, or its end of turn cannot be told.
        """
        records = portion.records
        flawed = np.logical_or.reduce([records[name].to_numpy() > 0 for name in FLAWS])
        rows = records.select(_READ).to_pylist()
        known = portion.defects.to_pylist()
        positions = np.delete(np.arange(portion.num_rows), [each["position"] for each in known])
        kept, changed = np.ones(len(rows), bool), False
        for index in np.flatnonzero(~flawed).tolist():
            try:
                changed |= self._fit(rows[index])
            except Defect as defect:
                kept[index] = False
                known.append({"position": int(positions[index])} | _noted(rows[index], defect))
        if changed:
            records = with_completions(records, rows)
        if not kept.all():
            records = records.filter(pa.array(kept))
        return Portion(records, pa.RecordBatch.from_pylist(known, DEFECT_SCHEMA))

    @property
    def ending(self) -> str:
        """How a completion ends, in words."""
        return self._codec.ending

    def metrics(self) -> dict[str, float]:
        """Completions, and for prompts records, by what became of them."""
        return {
            **{f"dropped/{reason}": float(count) for reason, count in sorted(self.tally.dropped.items())},
            **{f"text/{note}": float(self.tally.noted[note]) for note in BEFALLS},
        }

    def warnings(self) -> list[str]:
        """What was left out of records that stay, and which texts are no longer those of the records."""
        tally = self.tally
        changed = [
            f"{count} completions {reason.replace('_', ' ')}, first {tally.first[reason]}"
            for reason, count in sorted(tally.noted.items())
            if reason in CHANGED
        ]
        return [*tally.warnings(), *changed]

    def facts(self) -> dict[str, Any]:
        """For a manifest: what ends a completion, and what befell texts."""
        tally = self.tally
        counts = {"dropped": dict(tally.dropped), "noted": dict(tally.noted), "first": tally.first}
        return {**self._codec.about(), **counts}

    def _fit(self, row: dict[str, Any]) -> bool:
        """Leave out what cannot be said, and change texts to what would be; whether anything was.

        Raises:
            Defect: nothing is left of the record.
        """
        opening = self._open(row)
        if self._codec.spells_special_tokens(row["prompt"] or row["messages"]):
            self.tally.note("prompts_spell_special_tokens", row["source"])
        kept: list[int] = []
        texts: list[str] = []
        flaw: Defect | None = None
        each = zip(row["texts"], row["finished"], row["overlays"], strict=True)
        for place, (text, finished, overlay) in enumerate(each):
            self.num_completions += 1
            turns = json.loads(overlay).get(TURNS) if overlay and f'"{TURNS}"' in overlay else None
            say = self.said if turns is None else self._said_in_turns
            try:
                texts.append(say(opening, turns or text, row["source"], finished=finished))
                kept.append(place)
            except Defect as defect:
                flaw = flaw or defect
                self.tally.drop(defect.reason, row["source"], defect.detail)
        if flaw is not None and not kept:
            raise flaw
        if texts == row["texts"]:
            return False
        row["texts"] = texts
        for name in ("finished", "rewards", "overlays"):
            row[name] = None if row[name] is None else [row[name][place] for place in kept]
        return True

    def _open(self, row: Mapping[str, Any]) -> Opening:
        held = row["columns"]
        asks = any(f'"{name}"' in held for name in (TOOLS, SETTINGS, MESSAGES))
        prompt = row["messages"] if row["prompt"] is None else row["prompt"]
        try:
            return self.open(prompt, json.loads(held) if asks else {})
        except ModelError as error:
            raise ModelError(f"{row['source']}: {error}") from None

    def open(self, prompt: Prompt, columns: Mapping[str, Any]) -> Opening:
        """A prompt as the model reads it.

        Raises:
            Defect: the model cannot read it, or has no room for a completion.
        """
        try:
            opening = self._codec.open(prompt, columns)
        except RecordError as error:
            raise Defect("prompt_refused", str(error)) from None
        self._check_ids(opening.ids)
        if len(opening.ids) >= self._max_tokens:
            detail = f"a prompt of {len(opening.ids)} tokens, {self._limit} is {self._max_tokens}"
            raise Defect("prompt_of_too_many_tokens", detail)
        return opening

    def said(self, opening: Opening, text: str, source: str, *, finished: bool) -> str:
        """A completion's text as the model says it; what befell it is counted.

        Raises:
            Defect: the model cannot say it, or nothing is left of it.
        """
        try:
            encoded = self._codec.encode(opening, text, finished=finished, boundary=False)
        except RecordError as error:
            raise Defect("completion_refused", str(error)) from None
        said = self._codec.read_back(opening, encoded)
        self._check(opening, encoded, said, text, source)
        if said == text:
            return text
        again = self._codec.encode(opening, said, finished=finished, boundary=False)
        if again.ids == encoded.ids:
            return said
        self.tally.note("not_as_drawn", source)  # what it says would be drawn otherwise
        return text

    def _said_in_turns(
        self, opening: Opening, turns: list[dict[str, Any]], source: str, *, finished: bool
    ) -> str:
        try:
            turned = encode_turns(self._codec, opening, turns, finished=finished, boundary=False)
        except RecordError as error:
            raise Defect("completion_refused", str(error)) from None
        self._check(opening, turned.encoded, turned.text, turns, source)
        return turned.text

    def _check(self, opening: Opening, encoded: Encoded, said: str, logged: Any, source: str) -> None:
        """Refuse what is too long or empty; count what became of the rest."""
        if not said.strip():
            raise Defect("completion_without_words", f"of {logged!r:.60} no word is left")
        if (total := len(opening.ids) + len(encoded.ids)) > self._max_tokens:
            detail = f"{total} tokens with its prompt, {self._limit} is {self._max_tokens}"
            raise Defect("completion_of_too_many_tokens", detail)
        self._check_ids(encoded.ids)
        for note in encoded.notes:
            self.tally.note(note, source)

    def _check_ids(self, ids: Sequence[int]) -> None:
        if ids and (largest := max(max(ids), ~min(ids))) >= self._num_embeddings:
            token = self._codec.tokenizer.convert_ids_to_tokens(largest)
            detail = f"token {token!r} has the id {largest}, the model {self._num_embeddings} embeddings"
            raise Defect("token_without_embedding", detail)


def _noted(row: Mapping[str, Any], defect: Defect) -> dict[str, str]:
    """What is noted of a record that cannot be used."""
    prompt = row["messages"] if row["prompt"] is None else row["prompt"]
    shown = {"prompt": prompt, "completions": row["texts"], "rewards": row["rewards"]}
    record = json.dumps(shown, ensure_ascii=False)[:MAX_RECORD_CHARS]
    texts = {"source": row["source"], "reason": defect.reason, "detail": defect.detail, "record": record}
    return {name: printable(text) for name, text in texts.items()}


def open_fit(reader: ReaderConfig) -> RecordFit:
    """What holds records against the model that will read them, from the files of its text alone.

    Raises:
        ModelError: there is no tokeniser, its chat template cannot be used, or it is not the one promised.
    """
    with text_as_promised(reader.model, reader.text_digest):
        codec = read_codec(reader.model, revision=reader.revision, text=reader.text)
        limits = read_limits(reader.model, revision=reader.revision)
    return RecordFit(codec, limits, max_tokens=reader.max_tokens)
