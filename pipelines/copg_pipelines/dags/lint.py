"""Reads a compiled DAG for what compiles well and goes wrong on a server."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

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

UNCACHED = ("resolve", "summary")
"""Tasks that are meant to run every time."""
MAX_PARAMETER_BYTES = 10_000
"""Of one parameter's value; a server refuses more."""
SHORTEST_BACKOFF_S = 3600.0
"""``backoff_max_duration`` counts from the first attempt's start: after it nothing is tried again."""


def lint(path: Path) -> list[str]:
    """What is wrong with a compiled DAG, a line each; nothing for one that is fit for a server.

    Raises:
        LintError: the file is no compiled DAG.
    """
    spec, platform = read_compiled(path)
    return [*faults(spec, platform), *_doubts(spec, platform)]


def lint_or_refuse(path: Path) -> list[str]:
    """What may be wrong with a compiled DAG that is about to run, a line each.

    Raises:
        LintError: the file is no compiled DAG, or no run of it could end well on a server.
    """
    spec, platform = read_compiled(path)
    if found := faults(spec, platform):
        more = f" (and {len(found) - 1} more: copg lint tells them)" if len(found) > 1 else ""
        raise LintError(f"no server can run this DAG: {found[0]}{more}")
    return _doubts(spec, platform)


def _doubts(spec: Mapping[str, Any], platform: Mapping[str, Any]) -> list[str]:
    tasks = list(walk_tasks(spec))
    weight = weigh(spec, platform)
    heavy = [] if weight.fits or not weight.runs else [_heavy(weight)]
    checks = (_caches, _images, _retries, _resources, _parameters, _descriptions)
    return [*heavy, *(finding for check in checks for finding in check(spec, tasks))]


def _heavy(weight: Weight) -> str:
    return (
        f"weight: {weight.num_bytes:,} bytes in {weight.nodes} nodes, and above {LIMIT:,} a server tells old "
        f"states of tasks for ever, in a run that goes on; {weight.room}"
    )


def _caches(spec: Mapping[str, Any], tasks: list[Task]) -> Iterator[str]:
    for each in tasks:
        if each.component.removeprefix("comp-") in UNCACHED:
            continue
        if not each.task.get("cachingOptions", {}).get("enableCache"):
            yield f"task {each.name}: its cache is off, so that it runs again though nothing changed"


def _images(spec: Mapping[str, Any], tasks: list[Task]) -> Iterator[str]:
    images: dict[str, list[str]] = {}
    for each in tasks:
        images.setdefault(container_of(spec, each)["image"], []).append(each.name)
    for image, names in images.items():
        if "@sha256:" not in image:
            yield (
                f"image {image} of {', '.join(names)}: has no digest, so that a cached result outlives the "
                "image it came from; name it as REPOSITORY@sha256:..."
            )


def _retries(spec: Mapping[str, Any], tasks: list[Task]) -> Iterator[str]:
    for each in tasks:
        policy = each.task.get("retryPolicy", {})
        longest = _seconds(policy.get("backoffMaxDuration", "3600s"))
        if policy.get("maxRetryCount") and longest <= SHORTEST_BACKOFF_S:
            yield (
                f"task {each.name}: is not tried again once {longest:g} s have passed since its first "
                "attempt began; set backoff_max_duration to days"
            )


def _resources(spec: Mapping[str, Any], tasks: list[Task]) -> Iterator[str]:
    for each in tasks:
        resources = container_of(spec, each).get("resources", {})
        if each.grouped and (found := re.search(r"\{\{\$\.inputs\.parameters\[[^\]]+\]\}\}", str(resources))):
            yield (
                f"task {each.name}: a pipeline parameter sets its resources inside a group ({found[0]}), "
                "which no server can read there; set them when the DAG is compiled"
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
                values[f"task {each.name}: input {name}"] = source["runtimeValue"]["constant"]
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


def _seconds(text: str) -> float:
    return float(text.removesuffix("s"))
