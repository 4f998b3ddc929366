"""Token ids and reference log-probabilities for groups: from the store where it has them, else computed."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from copg.digests import json_digest
from copg.errors import MismatchError, RecordError, StoreError
from copg.lm.config import RowConfig
from copg.lm.encoded import Encoded
from copg.lm.forms import FORMS, Fit, fit_reference
from copg.lm.load import load_model, pick_device
from copg.lm.rows import TokenGroup, num_scored
from copg.lm.scorer import DTYPES, group_logps
from copg.lm.tally import Tally
from copg.lm.telling import CHECKED_LEVELS
from copg.lm.template import Opening
from copg.lm.text import TextCodec
from copg.lm.turns import encode_turns
from copg.records import TURNS, Completion, Group
from copg.stores.promised import weights_as_promised
from copg.stores.reference_store import completion_key
from copg.stores.spot_checks import SpotChecks
from copg.stores.values import ValueStore

TOLERANCES = {"float32": 1e-5, "bfloat16": 0.02}
"""Nats a token, in the mean, by which a recomputed value may differ, by compute dtype."""


def text_digests(codec: TextCodec) -> dict[str, str]:
    """Digests of what decides token ids: vocabulary and rules, the chat template, and how they are used."""
    tokenizer = codec.tokenizer
    return {
        "tokenizer": json_digest([tokenizer.backend_tokenizer.to_str(), tokenizer.special_tokens_map]),
        "template": json_digest(tokenizer.chat_template),
        "text": json_digest([asdict(codec.config), codec.about()]),
    }


def encode_group(
    group: Group, codec: TextCodec, *, max_tokens: int, tally: Tally, fewest: int = 2
) -> Group | None:
    """Fill in token ids; None when fewer than ``fewest`` completions are left.

    A completion that does not fit is dropped and counted, not cut: its reward would no longer be its own.

    Args:
        group: of the train split.
        codec: of the reference.
        max_tokens: of a prompt and one completion together.
        tally: counts what is left out or changed.
        fewest: completions of a group, 1 or 2.
    """
    try:
        opening = codec.open(group.prompt, group.columns)
    except RecordError as error:
        tally.drop("prompts_refused", group.source, str(error))
        return None
    group.prompt_ids = opening.ids
    if codec.spells_special_tokens(group.prompt):
        tally.note("prompts_spell_special_tokens", group.source)
    kept = []
    for completion in group.completions:
        try:
            encoded = encode_completion(codec, opening, completion)
        except RecordError as error:
            tally.drop("completions_refused", group.source, str(error))
            continue
        completion.token_ids = encoded.ids
        if not encoded.ids:
            tally.drop("completions_without_tokens", group.source)
        elif len(opening.ids) + len(encoded.ids) > max_tokens:
            tally.drop("completions_too_long", group.source)
        else:
            kept.append(completion)
            for note in encoded.notes:
                tally.note(note, group.source)
    group.completions = kept
    if len(kept) < fewest:
        tally.drop("groups_of_fewer_than_two" if fewest == 2 else "groups_of_none", group.source)
        return None
    return group


def encode_completion(codec: TextCodec, opening: Opening, completion: Completion) -> Encoded:
    """Token ids of a completion, of its words or of all its turns."""
    if turns := completion.columns.get(TURNS):
        return encode_turns(codec, opening, turns, finished=completion.finished).encoded
    return codec.encode(opening, completion.text, finished=completion.finished)


def mean_difference(
    model: Any, groups: Sequence[TokenGroup], stored: Sequence[Sequence[float]], rows: RowConfig
) -> float:
    """Nats a token by which ``stored`` log-probabilities differ from those of ``model``, in the mean."""
    fresh = group_logps(model, groups, rows=rows)
    moved = sum(float(np.abs(np.subtract(a, b)).sum()) for a, b in zip(fresh, stored, strict=True))
    return moved / max(1, sum(num_scored(ids) for group in groups for ids in group.completion_ids))


@dataclass
class ReferencePass:
    """Fills ``ref_logps``; the model is loaded when the first value is missing or checked."""

    model: str
    revision: str | None
    store: ValueStore
    rows: RowConfig
    check_samples: int
    weights: str = ""
    """Digest of the model, which its files must have; empty: nobody promised one."""
    computed: int = 0
    """Completions that went through the model."""
    reused: int = 0
    """Completions whose value the store had."""
    checked: int = 0
    """Of those, how many were computed again and compared."""
    difference: float = 0.0
    """Nats a token by which the compared values differed, in the mean of all."""
    form: dict[str, Any] = field(default_factory=dict)
    """In which rows the model computes, at which cost, why in no faster ones; empty until it is loaded."""
    _checks: SpotChecks = field(init=False, repr=False)
    _checked_tokens: int = field(default=0, repr=False)
    _loaded: Any = field(default=None, repr=False)
    _fit: Fit | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self._checks = SpotChecks(self.check_samples)

    def fill(self, groups: Sequence[Group]) -> None:
        """Set ``ref_logps`` of every completion of encoded groups, in nats.

        Raises:
            MismatchError: stored values are not those the reference gives now.
            StoreError: the reference gives a value that is not finite.
        """
        keys = [
            [completion_key(g.prompt_ids or (), c.token_ids or ()) for c in g.completions] for g in groups
        ]
        stored = self.store.lookup([key for row in keys for key in row])
        known = {key: value for key, value in stored.items() if np.isfinite(value)}
        if len(known) < len(stored):
            raise StoreError(f"{self.store.path}: {len(stored) - len(known)} stored values are not finite")
        self._check(groups, keys, known)
        self.reused += sum(key in known for row in keys for key in row)
        known |= self._compute(groups, keys, known)
        for group, row in zip(groups, keys, strict=True):
            for completion, key in zip(group.completions, row, strict=True):
                completion.ref_logps = known[key]

    def _compute(
        self, groups: Sequence[Group], keys: Sequence[Sequence[bytes]], known: dict[bytes, float]
    ) -> dict[bytes, float]:
        """The values the store lacks; each chunk is stored as soon as it is there."""
        missing = list(_subgroups(groups, keys, lambda key: key not in known))
        fresh: dict[bytes, float] = {}
        for start in range(0, len(missing), 512):
            chunk = missing[start : start + 512]
            model = self._model(groups)
            rows = self._fitted.rows
            logps = group_logps(model, [group for group, _ in chunk], rows=rows, description="reference")
            found = [key for _, row in chunk for key in row]
            values = [value for of_group in logps for value in of_group]
            num_tokens = [num_scored(ids) for group, _ in chunk for ids in group.completion_ids]
            origin = [str(pick_device())] * len(found), [self.form["attention"]] * len(found)
            self.store.append(found, values, num_tokens, *origin)
            fresh |= dict(zip(found, values, strict=True))
        self.computed += len(fresh)
        return fresh

    def _check(
        self, groups: Sequence[Group], keys: Sequence[Sequence[bytes]], known: dict[bytes, float]
    ) -> None:
        """Compute a few stored values again, others in each use of the store."""
        sample = list(_subgroups(groups, keys, self._checks.choose(known).__contains__))
        if not sample:
            return
        model = self._model(groups)
        values = [[known[key] for key in row] for _, row in sample]
        moved = mean_difference(model, [group for group, _ in sample], values, self._fitted.rows)
        num_tokens = sum(num_scored(ids) for group, _ in sample for ids in group.completion_ids)
        self._checked_tokens += num_tokens
        self.difference += (moved - self.difference) * num_tokens / self._checked_tokens
        self.checked += sum(map(len, values))
        tolerance = TOLERANCES[self.rows.compute_dtype]
        if not self.difference <= tolerance:  # nor is it when it is no number
            raise MismatchError(
                f"{self.store.path}: {self.checked} stored values differ from the reference by "
                f"{self.difference:.2g} nats a token, over {tolerance:g}: another device or library computed "
                "them; remove that folder to compute them again"
            )

    @property
    def _fitted(self) -> Fit:
        assert self._fit is not None
        return self._fit

    def _model(self, groups: Sequence[Group]) -> Any:
        """The reference; its rows are checked once it is loaded, and again where a group is longer than any
        before, which may leave a window behind or stretch rotary positions, or its completions share more
        beginnings. What was once too fast stays so.
        """
        whole = [
            TokenGroup(g.prompt_ids or (), [c.token_ids or [] for c in g.completions], g.id) for g in groups
        ]
        if self._loaded is None:
            dtype = DTYPES[self.rows.parameter_dtype]
            with weights_as_promised(self.model, self.weights):
                loaded = load_model(self.model, dtype=dtype, revision=self.revision)
            self._loaded = loaded.to(pick_device())
        longest = max((group.longest for group in whole), default=0)
        levels = max((group.levels for group in whole), default=0)
        fit = self._fit
        if fit is None or fit.longest < longest or fit.levels < min(levels, CHECKED_LEVELS):
            found = fit_reference(self.model, self._loaded, whole, self.rows)
            slower = fit is not None and FORMS.index(found.rows.form) < FORMS.index(fit.rows.form)
            self._fit = replace(found, rows=fit.rows, refused=fit.refused) if fit and slower else found
            self.form = self._fit.about(whole, pick_device())
        return self._loaded


def _subgroups(
    groups: Sequence[Group], keys: Sequence[Sequence[bytes]], wanted: Any
) -> Iterator[tuple[TokenGroup, list[bytes]]]:
    """Each group reduced to the completions whose key is wanted; a group with none is left out."""
    for group, row in zip(groups, keys, strict=True):
        chosen = [(key, c.token_ids) for key, c in zip(row, group.completions, strict=True) if wanted(key)]
        if chosen:
            ids = [token_ids or [] for _, token_ids in chosen]
            yield TokenGroup(group.prompt_ids or (), ids, group.id), [key for key, _ in chosen]
