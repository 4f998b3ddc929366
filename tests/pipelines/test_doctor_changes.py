"""What an overlay would change of others is told before: a stand-in for kubectl answers as kubectl does."""

from pathlib import Path

import pytest
from copg_pipelines.doctor.changes import check_changes

HEAD = "diff -u -N /tmp/LIVE-1/{0} /tmp/MERGED-2/{0}\n--- /tmp/LIVE-1/{0}\tnow\n+++ /tmp/MERGED-2/{0}\tnow\n"
NAMESPACE = HEAD.format("v1.Namespace..team-a") + (
    "@@ -5,7 +5,8 @@\n"
    "   labels:\n"
    "-    app.kubernetes.io/part-of: kubeflow-profile\n"
    "+    app.kubernetes.io/part-of: copg\n"
    "+    pod-security.kubernetes.io/enforce: restricted\n"
    "     kubernetes.io/metadata.name: team-a\n"
)
CLAIM = (
    HEAD.format("v1.PersistentVolumeClaim.team-a.copg-runs") + "@@ -0,0 +1,2 @@\n+apiVersion: v1\n+kind: X\n"
)
LIMITS = HEAD.format("v1.LimitRange.team-a.copg") + "@@ -0,0 +1,2 @@\n+kind: LimitRange\n"
MLFLOW = HEAD.format("apps.v1.Deployment.team-a.copg-mlflow") + (
    "@@ -6,3 +6,3 @@\n-  generation: 1\n+  generation: 2\n-        image: a\n+        image: b\n"
)
UNCHANGED = HEAD.format("v1.Service.team-a.shop") + "@@ -6,1 +6,1 @@\n-  generation: 1\n+  generation: 2\n"


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which a test puts what ``diff`` prints, warns and returns, and finds how it was called."""
    program = tmp_path / "kubectl"
    program.write_text(
        f'#!/bin/sh\ncd {tmp_path}\necho "$*" >>words\n'
        '[ "$1" = kustomize ] && { echo built; exit $(cat built); }\n'
        "cat >given; cat out; cat err >&2; exit $(cat code)\n"
    )
    program.chmod(0o755)
    for name, text in {"built": "0", "out": "", "err": "", "code": "0"}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def findings(context: str = "") -> list[str]:
    return [each.line() for each in check_changes(Path("overlay"), context)]


def test_what_belongs_to_others_is_told_with_what_goes_and_what_comes(kubectl: Path) -> None:
    (kubectl / "out").write_text(NAMESPACE + CLAIM + LIMITS + MLFLOW + UNCHANGED)
    (kubectl / "code").write_text("1")  # kubectl's for differences
    (kubectl / "err").write_text("Warning: existing pods in namespace violate the new PodSecurity level\n")
    assert findings("mine") == [
        "todo  changes: Namespace/team-a is not ours, and overlay changes it: "
        "- app.kubernetes.io/part-of: kubeflow-profile, + app.kubernetes.io/part-of: copg, "
        "+ pod-security.kubernetes.io/enforce: restricted",
        "note  changes: LimitRange/copg holds for every pod of its namespace: + kind: LimitRange",
        "todo  changes: existing pods in namespace violate the new PodSecurity level",
    ]
    assert (kubectl / "words").read_text().splitlines() == ["kustomize overlay", "--context mine diff -f -"]
    assert (kubectl / "given").read_text() == "built\n"


def test_a_label_that_only_comes_changes_a_namespace_too(kubectl: Path) -> None:
    lines = "   labels:\n+    pod-security.kubernetes.io/enforce: restricted\n"
    (kubectl / "out").write_text(HEAD.format("v1.Namespace..team-a") + f"@@ -5,2 +5,3 @@\n{lines}")
    (kubectl / "code").write_text("1")
    (found,) = findings()
    assert found.endswith("overlay changes it: + pod-security.kubernetes.io/enforce: restricted")


def test_what_is_ours_alone_is_well(kubectl: Path) -> None:
    (kubectl / "out").write_text(CLAIM + MLFLOW)
    (kubectl / "code").write_text("1")
    assert findings() == ["ok    changes: overlay makes or changes 2 resources of ours and nothing of others"]


def test_what_does_not_build_and_what_the_server_refuses_is_to_be_done(kubectl: Path) -> None:
    (kubectl / "err").write_text("error: namespaces is\nforbidden\n")
    (kubectl / "code").write_text("2")
    assert findings() == ["todo  changes: the server refuses overlay: error: namespaces is forbidden"]
    (kubectl / "built").write_text("1")
    assert findings()[0].startswith("todo  changes: overlay does not build")


def test_without_kubectl_nobody_can_look(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert findings()[0].startswith(
        "note  changes: kubectl, which says what overlay would change, does not run"
    )
