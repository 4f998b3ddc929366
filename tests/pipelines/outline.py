"""What matters of a compiled DAG: ``python -m tests.pipelines.outline`` renews those that were looked at."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from copg_pipelines.dags.compiled import read_compiled
from copg_pipelines.dags.compiling import compile_dag

from copg.run.recipe import load_recipe

RECIPES = Path(__file__).parents[2] / "pipelines/recipes"
GOLDEN = Path(__file__).parent / "golden"
IMAGE = "registry.example/copg@sha256:" + "0123456789abcdef" * 4
NAMES = ("demo", "pythia-1b_tldr_1gpu", "pythia-6.9b_tldr_gpus")
CHANNEL = "pipelinechannel--"
WAYS = ("input", "output")
FLAT = 140
"""Most characters of a mapping that stays on one line."""


def compile_recipe(name: str, folder: Path) -> Path:
    """The DAG of a recipe of the repository."""
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    path = folder / f"{name}.yaml"
    compile_dag("align", recipe, path, run_dir=f"/runs/{recipe.name}", image=IMAGE)
    return path


def outline(dag: Path) -> str:
    """Parameters, tasks and pods of a compiled DAG; what all tasks share is told once."""
    pipeline, platform = read_compiled(dag)
    kubernetes = platform["platforms"]["kubernetes"]
    parameters = pipeline["root"]["inputDefinitions"]["parameters"]
    tasks = list(_tasks(pipeline, kubernetes["deploymentSpec"]["executors"], pipeline["root"]))
    leaves = [task for task in _flat(tasks) if "takes" in task]
    shared = {key: each for key, each in leaves[0].items() if all(task.get(key) == each for task in leaves)}
    found = {
        "name": pipeline["pipelineInfo"]["name"],
        "run": kubernetes.get("pipelineConfig", {}),
        "parameters": {name: each.get("defaultValue") for name, each in parameters.items()},
        "every task": shared,
        "tasks": _without(shared, tasks),
    }
    return "\n".join(_lines(found)) + "\n"


def _tasks(
    pipeline: Mapping[str, Any], pods: Mapping[str, Any], component: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    for name, task in component["dag"]["tasks"].items():
        target = pipeline["components"][task["componentRef"]["name"]]
        inputs = task.get("inputs", {})
        given = {**inputs.get("parameters", {}), **inputs.get("artifacts", {})}
        told = task["taskInfo"]["name"]
        about: dict[str, Any] = {
            "task": name if told == name else f"{name}, called {told}",
            "after": task.get("dependentTasks", []),
            "when": task.get("triggerPolicy", {}),
            "over": task.get("parameterIterator", {}).get("items", {}),
            "at once": task.get("iteratorPolicy", {}).get("parallelismLimit"),
            "given": {_plain(port): _origin(value) for port, value in given.items()},
            "retry": task.get("retryPolicy", {}),
        }
        if "dag" in target:
            about["tasks"] = list(_tasks(pipeline, pods, target))
        else:  # KFP's cache answers for tasks with a container alone
            executor = target["executorLabel"]
            container = pipeline["deploymentSpec"]["executors"][executor]["container"]
            about["cached"] = task.get("cachingOptions", {}).get("enableCache", False)
            about["takes"], about["leaves"] = (_types(target.get(f"{way}Definitions", {})) for way in WAYS)
            about |= _pod(pods.get(executor, {}), container)
        yield {key: value for key, value in about.items() if value not in ({}, [], None)}


def _flat(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for task in tasks:
        yield task
        yield from _flat(task.get("tasks", []))


def _without(shared: Mapping[str, Any], tasks: list[dict[str, Any]]) -> dict[str, Any]:
    found = {}
    for task in tasks:
        own = {
            key: each
            for key, each in task.items()
            if key != "task" and (key not in shared or "takes" not in task)
        }
        found[task["task"]] = own | ({"tasks": _without(shared, own["tasks"])} if "tasks" in own else {})
    return found


def _types(ports: Mapping[str, Any]) -> dict[str, str]:
    """Type of each port, with a question mark where it may be left out."""
    every = {**ports.get("parameters", {}), **ports.get("artifacts", {})}
    return {name: _type(port) + "?" * port.get("isOptional", False) for name, port in every.items()}


def _type(port: Mapping[str, Any]) -> str:
    if "parameterType" in port:
        return str(port["parameterType"])
    kind = port["artifactType"]["schemaTitle"].removeprefix("system.")
    return f"list of {kind}" if port.get("isArtifactList") else str(kind)


def _origin(value: Mapping[str, Any]) -> Any:
    """Where an input comes from: a name of the DAG around, ``task.output``, or a constant."""
    ((kind, origin),) = value.items()
    if kind == "runtimeValue":
        return {"constant": origin["constant"]}
    if isinstance(origin, str):
        return _plain(origin)
    port = origin.get("outputParameterKey") or origin.get("outputArtifactKey") or kind
    return f"{origin['producerTask']}.{_plain(port)}"


def _plain(name: str) -> str:
    return name.removeprefix(CHANNEL)


def _pod(pod: Mapping[str, Any], container: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a task's pod. ``...Parameter`` and ``cpuLimit`` say once more what stands beside them."""
    resources = container.get("resources", {})
    amounts = {k.removeprefix("resource"): v for k, v in resources.items() if k.startswith("resource")}
    if gpu := resources.get("accelerator"):
        amounts["Accelerator"] = f"{gpu['resourceCount']} {gpu['resourceType']}"
    return {"image": container["image"], "env": container.get("env", []), "resources": amounts, **_bare(pod)}


def _bare(value: Any) -> Any:
    if isinstance(value, list):
        return [_bare(each) for each in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"envVar", "secretKey"} and len(set(value.values())) == 1:
        return value["envVar"]
    return {key: _bare(each) for key, each in value.items() if not key.endswith("Parameter")}


def _lines(value: Any, indent: str = "") -> list[str]:
    """YAML, with whatever is short on one line."""
    found = []
    for key, each in value.items():
        flat = yaml.safe_dump(each, default_flow_style=True, width=10**6, sort_keys=False)
        flat = flat.removesuffix("\n").removesuffix("\n...")
        if (
            isinstance(each, dict)
            and each
            and (len(flat) + len(indent) + len(key) > FLAT or "tasks" in (key, *each))
        ):
            found += [f"{indent}{key}:", *_lines(each, indent + "  ")]
        else:
            found.append(f"{indent}{key}: {flat}")
    return found


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        for name in NAMES:
            (GOLDEN / f"{name}.yaml").write_text(outline(compile_recipe(name, Path(folder))))
