"""What a run weighs on a server: the Workflow that Argo keeps of it, node by node, in bytes of JSON.

Above a limit Argo packs the nodes away, and from then on KFP tells old states for ever. The model follows the
sources of KFP 2.17 (``argocompiler``, ``driver``) and Argo 4.0: what is given to a template stands in its
node, and KFP's controller tries every template again, which makes two nodes of each.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from copg_pipelines.dags.pod_patch import CHANNEL, PodPatch, typical_value

UNPATCHED = 2**20
"""Bytes of the whole Workflow, above which Argo as KFP installs it compresses the nodes."""
LIMIT = 1_468_006
"""The same with ``manifests/workflow-controller/deployment-patch.yaml``; etcd takes 1.5 MiB at the most."""
MARGIN = 1.05
"""Times heavier that a run may be than is told here; of those that were seen, the heaviest was 1.044."""
PACKING = 6
"""Times smaller that nodes are compressed, at the least: their patches are much alike."""
BARE_NODE = 540
"""Bytes of a node's own: ids, times, phase, template; beside its name and what it is given."""
TEMPLATES = 14_000
"""Bytes of the templates that KFP gives every Workflow, and of what surrounds them."""
PARENT = {"parent-dag-id": "12345"}
AFTER_ALL = "ALL_UPSTREAM_TASKS_COMPLETED"
"""Of an exit handler, which has a DAG of its own."""
TASK = 420
"""Bytes of a task in its DAG's template, beside its specification."""


@dataclass(frozen=True)
class Weight:
    """Of one run."""

    nodes: int
    num_bytes: int
    spec_bytes: int
    """Of these the Workflow's own specification, which nothing compresses."""
    items: Mapping[str, int]
    """Iterations of each loop, by the loop's name."""
    per_item: Mapping[str, int]
    """Bytes of one more iteration of each loop, and of what others are given of it."""

    @property
    def fits(self) -> bool:
        """Whether a server can surely follow the run to its end."""
        return self.num_bytes * MARGIN <= LIMIT

    @property
    def condition(self) -> str:
        """What a controller must have been given for it; empty where any will do."""
        if self.num_bytes * MARGIN <= UNPATCHED or not self.fits:
            return ""
        return (
            f"above {UNPATCHED:,} bytes the workflow controller needs "
            "manifests/workflow-controller/deployment-patch.yaml, or states of tasks freeze"
        )

    @property
    def runs(self) -> bool:
        """Whether the run gets to its end, followed or not."""
        return self.spec_bytes + (self.num_bytes - self.spec_bytes) / PACKING <= UNPATCHED

    @property
    def room(self) -> str:
        """How many iterations of each loop fit, and how many are there, for people."""
        fit = (
            f"{self.items_that_fit(loop)} of {loop} (here {number})" for loop, number in self.items.items()
        )
        return f"of each loop alone fit: {', '.join(fit)}" if self.items else "no loop could be shorter"

    def items_that_fit(self, loop: str) -> int:
        """Iterations of a loop that fit, while all else stays as it is."""
        return max(0, self.items[loop] + int((LIMIT / MARGIN - self.num_bytes) // self.per_item[loop]))


def weigh(spec: Mapping[str, Any], platform: Mapping[str, Any]) -> Weight:
    """The weight of a run of a compiled DAG, with its parameters' defaults.

    Args:
        spec: the compiled DAG.
        platform: what Kubernetes is to give its tasks.
    """
    walk = _walked(spec, platform)
    per_item = {loop: _walked(spec, platform, longer=loop).num_bytes - walk.num_bytes for loop in walk.items}
    own = _spec_bytes(spec, walk.patch)
    return Weight(walk.nodes, walk.num_bytes + own, own, walk.items, per_item)


def _walked(spec: Mapping[str, Any], platform: Mapping[str, Any], longer: str = "") -> "_Walk":
    walk = _Walk(spec, PodPatch(spec, platform), longer)
    walk.pair("run", {})
    walk.driver("run(0).root", spec["root"], {}, runtime_config=_defaults(spec))
    walk.pair("run(0).root")
    walk.dag("run(0).root(0)", spec["root"], _defaults(spec))
    return walk


class _Walk:
    """Adds up the nodes of a Workflow in the order in which Argo makes them."""

    def __init__(self, spec: Mapping[str, Any], patch: PodPatch, longer: str) -> None:
        self.spec, self.patch = spec, patch
        self.longer = longer
        """A loop that goes over its last item twice."""
        self.nodes, self.num_bytes = 0, 0
        self.items: dict[str, int] = {}

    def pair(self, name: str, inputs: Mapping[str, Any] = PARENT, outputs: int = 0) -> None:
        """A template's node and that of its first attempt, which hold the same."""
        given = sum(_parameter(key, value) for key, value in inputs.items())
        self.nodes += 2
        self.num_bytes += 2 * (BARE_NODE + len(name) + given + outputs)

    def driver(self, name: str, component: Any, task: Any, **inputs: Any) -> None:
        """The pod that resolves what a DAG, or an iteration of one, is given."""
        given = {"component": _text(component), "task": _text(task), **inputs}
        texts = {key: value if isinstance(value, str) else _text(value) for key, value in given.items()}
        outputs = sum(
            _parameter(key, "12345") + 60 for key in ("execution-id", "iteration-count", "condition")
        )
        self.pair(f"{name}-driver", texts, outputs)

    def dag(self, name: str, component: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        """All nodes of a DAG's tasks."""
        tasks = component["dag"].get("tasks", {})
        loops = {}
        for key, task in tasks.items():
            if "parameterIterator" in task:
                inner = self.spec["components"][task["componentRef"]["name"]]
                loops[key] = len(self._items(key, task, _given(task, inner, given)))
        for key, task in tasks.items():
            inner = self.spec["components"][task["componentRef"]["name"]]
            here = f"{name}.{key}"
            if "parameterIterator" in task:
                self._loop(here, key, task, inner, given)
            elif "dag" in inner:
                self.driver(here, inner, task)
                self.pair(here)
                self.dag(f"{here}(0)", inner, _given(task, inner, given))
            elif self.patch.is_container(inner):
                self._container(here, task, inner, self.patch.of(key, task, inner, given, loops))
            else:
                self.pair(here, {"task": _text(task), "component": _text(inner), "importer": _text(given)})

    def _loop(
        self, name: str, key: str, task: Mapping[str, Any], inner: Any, given: Mapping[str, Any]
    ) -> None:
        held, item = _given(task, inner, given), task["parameterIterator"]["itemInput"]
        items = self._items(key, task, held)
        self.pair(name)
        self.driver(f"{name}(0).iteration", inner, task)
        self.nodes += 1
        self.num_bytes += BARE_NODE + len(name) + 30 * len(items)
        for number, value in enumerate(items):
            here = f"{name}(0).iteration-iterations({number}:{number})"
            self.pair(here, {**PARENT, "iteration-index": number})
            self.driver(f"{here}(0).iteration-item", inner, task)
            self.pair(f"{here}(0).iteration-item")
            self.dag(f"{here}(0).iteration-item(0)", inner, {**held, item: value})
        self.items[task.get("taskInfo", {}).get("name", key)] = len(items)

    def _items(self, key: str, task: Mapping[str, Any], held: Mapping[str, Any]) -> list[Any]:
        items = loop_items(task, held)
        return [*items, items[-1]] if task.get("taskInfo", {}).get("name", key) == self.longer else items

    def _container(self, name: str, task: Mapping[str, Any], inner: Any, patch: str) -> None:
        if task.get("triggerPolicy", {}).get("strategy") == AFTER_ALL:
            self.pair(f"{name}.onExit")
        described = {key: _text(each) for key, each in self.patch.described(inner).items()}
        outputs = _parameter("pod-spec-patch", patch) + 200
        self.pair(f"{name}-driver", {**PARENT, "task": _text(task), **described}, outputs)
        more = {"retry": _text(task.get("retryPolicy", {})), "labels": _text(self.patch.labels(inner))}
        self.pair(name, {"pod-spec-patch": patch, "cached-decision": "false", **more})
        self.pair(f"{name}(0).executor", {"pod-spec-patch": patch, **more})


def loop_items(task: Mapping[str, Any], held: Mapping[str, Any]) -> list[Any]:
    """What a loop goes over, as far as the file tells; one unknown item otherwise."""
    items = task["parameterIterator"]["items"]
    found = json.loads(items["raw"]) if "raw" in items else held.get(items["inputParameter"])
    return found if isinstance(found, list) and found else [typical_value("STRUCT")]


def _given(task: Mapping[str, Any], inner: Any, above: Mapping[str, Any]) -> dict[str, Any]:
    """What a DAG within a DAG is given, where the file tells it.

    An output of a task is unknown, but one that is called like a list of the pipeline's is taken for it.
    """
    known = {}
    for name, source in task.get("inputs", {}).get("parameters", {}).items():
        output = source.get("taskOutputParameter", {}).get("outputParameterKey")
        known[name] = above.get(source.get("componentInputParameter") or f"{CHANNEL}{output}")
    return {name: value for name, value in known.items() if value is not None}


def _defaults(spec: Mapping[str, Any]) -> dict[str, Any]:
    parameters = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    return {name: each["defaultValue"] for name, each in parameters.items() if "defaultValue" in each}


def _spec_bytes(spec: Mapping[str, Any], patch: PodPatch) -> int:
    """The Workflow's own specification: each component once, each task in its DAG's template."""
    every = {"root": spec["root"], **spec["components"]}
    arguments = {_text(each): _text(patch.described(each)) for each in every.values()}
    tasks = [task for each in every.values() for task in each.get("dag", {}).get("tasks", {}).values()]
    copies = [2 if "parameterIterator" in task else 1 for task in tasks]
    return (
        TEMPLATES
        + sum(len(json.dumps(each)) + 120 for each in arguments.values())
        + sum(many * (len(json.dumps(_text(task))) + TASK) for many, task in zip(copies, tasks, strict=True))
    )


def _parameter(name: str, value: Any) -> int:
    return len(json.dumps({"name": name, "value": str(value)}, ensure_ascii=False)) + 1


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
