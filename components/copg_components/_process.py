"""The process of a task, which seldom searches its memory for circles, and not once more at its end.

With transformers and MLflow loaded a search takes a second or two: together a tenth of their imports, and
once more at the end, where the system takes the memory back anyway.
"""

import atexit
import gc
from functools import wraps
from typing import Any

from copg.run import task_record


@wraps(task_record.recorded)
def recorded(*args: Any, **kwargs: Any) -> Any:
    gc.set_threshold(100_000, 50, 100)
    atexit.register(gc.freeze)
    return task_record.recorded(*args, **kwargs)
