"""So few gate prompts that nothing could be promoted whatever a run came to, told before there is one."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from copg.data.columns import RECORD_SCHEMA, to_portion
from copg.data.message_rows import may_gather, whole_trees
from copg.data.readers import Rows
from copg.data.shapes import RecordReader
from copg.data.sides import Sides
from copg.errors import ConfigError, CopgError
from copg.evaluation.power import MIN_PROMPTS
from copg.records import SPLITS
from copg.run.check import settings_of
from copg.run.outlook import ALL_THE_SAME
from copg.run.recipe import Recipe

AT_ONCE = 200
MOST_ROWS = 20_000
"""Of records that are read for it; where more of them hold few prompts still, ``score`` tells."""
SURE = 4
"""Times as many prompts as are needed that are expected in gate, after which nobody looks on."""


def refuse_hopeless(recipe: Recipe, run_dir: Path) -> None:
    """Refuse a recipe no run of which could promote anybody, as ``score`` would, unless it says to go on.

    Args:
        recipe: with the paths of this machine.
        run_dir: directory of the runs; not looked at.

    Raises:
        ConfigError: so few gate prompts are asked for, or there.
    """
    configs = settings_of(recipe, run_dir)
    told = few_asked(configs) or few_there(configs, recipe.records)
    if told and configs["promote"].error.refuse_hopeless:
        raise ConfigError(told)


def few_asked(configs: Mapping[str, Any]) -> str:
    """Why so many prompts as ``evaluate`` takes promote nobody, in one line; empty where they may."""
    asked = configs["evaluate"].count("gate")
    if asked >= MIN_PROMPTS:
        return ""
    return (
        f"evaluate.num_prompts={asked} of 'gate' promotes nobody, {MIN_PROMPTS} are needed: raise it, "
        f"or {ALL_THE_SAME}"
    )


def few_there(configs: Mapping[str, Any], records: str) -> str:
    """Why so many prompts as the records hold promote nobody, in one line; empty where they may, or none is
    to be read here.

    Args:
        configs: of the stages.
        records: as they are called on this machine.
    """
    validate = configs["validate"]
    try:
        found = gate_prompts(validate, records)
    except CopgError:  # told by who reads them
        return ""
    if found is None or found >= MIN_PROMPTS:
        return ""
    return (
        f"records: with {found} of their prompts in gate nobody is promoted, {MIN_PROMPTS} are needed: "
        f"bring more prompts, raise validate.gate_fraction={validate.gate_fraction:g}, or {ALL_THE_SAME}"
    )


def gate_prompts(validate: Any, records: str) -> int | None:
    """How many prompts of ``gate`` records hold, at the most.

    None where there are surely enough, and where not all were read: of a data set on the hub, of very many,
    or of what is no record.

    Args:
        validate: the configuration of the stage.
        records: as they are called on this machine.

    Raises:
        RecordError: they cannot be read.
    """
    reading = validate.reading
    source, reader = Rows(records, **validate.part), RecordReader(reading)
    if not source.files and not Path(records).exists():
        return None
    rows = iter(whole_trees(source) if may_gather(reading) else source)
    sides, ids, read = Sides(), set[bytes](), 0
    while chunk := [*islice(rows, AT_ONCE)]:
        read += len(chunk)
        found = to_portion(chunk, reader).records
        if found.num_rows:
            sides.add(found.select(RECORD_SCHEMA.names))
            ids.update(found["id"].to_pylist())
        if read > MOST_ROWS or len(ids) * validate.gate_fraction > SURE * MIN_PROMPTS:
            return None
    if not ids:
        return None
    fractions = {"select_fraction": validate.select_fraction, "gate_fraction": validate.gate_fraction}
    splits = sides.splits_of(pa.array(sorted(ids), RECORD_SCHEMA.field("id").type), **fractions)
    return int((splits == SPLITS.index("gate")).sum())
