"""Stage ``validate``: records in, groups of train, select and gate out; what is refused, with its reason."""

import sys
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from copg.artifacts import begin, seal
from copg.config import AtLeastOne, Fraction, Natural, configuration
from copg.data.bounds import BOUNDS, Bounds
from copg.data.checks import SPLIT_CHECKS
from copg.data.columns import RECORD_SCHEMA
from copg.data.docs import DOCS, write_docs
from copg.data.files import records_as_promised
from copg.data.found import Reading
from copg.data.group_files import GroupWriter
from copg.data.group_pass import GroupPass, count_leaks
from copg.data.plain_shapes import FIELDS
from copg.data.readers import Rows
from copg.data.record_pass import RecordPass
from copg.data.rejections import Rejections
from copg.data.shapes import READ_AS
from copg.data.spool import Spool
from copg.data.suite import Suite
from copg.errors import RecordError
from copg.lm.config import ReaderConfig
from copg.lm.fit import RecordFit, open_fit

_MORE = (
    "a prompt needs two distinct completions: log more answers to it, or let your model draw those that are "
    "missing: add sample: {completions: 4} to the recipe"
)
_SCORED = (
    "of a prompt, all completions have rewards or none has: give them some, or leave those without out by a "
    "higher validate.max_rejected_fraction"
)
WAYS_OUT = {
    "fewer_than_two_distinct_completions": _MORE,
    "no_completions": _MORE,
    "missing_reward": _SCORED,
}
"""What mends the most frequent reason of a refusal."""


@configuration
class ValidateConfig:
    """How records are read, checked and split."""

    columns: dict[str, str] = field(default_factory=dict)
    """The records' own name of a field that is called otherwise, as in ``{prompt: instruction}``; ``a.b``
    reaches into objects, "" leaves a field out. Records of one ``cluster`` are on one side of the split."""
    read_as: str | None = None
    """The shape of the records, where they could be read in several ways; None to tell by their columns."""
    completion: Literal["last_turn", "all_turns"] = "last_turn"
    """Of a chat: the last assistant turn is the completion, or each of them, of what came before it."""
    select_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Expected share of prompts on which the best trial is chosen."""
    gate_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Expected share of prompts on which promotion is decided."""
    min_held_out: Natural = 0
    """Prompts that select and gate must each hold, lest a trial be trained that nothing can judge; a recipe's
    run needs 2, of which a mean has an interval."""
    max_rejected_fraction: Fraction = 0.05
    """Share of records above which the stage fails."""
    max_prompt_chars: AtLeastOne | None = None
    """Characters; a record with a longer prompt is rejected."""
    max_completion_chars: AtLeastOne | None = None
    """Characters; a record with a longer completion is rejected."""
    subset: str | None = None
    """Configuration of a ``datasets`` data set."""
    dataset_split: str | None = None
    """Split of a ``datasets`` data set; needed where it has several."""
    revision: str | None = None
    """Of a data set on the hub."""
    records_digest: str = ""
    """Of the records that are meant, when it is known; empty: whatever lies there."""
    workers: Natural = 2
    """Processes that parse large files of JSON lines, beside the main one; the result is the same."""
    reader: ReaderConfig | None = None
    """The model that will read the records; a recipe's own. None: no text is looked at as tokens."""
    min_completions: Literal[0, 1, 2] | None = None
    """Fewest distinct completions of a prompt, below which it is rejected; 0 in a recipe with a section
    ``sample``, which draws those that are missing. None: 2."""

    def __post_init__(self) -> None:
        if self.select_fraction + self.gate_fraction >= 1:
            held_out = f"{self.select_fraction} + {self.gate_fraction}"
            raise ValueError(
                f"select_fraction + gate_fraction={held_out} must be < 1: nothing is left to train on"
            )
        if unknown := sorted(set(self.columns) - set(FIELDS)):
            raise ValueError(f"columns has {unknown}, which are no fields; use some of {sorted(FIELDS)}")
        if self.read_as not in (None, *READ_AS):
            raise ValueError(f"read_as={self.read_as!r} is no shape; use one of {sorted(READ_AS)}")

    @property
    def reading(self) -> Reading:
        """What is said of how records are to be read."""
        return Reading(self.columns, self.read_as, self.completion == "all_turns")

    @property
    def part(self) -> dict[str, str | None]:
        """Which part of a data set is meant, as ``Rows`` takes it."""
        return {"subset": self.subset, "split": self.dataset_split, "revision": self.revision}

    @property
    def fewest(self) -> int:
        """Distinct completions that a prompt must have."""
        return 2 if self.min_completions is None else self.min_completions


def validate_records(
    config: ValidateConfig, records: str, groups: Path, *, bounds: Bounds = BOUNDS
) -> dict[str, float]:
    """Read records, refuse what cannot be used, pool the rest by prompt and split it.

    Where the model is known that will read them, its tokeniser is asked, without torch: records that it could
    not read or say are refused, and texts become what the model would say that draws their tokens.

    Prompts stand in the order of their first appearance; equal records give equal files on every machine.

    Args:
        records: a file, a folder, a pattern, or a ``datasets`` folder or name.
        groups: directory for the artifact of schema ``groups``: ``<split>.parquet``, ``rejected.jsonl``
            and ``docs/index.html``. When the stage fails, the last two are there all the same.
        bounds: of memory; they change no result.

    Returns:
        Counts of records, groups, completions and rejects; lengths in characters, rewards in their units.

    Raises:
        RecordError: a file cannot be read or is not what was promised, too many records are rejected, or none
            is left.
        ModelError: there is no tokeniser, or its chat template cannot be used.
    """
    begin(groups)
    fit = _open_reader(config.reader)
    rows = Rows(records, **config.part, bounds=bounds)
    record_pass, group_pass = _passes(config, fit)
    with Rejections(groups) as rejections, Spool(groups, RECORD_SCHEMA, bounds) as spool:
        with records_as_promised(records, config.records_digest):
            record_pass.run(rows, rejections, spool, num_workers=config.workers)
        told = [*rows.told(), *record_pass.told()]
        for line in told:
            print(line, file=sys.stderr)
        with GroupWriter(groups) as writer:
            group_pass.run(spool, rejections, writer)
    splits = Suite("splits", SPLIT_CHECKS)
    leaked = splits.run(leaks := count_leaks(group_pass.ids, group_pass.near_ids))
    metrics = record_pass.metrics() | group_pass.metrics() | rejections.metrics(record_pass.num_read)
    metrics["prompts/near_leaked"] = float(leaks["near_prompts"].sum())
    metrics |= _text_metrics(fit)
    suites = [record_pass.suite, group_pass.members, group_pass.groups, splits]
    write_docs(groups, records, metrics, rejections.examples, suites, lead="; ".join(told))
    if leaked:
        raise RecordError(f"{records}: prompts stand in two splits, see {groups / DOCS}")
    _refuse(config, records, metrics, rejections)
    _refuse_drops(config.reader, records, fit)
    warned = [*rows.passed_over, *rejections.warnings(metrics)]
    warned += [*group_pass.warnings(), *record_pass.warnings()]
    for line in warned:
        if line not in told:
            print(line, file=sys.stderr)
    warned += [] if fit is None else fit.warnings()
    seal(
        groups,
        schema="groups",
        stage="validate",
        rows=int(metrics["groups/count"]),
        config=asdict(config),
        parents={},
        facts={
            "records": records,
            "metrics": metrics,
            "told": told,
            "checks": [fact for suite in suites for fact in suite.facts()],
            **({} if fit is None else {"text": fit.facts()}),
            "warnings": [f"validate: {line}" for line in warned],
        },
        volatile=(DOCS,),
    )
    return metrics


def _passes(config: ValidateConfig, fit: RecordFit | None) -> tuple[RecordPass, GroupPass]:
    """Over the records, each on its own; and over the prompts, with all of their completions."""
    record_pass = RecordPass(
        config.reading,
        max_prompt_chars=config.max_prompt_chars,
        max_completion_chars=config.max_completion_chars,
        fit=fit,
        min_completions=config.fewest,
    )
    group_pass = GroupPass(
        record_pass.sides,
        select_fraction=config.select_fraction,
        gate_fraction=config.gate_fraction,
        min_completions=config.fewest,
    )
    return record_pass, group_pass


def _refuse_splits(config: ValidateConfig, records: str, metrics: dict[str, float]) -> None:
    """Raise when there is nothing to train on, or too little to judge by."""
    held_out = {split: int(metrics[f"groups/{split}"]) for split in ("select", "gate")}
    if scarce := [split for split, count in held_out.items() if count < config.min_held_out]:
        shares = ", ".join(
            f"validate.{each}_fraction={getattr(config, f'{each}_fraction'):g}" for each in scarce
        )
        raise RecordError(
            f"{records}: of {int(metrics['groups/count'])} prompts {held_out} are held out, and a trial is "
            f"judged by at least {config.min_held_out} of each: raise {shares}, or bring more prompts"
        )
    if not metrics["groups/train"]:
        raise RecordError(
            f"{records}: no prompt is left to train on, {held_out} are held out: lower "
            f"validate.select_fraction={config.select_fraction:g} and "
            f"validate.gate_fraction={config.gate_fraction:g}, or bring more prompts"
        )


def _open_reader(config: ReaderConfig | None) -> RecordFit | None:
    """What holds records against the model that will read them; says how a turn ends."""
    if config is None:
        return None
    fit = open_fit(config)
    print(fit.ending, file=sys.stderr, flush=True)
    return fit


def _text_metrics(fit: RecordFit | None) -> dict[str, float]:
    """Counts of completions that a model could not say, or says otherwise; the first of each is printed."""
    if fit is None:
        return {}
    for line in fit.tally.lines():
        print(line, file=sys.stderr, flush=True)
    return fit.metrics()


def _refuse_drops(config: ReaderConfig | None, records: str, fit: RecordFit | None) -> None:
    """Raise when too many completions were left out."""
    if config is None or fit is None:
        return
    dropped = fit.tally.dropped
    if dropped.total() > config.max_dropped_fraction * fit.num_completions:
        reason = max(dropped, key=lambda each: dropped[each])
        raise RecordError(
            f"{records}: {dropped.total()} of {fit.num_completions} completions cannot be said by "
            f"{config.model}, more than validate.reader.max_dropped_fraction={config.max_dropped_fraction:g} "
            f"allows; {dropped[reason]} {reason}, first {fit.tally.first[reason]}"
        )


def _refuse(config: ValidateConfig, records: str, metrics: dict[str, float], rejections: Rejections) -> None:
    """Raise when there is nothing to work with, or too much was rejected."""
    read, rejected = int(metrics["records/read"]), int(metrics["records/rejected"])
    if not read:
        raise RecordError(f"{records}: holds no records")
    if rejected / read <= config.max_rejected_fraction and metrics["groups/count"]:
        _refuse_splits(config, records, metrics)
        return
    reasons = ", ".join(f"{count} {reason}" for reason, count in rejections.counts.most_common())
    allowed = f"more than max_rejected_fraction={config.max_rejected_fraction} allows"
    if rejected == read:
        allowed = "nothing is left"
    ways = [WAYS_OUT[reason] for reason, _ in rejections.counts.most_common(1) if reason in WAYS_OUT]
    raise RecordError(
        f"{records}: {rejected} of {read} records are rejected, {allowed}: {reasons}; "
        f"first {rejections.examples[0]}; all of them in {rejections.path}"
        + "".join(f"; {way}" for way in ways)
    )
