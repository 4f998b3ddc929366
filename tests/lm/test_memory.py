"""An error for want of memory becomes one line; every other stays what it is."""

from pathlib import Path
from typing import Any

import pytest
import torch

from copg.lm import memory
from copg.lm.memory import container_limit, in_use, memory_mistake

SETTINGS: dict[str, Any] = {
    "train": {
        "rows": {"tokens_per_batch": 8192.0, "tokens_per_row": 0},
        "samples": {"generation": {"tokens_per_batch": 512}},
    }
}
LOWER = "lower train.rows.tokens_per_batch=8192, train.samples.generation.tokens_per_batch=512, or take a"
GIB = 2**30


def test_a_card_that_is_full_is_told_with_peak_size_and_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 78 * GIB)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (GIB, 80 * GIB))
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nsecond line")
    said = str(memory_mistake(error, SETTINGS))
    assert said == (
        f"the memory of the card is full: 78.0 GiB of 80.0 GiB in use at the peak; {LOWER} larger one"
    )


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried"
        ),
        MemoryError("Unable to allocate 3.73 GiB for an array"),
        OSError(12, "Cannot allocate memory"),
    ],
    ids=["torch", "numpy", "fork"],
)
def test_a_machine_that_is_full_is_told_too(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "container_limit", lambda: 3 * GIB)
    monkeypatch.setattr(memory, "in_use", lambda: 2 * GIB)
    said = str(memory_mistake(error, SETTINGS))
    assert said.startswith(
        "the memory of the machine is full: 2.0 GiB of 3.0 GiB in use at the peak; lower train."
    )
    monkeypatch.setattr(memory, "container_limit", lambda: None)
    said = str(memory_mistake(error, {}))
    assert said == "the memory of the machine is full; lower a stage's tokens_per_batch, or take a larger one"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: device-side assert triggered"),
        ValueError("out of memory"),
        OSError(28, "No"),
    ],
)
def test_other_errors_are_none(error: Exception) -> None:
    assert memory_mistake(error, SETTINGS) is None


def test_a_container_tells_its_limit_and_what_it_cannot_give_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert (container_limit(), in_use()) == (None, 0)
    (tmp_path / "memory.max").write_text("max\n")
    assert container_limit() is None
    (tmp_path / "memory.max").write_text(f"{3 * GIB}\n")
    (tmp_path / "memory.current").write_text(f"{2 * GIB}\n")
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {GIB}\n")
    assert (container_limit(), in_use()) == (3 * GIB, GIB)


def test_the_first_kind_of_cgroup_is_read_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory/memory.limit_in_bytes").write_text("9223372036854771712\n")  # none
    assert container_limit() is None
    (tmp_path / "memory/memory.limit_in_bytes").write_text(f"{3 * GIB}\n")
    (tmp_path / "memory/memory.usage_in_bytes").write_text(f"{2 * GIB}\n")
    (tmp_path / "memory/memory.stat").write_text(f"inactive_file 5\ntotal_inactive_file {GIB}\n")
    assert (container_limit(), in_use()) == (3 * GIB, GIB)
