"""What the image holds, and what it lets a task do."""

import json
from importlib.metadata import distributions
from typing import Any

import pytest

import copg
from tests.containers.engine import UID, run_inside

pytestmark = pytest.mark.timeout(300)

ASK = """
import getpass, json, os, shutil, socket
from importlib.metadata import distributions
from pathlib import Path

def refused(act):
    try:
        act()
    except OSError as error:
        return type(error).__name__
    return ""

import torch
print(json.dumps({
    "uid": os.getuid(),
    "user": getpass.getuser(),
    "capabilities": Path("/proc/self/status").read_text().split("CapEff:")[1].split()[0],
    "root": refused(lambda: Path("/opt/copg/x").touch()),
    "tmp": refused(lambda: Path("/tmp/x").touch()),
    "network": refused(lambda: socket.create_connection(("198.51.100.1", 53), timeout=2)),
    "tools": [name for name in ("pip", "uv", "apt-get", "gcc") if shutil.which(name)],
    "writable": [str(p) for p in Path("/opt").rglob("*") if not p.is_symlink() and p.stat().st_mode & 2],
    "wheels": {d.name: d.version for d in distributions()},
    "threads": torch.get_num_threads(),
    "bom": json.loads(Path("/opt/copg/bom.cdx.json").read_text()),
}))
"""


@pytest.fixture(scope="module")
def seen(image: str) -> dict[str, Any]:
    """What a program sees in a container."""
    return json.loads(run_inside(image, "python3", "-c", ASK))


@pytest.fixture(scope="module")
def described(image: str) -> dict[str, Any]:
    import docker

    client = docker.from_env()
    try:
        return dict(client.images.get(image).attrs["Config"])
    finally:
        client.close()


def test_a_task_is_nobody_and_writes_to_tmp_alone(seen: dict[str, Any]) -> None:
    assert (seen["uid"], seen["user"], int(seen["capabilities"], 16)) == (UID, "copg", 0)
    assert (seen["root"], seen["tmp"]) == ("OSError", "")
    assert seen["network"] != ""
    assert seen["writable"] == []


def test_nothing_in_it_installs_a_package(seen: dict[str, Any]) -> None:
    assert seen["tools"] == []
    assert "pip" not in seen["wheels"]


def test_it_holds_the_wheels_of_this_environment(seen: dict[str, Any]) -> None:
    here = {d.name: d.version for d in distributions()}
    both = seen["wheels"].keys() & here.keys()  # an environment may lack some of the extra ``rewards``
    assert {name: seen["wheels"][name] for name in both} == {name: here[name] for name in both}
    assert {"copg", "kfp", "torch", "transformers", "datasets", "pyarrow", "mlflow"} <= both
    assert "kfp-kubernetes" not in seen["wheels"]


def test_its_bill_of_materials_lists_every_wheel(seen: dict[str, Any]) -> None:
    bom = seen["bom"]
    assert bom["bomFormat"] == "CycloneDX"
    assert {each["name"]: each["version"] for each in bom["components"]} == seen["wheels"]
    assert all(each["purl"].startswith("pkg:pypi/") for each in bom["components"])


def test_it_says_what_it_is(described: dict[str, Any]) -> None:
    labels = described["Labels"]
    assert labels["org.opencontainers.image.title"] == "copg"
    assert labels["org.opencontainers.image.version"] == copg.__version__
    assert len(labels["org.opencontainers.image.revision"]) == 40
    assert described["User"] == f"{UID}:{UID}"


def test_the_command_answers(image: str) -> None:
    assert "Align a language model" in run_inside(image, "copg", "--help")
