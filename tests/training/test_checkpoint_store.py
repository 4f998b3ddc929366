"""Where checkpoints lie: an object store is as good as a folder."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from copg.errors import ConfigError
from copg.training.checkpoint import list_checkpoints, load_checkpoint, load_latest, save_checkpoint
from copg.training.checkpoint_store import CheckpointStore


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What an attempt has on its own machine."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "machine"))
    return tmp_path / "machine"


def save(store: CheckpointStore, step: int) -> None:
    model = torch.nn.Linear(2, 1)
    for each in model.parameters():
        torch.nn.init.constant_(each, float(step))
    save_checkpoint(store.folder, step, model, torch.optim.AdamW(model.parameters()), {"note": step}, keep=2)


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_another_machine_goes_on_from_the_latest_in_the_store(
    scheme: str, scratch: Path, tmp_path: Path
) -> None:
    url = f"file://{tmp_path}/store" if scheme == "file" else "memory://checkpoints/all"
    first = CheckpointStore(url, "run")
    first.fetch()
    for step in (1, 2, 3):
        save(first, step)
        (first.folder / "metrics.jsonl").write_text(f"{step}\n")
        first.push()
    shutil.rmtree(scratch)

    second = CheckpointStore(url, "run")
    second.fetch()
    assert [path.name for path in list_checkpoints(second.folder)] == ["step_00000003"]
    model = torch.nn.Linear(2, 1)
    state = load_checkpoint(list_checkpoints(second.folder)[0], model, torch.optim.AdamW(model.parameters()))
    assert (state["step"], state["note"], model.weight.tolist()) == (3, 3, [[3.0, 3.0]])
    assert (second.folder / "metrics.jsonl").read_text() == "3\n"

    second.remove()
    third = CheckpointStore(url, "run")
    third.fetch()
    assert list(third.folder.iterdir()) == []


def test_the_store_keeps_as_many_as_the_folder_and_no_half_ones(scratch: Path, tmp_path: Path) -> None:
    store = CheckpointStore(f"file://{tmp_path}/store", "run")
    store.fetch()
    for step in (1, 2, 3):
        save(store, step)
        store.push()
    remote = tmp_path / "store/run"
    assert sorted(path.name for path in remote.iterdir()) == ["step_00000002", "step_00000003"]
    (remote / "step_00000003/state.json").unlink()  # as if the last upload had broken off
    store.fetch()
    assert [path.name for path in list_checkpoints(store.folder)] == ["step_00000002"]


def test_what_an_earlier_run_left_on_this_machine_is_not_taken_for_the_stores(
    scratch: Path, tmp_path: Path
) -> None:
    store = CheckpointStore(f"file://{tmp_path}/store", "run")
    store.fetch()
    save(store, 9)
    store.fetch()
    assert list_checkpoints(store.folder) == []


def test_a_folder_stays_where_it_is(tmp_path: Path) -> None:
    store = CheckpointStore(str(tmp_path), "run")
    save(store, 1)
    store.fetch()
    store.push()
    assert store.folder == tmp_path / "run"
    assert len(list_checkpoints(store.folder)) == 1
    store.remove()
    assert not store.folder.exists()


def test_two_trainings_never_write_one_folder_and_the_second_is_told_who_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (CheckpointStore(str(tmp_path), "run") for _ in range(2))
    with first.held(0.0):
        said = rf"run: process {os.getpid()} on \S+, since 20\S+, trains there; wait for it, or end it"
        with pytest.raises(ConfigError, match=said), second.held(0.2):
            pass
        assert f"waits for process {os.getpid()}" in capsys.readouterr().err
        with CheckpointStore(str(tmp_path), "another").held(0.0):
            pass
    assert list(tmp_path.iterdir()) == []  # nothing is left of it
    with second.held(0.0):
        pass


HOLDING = """
import sys, time
from copg.training.checkpoint_store import CheckpointStore
with CheckpointStore(sys.argv[1], "run").held(0.0):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.nightly
def test_a_training_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    holding = subprocess.Popen([sys.executable, "-c", HOLDING, str(tmp_path)], stdout=subprocess.PIPE)
    assert holding.stdout.readline() == b"held\n"
    holding.kill()
    holding.wait()
    with CheckpointStore(str(tmp_path), "run").held(0.0):
        pass


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = CheckpointStore(str(tmp_path), "run")
    save(store, 1)
    save(store, 2)
    path = store.folder / "step_00000002/model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    model = torch.nn.Linear(2, 1)
    state = load_latest(store.folder, model, torch.optim.AdamW(model.parameters()))
    assert (state["step"], model.weight.tolist()) == (1, [[1.0, 1.0]])
    assert f"{path}: is damaged" in capsys.readouterr().err


def test_of_a_store_the_latest_that_is_whole_is_fetched_and_a_damaged_one_is_replaced(
    scratch: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = CheckpointStore(f"file://{tmp_path}/store", "run")
    store.fetch()
    for step in (1, 2):
        save(store, step)
        store.push()
    path = tmp_path / "store/run/step_00000002/model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    again = CheckpointStore(f"file://{tmp_path}/store", "run")
    again.fetch()
    assert [each.name for each in list_checkpoints(again.folder)] == ["step_00000001"]
    assert "step_00000002/model.safetensors: is damaged" in capsys.readouterr().err
    save(again, 2)
    again.push()
    assert path.read_bytes() == whole


def test_a_checkpoint_of_0_1_0_has_no_digest_and_is_believed(tmp_path: Path) -> None:
    store = CheckpointStore(str(tmp_path), "run")
    save(store, 3)
    folder = store.folder / "step_00000003"
    for name in ("model", "optimizer"):
        save_file(load_file(folder / f"{name}.safetensors"), folder / f"{name}.safetensors")
    (folder / "state.json").write_text('{"step": 3, "note": 3}')
    model = torch.nn.Linear(2, 1)
    state = load_latest(store.folder, model, torch.optim.AdamW(model.parameters()))
    assert (state, model.weight.tolist()) == ({"step": 3, "note": 3}, [[3.0, 3.0]])


def test_a_state_that_tells_no_step_is_named_and_the_checkpoint_before_is_used(
    scratch: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = CheckpointStore(f"file://{tmp_path}/store", "run")
    store.fetch()
    for step in (1, 2):
        save(store, step)
    (store.folder / "step_00000002/state.json").write_text("{}")
    model = torch.nn.Linear(2, 1)
    state = load_latest(store.folder, model, torch.optim.AdamW(model.parameters()))
    assert state is not None
    assert (state["step"], model.weight.tolist()) == (1, [[1.0, 1.0]])
    assert "step_00000002/state.json: tells no step; the training goes on" in capsys.readouterr().err
