"""What the cluster under a server knows of a run, beyond what KFP tells."""

from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class RunPods:
    """What a cluster tells of a run."""

    gone: bool | None = None
    """Whether its workflow is no more; None where that is not known."""
    waiting: dict[str, str] = field(default_factory=dict)
    """Why a pod does not start, by the id of its node."""


class AtHand(Protocol):
    """A cluster, where one is at hand; else it answers nothing."""

    def look(self, workflow: str) -> RunPods | None:
        """Whether a workflow is there, and what its pods wait for; None where that cannot be asked."""

    def log_of(self, node: str) -> str | None:
        """What the pod of a node has written; None where it is not there."""

    def nodes_of(self, workflow: str) -> list[Any]:
        """The nodes of a workflow in the form of KFP's API; none where it is not there."""
