"""Metrics as JSON lines, cut back to where a resumed run goes on."""

import json
import time
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from copg.artifacts import replacing

LAST = 10
"""Steps that say how a training ends."""


class MetricsLog:
    """One JSON object a line: ``step``, ``time_s`` since the epoch, and metrics by their keys."""

    def __init__(self, path: Path, *, steps_done: int) -> None:
        """Open for appending, without the lines of steps that will be done again.

        Args:
            path: of the file; created when missing.
            steps_done: what the checkpoint says; 0 keeps nothing.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = read_metrics(path) if steps_done else []
        kept = [json.dumps(line) + "\n" for line in lines if line["step"] <= steps_done]
        with replacing(path) as part:
            part.write_text("".join(kept))

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one line; a value that is not finite is written as null."""
        values = {key: value if isfinite(value) else None for key, value in metrics.items()}
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, "time_s": round(time.time(), 3), **values}) + "\n")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines that are whole: a killed writer may leave half of one."""
    found = []
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        try:
            metrics = json.loads(line)
            found.append({**metrics, "step": int(metrics["step"])})
        except (ValueError, LookupError, TypeError, RecursionError):
            break
    return found
