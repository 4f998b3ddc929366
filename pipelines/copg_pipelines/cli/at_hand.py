"""The cluster of a kube context, whose library is loaded once something is asked."""

from dataclasses import dataclass, field
from typing import Any

from copg_pipelines.server.at_hand import RunPods


@dataclass(frozen=True)
class KubeContext:
    """See ``AtHand``."""

    namespace: str
    """Of the runs."""
    context: str = ""
    """Empty: the current one, which may be of another cluster."""
    seen: set[str] = field(default_factory=set)
    """Workflows that were there at an earlier look."""

    def look(self, workflow: str) -> RunPods | None:
        """See ``look_at_pods``.

        That a workflow is gone only a context can tell that was named, or that had it before: the current
        one may be of another cluster.
        """
        from copg_pipelines.doctor.pods import look_at_pods

        found = look_at_pods(self.context, self.namespace, workflow)
        if found is not None and not found.gone:
            self.seen.add(workflow)
        return found if self.context or workflow in self.seen else None

    def log_of(self, node: str) -> str | None:
        """See ``log_of_pod``."""
        from copg_pipelines.doctor.pods import log_of_pod

        return log_of_pod(self.context, self.namespace, node)

    def nodes_of(self, workflow: str) -> list[Any]:
        """See ``nodes_of_workflow``."""
        from copg_pipelines.doctor.pods import nodes_of_workflow

        return nodes_of_workflow(self.context, self.namespace, workflow) or []
