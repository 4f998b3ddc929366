"""What the name of a model in a reward's settings stands for."""

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from copg.artifacts import MANIFEST, read_manifest
from copg.config import configuration
from copg.errors import ModelError
from copg.stores.model_files import model_digest


@configuration
class OfModel:
    """A reward that a model gives."""

    model: str
    """Directory of the model, or its name on the hub together with ``revision``."""
    revision: str | None = None
    """Commit of a model of the hub: 40 hexadecimal digits."""

    def content(self) -> dict[str, str]:
        """What the model is, wherever it lies."""
        return model_content(self.model, self.revision)


@configuration
class OfClassifier(OfModel):
    """A reward that a sequence classifier gives."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 halves the memory and ties values that differ by less than a hundredth of their size."""
    tokens_per_batch: int = 16384
    """Tokens in one forward, padding included."""
    max_tokens: int | None = None
    """Longest sequence the model reads; None: what its configuration says."""

    without_effect: ClassVar[tuple[str, ...]] = ("model", "revision", "tokens_per_batch")

    @cached_property
    def classifier(self) -> Any:
        """The model, loaded."""
        import torch

        from copg.rewards.classifier import Classifier

        check_trained(self.model)
        model_content(self.model, self.revision)
        dtype = getattr(torch, self.dtype)
        return Classifier(self.model, revision=self.revision, dtype=dtype, max_tokens=self.max_tokens)


def check_trained(model: str) -> None:
    """See that a reward model which was trained here is as it was left.

    Raises:
        ArtifactError: a file of it is missing, or has changed.
    """
    if (Path(model) / MANIFEST).is_file():
        read_manifest(Path(model), schema="reward_model")


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
