"""The process of a task."""

import atexit
import functools
import gc
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from copg.run import task_record

P = ParamSpec("P")
T = TypeVar("T")


def _ending(begin: Callable[P, T]) -> Callable[P, T]:
    """A function that also has its process end without a last search of its memory for circles.

    With transformers and MLflow loaded that search takes two seconds; the system takes the memory anyway.
    """

    @functools.wraps(begin)
    def beginning(*args: P.args, **kwargs: P.kwargs) -> T:
        atexit.register(gc.freeze)
        return begin(*args, **kwargs)

    return beginning


recorded = _ending(task_record.recorded)
