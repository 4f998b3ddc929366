"""The nodes of a workflow by their names, of which a server tells only the last part.

KFP tells a node's display name and the ids of its children, not its own id. An id is the hash of the node's
whole name, so that names can be tried: outwards in, ``WORKFLOW(0).root(0).stages(0).train(0).executor(0)``.
"""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

ATTEMPT = re.compile(r"\(\d+\)$")
"""End of the name of one attempt at a node that may be tried again."""
MOST_ATTEMPTS = 10
FNV_OFFSET, FNV_PRIME = 0x811C9DC5, 0x01000193


def fnv(text: str, start: int = FNV_OFFSET) -> int:
    """Hash FNV-1a of 32 bits, by which Argo names nodes and pods; ``start`` is that of what stands before."""
    for byte in text.encode():
        start = ((start ^ byte) * FNV_PRIME) & 0xFFFFFFFF
    return start


def node_id(workflow: str, name: str) -> str:
    """Id of the node of that whole name."""
    return workflow if name == workflow else f"{workflow}-{fnv(name)}"


def child_ids(node: Any) -> list[str]:
    """Ids of a node's children, as a server tells them."""
    return [each.pod_name for each in node.child_tasks or [] if each.pod_name]


def workflow_of(nodes: Iterable[Any]) -> str:
    """Name of the workflow that the nodes belong to; empty while there is none."""
    begins = Counter(each.rpartition("-")[0] for node in nodes for each in child_ids(node))
    return begins.most_common(1)[0][0] if begins else ""


def last_part(name: str) -> str:
    """Of a node's whole name: ``train`` or ``executor(0)``, as a server tells it."""
    return name.rpartition(".")[2]


class Tree:
    """Whole names of the nodes of a run, found from the ids of all children and the last parts of names."""

    def __init__(self, nodes: Iterable[Any]) -> None:
        nodes = list(nodes)
        self.workflow = workflow_of(nodes)
        self.ids = {each for node in nodes for each in child_ids(node)}
        self.attempts: dict[str, list[str]] = {}
        """Whole names of the attempts at a node, by its own."""
        self.children: dict[str, list[str]] = {}
        """Whole names within an attempt, by its own."""
        parts = {node.display_name for node in nodes if node.display_name}
        self._parts = sorted(each for each in parts if not ATTEMPT.search(each))
        self._known = {
            (part, child): node for node in nodes if (part := node.display_name) for child in child_ids(node)
        }
        if self.workflow:
            self._find()

    def node(self, name: str) -> Any | None:
        """What the server tells of a node of several attempts; None where that is not sure."""
        for attempt in self.attempts.get(name, []):
            if found := self._known.get((self._told(name), self.id(attempt))):
                return found
        return None

    def id(self, name: str) -> str:
        """Id of a node by its whole name."""
        return node_id(self.workflow, name)

    def _told(self, name: str) -> str:
        parent = name.rpartition(".")[0]
        after_exit = last_part(name) == "onExit"  # the only part that holds a full stop
        return f"{last_part(parent)}.onExit" if after_exit else last_part(name)

    def _find(self) -> None:
        begin = (self.workflow, fnv(self.workflow))
        todo = [begin]
        while todo:
            name, state = todo.pop()
            self.attempts[name] = []
            for number in range(MOST_ATTEMPTS):
                attempt, inner = f"{name}({number})", fnv(f"({number})", state)
                if self._is_there(inner):
                    self.attempts[name].append(attempt)
                    found = self._within(attempt, inner)
                    self.children[attempt] = [each for each, _ in found]
                    todo += found

    def _within(self, attempt: str, state: int) -> list[tuple[str, int]]:
        inner = fnv(".", state)
        tried = ((f"{attempt}.{part}", fnv(part, inner)) for part in self._parts)
        return [(name, each) for name, each in tried if self._is_there(each)]

    def _is_there(self, state: int) -> bool:
        return f"{self.workflow}-{state}" in self.ids
