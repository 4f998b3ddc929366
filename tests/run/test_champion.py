"""The champion as a run finds it: measured against, or set aside with a reason; the run goes on."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from copg.artifacts import read_manifest
from copg.config import parse_config
from copg.errors import ArtifactError
from copg.run.champion import BEFORE, RUN_KEY
from copg.run.resolve import Resolution, ResolveConfig, resolve_recipe
from copg.run.task_record import RUN
from copg.tracking.registry import Registry
from copg.tracking.retention import delete_weights
from tests.evaluations import make_policy
from tests.object_store import ObjectStore


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One new file for the module: filling it takes seconds. Each test has a model of its own."""
    return f"sqlite:///{tmp_path_factory.mktemp('registry') / 'mlflow.db'}"


@pytest.fixture
def settings(tmp_path: Path, reference_dir: Path, uri: str) -> dict[str, Any]:
    records = tmp_path / "records.jsonl"
    records.write_text(json.dumps({"prompt": "red cat", "completions": ["runs", "sleeps"]}) + "\n")
    return {
        "name": tmp_path.name,
        "records": str(records),
        "model": str(reference_dir),
        "rewards": [{"name": "length", "params": {"target": 4}}],
        "trials": [{"method": "copg", "beta": 0.1}],
        "tracking": uri,
    }


def resolved(settings: dict[str, Any], tmp_path: Path) -> Resolution:
    config = {"recipe": settings, "run_dir": str(tmp_path / "runs")}
    return resolve_recipe(parse_config(ResolveConfig, config, where="resolve"))


def keys(resolution: Resolution) -> dict[str, str]:
    return {name: plan["key"] for name, plan in resolution.plans.items()}


def crowned(tmp_path: Path, resolution: Resolution, **tags: str) -> Path:
    """Register a policy as this run's promotion would, and make it champion."""
    config = resolution.plans["promote"]["config"]
    policy = tmp_path / "policy"
    digest = make_policy(policy, "champion").digest
    registry = Registry(config["tracking_uri"], config["model_name"])
    given = {"tags": {**config["tags"], **tags}, "replaces": config["replaces"]}
    assert registry.award(registry.bid(str(policy), digest=digest, description="", **given)) is None
    return policy


def test_a_champion_that_this_run_made_leaves_the_run_as_it_was(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    before = resolved(settings, tmp_path)
    assert before.plans["promote"]["config"]["tags"][BEFORE] == "null"
    policy = crowned(tmp_path, before)
    after = resolved(settings, tmp_path)
    assert after.plans == before.plans
    assert after.baselines == [{"name": "reference"}]

    shutil.rmtree(policy)
    (again,) = resolved(settings, tmp_path).warnings
    assert again.startswith(
        f"champion: version 1 of {settings['name']!r}, which this run made, is gone from "
    )
    assert again.endswith("it is made again")
    assert "renewal" in resolved(settings, tmp_path).plans["promote"]


def test_another_champion_is_measured_and_changes_report_and_promotion_alone(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    before = resolved(settings, tmp_path)
    policy = crowned(tmp_path, before, **{RUN_KEY: "another run"})
    after = resolved(settings, tmp_path)
    digest = read_manifest(policy, schema="policy").digest
    champion = {"name": "champion", "version": "1", "uri": str(policy), "digest": digest}
    assert after.baselines == [{"name": "reference"}, champion]
    old, new = keys(before), keys(after)
    assert {name for name in old if new[name] != old[name]} == {"report", "promote"}
    promote = after.plans["promote"]["config"]
    assert (json.loads(promote["tags"][BEFORE]), promote["replaces"]) == (champion, "1")
    assert after.warnings == []


def _remove(policy: Path) -> None:
    shutil.rmtree(policy)


def _damage(policy: Path) -> None:
    weights = policy / "model-00001-of-00002.safetensors"
    weights.write_text(weights.read_text() + " ")


def _retire(policy: Path) -> None:
    digest = read_manifest(policy, schema="policy").digest
    assert delete_weights(str(policy), digest=digest, reason="champion 1 is past").num_files == 2


def drawn_by_the_reference(settings: dict[str, Any], tmp_path: Path, why: str) -> None:
    """A run that draws from the champion draws from the reference in its place, and says why."""
    drawing = resolved({**settings, "stages": {"sample": {"model": "champion"}}}, tmp_path)
    (told,) = (each for each in drawing.warnings if each.startswith("sample: "))
    who = f"sample: version 1 of '{settings['name']}', the champion,"
    assert re.fullmatch(f"{who} {why}: completions are drawn from the reference", told)
    assert drawing.plans["sample"]["config"]["model"] == settings["model"]


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (_remove, "is gone from .*policy: no manifest.json lies there"),
        (_damage, "is gone from .*: model-00001-of-00002.safetensors changed since it was written"),
        (_retire, "is gone from .*: model-00001-of-00002.safetensors is missing: champion 1 is past"),
    ],
)
def test_a_champion_that_is_gone_or_damaged_is_told_and_the_run_goes_on_against_the_reference(
    settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], harm: Any, why: str
) -> None:
    policy = crowned(tmp_path, resolved(settings, tmp_path), **{RUN_KEY: "another run"})
    assert resolved(settings, tmp_path).warnings == []
    harm(policy)
    after = resolved(settings, tmp_path)
    (warning,) = after.warnings
    told = f"champion: version 1 of '{tmp_path.name}' {why}"
    assert re.fullmatch(f"{told}; the trials are measured against the reference alone", warning)
    assert f"a turn ends with `</s>`\nwarning: {warning}\n" in capsys.readouterr().err
    assert json.loads((tmp_path / "runs" / RUN).read_text())["warnings"] == [warning]
    assert after.baselines == [{"name": "reference"}]
    assert after.plans["promote"]["config"]["replaces"] == "1", "its place is taken, by whoever is better"
    drawn_by_the_reference(settings, tmp_path, why)


@pytest.mark.parametrize(
    ("tag", "what"), [("model", "base model, tokeniser or chat template"), ("purpose", "rewards")]
)
def test_a_champion_of_another_kind_is_told_and_not_measured_against(
    settings: dict[str, Any], tmp_path: Path, tag: str, what: str
) -> None:
    crowned(tmp_path, resolved(settings, tmp_path), **{RUN_KEY: "another run", tag: "other"})
    after = resolved(settings, tmp_path)
    assert after.baselines == [{"name": "reference"}]
    assert (
        f"version 1 of {settings['name']!r} was trained with another {what}; the trials" in after.warnings[0]
    )
    drawn_by_the_reference(settings, tmp_path, f"was trained with another {what}")


def test_a_champion_whose_store_does_not_answer_stops_the_run(
    settings: dict[str, Any], tmp_path: Path, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = resolved(settings, tmp_path).plans["promote"]["config"]
    registry = Registry(config["tracking_uri"], config["model_name"])
    given = {"tags": {}, "description": "", "replaces": ""}
    address = f"minio://{store.bucket}/policy"
    registry.award(registry.bid(address, digest="d", **given))
    assert "no manifest.json lies there" in resolved(settings, tmp_path).warnings[0]
    store.forget_keys(monkeypatch)
    with pytest.raises(ArtifactError, match=r"minio://.*: cannot be looked at: minio:// needs COPG_MINIO"):
        resolved(settings, tmp_path)


def test_a_registry_that_forgot_its_champion_is_told_where_policies_of_champions_are_kept(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    first = resolved(settings, tmp_path)
    assert first.warnings == []
    kept = Path(first.plans["promote"]["config"]["champions"]) / settings["name"]
    make_policy(kept / "0123456789ab", "champion")
    (warning,) = resolved(settings, tmp_path).warnings
    assert warning.startswith(f"champion: the registry at {settings['tracking']} names none of ")
    assert f"though {kept} keeps 1 that it had: is it another registry, or damaged?" in warning
