"""What a real KFP 2.17 server answered, one request a file, cut to what is read here."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import kfp_server_api as api
from copg_pipelines.server.nodes import node_id

FOLDER = Path(__file__).parent.parent / "data" / "kfp-2.17"
RUNS = sorted(path.stem for path in FOLDER.glob("run-*.json") if "task_details" in path.read_text())
MODELS = api.ApiClient(api.Configuration())
NEVER = datetime.fromisoformat("0001-01-01T00:00:00+00:00")
OVER = ("SUCCEEDED", "FAILED", "SKIPPED")
CACHED = "CACHED"


class _Body:
    def __init__(self, value: Any) -> None:
        self.data = json.dumps(value)


def model(kind: str, value: Any) -> Any:
    """A model of ``kfp_server_api`` from plain JSON values."""
    return MODELS.deserialize(_Body(value), kind)


def recorded(name: str) -> dict[str, Any]:
    """``request``, ``status``, ``content_type`` and ``body``."""
    return dict(json.loads((FOLDER / f"{name}.json").read_text()))


def recorded_run(name: str) -> Any:
    return model("V2beta1Run", recorded(name)["body"])


def nodes_of(run: Any, tasks: dict[str, str]) -> list[Any]:
    """The nodes of a run as a server tells them, with all that stands around and in a task.

    Args:
        run: by whose id the workflow is called.
        tasks: state of each task that has begun, by its name; ``for-loop-2/0/train`` stands in a loop, and a
            whole path, as an outline of the DAG gives it, is a name too. CACHED: a cache answered for it. The
            name of a driver is that of a task which has not begun.
    """
    workflow = workflow_name(run)
    inner: dict[str, list[str]] = {}
    states: dict[str, str] = {}
    tasks, given = {task: "SUCCEEDED" if state == CACHED else state for task, state in tasks.items()}, tasks
    for task, state in tasks.items():
        driver = task.endswith("-driver")
        name, outer = node_name(run, task) + ("" if driver else "(0).executor"), workflow
        states[name] = state
        for part in name.removeprefix(f"{workflow}(0).").split("(0)."):
            child = f"{outer}(0).{part}"
            alone = part == "executor" or part.endswith((".onExit", "-driver"))
            for each in (child,) if alone else (f"{child}-driver", child):
                inner.setdefault(outer, []).append(each)
            outer = child
        if not driver:
            states |= {name.rpartition("(0).")[0]: "RUNNING" if state == "PENDING" else state}
    whole = (
        "FAILED" if "FAILED" in tasks.values() else "RUNNING" if {*tasks.values()} - {*OVER} else "SUCCEEDED"
    )
    cached = {f"{node_name(run, task)}(0).executor" for task, state in given.items() if state == CACHED}
    found = []
    for name in dict.fromkeys((workflow, *(child for children in inner.values() for child in children))):
        state = states.get(name, "SUCCEEDED" if name.endswith("-driver") else whole)
        children = list(dict.fromkeys(inner.get(name, [])))
        began = run.created_at + timedelta(seconds=1, milliseconds=len(found))
        if name in cached:
            found.append(_node(run, name, began, "SKIPPED", []))
            continue
        found.append(_node(run, name, began, state if state in OVER else "RUNNING", [f"{name}(0)"]))
        found.append(_node(run, f"{name}(0)", began, state, children))
    return found


def _node(run: Any, name: str, began: datetime, state: str, children: list[str]) -> Any:
    asked = [each.update_time for each in run.state_history or [] if each.state == "CANCELING"]
    inner = [api.PipelineTaskDetailChildTask(pod_name=node_id(workflow_name(run), each)) for each in children]
    return api.V2beta1PipelineTaskDetail(
        run_id=run.run_id,
        task_id=f"{run.run_id}-{name}",
        display_name=name.rpartition("(0).")[2],
        create_time=run.created_at,
        start_time=began,
        end_time=max([began + timedelta(seconds=2.5), *asked]) if state in OVER else NEVER,
        state=state,
        child_tasks=inner or None,
    )


def node_name(run: Any, task: str) -> str:
    """Whole name of a task's node; see ``nodes_of``."""
    if task.startswith("(0).root"):  # that of a DAG whose own driver waits, too
        return f"{workflow_name(run)}{task}"
    *loop, part = task.split("/")
    outer = f"{workflow_name(run)}(0).root(0)"
    if loop:
        outer += f".{loop[0]}(0).iteration-iterations({loop[1]}:{loop[1]})(0).iteration-item(0)"
    return f"{outer}.{part}"


def workflow_name(run: Any) -> str:
    return f"align-{run.run_id[:5]}"


def pod_of(run: Any, task: str) -> str:
    """Id of the node of the pod that ``nodes_of`` gives a task, or a driver."""
    inner = "" if task.endswith("-driver") else ".executor(0)"
    return node_id(workflow_name(run), f"{node_name(run, task)}(0){inner}")
