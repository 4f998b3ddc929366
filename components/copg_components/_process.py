"""What the process of a task begins with: the object stores of KFP, and an end without a last search of its
memory for circles.

With transformers and MLflow loaded that search takes two seconds; the system takes the memory back anyway.
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
    atexit.register(gc.freeze)
    return task_record.recorded(*args, **kwargs)
