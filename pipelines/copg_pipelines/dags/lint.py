"""Reads a compiled DAG for what compiles well and goes wrong on a server."""

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from copg_pipelines.dags.compiled import (
    LintError,
    Task,
    container_of,
    read_compiled,
    root_parameters,
    walk_tasks,
)
from copg_pipelines.dags.server_model import faults
from copg_pipelines.dags.weight import LIMIT, Weight, weigh
from copg_pipelines.placement.task import ONE_ATTEMPT_S

UNCACHED = ("resolve", "summary")
"""Tasks that are meant to run every time."""
MAX_PARAMETER_BYTES = 10_000
"""Of one parameter's value; a server refuses more."""
FROM_PARAMETER = re.compile(r"\{\{\$\.inputs\.parameters\[[^\]]+\]\}\}")
SHORTEST_BACKOFF_S = 3600.0
"""``backoff_max_duration`` counts from the first attempt's start: after it nothing is tried again."""

Of = TypeVar("Of")


def lint(path: Path) -> list[str]:
    """What is wrong with a compiled DAG, a line each; nothing for one that is fit for a server.

    Raises:
        LintError: the file is no compiled DAG.
    """
    spec, platform = read_compiled(path)
    weight = weigh(spec, platform)
    return [*faults(spec, weight), *_doubts(spec, weight)]


def warn_or_refuse(path: Path, *, again: bool = False) -> None:
    """Print what may be wrong with a compiled DAG that is about to run; see ``lint_or_refuse``."""
    for finding in lint_or_refuse(path, again=again):
        print(f"warning: {finding}", file=sys.stderr)


def lint_or_refuse(path: Path, *, again: bool = False) -> list[str]:
    """What may be wrong with a compiled DAG that is about to run, a line each.

    Args:
        path: the compiled DAG.
        again: its tasks are to run though nothing changed, so that a cache that is off is as it should be.

    Raises:
        LintError: the file is no compiled DAG, or no run of it could end well on a server.
    """
    spec, platform = read_compiled(path)
    weight = weigh(spec, platform)
    if found := faults(spec, weight):
        more = f" (and {len(found) - 1} more: copg lint tells them)" if len(found) > 1 else ""
        raise LintError(f"no server can run this DAG: {found[0]}{more}")
    needs = [f"weight: {weight.condition}"] if weight.condition else []
    return [*needs, *_doubts(spec, weight, again=again)]


def _doubts(spec: Mapping[str, Any], weight: Weight, *, again: bool = False) -> list[str]:
    tasks = list(walk_tasks(spec))
    heavy = [] if weight.fits or not weight.runs else [_heavy(weight)]
    caches = () if again else (_caches,)
    checks = (*caches, _images, _retries, _resources, _parameters, _descriptions)
    return [*heavy, *(finding for check in checks for finding in check(spec, tasks))]


def _heavy(weight: Weight) -> str:
    return (
        f"weight: about {weight.num_bytes:,} bytes in {weight.nodes} nodes; above {LIMIT:,} a server tells "
        f"old states of tasks for ever, in a run that goes on; {weight.room}"
    )


def _caches(spec: Mapping[str, Any], tasks: list[Task]) -> Iterator[str]:
    cached = [each for each in tasks if each.component.removeprefix("comp-") not in UNCACHED]
    if off := [each for each in cached if not each.task.get("cachingOptions", {}).get("enableCache")]:
        yield f"{_stages(off)}: the cache is off, so that they run again though nothing changed"


def _images(spec: Mapping[str, Any], tasks: list[Task]) -> Iterator[str]:
    for image, those in _together(tasks, lambda each: str(container_of(spec, each)["image"])):
        if "@sha256:" not in image:
            yield (
                f"image {image} of {_stages(those)}: has no digest, so that a cached result outlives the "
                "image it came from; name it as REPOSITORY@sha256:..."
            )


def _retries(spec: Mapping[str, Any], tasks: list[Task]) -> Iterator[str]:
    def longest(task: Task) -> float:
        return _seconds(task.task.get("retryPolicy", {}).get("backoffMaxDuration", "3600s"))

    retried = [each for each in tasks if each.task.get("retryPolicy", {}).get("maxRetryCount")]
    for seconds, those in _together(retried, longest):
        if ONE_ATTEMPT_S < seconds <= SHORTEST_BACKOFF_S:
            yield (
                f"{_stages(those)}: not tried again once {seconds:g} s have passed since the first attempt "
                "began; set backoff_max_duration to days"
            )


def _resources(spec: Mapping[str, Any], tasks: list[Task]) -> Iterator[str]:
    def parameter(task: Task) -> str:
        found = FROM_PARAMETER.search(str(container_of(spec, task).get("resources", {})))
        return found[0] if found else ""

    for found, those in _together([each for each in tasks if each.grouped], parameter):
        if found:
            yield (
                f"{_stages(those)}: a pipeline parameter sets resources inside a group ({found}), which no "
                "server can read there; set them when the DAG is compiled"
            )


def _parameters(spec: Mapping[str, Any], tasks: list[Task]) -> Iterator[str]:
    values: dict[str, Any] = {
        f"parameter {name}": each["defaultValue"]
        for name, each in root_parameters(spec).items()
        if "defaultValue" in each
    }
    for each in tasks:
        for name, source in each.task.get("inputs", {}).get("parameters", {}).items():
            if "constant" in source.get("runtimeValue", {}):
                values[f"task {each.stage}: input {name}"] = source["runtimeValue"]["constant"]
    for where, value in values.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        size = len(text.encode())
        if size > MAX_PARAMETER_BYTES:
            yield f"{where}: {size:,} bytes, and a server takes {MAX_PARAMETER_BYTES:,}; put it into a file"


def _descriptions(spec: Mapping[str, Any], tasks: list[Task]) -> Iterator[str]:
    if not spec["pipelineInfo"].get("description"):
        yield f"pipeline {spec['pipelineInfo'].get('name')}: has no description"
    for name, each in root_parameters(spec).items():
        if not each.get("description"):
            yield f"parameter {name}: has no description"


def _together(tasks: Sequence[Task], of: Callable[[Task], Of]) -> list[tuple[Of, list[Task]]]:
    """The tasks that have something in common, which is then told once."""
    return [(key, [each for each in tasks if of(each) == key]) for key in dict.fromkeys(map(of, tasks))]


def _stages(tasks: Sequence[Task]) -> str:
    """``task train``, ``tasks score, train``: each stage once, however many tasks it has."""
    names = list(dict.fromkeys(each.stage for each in tasks))
    return f"task{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _seconds(text: str) -> float:
    return float(text.removesuffix("s"))
