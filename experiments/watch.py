"""Eyes on a policy while the product's own stage trains it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from copg.lm.scorer import SequenceScorer


@contextmanager
def watch_policy(look: Callable[[int, Any], None]) -> Iterator[None]:
    """Calls ``look(steps done, model)`` before each optimiser step of whatever trains inside.

    The stage keeps no weights of the way; this reads them where the rows go in, and changes nothing.
    """
    steps = 0

    def hook(module: torch.nn.Module, _: Any) -> None:
        nonlocal steps
        if isinstance(module, SequenceScorer) and torch.is_grad_enabled():
            look(steps, module.model)
            steps += 1

    handle = register_module_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()
