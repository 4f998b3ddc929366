"""The process of a task: it says of each artifact that it left what it is, and what its making left out.

With transformers and MLflow loaded a search for circles takes a second or two: a tenth of their
imports, and once more at the end, where the system takes the memory back anyway.
"""

import atexit
import gc
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import copg
from copg.digests import json_digest
from copg.run import recording
from copg.run.card import card_of, warnings_in
from copg.run.task_names import RENEWAL


@contextmanager
def recorded(
    stage: str,
    plan: Mapping[str, Any],
    *args: Any,
    outputs: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> Iterator[Any]:
    """``copg.run.recording.recorded``, after which artifacts carry as metadata what they are."""
    gc.set_threshold(100_000, 50, 100)
    atexit.register(gc.freeze)
    left = outputs or {}
    with recording.recorded(stage, _keyed(plan), *args, outputs=left, **kwargs) as record:
        done_before = record.answers
        yield record
        if not done_before:
            record.cards = {name: card for name, each in left.items() if (card := card_of(Path(each.path)))}
            told = [line for each in left.values() for line in warnings_in(Path(each.path))]
            record.warnings = list(dict.fromkeys([*record.warnings, *told]))
    for name, artifact in left.items():
        artifact.metadata.update(record.cards.get(name, {}))


def _keyed(plan: Mapping[str, Any]) -> Mapping[str, Any]:
    """A plan of ``resolve``, or settings that somebody wrote by hand: then nothing answers for the task."""
    if "key" in plan:
        return plan
    return {**plan, "key": json_digest(plan.get("config", {})), RENEWAL: uuid.uuid4().hex}


def key_of(plan: Mapping[str, Any], record: Any, groups: Any) -> str:
    """Under which a task keeps what later tasks find: the plan's key.

    That of settings by hand stands for these alone, so what they were used on and the version come to it.
    """
    return str(record.key if "key" in plan else json_digest([record.key, groups, copg.__version__]))
