"""The cluster of a kube context, whose library is loaded once something is asked."""

from dataclasses import dataclass
from typing import Any

from copg_pipelines.server.at_hand import RunPods


@dataclass(frozen=True)
class KubeContext:
    """See ``AtHand``."""

    namespace: str
    """Of the runs."""
    context: str = ""
    """Empty: the current one, which may be of another cluster."""

    def look(self, workflow: str) -> RunPods | None:
        """See ``look_at_pods``."""
        from copg_pipelines.doctor.pods import look_at_pods

        return look_at_pods(self.context, self.namespace, workflow)

    def log_of(self, node: str) -> str | None:
        """See ``log_of_pod``."""
        from copg_pipelines.doctor.pods import log_of_pod

        return log_of_pod(self.context, self.namespace, node)

    def nodes_of(self, workflow: str) -> list[Any]:
        """See ``nodes_of_workflow``."""
        from copg_pipelines.doctor.pods import nodes_of_workflow

        return nodes_of_workflow(self.context, self.namespace, workflow) or []
