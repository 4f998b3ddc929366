"""One process of a TrainJob: it trains, and notes what its pod has in use for who follows the job.

A pod that is killed for its memory cannot say how much it took, and the cluster keeps its limit alone.
"""

import os
import socket
import sys
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from copg.errors import DamageError
from copg.lm.memory import gib
from copg.run.memory_watch import noting_memory
from copg.stages.train import train_policy
from copg.stores.sealed import read_sealed, write_sealed
from copg.training.launch import REQUEST, take_part

WORKER = "copg_components.cluster.node"
"""This module: ``torchrun -m copg_components.cluster.node FOLDER`` starts the processes of a node."""
MEMORY = "memory"
"""Folder beside the request, with a file for each pod."""


def be_of_node(folder: Path, host: str, *, every_s: float | None = None) -> None:
    """Train as the request in ``folder`` says; the first process of a pod notes each new peak of its memory.

    Args:
        folder: that all nodes see.
        host: of this pod.
        every_s: seconds between two looks; None: as in every task.
    """

    def note(memory: dict[str, Any]) -> None:
        with suppress(OSError):  # the training goes on without
            write_sealed(_path(folder, host), memory)

    first = os.environ.get("LOCAL_RANK", "0") == "0"
    settings = _read(folder / REQUEST).get("config", {})
    with noting_memory("train", settings, note, every_s=every_s) if first else nullcontext():
        take_part(folder, train_policy)


def memory_noted(folder: Path, host: str) -> tuple[str, str]:
    """What a pod had in use when it was last looked at, in words, and which settings take less.

    Args:
        folder: as above.
        host: of the pod.

    Returns:
        ``("61.2 GiB of 64.0 GiB", "train.rows.tokens_per_batch=8192")``; empty where nothing was noted.
    """
    memory = _read(_path(folder, host))
    if not {"peak", "limit"} <= memory.keys():
        return "", ""
    return f"{gib(memory['peak'])} of {gib(memory['limit'])}", ", ".join(memory.get("lower", []))


def _path(folder: Path, host: str) -> Path:
    return folder / MEMORY / f"{host}.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_sealed(path, remedy="it is taken for none")
    except DamageError:
        return {}


if __name__ == "__main__":
    be_of_node(Path(sys.argv[1]), socket.gethostname())
