"""One bit flipped in the rows of the tracking database that a later run reads: the same, or one line."""

import contextlib
import shutil
import sqlite3
import uuid
from pathlib import Path
from typing import Any

import pytest

from copg.errors import CopgError
from copg.run.champion import find_champion
from copg.run.sources import DigestMemo
from copg.tracking.budget import JUDGED, Budget
from copg.tracking.pointer import BEFORE, RUN_KEY, SAME
from copg.tracking.registry import Registry
from tests.evaluations import make_policy
from tests.test_flips import Kind, flip

FILE, NAME = "mlflow.db", "m"
DIGESTS = {tag: str(number) * 64 for number, tag in enumerate(SAME)}
READ = {
    "registered_model_tags": {"key", "value"},
    "registered_model_aliases": {"alias"},
    "model_versions": {"source", "description"},
    "model_version_tags": {"key", "value"},
}
"""Columns by table. The names of models, by which MLflow finds rows, and its own columns are exempt."""


def make_registry(folder: Path) -> None:
    """A champion, and an entry of the error budget with the note of what came of it."""
    policy = folder / "champions" / NAME / "policy"
    digest = make_policy(policy, "champion").digest
    registry = Registry(f"sqlite:///{folder / FILE}", NAME)
    tags = {**DIGESTS, RUN_KEY: "a run", BEFORE: "null"}
    assert (
        registry.award(registry.bid(str(policy), digest=digest, tags=tags, description="", replaces=""))
        is None
    )
    budget = Budget(registry, total=0.05)
    budget.spend(
        "k" * 64, level=0.025, policy_uri=str(policy), tags={JUDGED: "j" * 64, "gate_fraction": "0.25"}
    )
    budget.note("k" * 64, "not promoted: no gain")


def read_registry(folder: Path) -> Any:
    """What a run takes, from a copy of its own: an open database would not see what changed under it."""
    copy = folder / f"{uuid.uuid4().hex}.db"
    shutil.copyfile(folder / FILE, copy)
    uri = f"sqlite:///{copy}"
    try:
        promote = {"tracking_uri": uri, "model_name": NAME, "champions": str(folder / "champions")}
        found = find_champion(promote, "another run", DIGESTS, DigestMemo(folder / "memo"))
        if found.note:
            raise CopgError(found.note)
        budget = Budget(Registry(uri, NAME), total=0.05)
        return found, budget.spent(), budget.decided("j" * 64), budget.least("gate_fraction")
    finally:
        for left in folder.glob(f"{copy.name}*"):
            left.unlink()
        shutil.rmtree(folder / "memo", ignore_errors=True)


def places(folder: Path) -> dict[Path, list[int]]:
    """Bytes of the cells of ``READ``: texts side by side in a row are so in the file."""
    data, found = (folder / FILE).read_bytes(), set[int]()
    with contextlib.closing(sqlite3.connect(folder / FILE)) as database:
        database.row_factory = sqlite3.Row
        for table, columns in READ.items():
            for row in database.execute(f"SELECT * FROM {table}"):
                for run in _runs(dict(row)):
                    text = "".join(value for _, value in run).encode()
                    at = data.find(text)
                    assert at >= 0 or not columns & dict(run).keys(), (table, run)
                    for name, value in run:
                        found |= set(range(at, at + len(value.encode()))) if name in columns else set()
                        at += len(value.encode())
    return {folder / FILE: sorted(found)}


def _runs(row: dict[str, Any]) -> list[list[tuple[str, str]]]:
    """Neighbouring texts of a row; what is null takes no room between them."""
    runs: list[list[tuple[str, str]]] = [[]]
    for name, value in row.items():
        if isinstance(value, str):
            runs[-1].append((name, value))
        elif value is not None:
            runs.append([])
    return [run for run in runs if run]


REGISTRY = Kind(make_registry, read_registry, places)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_bits_of_the_rows_that_a_run_reads_change_nothing_or_are_told(tmp_path: Path) -> None:
    assert flip(REGISTRY, tmp_path / "registry", 176, "registry") > 0
