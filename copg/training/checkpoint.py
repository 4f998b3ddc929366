"""Checkpoints: safetensors and JSON, complete or absent, from which a killed run goes on bit for bit."""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from copg.artifacts import replacing, sync
from copg.errors import DamageError
from copg.progress import warn
from copg.stores.sealed import SEAL, read_sealed, write_sealed

STATE, MODEL, OPTIMIZER = "state.json", "model.safetensors", "optimizer.safetensors"
REMEDY = "remove it and train again"


def trained_tensors(model: torch.nn.Module) -> dict[str, Tensor]:
    """What a checkpoint of the model holds: every parameter that takes gradients, by name."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def gather_tensors(tensors: Mapping[str, Tensor], *, keep: bool = True) -> dict[str, Tensor]:
    """The same tensors; one that is spread over processes is gathered on the CPU: every process must call.

    Args:
        keep: False in a process that only takes part; it gets nothing.
    """
    gathered = {}
    for name, tensor in tensors.items():
        full = tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor
        if keep:
            gathered[name] = full
    return gathered


def _like(stored: Tensor, parameter: Tensor) -> Tensor:
    """A tensor on a parameter's device; where that is spread, this process's share of it."""
    moved = stored.to(parameter.device)
    if not isinstance(parameter, DTensor):
        return moved
    return distribute_tensor(moved, parameter.device_mesh, parameter.placements, src_data_rank=None)


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """A safetensors file that carries the digest of its tensors, complete or absent."""
    dense = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with replacing(path) as part:
        save_file(dense, part, metadata={SEAL: _digest(dense)})


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, on the CPU.

    Raises:
        DamageError: they are not those that were written; a file of 0.1.0, without a digest, is believed.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        line = str(error).partition("\n")[0]
        raise DamageError(f"{path}: cannot be read ({line}); {REMEDY}") from None
    if metadata.keys() - {SEAL} or (SEAL in metadata and metadata[SEAL] != _digest(tensors)):
        raise DamageError(f"{path}: is damaged (it changed since it was written); {REMEDY}")
    return tensors


def _digest(tensors: Mapping[str, Tensor]) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.cpu().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def load_tensors(path: Path, model: torch.nn.Module) -> None:
    """Copy a file of ``trained_tensors`` back into the model.

    Raises:
        DamageError: the file is damaged.
    """
    _put_back(read_tensors(path), model)


def _put_back(stored: Mapping[str, Tensor], model: torch.nn.Module) -> None:
    for name, tensor in trained_tensors(model).items():
        tensor.copy_(_like(stored[name], tensor))


def save_checkpoint(
    folder: Path,
    step: int,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    state: Mapping[str, Any],
    *,
    keep: int,
    write: bool = True,
) -> Path:
    """Write ``folder/step_<n>`` and remove all but the latest ``keep``.

    Args:
        step: optimiser steps done.
        model: its trained parameters are saved.
        optimizer: its moments are saved, by parameter name.
        state: plain values: the cursor and whatever the loop needs.
        write: False in a process that only takes part in gathering what is spread over processes.
    """
    target = folder / f"step_{step:08d}"
    weights = gather_tensors(trained_tensors(model), keep=write)
    moments = gather_tensors(_moments(model, optimizer), keep=write)
    if not write:
        return target
    part = folder / f".{target.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save_tensors(part / MODEL, weights)
    save_tensors(part / OPTIMIZER, {**moments, **_generators()})
    write_sealed(part / STATE, {"step": step, **state})
    shutil.rmtree(target, ignore_errors=True)
    part.replace(target)
    sync(folder)
    for old in list_checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return target


def list_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    return sorted(path for path in folder.glob("step_*") if (path / STATE).is_file())


def load_latest(
    folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any] | None:
    """Go on from the latest checkpoint that is whole; None where there is none.

    One that is damaged is named on standard error, and the one before it is used. Nothing of the model or
    the optimiser is touched by one that is damaged.
    """
    for path in reversed(list_checkpoints(folder)):
        try:
            return load_checkpoint(path, model, optimizer)
        except DamageError as error:
            before = "the training goes on from the one before, or begins anew"
            warn(f"{str(error).removesuffix(REMEDY)}{before}")
    return None


def is_whole(path: Path) -> bool:
    """Whether a checkpoint is what was written; one that is not is named on standard error."""
    try:
        read_tensors(path / MODEL)
        read_tensors(path / OPTIMIZER)
        read_sealed(path / STATE, remedy=REMEDY)
    except DamageError as error:
        warn(f"{str(error).removesuffix(REMEDY)}it is left out")
        return False
    return True


def load_checkpoint(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Put model, optimiser and random generators back, and return the plain state.

    Raises:
        DamageError: one of its files is damaged; nothing was put back.
    """
    weights, stored = read_tensors(path / MODEL), read_tensors(path / OPTIMIZER)
    state = read_sealed(path / STATE, remedy=REMEDY)
    if "step" not in state:
        raise DamageError(f"{path / STATE}: tells no step; {REMEDY}")
    if missing := [name for name in trained_tensors(model) if name not in weights]:
        raise DamageError(f"{path}: has no {missing[0]}; {REMEDY}")
    _put_back(weights, model)
    torch.set_rng_state(stored.pop("rng.cpu"))
    for index in range(torch.cuda.device_count()):
        if f"rng.cuda.{index}" in stored:
            torch.cuda.set_rng_state(stored.pop(f"rng.cuda.{index}"), index)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and f"{name}.exp_avg" in stored:
            optimizer.state[parameter] = {
                "step": stored[f"{name}.step"].to(parameter.device),
                **{key: _like(stored[f"{name}.{key}"], parameter) for key in ("exp_avg", "exp_avg_sq")},
            }
    return state


def _moments(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _generators() -> dict[str, Tensor]:
    states = {"rng.cpu": torch.get_rng_state()}
    for index in range(torch.cuda.device_count()):
        states[f"rng.cuda.{index}"] = torch.cuda.get_rng_state(index)
    return states
