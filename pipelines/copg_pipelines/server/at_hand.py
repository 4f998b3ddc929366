"""The cluster under a server, where a kube context is at hand: it knows of pods what KFP does not tell."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from copg_pipelines.doctor.pods import RunPods


@dataclass(frozen=True)
class AtHand:
    """What a cluster is asked of a run; None, or nothing, where none is at hand."""

    namespace: str
    """Of the run."""
    context: str = ""
    """Kube context; empty: the current one, which may be of another cluster."""

    def look(self, workflow: str) -> "RunPods | None":
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
