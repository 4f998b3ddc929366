"""A compiled DAG, read: its tasks, what they are given, and where it comes from."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from copg.errors import CopgError

COPY = re.compile(r"-\d+$")
"""What the compiler adds to the name of a component that it meets again."""


LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Ten times faster where PyYAML was built with its library in C."""


class LintError(CopgError):
    """A file is no compiled DAG, or one that no server runs."""


def read_compiled(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The DAG in a file, and what Kubernetes is to give its tasks; the latter may be empty.

    Raises:
        LintError: the file is no compiled DAG.
    """
    try:
        documents = [each for each in yaml.load_all(path.read_text(), LOADER) if each]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise LintError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    mappings = [each for each in documents if isinstance(each, dict)]
    spec = next((each for each in mappings if "pipelineInfo" in each), None)
    if spec is None or "root" not in spec:
        raise LintError(f"{path}: is no compiled DAG: 'pipelineInfo' or 'root' is missing")
    return spec, next((each for each in mappings if "platforms" in each), {})


@dataclass(frozen=True)
class Task:
    """A task that runs a container, and how it got there."""

    name: str
    """``stages/trials/train``: the groups it stands in, and itself."""
    task: Mapping[str, Any]
    component: str
    executor: str
    copies: int
    """Times it runs, as far as that is known when the DAG is compiled."""

    @property
    def stage(self) -> str:
        """What people call it: its component, wherever it stands."""
        return COPY.sub("", self.component.removeprefix("comp-"))

    @property
    def grouped(self) -> bool:
        """Whether it stands in a loop, a condition or an exit handler."""
        return "/" in self.name


def walk_tasks(spec: Mapping[str, Any]) -> Iterator[Task]:
    """The tasks that run a container, in the order of the file."""
    lists = {
        name: value["defaultValue"]
        for name, value in spec["root"].get("inputDefinitions", {}).get("parameters", {}).items()
        if isinstance(value.get("defaultValue"), list)
    }

    def walk(dag: Mapping[str, Any], groups: tuple[str, ...], copies: int, known: Any) -> Iterator[Task]:
        for key, task in dag.get("tasks", {}).items():
            component = task["componentRef"]["name"]
            inner = spec["components"][component]
            given = _given_lists(task, known, lists)
            times = copies * _iterations(task, given)
            if "dag" in inner:
                around = (*groups, task.get("taskInfo", {}).get("name", key))
                yield from walk(inner["dag"], around, times, given)
            elif "container" in spec["deploymentSpec"]["executors"].get(inner["executorLabel"], {}):
                yield Task("/".join((*groups, key)), task, component, inner["executorLabel"], times)

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


def container_of(spec: Mapping[str, Any], task: Task) -> Mapping[str, Any]:
    """What a task runs: image, command, resources."""
    container: Mapping[str, Any] = spec["deploymentSpec"]["executors"][task.executor]["container"]
    return container


def root_parameters(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters of the DAG itself."""
    found: Mapping[str, Any] = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    return found
