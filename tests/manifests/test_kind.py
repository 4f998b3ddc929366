"""``kind.sh``, read by shellcheck, and run with stand-ins for kind, kubectl and docker that note what is
asked of them: that a cluster would do it, no test here can say."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import copg
from tests.manifests.built import MANIFESTS, ROOT, build, named

SCRIPT = MANIFESTS / "kind.sh"
Run = Callable[..., list[str]]
NOTE = '#!/bin/sh\necho "$(basename "$0") $*" >>"$NOTES"\n[ "$1" = version ] && echo "kind v0.32.0"\nexit 0\n'


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the script; the commands it gave."""
    for name in ("kind", "kubectl", "docker", "git", "pytest-python"):
        (tmp_path / name).write_text(NOTE)
        (tmp_path / name).chmod(0o755)

    def run(*words: str, expect: int = 0) -> list[str]:
        notes = tmp_path / "notes"
        env = {
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "NOTES": str(notes),
            "PYTHON": str(tmp_path / "pytest-python"),
        }
        done = subprocess.run([str(SCRIPT), *words], env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == expect, done.stderr
        return notes.read_text().splitlines() if notes.exists() else [done.stderr]

    return run


def test_shellcheck_finds_nothing() -> None:
    program = Path(sys.executable).parent / "shellcheck"
    done = subprocess.run([program, SCRIPT], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_kfp_is_installed_as_upstream_says(run: Run) -> None:
    notes = run("up")
    upstream = "github.com/kubeflow/pipelines/manifests/kustomize"
    established = "crd/applications.app.k8s.io --for condition=established --timeout=60s"
    expected = [
        "kind create cluster --name copg --image kindest/node:v1.33.12 --wait 5m",
        "docker save -o build/image.tar localhost/copg:0.1.0",
        "kind load image-archive build/image.tar --name copg",
        f"kubectl --context kind-copg apply -k {upstream}/cluster-scoped-resources?ref=2.17.0",
        f"kubectl --context kind-copg wait {established}",
        f"kubectl --context kind-copg apply -k {upstream}/env/platform-agnostic?ref=2.17.0",
        "kubectl --context kind-copg apply -k manifests/overlays/kind",
    ]
    places = [notes.index(command) for command in expected]
    assert places == sorted(places)


def test_the_tests_run_on_it_and_it_goes(run: Run) -> None:
    assert run("test") == ["pytest-python -m pytest tests/cluster --kube-context kind-copg"]
    assert run("down")[-1] == "kind delete cluster --name copg"


def test_an_unknown_word_is_an_error(run: Run) -> None:
    assert "usage:" in run("upp", expect=2)[0]


def test_the_image_is_the_one_that_make_builds() -> None:
    (made,) = re.findall(r"^IMAGE \?= (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    made = made.replace("$(VERSION)", copg.__version__)
    deployment = named(build("overlays/kind"), "Deployment", "copg-mlflow")
    pod = named(build("overlays/kind"), "Pod", "copg-volume")
    in_script = re.search(r"^IN_OVERLAY=(\S+)", SCRIPT.read_text(), re.MULTILINE)
    assert in_script
    images = {deployment["spec"]["template"]["spec"]["containers"][0]["image"], in_script[1]}
    assert images | {pod["spec"]["containers"][0]["image"]} == {made}
    assert made == f"localhost/copg:{copg.__version__}"
    assert os.access(SCRIPT, os.X_OK)
