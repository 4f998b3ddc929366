"""What the process of a task begins with: the stores of KFP's artifacts, and few searches of memory.

With transformers and MLflow loaded a search for circles takes a second or two: a tenth of their
imports, and once more at the end, where the system takes the memory back anyway.
"""

import atexit
import gc
from functools import wraps
from typing import Any

from copg.run import task_record
from copg_components._object_store import register


@wraps(task_record.recorded)
def recorded(*args: Any, **kwargs: Any) -> Any:
    register()
    gc.set_threshold(100_000, 50, 100)
    atexit.register(gc.freeze)
    return task_record.recorded(*args, **kwargs)
