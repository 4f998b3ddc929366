"""Tolerations of a TrainJob's pods: a patch takes the place of the runtime's list, and Kueue's of both."""

import copy
from collections.abc import Mapping
from typing import Any

from copg_components.cluster.api import TrainJobs


def tolerating(jobs: TrainJobs, job: Mapping[str, Any]) -> dict[str, Any]:
    """The job, whose pods also tolerate what the runtime's do, such as spot machines."""
    found = copy.deepcopy(dict(job))
    for pod in _pods(found):
        if own := pod.get("tolerations"):
            there = jobs.tolerations(found["spec"]["runtimeRef"]["name"])
            pod["tolerations"] = [*own, *(each for each in there if each not in own)]
    return found


def lost_to_kueue(job: Mapping[str, Any]) -> list[str]:
    """Keys of the taints that the pods no longer tolerate since Kueue put its flavor's list last."""
    lists = [pod["tolerations"] for pod in _pods(job) if pod.get("tolerations")]
    return sorted({str(each.get("key", "")) for own in lists[:-1] for each in own if each not in lists[-1]})


def _pods(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The specifications of pods in a job's patches, in the order in which they are applied."""
    found = []
    for patch in job.get("spec", {}).get("runtimePatches", []):
        template = patch.get("trainingRuntimeSpec", {}).get("template", {}).get("spec", {})
        for each in template.get("replicatedJobs") or []:
            found.append(each.get("template", {}).get("spec", {}).get("template", {}).get("spec", {}))
    return found
