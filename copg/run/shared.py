"""What several stages take from one place of a recipe; a mistake in it by the name that the user wrote."""

import re
from collections.abc import Mapping
from typing import Any

TEXT, REWARDS, ROWS = "text", "rewards", "train.rows"
READERS = ("validate.reader", "sample", "sample.reader", "reference", "train", "evaluate")
"""Sections that read text as the recipe's model does."""
ORIGINS: Mapping[str, str] = {
    **{f"{stage}.text": TEXT for stage in READERS},
    **{f"{stage}.rewards": REWARDS for stage in ("score", "train.samples", "evaluate")},
    **{f"{stage}.rows": ROWS for stage in ("sample", "reference", "evaluate")},
    **{f"{stage}.{name}": name for name in ("model", "revision") for stage in (*READERS, "reward")},
    "validate.reader.max_tokens": "reference.max_tokens",
    "sample.reader.max_tokens": "reference.max_tokens",
    "report.max_kl": "promote.max_kl",
    "report.min_gain": "promote.min_gain",
    "report.error": "promote.error",
    "report.guards": "promote.guards",
    "evaluate.cluster": "validate.columns.cluster",
    **{f"{stage}.report_beta": "report_beta" for stage in ("report", "promote")},
    "train.samples.generation.max_new_tokens": "evaluate.generation.max_new_tokens",
    "report.name": "name",
    "train.tracking.uri": "tracking",
    "train.tracking.experiment": "name",
    "promote.tracking_uri": "tracking",
    "promote.model_name": "name",
}
"""Settings of stages, and the keys of a recipe that they are unless its section says otherwise."""
TRIAL = "train.trial."


def as_written(mistakes: str, stages: Mapping[str, Any]) -> str:
    """Mistakes in the settings of a stage, each by the key of the recipe that it came from.

    Args:
        mistakes: with keys that begin at the stage.
        stages: the sections of the recipe, which may hold the key themselves.
    """
    for key, origin in ORIGINS.items():
        if not _holds(stages, key):
            mistakes = re.sub(rf"\b{re.escape(key)}(?=[.=: ])", origin, mistakes)
    return mistakes.replace(TRIAL, "")


def _holds(stages: Mapping[str, Any], key: str) -> bool:
    here: Any = stages
    for part in key.split("."):
        if not isinstance(here, Mapping) or part not in here:
            return False
        here = here[part]
    return True


def value_at(values: Mapping[str, Any], key: str) -> Any:
    """A value at a dotted key of nested dictionaries; None where there is none."""
    here: Any = values
    for part in key.split("."):
        here = here.get(part) if isinstance(here, Mapping) else None
    return here
