"""The process of a task, which ends without a last search of its memory for circles.

With transformers and MLflow loaded that search takes two seconds; the system takes the memory back anyway.
"""

import atexit
import gc
from functools import wraps
from typing import Any

from copg.run import task_record


@wraps(task_record.recorded)
def recorded(*args: Any, **kwargs: Any) -> Any:
    atexit.register(gc.freeze)
    return task_record.recorded(*args, **kwargs)
