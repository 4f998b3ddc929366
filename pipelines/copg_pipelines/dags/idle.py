"""How long a run waits while none of its pods works, predicted from its compiled DAG.

A controller looks at a running workflow every so often, so that each pod of the longest chain is met half
such a time late, on average; and a node takes a moment to start one.
"""

from collections.abc import Mapping
from typing import Any

UPSTREAM_REQUEUE_S = 10.0
"""Argo's ``DEFAULT_REQUEUE_TIME``, between two looks at a workflow."""
PATCHED_REQUEUE_S = 1.0
"""The same with ``manifests/workflow-controller/deployment-patch.yaml``."""
START_S = 1.7
"""Of a pod, until it works: with it the 52 and 145 idle seconds of 0.1.0's demo are met within a tenth."""
CONTAINER = 2
"""Pods of a task one after the other: KFP's driver, and its own."""
LOOP = 2
"""Drivers before the tasks of an iteration: of the loop, and of the iteration."""


def idle_seconds(spec: Mapping[str, Any], requeue_s: float) -> float:
    """Seconds of a run without a pod at work, on nodes that hold the image.

    Args:
        spec: the compiled DAG.
        requeue_s: between two looks of the controller.
    """
    return pods_in_sequence(spec) * (requeue_s / 2 + START_S)


def pods_in_sequence(spec: Mapping[str, Any]) -> int:
    """Pods of the longest chain of tasks, each of which begins when the one before it is over."""
    return 1 + _longest(spec, spec["root"]["dag"])


def _longest(spec: Mapping[str, Any], dag: Mapping[str, Any]) -> int:
    tasks: Mapping[str, Any] = dag.get("tasks", {})
    ends: dict[str, int] = {}

    def end(name: str) -> int:
        if name not in ends:
            before = [end(each) for each in tasks[name].get("dependentTasks", []) if each in tasks]
            ends[name] = max(before, default=0) + _pods(spec, tasks[name])
        return ends[name]

    return max(map(end, tasks), default=0)


def _pods(spec: Mapping[str, Any], task: Mapping[str, Any]) -> int:
    component = spec["components"][task["componentRef"]["name"]]
    if "dag" not in component:
        return CONTAINER
    drivers = LOOP if "parameterIterator" in task else 1
    return drivers + _longest(spec, component["dag"])
