"""Checkpoints: safetensors and JSON, complete or absent, from which a killed run goes on bit for bit."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from copg.artifacts import write_json

STATE = "state.json"


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
    """A safetensors file, complete or absent."""
    part = path.with_name(f".{path.name}.part")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part)
    part.replace(path)


def load_tensors(path: Path, model: torch.nn.Module) -> None:
    """Copy a file of ``trained_tensors`` back into the model."""
    stored = load_file(path)
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
    save_tensors(part / "model.safetensors", weights)
    save_tensors(part / "optimizer.safetensors", {**moments, **_generators()})
    write_json(part / STATE, {"step": step, **state})
    shutil.rmtree(target, ignore_errors=True)
    part.replace(target)
    for old in list_checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return target


def list_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    return sorted(path for path in folder.glob("step_*") if (path / STATE).is_file())


def load_checkpoint(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Put model, optimiser and random generators back, and return the plain state."""
    load_tensors(path / "model.safetensors", model)
    stored = load_file(path / "optimizer.safetensors")
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
    state: dict[str, Any] = json.loads((path / STATE).read_text())
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
