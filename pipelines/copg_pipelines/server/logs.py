"""Logs of a run's pods, and the line in them that says why a task failed."""

import json
import re
from collections.abc import Iterator

from copg_pipelines.server.client import Client
from copg_pipelines.server.connection import ClientError
from copg_pipelines.server.outline import Outline

MOST = 300
"""Characters of a cause."""
OURS = re.compile(r"^error: (.*)$", re.MULTILINE)
"""How a task of ours ends that knows why it cannot go on."""
OTHERS = (
    re.compile(r"^(panic: .*)$", re.MULTILINE),
    re.compile(r"^((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt)\b.*)$", re.MULTILINE),
    re.compile(r"^F\d{4} [^\]]*\] (.*)$", re.MULTILINE),
    re.compile(r"^E\d{4} [^\]]*\] (.*)$", re.MULTILINE),
)
"""What a Go program, Python, and the programs of KFP say last, from the most to the least telling."""


def read_log(client: Client, run_id: str, pod: str) -> str | None:
    """The log of a pod; None where there is none, or none any more.

    Args:
        client: of the server.
        run_id: the run.
        pod: name of the pod, or id of its node.
    """
    try:
        text = client.text(f"/apis/v1alpha1/runs/{run_id}/nodes/{pod}/log")
    except ClientError as error:
        if error.status in (400, 404, 500):
            return None
        raise
    return None if _refused(text) else text


def _refused(text: str) -> bool:
    """Whether a log is none: a server says so with the status of a good answer."""
    if not text.startswith("{"):
        return False
    try:
        found = json.loads(text)
    except ValueError:
        return False
    return isinstance(found, dict) and set(found) <= {"error_message", "error_details"}


def log_of(client: Client, run_id: str, pod: str, outline: Outline) -> str | None:
    """The log of a pod, by the id of its node; None where there is none.

    A pod that is over has it under the id of its node, in the archive; one that runs, or of whose node the
    server lost sight, under its own name.
    """
    for each in (pod, *pod_names(pod, outline)):
        if (found := read_log(client, run_id, each)) is not None:
            return found
    return None


def pod_names(node: str, outline: Outline) -> Iterator[str]:
    """Names that the pod of a node may have."""
    workflow, _, number = node.rpartition("-")
    for template in outline.templates:
        yield f"{workflow}-{template}-{number}"


def cause_in(log: str, task: str = "") -> str:
    """The line of a log that says why a task failed, without the task's name; empty where there is none."""
    for pattern in (OURS, *OTHERS):
        if found := pattern.findall(log):
            line = " ".join(found[-1].split()).removeprefix(f"{task}: ")
            return line if len(line) <= MOST else f"... {line[-MOST:]}"
    return ""
