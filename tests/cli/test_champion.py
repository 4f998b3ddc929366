"""``copg champion``: who serves and who did, and back to one of them whose weights are there."""

import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
from fsspec.registry import _registry as known_stores

from copg.artifacts import read_manifest
from copg.cli import main as command_line
from copg.cli.champion import STORES
from copg.stores.addresses import copy_artifact
from copg.tracking.registry import Registry
from tests.evaluations import make_policy
from tests.object_store import ObjectStore


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One new file for the module: filling it takes seconds. Each test has a model of its own."""
    return f"sqlite:///{tmp_path_factory.mktemp('registry') / 'mlflow.db'}"


@pytest.fixture
def three(uri: str, tmp_path: Path) -> Registry:
    """A model of which three versions were promoted, one after the other."""
    registry = Registry(uri, tmp_path.name)
    for number in range(3):
        policy = tmp_path / str(number)
        digest = make_policy(policy, str(number)).digest
        tags = {
            "reward": f"0.{number} [0, 1]",
            "kl": "2 [1, 3]",
            "run_id": f"run {number}",
            "trial": "copg_1",
        }
        replaces = str(number or "")
        version = registry.bid(str(policy), digest=digest, tags=tags, description="", replaces=replaces)
        assert registry.award(version) is None
    return registry


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["copg", "champion", *words])
    with pytest.raises(SystemExit) as left:
        command_line.main()
    return int(left.value.code or 0)


def test_the_champion_is_shown_with_its_numbers_and_the_ones_before(
    three: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    whose = ("--name", three.model_name, "--tracking", three.uri)
    assert call(monkeypatch, "show", *whose) == 0
    lines = capsys.readouterr().out.splitlines()
    titles = [line for line in lines if not line.startswith(" ")]
    name = three.model_name
    assert titles == [
        f"{name}: version 3, champion",
        f"{name}: version 2, before",
        f"{name}: version 1, before",
    ]
    told = dict(line.split(maxsplit=1) for line in lines[1 : lines.index(titles[1])])
    assert told["address"] == str(tmp_path / "2")
    assert [told[key] for key in ("reward", "kl", "run", "trial")] == [
        "0.2 [0, 1]",
        "2 [1, 3]",
        "run 2",
        "copg_1",
    ]
    assert told["digest"] == read_manifest(tmp_path / "2", schema="policy").digest
    assert call(monkeypatch, "show", *whose, "--json") == 0
    assert [each["version"] for each in json.loads(capsys.readouterr().out)] == ["3", "2", "1"]


def test_a_rollback_makes_an_earlier_version_champion_once_its_weights_are_found(
    three: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    whose = ("--name", three.model_name, "--tracking", three.uri)
    assert call(monkeypatch, "rollback", "1", *whose) == 0
    assert "version 1 is champion again; version 3 was until now" in capsys.readouterr().out
    assert [version.version for version in three.champions()] == ["1", "3", "2"]
    (tmp_path / "1/model-00001-of-00002.safetensors").unlink()
    for version, why in {
        "2": "cannot be champion again: .*model-00001-of-00002.safetensors is missing",
        "1": "is champion already",
        "9": r"never was champion; use one of \['3', '2'\]",
    }.items():
        assert call(monkeypatch, "rollback", version, *whose) == 1
        assert re.fullmatch(f"error: version {version} .*{why}.*\n", capsys.readouterr().err)
    assert three.champions()[0].version == "1"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This package's entry points for stores, as installing it makes them known."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    entries = "".join(f"{name} = {what}\n" for name, what in project["entry-points"][STORES].items())
    information = tmp_path / "stores-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: stores\nVersion: 1\n")
    (information / "entry_points.txt").write_text(f"[{STORES}]\n{entries}")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("scheme", ["minio", "s3"])
def test_a_rollback_looks_into_the_object_store_where_champions_are_kept(
    uri: str,
    store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    scheme: str,
) -> None:
    registry = Registry(uri, f"{scheme}-{store.bucket}")
    for number in range(2):
        policy, address = tmp_path / str(number), f"{scheme}://{store.bucket}/champions/{number}"
        digest = make_policy(policy, str(number)).digest
        copy_artifact(str(policy), address)
        version = registry.bid(address, digest=digest, tags={}, description="", replaces=str(number or ""))
        assert registry.award(version) is None
    monkeypatch.delitem(known_stores, scheme)  # as of a process that has run no task
    whose = ("--name", registry.model_name, "--tracking", uri)
    assert call(monkeypatch, "rollback", "1", *whose) == 0, capsys.readouterr().err
    assert registry.champions()[0].version == "1"
    store.delete("champions/1")
    assert call(monkeypatch, "rollback", "2", *whose) == 1
    assert "version 2 of" in (told := capsys.readouterr().err)
    assert "no manifest.json lies there" in told


def test_a_model_without_a_champion_is_one_line_and_makes_no_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    whose = ("--name", "demo", "--tracking", f"sqlite:///{tmp_path}/mlflow.db")
    assert call(monkeypatch, "show", *whose) == 1
    assert "'demo' has no champion at sqlite:///" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert call(monkeypatch, "show") == 1
    assert "Give --recipe, or --name and --tracking" in capsys.readouterr().err
