"""What KFP's driver and Argo's controller make of a compiled DAG: the faults with which no run ends well.

Each was seen on a real server, which takes such a DAG without a word; ``kfp.local`` sees none of them.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from copg_pipelines.dags.weight import UNPATCHED, Weight

NUMBERS = ("NUMBER_INTEGER", "NUMBER_DOUBLE")
STRUCTS = ("STRUCT", "TASK_FINAL_STATUS", "TASK_CONFIG")


def faults(spec: Mapping[str, Any], weight: Weight) -> list[str]:
    """What no server can run of a DAG, a line each.

    Args:
        spec: the compiled DAG.
        weight: of a run of it.
    """
    checks = (_types, _collected_importers, _retries)
    return [*(finding for check in checks for finding in check(spec)), *_weight(weight)]


def _weight(weight: Weight) -> Iterator[str]:
    if not weight.runs:
        yield (
            f"weight: {weight.num_bytes:,} bytes in {weight.nodes} nodes, which Argo cannot pack into "
            f"{UNPATCHED:,}: the run would die; {weight.room}"
        )


def _dags(spec: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Every DAG in it: name, component, tasks."""
    for name, component in {"root": spec["root"], **spec["components"]}.items():
        if "dag" in component:
            yield name.removeprefix("comp-"), component, component["dag"].get("tasks", {})


def _tasks(spec: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Every task of every DAG: its name within the DAG it stands in, itself, its component."""
    for dag, _, tasks in _dags(spec):
        for name, task in tasks.items():
            yield (
                f"{dag}/{name}".removeprefix("root/"),
                task,
                spec["components"][task["componentRef"]["name"]],
            )


def _types(spec: Mapping[str, Any]) -> Iterator[str]:
    """A value has the type that its source declares; only STRING takes values of any type, as text."""
    for dag, component, tasks in _dags(spec):
        held = _parameters(component, "input")
        for name, task in tasks.items():
            takes = _parameters(spec["components"][task["componentRef"]["name"]], "input")
            for port, source in task.get("inputs", {}).get("parameters", {}).items():
                given = _declared(spec, source, held, tasks)
                expected = takes.get(port, {}).get("parameterType")
                if given and expected and not _fits(given, expected):
                    where = f"{dag}/{name}".removeprefix("root/")
                    looped = "loop-item" in source.get("componentInputParameter", "")
                    cure = "; type what the loop goes over as list[dict]" if looped else ""
                    yield f"task {where}: input {port} is {expected}, and what it is given is {given}{cure}"


def _declared(
    spec: Mapping[str, Any], source: Mapping[str, Any], held: Mapping[str, Any], tasks: Mapping[str, Any]
) -> str:
    """Type of what a task is given; empty for a constant, and for a part taken out of a value."""
    if source.get("parameterExpressionSelector"):
        return ""
    if name := source.get("componentInputParameter"):
        return str(held.get(name, {}).get("parameterType", ""))
    if output := source.get("taskOutputParameter"):
        producer = spec["components"][tasks[output["producerTask"]]["componentRef"]["name"]]
        left = _parameters(producer, "output")
        return str(left.get(output["outputParameterKey"], {}).get("parameterType", ""))
    return ""


def _fits(given: str, expected: str) -> bool:
    alike = next((kinds for kinds in (NUMBERS, STRUCTS) if expected in kinds), (expected,))
    return expected == "STRING" or given in alike


def _parameters(component: Mapping[str, Any], way: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = component.get(f"{way}Definitions", {}).get("parameters", {})
    return found


def _collected_importers(spec: Mapping[str, Any]) -> Iterator[str]:
    """The driver knows executions of containers and of DAGs alone when it collects what a loop left."""
    for where, task, component in _tasks(spec):
        if "parameterIterator" not in task:
            continue
        for output in component["dag"].get("outputs", {}).get("artifacts", {}):
            for importer in _importers(spec, component, output):
                yield (
                    f"loop {where}: an importer in it ({importer}) leaves what is collected, at which the "
                    "driver panics; give the addresses to a task as a parameter"
                )


def _importers(spec: Mapping[str, Any], component: Mapping[str, Any], output: str) -> Iterator[str]:
    """Importers, however deep, that leave an output of a DAG."""
    dag = component["dag"]
    for selector in dag.get("outputs", {}).get("artifacts", {}).get(output, {}).get("artifactSelectors", []):
        name = selector["producerSubtask"]
        inner = spec["components"][dag["tasks"][name]["componentRef"]["name"]]
        if "dag" in inner:
            yield from _importers(spec, inner, selector["outputArtifactKey"])
        elif "importer" in spec["deploymentSpec"]["executors"].get(inner.get("executorLabel"), {}):
            yield name


def _retries(spec: Mapping[str, Any]) -> Iterator[str]:
    """Argo reads whole numbers, and KFP drops what is below a second."""
    for where, task, _ in _tasks(spec):
        policy = task.get("retryPolicy")
        if policy is None:
            continue
        if policy.get("maxRetryCount", 0) < 1:
            yield (
                f"task {where}: maxRetryCount=0 gives the controller's default, three attempts; set 1 or "
                "more, or no retry policy"
            )
        factor = policy.get("backoffFactor", 0)
        if factor != int(factor):
            yield (
                f"task {where}: backoffFactor={factor} is no whole number, which Argo cannot read: the DAG "
                "around it runs a second time, and every task after it dies"
            )
        for name in ("backoffDuration", "backoffMaxDuration"):
            if name in policy and not policy[name].removesuffix("s").isdigit():
                yield f"task {where}: {name}={policy[name]} is cut to whole seconds; give whole seconds"
