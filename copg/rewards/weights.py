"""What the name of a model in a reward's settings stands for."""

from pathlib import Path
from typing import Any

from copg.digests import model_digest
from copg.errors import ModelError


def load_classifier(reward: Any) -> Any:
    """The ``Classifier`` of a reward by its model, ``revision``, ``dtype`` and ``max_tokens``."""
    import torch

    from copg.rewards.classifier import Classifier

    model_content(reward.model, reward.revision)
    dtype = getattr(torch, reward.dtype)
    return Classifier(reward.model, revision=reward.revision, dtype=dtype, max_tokens=reward.max_tokens)


def model_content(model: str, revision: str | None) -> dict[str, str]:
    """What a model's name stands for: the digest of its directory, or its commit on the hub.

    Raises:
        ModelError: a hub name without a commit, whose meaning may change from one day to the next.
    """
    if Path(model).is_dir():
        return {"model": model_digest(Path(model))}
    if revision is None or len(revision) != 40:
        raise ModelError(
            f"model={model!r} is no directory; for a model of the hub set revision to its commit "
            f"(40 hexadecimal digits), found {revision!r}"
        )
    return {"model": revision}
