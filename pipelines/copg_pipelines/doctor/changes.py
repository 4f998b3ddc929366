"""What applying manifests would change of what is there: a dry run of the server, by ``kubectl diff``."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from copg_pipelines.doctor.findings import Finding, note, ok, todo

OURS = "copg"
"""How each resource of ours is called, or begins."""
OF_ALL_PODS = ("LimitRange", "ResourceQuota")
"""Kinds that hold for every pod of a namespace."""
FILE = re.compile(r"diff .*/(?:\S+\.)?v\d\w*\.([A-Z]\w*)\.([^.\s]*)\.(\S+)$")
"""Of a resource in the output: group, version, kind, namespace and name."""
CHANGED = re.compile(r"[-+](?![-+]{2} )")
COUNTED = re.compile(r"[-+]\s*(generation|resourceVersion|uid|creationTimestamp):")
TIMEOUT_S = 120


@dataclass
class Change:
    """A resource that would not stay as it is."""

    kind: str
    name: str
    lines: list[str] = field(default_factory=list)
    """That go, and that come."""

    is_new: bool = False
    """Nothing of that name is there."""

    def said(self) -> str:
        """The lines, on one."""
        return ", ".join(f"{line[0]} {line[1:].strip()}" for line in self.lines)


def check_changes(folder: Path, context: str) -> Iterator[Finding]:
    """What others have there and an overlay would change; nothing is changed.

    Args:
        folder: of a kustomization.
        context: of kubectl; empty: the present one.
    """
    cluster = ["kubectl", *(["--context", context] if context else [])]
    try:
        built = _run(["kubectl", "kustomize", str(folder)])
        if built.returncode:
            yield todo("changes", f"{folder} does not build: {_line(built.stderr)}")
            return
        found = _run([*cluster, "diff", "-f", "-"], given=built.stdout)
    except (OSError, subprocess.TimeoutExpired) as error:
        yield note("changes", f"kubectl, which says what {folder} would change, does not run: {error}")
        return
    if found.returncode > 1:
        yield todo("changes", f"the server refuses {folder}: {_line(found.stderr)}")
        return
    yield from _findings(folder, list(_changes(found.stdout)))
    for line in found.stderr.splitlines():
        if line.startswith("Warning:"):
            yield todo("changes", line.removeprefix("Warning:").strip())


def _findings(folder: Path, changes: list[Change]) -> Iterator[Finding]:
    others = [each for each in changes if not each.name.startswith(OURS) and not each.is_new]
    wide = [each for each in changes if each.kind in OF_ALL_PODS]
    for each in others:
        yield todo("changes", f"{each.kind}/{each.name} is not ours, and {folder} changes it: {each.said()}")
    for each in wide:
        yield note("changes", f"{each.kind}/{each.name} holds for every pod of its namespace: {each.said()}")
    left = len(changes) - len(others) - len(wide)
    if not others:
        yield ok("changes", f"{folder} makes or changes {left} resources of ours and nothing of others")


def _changes(diff: str) -> Iterator[Change]:
    """The resources of a unified diff."""
    change: Change | None = None
    for line in diff.splitlines():
        if header := FILE.match(line):
            if change is not None and change.lines:
                yield change
            change = Change(header[1], header[3])
        elif change is not None and line.startswith("@@ -0,0 "):
            change.is_new = True
        elif change is not None and CHANGED.match(line) and not COUNTED.match(line):
            change.lines.append(line)
    if change is not None and change.lines:
        yield change


def _run(words: list[str], given: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, input=given, capture_output=True, text=True, timeout=TIMEOUT_S)


def _line(text: str) -> str:
    return " ".join(text.split())[:300]
