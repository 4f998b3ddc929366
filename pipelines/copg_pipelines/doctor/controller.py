"""Whether Argo's controller has the two patches of ``manifests/workflow-controller``."""

from collections.abc import Iterator

from copg_pipelines.dags.weight import LIMIT, UNPATCHED
from copg_pipelines.doctor.findings import Finding, note, ok
from copg_pipelines.doctor.kube import Cluster, container_of, get
from copg_pipelines.doctor.requirements import Requirements

NAME, CONFIG = "workflow-controller", "workflow-controller-configmap"
PATCHES = "manifests/workflow-controller"
TELLS_APART = "lastRetry.message"
"""Of the expression by which lost pods are told from mistakes."""


def check_controller(cluster: Cluster, asked: Requirements) -> Iterator[Finding]:
    """Whether it follows a run of many trials to its end, and tries lost pods alone again."""
    container = container_of(cluster, NAME, asked.kfp_namespace)
    if container is None:
        yield note(
            "controller", f"deployment {NAME} is not in {asked.kfp_namespace}: another one runs the DAGs"
        )
        return
    said = {each.name: each.value for each in container.env or []}
    limit = int(said["MAX_WORKFLOW_SIZE"]) if str(said.get("MAX_WORKFLOW_SIZE")).isdigit() else UNPATCHED
    if limit < LIMIT:
        yield note(
            "controller",
            f"of a run above {limit:,} bytes, which copg lint tells, it goes on telling old states: apply "
            f"{PATCHES}/deployment-patch.yaml, which also spares most of the time between tasks",
        )
    else:
        yield ok("controller", f"it follows runs of up to {limit:,} bytes")
    settings = get(cluster.core.read_namespaced_config_map, CONFIG, asked.kfp_namespace)
    if TELLS_APART in ((settings.data or {}).get("workflowDefaults") or "" if settings else ""):
        yield ok("controller", "it tries lost pods again, and mistakes not")
    else:
        yield note(
            "controller",
            f"it tries only some of the lost pods again: apply {PATCHES}/retry-patch.yaml",
        )
