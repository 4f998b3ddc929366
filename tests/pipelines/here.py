"""A cluster for the journeys of tests/cluster, of which only KFP's API is there.

What only a cluster does (pods, the volume, the work of tasks) is told here as it would be after it went well.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from copg_pipelines.dags.weight import AFTER_ALL
from copg_pipelines.doctor.pods import OF_WORKFLOW
from copg_pipelines.server.outline import BASELINES, read_outline
from copg_pipelines.server.tasks import Items, tasks_of

from copg.digests import json_digest
from tests.cluster.cluster import Cluster
from tests.pipelines.kfp_server import KfpServer, Script

GOING = {"resolve": "SUCCEEDED", "for-loop-2/0/train": "RUNNING"}
ENDED = {"resolve": "SUCCEEDED", "for-loop-2/0/train": "SUCCEEDED", "summary": "SUCCEEDED"}
WELL = ("SUCCEEDED", ENDED)


@dataclass
class Here(Cluster):
    """KFP's API, what runs and caches would do with the DAGs they are sent, and what tasks would leave."""

    command: Any = None
    asked: list[tuple[str, ...]] = field(default_factory=list)
    """Words of every command of kubectl."""
    shell: list[str] = field(default_factory=list)
    """Every script on the volume."""
    listed: list[str] = field(default_factory=list)
    """Labels by which pods were asked for."""
    deleted: bool = False
    gone: bool = False
    waiting: dict[str, str] = field(default_factory=dict)
    """Why a pod does not start, by the id of its node."""
    left: dict[str, Any] = field(default_factory=dict)
    """Records of tasks."""
    warnings: list[str] = field(default_factory=list)
    """Of the latest run."""

    @property
    def server(self) -> KfpServer:
        server: KfpServer = self.command.server
        return server

    @property
    def run(self) -> Any:
        """The latest run."""
        return list(self.server.runs.values())[-1]

    def pipelines(self, *words: str, code: int = 0) -> str:
        if words[0] == "resume":
            self.server.looks.clear()
            failed = ("FAILED", {**GOING, "for-loop-2/0/train": "FAILED"})
            self.server.scripts = {"": [failed, ("RUNNING", GOING), WELL]}
        quick = ("--poll", "0.01") if "--timeout" in words or words[0] == "cancel" else ()
        done = self.command(*words, *quick)
        assert done.code == code, (words, done.out, done.error)
        return done.out + (done.error if code else "")

    def kubectl(self, *words: str, given: str | None = None, check: bool = True) -> str:
        self.asked.append(words)
        self.deleted = self.deleted or words[:2] == ("delete", "pod")
        if words[:2] == ("delete", "workflows.argoproj.io"):
            self.command("status", "align", self.run.run_id)  # it has been seen to run
            self.gone = True
            self.server.deleted.add(self.run.run_id)
        return ""

    def sh(self, script: str, *, check: bool = True) -> str:
        self.shell.append(script)
        return "1/policy.safetensors" if "checkpoints" in script else ""

    def read(self, path: str) -> Any:
        if path.endswith("/run.json"):
            return {"run": self.run.run_id}
        if "CANCELING" in [each.state for each in self.run.state_history[-2:]]:
            return None
        failed = {"state": "failed", "failure": {"stage": "resolve"}}
        well = {"state": "succeeded", "failure": None, "promoted": True, "reasons": []}
        well |= {"trials": self.trials(), "executed": self.executed(), "warnings": self.warnings}
        well |= {"run": self.run.run_id, "digests": {"meaning": json_digest(self.meaning(self.run))}}
        return failed if self.run.state == "FAILED" else well

    def records(self, run_dir: str) -> Any:
        return dict(self.left)

    def pods(self, selector: str) -> list[dict[str, Any]]:
        self.listed.append(selector)
        words = [*self.server.runs, "copg_components", "train"]
        uid = "second" if self.deleted else "first"
        return [
            {
                "metadata": {"name": "train-1", "uid": uid, "labels": {OF_WORKFLOW: "align-1"}},
                "spec": {"containers": [{"name": "main", "args": words}]},
                "status": {"phase": "Running"},
            }
        ]

    # --- what a run would do with the DAG it was sent ---

    def spec(self, run: Any) -> Any:
        """The DAG of a run, its own or that of the version it is of."""
        if run.pipeline_spec is not None:
            return run.pipeline_spec
        return self.server.versions[run.pipeline_version_reference.pipeline_version_id].pipeline_spec

    def given(self, run: Any) -> dict[str, Any]:
        """The parameters of a run, those that are compiled in included."""
        root = self.spec(run).get("pipeline_spec", {}).get("root", {})  # nothing of a version without a DAG
        known = root.get("inputDefinitions", {}).get("parameters", {})
        compiled = {name: each.get("defaultValue") for name, each in known.items()}
        return compiled | ((run.runtime_config and run.runtime_config.parameters) or {})

    def ended(self) -> list[Any]:
        """The nodes of the latest run as its workflow would have them, when all of it went well."""
        nodes = [copy(each) for each in self.run.run_details.task_details]
        for each in nodes:
            each.state = "SUCCEEDED"
        return nodes

    def trials(self) -> list[Any]:
        return [{**each, "reward": 0.5, "kl": 1.0} for each in self.given(self.run).get("trials") or []]

    def meaning(self, run: Any) -> Any:
        """What the keys of tasks go by: all of a run but its images, and what KFP's own cache may do."""
        return _without(("image", "cachingOptions"), [self.spec(run), self.given(run)])

    def whole(self, run: Any) -> Script:
        """Every task of a run's DAG ends well; KFP's cache answers where an earlier run sent the very same.

        There is no champion, so that the loop over those whom trials are measured against has one item.
        """
        outline = read_outline(self.spec(run), self.given(run))
        dag = self.spec(run).get("pipeline_spec", {})
        champion = [
            f".{loop}(0).iteration-iterations(1:" for loop, of in outline.items.items() if of == BASELINES
        ]
        paths = [
            path
            for path in _paths(dag, dag["root"], "(0).root", outline.items)
            if not any(each in path for each in champion)
        ]
        sent = self._before(run, lambda each: [self.spec(each), self.given(each)])
        asked = cached_tasks(self.spec(run)) if sent else set()
        return [("SUCCEEDED", {p: "CACHED" if p.rpartition(".")[2] in asked else "SUCCEEDED" for p in paths})]

    def worked(self, run: Any) -> list[Any]:
        """The tasks of a run for which KFP's cache did not answer, but its exit handler."""
        if run.run_details is None:  # nobody has looked
            self.server.get_run({}, None, run.run_id)
        tasks = tasks_of(run, read_outline(self.spec(run), self.given(run)).items).tasks
        return [each for each in tasks if each.state == "SUCCEEDED" and each.stage != "summary"]

    def executed(self) -> list[str]:
        """The tasks of the latest run for which no record of an earlier one answered, as its summary says."""
        names = [each.name for each in self.worked(self.run)]
        return (
            [each for each in names if each == "resolve"] if self._before(self.run, self.meaning) else names
        )

    def _before(self, run: Any, of: Callable[[Any], Any]) -> bool:
        """Whether an earlier run was the same in something."""
        earlier = list(self.server.runs.values())
        return of(run) in [of(each) for each in earlier[: earlier.index(run)]]


def _without(names: tuple[str, ...], value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without(names, each) for name, each in value.items() if name not in names}
    return [_without(names, each) for each in value] if isinstance(value, list) else value


def cached_tasks(spec: Any) -> set[str]:
    """Names of the tasks of a DAG for which KFP's cache may answer."""
    dag = spec["pipeline_spec"]
    tasks = [each["dag"]["tasks"] for each in (dag["root"], *dag["components"].values()) if "dag" in each]
    allowed = (name for each in tasks for name, task in each.items() if task.get("cachingOptions"))
    return {*allowed}


def _paths(dag: Mapping[str, Any], component: Mapping[str, Any], within: str, items: Items) -> Iterator[str]:
    """Of the nodes of a DAG's tasks, after the workflow's name; without loops over something unknown."""
    for key, task in component.get("dag", {}).get("tasks", {}).items():
        inner = dag.get("components", {}).get(task.get("componentRef", {}).get("name", ""), {})
        here = f"{within}(0).{key}"
        if "parameterIterator" in task:
            for number in range(_num_items(task, items.get(key, ()))):
                item = f"{here}(0).iteration-iterations({number}:{number})(0).iteration-item"
                yield from _paths(dag, inner, item, items)
        elif "dag" in inner:
            yield from _paths(dag, inner, here, items)
        elif task.get("triggerPolicy", {}).get("strategy") == AFTER_ALL:
            yield from (f"{within}(0).{each}.onExit(0).{key}" for each in task.get("dependentTasks", []))
        elif "executorLabel" in inner:
            yield here


def _num_items(task: Mapping[str, Any], known: Sequence[str]) -> int:
    raw = task["parameterIterator"].get("items", {}).get("raw")
    return len(json.loads(raw)) if raw else len(known)
