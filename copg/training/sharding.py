"""A policy too large to be held with its moments by every process: spread over them by FSDP2."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from copg.lm.load import bare_model
from copg.training.checkpoint import gather_tensors, trained_tensors


def shard_scorer(scorer: Any, accelerator: Accelerator) -> Any:
    """Spread the weights of a ``SequenceScorer``, and so their gradients and moments, over all processes.

    A layer's weights are gathered when it computes and let go after; those outside of the layers stay through
    a forward and its backward. Weights keep their names and precision.
    """
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    layers = set(bare_model(scorer.model)._no_split_modules or ())
    for module in list(scorer.modules()):
        if type(module).__name__ in layers:
            fully_shard(module, mesh=mesh)
    return fully_shard(scorer, mesh=mesh)


class GatheredPolicy:
    """The policy as one model, for the main process to draw from and to write; filled when asked for."""

    def __init__(self, policy: Any, accelerator: Accelerator, *, sharded: bool) -> None:
        """Before the policy is spread.

        Args:
            policy: on the accelerator's device.
            sharded: whether it will be spread; else the policy itself is whole in every process.
        """
        self._policy, self._device, self._sharded = policy, accelerator.device, sharded
        self._twin: Any = None if sharded else policy
        if sharded and accelerator.is_main_process:
            policy.to("cpu")  # two of them would not fit on a GPU that one fills
            self._twin = copy.deepcopy(policy)
            policy.to(self._device)

    def gather(self) -> Any:
        """The model with the weights of now, in the main process; every process must ask together."""
        if self._sharded:
            tensors = gather_tensors(trained_tensors(self._policy), keep=self._twin is not None)
            with torch.no_grad():
                for name, parameter in trained_tensors(self._twin).items() if self._twin is not None else ():
                    parameter.copy_(tensors[name])
        return self._twin

    @contextmanager
    def computing(self) -> Iterator[Any]:
        """As ``gather``, on the device for as long as it is needed there."""
        model = self.gather()
        if not self._sharded or model is None:
            yield model
            return
        try:
            yield model.to(self._device)
        finally:
            model.to("cpu")
