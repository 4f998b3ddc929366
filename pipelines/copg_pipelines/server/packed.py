"""The nodes of a workflow as Argo holds them, in the form in which KFP tells them.

Of a workflow above a limit Argo compresses the nodes (``util/file`` of its 4.0). KFP 2.17 reads no compressed
ones (``NodeStatuses`` in its ``workflow.go``): it goes on telling those from before.
"""

import base64
import gzip
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import kfp_server_api as api

STATES = {
    "Pending": "PENDING",
    "Running": "RUNNING",
    "Succeeded": "SUCCEEDED",
    "Skipped": "SKIPPED",
    "Failed": "FAILED",
    "Error": "FAILED",
}
"""By phases of nodes; of one that was left out (``Omitted``) KFP tells no state."""


PLAIN = api.Configuration()
"""One for all: a model that is given none makes its own, which takes longer than all else."""


def told_nodes(workflow: Mapping[str, Any]) -> list[Any]:
    """The nodes of a workflow, as KFP tells those that are not compressed.

    Args:
        workflow: the resource, ``argoproj.io/v1alpha1``.
    """
    return [_told(each) for each in _nodes(workflow)]


def waiting_nodes(workflow: Mapping[str, Any]) -> dict[str, str]:
    """Why nodes wait that have no pod yet, as where a quota has no room for one, by their ids.

    Args:
        workflow: the resource, ``argoproj.io/v1alpha1``.
    """
    waiting = (each for each in _nodes(workflow) if each.get("phase") == "Pending" and each.get("message"))
    return {str(each.get("id")): str(each["message"]) for each in waiting}


def _nodes(workflow: Mapping[str, Any]) -> list[Any]:
    status = workflow.get("status", {})
    packed = status.get("compressedNodes")
    nodes = json.loads(gzip.decompress(base64.b64decode(packed))) if packed else status.get("nodes", {})
    return list(nodes.values())


def _told(node: Mapping[str, Any]) -> Any:
    children = node.get("children", [])
    return api.V2beta1PipelineTaskDetail(
        display_name=node["displayName"],
        state=STATES.get(node.get("phase", "")),
        start_time=_moment(node.get("startedAt")),
        end_time=_moment(node.get("finishedAt")),
        child_tasks=[api.PipelineTaskDetailChildTask(None, each, PLAIN) for each in children],
        local_vars_configuration=PLAIN,
    )


def _moment(time: str | None) -> datetime | None:
    return None if time is None else datetime.fromisoformat(time)
