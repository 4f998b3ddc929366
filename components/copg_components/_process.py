"""What the process of a task begins with: importing this module makes it one.

Such a process ends with its task and leaves its memory to the system, without a last search of it for
circles: with transformers and MLflow loaded, that search takes two seconds.
"""

import atexit
import gc

from copg.run.task_record import recorded

__all__ = ["recorded"]

atexit.register(gc.freeze)
