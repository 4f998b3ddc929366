"""Reads a compiled DAG for what compiles well and goes wrong on a server."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from copg.errors import CopgError
from copg_pipelines.placement.task import ONE_ATTEMPT_S

UNCACHED = ("resolve", "summary")
"""Tasks that are meant to run every time."""
MAX_PARAMETER_BYTES = 10_000
"""Of one parameter's value; a server refuses more."""
MAX_TASKS = 50
"""Of one run: its Workflow object has to fit into what etcd takes, 1.5 MiB."""
SHORTEST_BACKOFF_S = 3600.0
"""``backoff_max_duration`` counts from the first attempt's start: after it nothing is tried again."""


class LintError(CopgError):
    """A file is no compiled DAG."""


def lint(path: Path) -> list[str]:
    """What is wrong with a compiled DAG, a line each; nothing for one that is fit for a server.

    Raises:
        LintError: the file is no compiled DAG.
    """
    try:
        documents = [each for each in yaml.safe_load_all(path.read_text()) if each]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise LintError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    spec = next((each for each in documents if isinstance(each, dict) and "pipelineInfo" in each), None)
    if spec is None or "root" not in spec:
        raise LintError(f"{path}: is no compiled DAG: 'pipelineInfo' or 'root' is missing")
    tasks = list(_tasks(spec))
    checks = (_caches, _images, _retries, _resources, _parameters, _count, _descriptions)
    return [finding for check in checks for finding in check(spec, tasks)]


@dataclass(frozen=True)
class _Task:
    """A task that runs a container, and how it got there."""

    name: str
    """``stages/trials/train``: the groups it stands in, and itself."""
    task: Mapping[str, Any]
    component: str
    executor: str
    copies: int
    """Times it runs, as far as that is known when the DAG is compiled."""

    @property
    def grouped(self) -> bool:
        return "/" in self.name


def _tasks(spec: Mapping[str, Any]) -> Iterator[_Task]:
    lists = {
        name: value["defaultValue"]
        for name, value in spec["root"].get("inputDefinitions", {}).get("parameters", {}).items()
        if isinstance(value.get("defaultValue"), list)
    }

    def walk(dag: Mapping[str, Any], groups: tuple[str, ...], copies: int, known: Any) -> Iterator[_Task]:
        for key, task in dag.get("tasks", {}).items():
            component = task["componentRef"]["name"]
            inner = spec["components"][component]
            given = _given_lists(task, known, lists)
            times = copies * _iterations(task, given)
            name = "/".join((*groups, task.get("taskInfo", {}).get("name", key)))
            if "dag" in inner:
                yield from walk(inner["dag"], tuple(name.split("/")), times, given)
            elif "container" in spec["deploymentSpec"]["executors"].get(inner["executorLabel"], {}):
                yield _Task(name, task, component, inner["executorLabel"], times)

    yield from walk(spec["root"]["dag"], (), 1, lists)


def _given_lists(task: Mapping[str, Any], known: Mapping[str, Any], lists: Mapping[str, Any]) -> Any:
    """The lists that a task's inputs hold, followed as far as the file tells.

    An output of another task is unknown, but one that is called like a list of the pipeline's is as long.
    """
    found = {}
    for name, source in task.get("inputs", {}).get("parameters", {}).items():
        above = source.get("componentInputParameter")
        output = source.get("taskOutputParameter", {}).get("outputParameterKey")
        constant = source.get("runtimeValue", {}).get("constant")
        value = known.get(above) if above else lists.get(output) if output else constant
        if isinstance(value, list):
            found[name] = value
    return found


def _iterations(task: Mapping[str, Any], given: Mapping[str, Any]) -> int:
    items = task.get("parameterIterator", {}).get("items")
    if items is None:
        return 1
    held = json.loads(items["raw"]) if "raw" in items else given.get(items.get("inputParameter"))
    return len(held) if isinstance(held, list) else 1


def _caches(spec: Mapping[str, Any], tasks: list[_Task]) -> Iterator[str]:
    for each in tasks:
        if each.component.removeprefix("comp-") in UNCACHED:
            continue
        if not each.task.get("cachingOptions", {}).get("enableCache"):
            yield f"task {each.name}: its cache is off, so that it runs again though nothing changed"


def _images(spec: Mapping[str, Any], tasks: list[_Task]) -> Iterator[str]:
    images: dict[str, list[str]] = {}
    for each in tasks:
        images.setdefault(_container(spec, each)["image"], []).append(each.name)
    for image, names in images.items():
        if "@sha256:" not in image:
            yield (
                f"image {image} of {', '.join(names)}: has no digest, so that a cached result outlives the "
                "image it came from; name it as REPOSITORY@sha256:..."
            )


def _retries(spec: Mapping[str, Any], tasks: list[_Task]) -> Iterator[str]:
    for each in tasks:
        policy = each.task.get("retryPolicy", {})
        longest = _seconds(policy.get("backoffMaxDuration", "3600s"))
        if policy.get("maxRetryCount") and ONE_ATTEMPT_S < longest <= SHORTEST_BACKOFF_S:
            yield (
                f"task {each.name}: is not tried again once {longest:g} s have passed since its first "
                "attempt began; set backoff_max_duration to days"
            )


def _resources(spec: Mapping[str, Any], tasks: list[_Task]) -> Iterator[str]:
    for each in tasks:
        resources = _container(spec, each).get("resources", {})
        if each.grouped and (found := re.search(r"\{\{\$\.inputs\.parameters\[[^\]]+\]\}\}", str(resources))):
            yield (
                f"task {each.name}: a pipeline parameter sets its resources inside a group ({found[0]}), "
                "which no server can read there; set them when the DAG is compiled"
            )


def _parameters(spec: Mapping[str, Any], tasks: list[_Task]) -> Iterator[str]:
    values: dict[str, Any] = {
        f"parameter {name}": each["defaultValue"]
        for name, each in _root_parameters(spec).items()
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


def _count(spec: Mapping[str, Any], tasks: list[_Task]) -> Iterator[str]:
    number = sum(each.copies for each in tasks)
    if number > MAX_TASKS:
        most = max(tasks, key=lambda each: each.copies)
        yield (
            f"tasks: {number} of them, and a run holds about {MAX_TASKS}; {most.name} alone runs "
            f"{most.copies} times"
        )


def _descriptions(spec: Mapping[str, Any], tasks: list[_Task]) -> Iterator[str]:
    if not spec["pipelineInfo"].get("description"):
        yield f"pipeline {spec['pipelineInfo'].get('name')}: has no description"
    for name, each in _root_parameters(spec).items():
        if not each.get("description"):
            yield f"parameter {name}: has no description"
    for component in dict.fromkeys(each.component for each in tasks):
        for way in ("inputDefinitions", "outputDefinitions"):
            for kind in ("parameters", "artifacts"):
                for name, each in spec["components"][component].get(way, {}).get(kind, {}).items():
                    if not each.get("description"):
                        what = way.removesuffix("Definitions")
                        yield f"component {component.removeprefix('comp-')}: {what} {name} has no description"


def _container(spec: Mapping[str, Any], task: _Task) -> Mapping[str, Any]:
    container: Mapping[str, Any] = spec["deploymentSpec"]["executors"][task.executor]["container"]
    return container


def _root_parameters(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    return found


def _seconds(text: str) -> float:
    return float(text.removesuffix("s"))
