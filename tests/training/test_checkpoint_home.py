"""Where checkpoints lie: an object store is as good as a folder."""

import shutil
import tempfile
from pathlib import Path

import pytest
import torch

from copg.training.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from copg.training.checkpoint_home import CheckpointHome


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What an attempt has on its own machine."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "machine"))
    return tmp_path / "machine"


def save(home: CheckpointHome, step: int) -> None:
    model = torch.nn.Linear(2, 1)
    torch.nn.init.constant_(model.weight, float(step))
    save_checkpoint(home.folder, step, model, torch.optim.AdamW(model.parameters()), {"note": step}, keep=2)


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_another_machine_goes_on_from_the_latest_in_the_store(
    scheme: str, scratch: Path, tmp_path: Path
) -> None:
    url = f"file://{tmp_path}/store" if scheme == "file" else "memory://checkpoints/all"
    first = CheckpointHome(url, "run")
    first.fetch()
    for step in (1, 2, 3):
        save(first, step)
        (first.folder / "metrics.jsonl").write_text(f"{step}\n")
        first.push()
    shutil.rmtree(scratch)

    second = CheckpointHome(url, "run")
    second.fetch()
    assert [path.name for path in list_checkpoints(second.folder)] == ["step_00000003"]
    model = torch.nn.Linear(2, 1)
    state = load_checkpoint(list_checkpoints(second.folder)[0], model, torch.optim.AdamW(model.parameters()))
    assert (state["step"], state["note"], model.weight.tolist()) == (3, 3, [[3.0, 3.0]])
    assert (second.folder / "metrics.jsonl").read_text() == "3\n"

    second.remove()
    third = CheckpointHome(url, "run")
    third.fetch()
    assert list(third.folder.iterdir()) == []


def test_the_store_keeps_as_many_as_the_folder_and_no_half_ones(scratch: Path, tmp_path: Path) -> None:
    home = CheckpointHome(f"file://{tmp_path}/store", "run")
    home.fetch()
    for step in (1, 2, 3):
        save(home, step)
        home.push()
    store = tmp_path / "store/run"
    assert sorted(path.name for path in store.iterdir()) == ["step_00000002", "step_00000003"]
    (store / "step_00000003/state.json").unlink()  # as if the last upload had broken off
    home.fetch()
    assert [path.name for path in list_checkpoints(home.folder)] == ["step_00000002"]


def test_what_an_earlier_run_left_on_this_machine_is_not_taken_for_the_stores(
    scratch: Path, tmp_path: Path
) -> None:
    home = CheckpointHome(f"file://{tmp_path}/store", "run")
    home.fetch()
    save(home, 9)
    home.fetch()
    assert list_checkpoints(home.folder) == []


def test_a_folder_stays_where_it_is(tmp_path: Path) -> None:
    home = CheckpointHome(str(tmp_path), "run")
    save(home, 1)
    home.fetch()
    home.push()
    assert home.folder == tmp_path / "run"
    assert len(list_checkpoints(home.folder)) == 1
    home.remove()
    assert not home.folder.exists()
