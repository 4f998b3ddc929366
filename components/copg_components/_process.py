"""The process of a task: it says what it left, and ends without a last search of its memory for circles.

With transformers and MLflow loaded that search takes two seconds; the system takes the memory back anyway.
"""

import atexit
import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from copg.run import task_record
from copg.run.card import card_of


@contextmanager
def recorded(*args: Any, outputs: Mapping[str, Any] | None = None, **kwargs: Any) -> Iterator[Any]:
    """``copg.run.task_record.recorded``, after which artifacts carry as metadata what they are."""
    atexit.register(gc.freeze)
    left = outputs or {}
    with task_record.recorded(*args, outputs=left, **kwargs) as record:
        done_before = record.answers
        yield record
        if not done_before:
            record.cards = {name: card for name, each in left.items() if (card := card_of(Path(each.path)))}
    for name, artifact in left.items():
        artifact.metadata.update(record.cards.get(name, {}))
