"""``reference``: scored groups in, the same with token ids and reference log-probabilities out."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from copg.artifacts import Manifest, begin, read_manifest, seal, warnings_of
from copg.config import Natural, configuration
from copg.data.group_files import GroupWriter, read_groups
from copg.errors import RecordError
from copg.lm.config import RowConfig, TextConfig
from copg.lm.encoded import NOTES
from copg.lm.tally import Tally
from copg.records import SPLITS, Completion, Group, in_shard
from copg.stores.model_files import model_digest

if TYPE_CHECKING:
    from copg.lm.reference import ReferencePass
    from copg.lm.text import TextCodec
    from copg.rewards.ladder import Ladder
    from copg.rewards.predicting import Weighing

GROUPS_PER_CHUNK, TOKENS_PER_CHUNK = 8192, 2**22
"""Most that is in memory at once, beside the values of the store."""
LONELY = "prompts_without_mismatched"
"""Training prompts that none of their neighbours' completions can be put to, as they are counted."""


@configuration
class ReferenceConfig:
    """Which reference, where its log-probabilities are kept, and in which rows they are computed."""

    model: str
    """Model directory or hub name of the reference."""
    store: str
    """Folder or URL of the reference store; give every run the same one."""
    revision: str | None = None
    """Of the hub."""
    model_digest: str = ""
    """Of the reference's weights, when it is known already; empty: computed here."""
    max_tokens: Natural = 0
    """Longest prompt and completion together; 0: as many as the model has positions."""
    min_completions: Literal[1, 2] = 2
    """Fewest completions of a training prompt, below which it is left out. 1, with the same of ``validate``,
    for methods that learn from one alone (``dro_v``, ``kto``, ``sft``); others see no contrast in it."""
    mismatched: bool = False
    """Keep for each training prompt a completion of another one, which ``kto`` asks for: one more completion
    through the reference. A recipe with a trial of such a method sets it."""
    check_samples: Natural = 32
    """Size of the sample of stored values computed again and compared, another at each use."""
    threads: Natural = 0
    """CPU threads; 0: torch's own choice."""
    rows: RowConfig = field(default_factory=RowConfig)
    """Must be train's: another precision is another reference."""
    text: TextConfig = field(default_factory=TextConfig)
    """How prompts and completions become tokens; the recipe's, the same for every stage."""


def reference_groups(
    config: ReferenceConfig,
    scored: Path,
    referenced: Path,
    *,
    groups_per_chunk: int = GROUPS_PER_CHUNK,
    tokens_per_chunk: int = TOKENS_PER_CHUNK,
) -> dict[str, float]:
    """Tokenise once and add log pi_ref(y|x) to every completion of the train split.

    Held-out prompts get their token ids alone: their completions are never trained on.

    Args:
        scored: artifact of schema ``scored``.
        referenced: where the artifact of schema ``referenced`` goes.
        groups_per_chunk: how many are in memory at once, at most.
        tokens_per_chunk: the same of tokens.

    Returns:
        Completions computed, reused, checked and dropped; mean log-probability a token.

    Raises:
        ModelError: the reference cannot be loaded, or its rows are not exact.
        RecordError: nothing is left to train on.
        MismatchError: the store holds values that this reference does not give.
        StoreError: a value is not finite.
    """
    from copg.lm.reference import text_digests
    from copg.rewards.predicting import Weighing

    parent = read_manifest(scored, schema="scored")
    engine, encoder = _open(config)
    begin(referenced)
    tally, about, weighing = Tally(), encoder.codec.about(), Weighing()
    with GroupWriter(referenced) as writer:
        for split in SPLITS:
            groups = _encode(_read(scored, split, encoder), split, encoder, tally)
            for chunk in _chunks(groups, groups_per_chunk, tokens_per_chunk):
                if split == "train":
                    _fill(engine, chunk, encoder)
                    weighing.add(chunk)
                for group in chunk:
                    writer.write(split, group)
    if not writer.num_groups["train"]:
        raise RecordError(f"{scored}: no group is left to train on: {_why(tally, encoder.max_tokens)}")
    metrics = _metrics(engine, tally)
    if config.mismatched:
        metrics["reference/mismatched"] = float(writer.num_groups["train"] - tally.noted[LONELY])
        if not metrics["reference/mismatched"]:
            raise RecordError(
                f"{scored}: reference.mismatched: no training prompt has another one near it whose "
                "completions fit and are not its own; leave out the trials that need it (kto)"
            )
    for line in (encoder.codec.ending, *tally.lines()):
        print(line, file=sys.stderr, flush=True)
    _say_form(engine.form)
    ladder = _ladder(parent, weighing)
    metrics |= ladder.metrics()
    seal(
        referenced,
        schema="referenced",
        stage="reference",
        rows=sum(writer.num_groups.values()),
        config=asdict(config),
        parents={"scored": parent.digest},
        facts={
            "metrics": metrics,
            "scales": parent.facts.get("scales", {}),
            "rows": engine.form,
            "ladder": ladder.facts(),
            "dropped": dict(tally.dropped),
            "warnings": [*warnings_of(parent), *(f"reference: {line}" for line in tally.warnings())],
            "text": {**about, "noted": dict(tally.noted), "first": tally.first},
            "numerics": {**engine.store.about(), **text_digests(encoder.codec)},
        },
    )
    return metrics


def reference_shard(config: ReferenceConfig, scored: Path, shard: int, num_shards: int) -> int:
    """Put the log-probabilities of one share of the groups into the store, for ``reference_groups`` to find.

    Args:
        scored: artifact of schema ``scored``.
        shard: which share, from 0.
        num_shards: how many there are; any number gives the same values, within the tolerance.

    Returns:
        How many groups of the train split are in it.
    """
    read_manifest(scored, schema="scored")
    engine, encoder = _open(replace(config, check_samples=0))
    groups = _read(scored, "train", encoder)
    mine = ((group, others) for group, others in groups if in_shard(group.id, shard, num_shards))
    count = 0
    for chunk in _chunks(_encode(mine, "train", encoder, Tally())):
        _fill(engine, chunk, encoder)
        count += len(chunk)
    return count


class _Encoder(NamedTuple):
    codec: "TextCodec"
    max_tokens: int
    fewest: int
    mismatched: int
    """Most tokens of a prompt and another one's completion together; 0: none is asked for."""


def _open(config: ReferenceConfig) -> "tuple[ReferencePass, _Encoder]":
    """What computes, and what tokenises; the model is loaded when it is needed."""
    import torch

    from copg.lm.anatomy import read_anatomy
    from copg.lm.load import load_codec, load_config
    from copg.lm.reference import ReferencePass
    from copg.stores.reference_store import Numerics, open_references

    if config.threads:
        torch.set_num_threads(config.threads)
    codec = load_codec(config.model, revision=config.revision, text=config.text)
    positions = read_anatomy(load_config(config.model, revision=config.revision)).context or 2**31
    weights = config.model_digest or model_digest(Path(config.model))
    numerics = Numerics(weights, config.rows.parameter_dtype, config.rows.compute_dtype)
    store = open_references(config.store, numerics)
    engine = ReferencePass(
        config.model, config.revision, store, config.rows, config.check_samples, config.model_digest
    )
    longest = min(positions, config.max_tokens or positions)
    fitting = min(longest, config.rows.tokens_per_row or longest) if config.mismatched else 0
    return engine, _Encoder(codec, longest, config.min_completions, fitting)


def _read(scored: Path, split: str, encoder: _Encoder) -> Iterator[tuple[Group, list[Completion]]]:
    """The groups of a split, each with completions of other prompts where they are asked for."""
    from copg.data.mismatched import read_beside_others

    if encoder.mismatched and split == "train":
        return read_beside_others(scored)
    return ((group, []) for group in read_groups(scored, split))


def _encode(
    groups: Iterable[tuple[Group, list[Completion]]], split: str, encoder: _Encoder, tally: Tally
) -> Iterator[Group]:
    """With token ids, without what does not fit.

    Raises:
        RecordError: the template refuses a held-out prompt, which an evaluation could not leave out.
    """
    from copg.lm.mismatched import add_mismatched
    from copg.lm.reference import encode_group

    codec = encoder.codec
    for group, others in groups:
        if split == "train":
            own, most = group.completions, encoder.max_tokens
            encoded = encode_group(group, codec, max_tokens=most, tally=tally, fewest=encoder.fewest)
            if encoded is None:
                continue
            if encoder.mismatched and not add_mismatched(
                encoded, own, others, codec, max_tokens=encoder.mismatched
            ):
                tally.note(LONELY, group.source)
            yield encoded
            continue
        try:
            group.prompt_ids = codec.open(group.prompt, group.columns).ids
        except RecordError as error:
            raise RecordError(f"{group.source}: {error}") from None
        if len(group.prompt_ids) < encoder.max_tokens:
            yield group
        else:
            tally.drop(f"{split}_prompts_too_long", group.source)


def _fill(engine: "ReferencePass", chunk: list[Group], encoder: _Encoder) -> None:
    """Log-probabilities of the prompts' own completions, and of other prompts' where they are asked for."""
    from copg.lm.mismatched import fill_mismatched

    engine.fill(chunk)
    if encoder.mismatched:
        fill_mismatched(engine, chunk)


def _chunks(
    groups: Iterable[Group], most: int = GROUPS_PER_CHUNK, most_tokens: int = TOKENS_PER_CHUNK
) -> Iterator[list[Group]]:
    """As many at a time as memory should hold, at least one."""
    chunk: list[Group] = []
    num_tokens = 0
    for group in groups:
        chunk.append(group)
        num_tokens += len(group.prompt_ids or ()) + sum(len(c.token_ids or ()) for c in group.completions)
        if len(chunk) == most or num_tokens >= most_tokens:
            yield chunk
            chunk, num_tokens = [], 0
    if chunk:
        yield chunk


def _why(tally: Tally, max_tokens: int) -> str:
    """What became of all groups of the train split."""
    if not tally.dropped:
        return "score left none"
    counts = ", ".join(f"{count} {reason}" for reason, count in tally.dropped.most_common())
    reason = next(iter(tally.first))
    return f"{counts}; first {tally.first[reason]} ({reason}), reference.max_tokens is {max_tokens}"


def _ladder(parent: Manifest, weighing: "Weighing") -> "Ladder":
    """What the logs can support: as ``score`` had it if the reference drew them, else weighed, and told."""
    from copg.rewards.ladder import read_ladder

    ladder = read_ladder(parent.facts.get("ladder"))
    if ladder is None or ladder.base == "others":
        ladder = weighing.ladder()
        print(*ladder.advice(weighing.spread), sep="\n", file=sys.stderr, flush=True)
    return ladder


def _say_form(form: dict[str, Any]) -> None:
    """In which rows the reference was computed, where it was not in the fastest."""
    for faster, why in form.get("refused", {}).items():
        print(
            f"rows are {form['form']}, {form['cost']:g} times the tokens, not {faster}: {why}",
            file=sys.stderr,
        )


def _metrics(engine: "ReferencePass", tally: Tally) -> dict[str, float]:
    return {
        "reference/computed": float(engine.computed),
        "reference/reused": float(engine.reused),
        "reference/checked": float(engine.checked),
        "reference/difference": engine.difference,
        **{f"dropped/{reason}": float(count) for reason, count in sorted(tally.dropped.items())},
        **{f"text/{note}": float(tally.noted[note]) for note in NOTES},
    }
