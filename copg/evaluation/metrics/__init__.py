"""Metrics as ``evaluate`` modules, computed from the package's own files: no hub, no folder left behind."""

import tempfile
from typing import Any

import evaluate


def compute(metric: type[evaluate.Metric], **columns: Any) -> dict[str, Any]:
    """What a metric says of ``columns``, one row a prompt.

    ``evaluate`` makes a cache folder even for what it keeps in memory; here it is a temporary one, so that a
    read-only home does not matter. ``evaluate.load`` on the metric's folder gives the same numbers.
    """
    with tempfile.TemporaryDirectory() as cache:
        found: dict[str, Any] = metric(cache_dir=cache, keep_in_memory=True).compute(**columns)
    return found
