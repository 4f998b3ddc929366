"""What the name of a model in a reward's settings stands for."""

from contextlib import AbstractContextManager
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from copg.artifacts import MANIFEST, json_value, read_manifest
from copg.config import configuration
from copg.digests import files_digest, json_digest
from copg.errors import ModelError
from copg.lm.weights import check_files
from copg.stores.model_files import MODEL_FILES, model_digest
from copg.stores.promised import as_promised, state_of_files

MODULES = "modules.json"
"""Of an embedding model: the folders of what comes after its transformer."""


@configuration
class OfModel:
    """A reward that a model gives."""

    model: str
    """Directory of the model, or its name on the hub together with ``revision``."""
    revision: str | None = None
    """Commit of a model of the hub: 40 hexadecimal digits."""

    def content(self) -> dict[str, str]:
        """What the model is, wherever it lies: what it was when this was first asked."""
        return {"model": self._digest}

    @cached_property
    def _digest(self) -> str:
        return model_content(self.model, self.revision)

    def held(self) -> AbstractContextManager[None]:
        """Around the loading: the files are, and stay, those whose digest ``content`` tells."""
        return as_promised(
            self.model,
            self._digest,
            files=lambda: files_of(self.model),
            digest=lambda: model_content(self.model, self.revision),
            error=ModelError,
        )


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

        check_trained(self.model, self._digest)
        dtype = getattr(torch, self.dtype)
        with self.held():
            return Classifier(self.model, revision=self.revision, dtype=dtype, max_tokens=self.max_tokens)


def check_trained(model: str, digest: str) -> None:
    """See that a reward model which was trained here is as it was left.

    Args:
        model: its directory, or the name of another model.
        digest: of what lies there.

    Raises:
        ArtifactError: a file of it is missing, or has changed.
    """
    folder = Path(model)
    if not (folder / MANIFEST).is_file():
        return
    left = read_manifest(folder, schema="reward_model", verify=False).files
    decisive = {str(file.relative_to(folder)) for file in files_of(model)}
    if json_digest({name: left[name] for name in decisive & left.keys()}) != digest:
        read_manifest(folder, schema="reward_model")  # names the file


def model_content(model: str, revision: str | None) -> str:
    """What a model's name stands for: the digest of its directory, or its commit on the hub.

    Files are read once a process, as long as they do not change.

    Raises:
        ModelError: a hub name without a commit, whose meaning may change from one day to the next, or a
            directory whose files cannot be loaded.
    """
    if Path(model).is_dir():
        return _digest(model, state_of_files(files_of(model)))
    if revision is None or len(revision) != 40:
        raise ModelError(
            f"model={model!r} is no directory; for a model of the hub set revision to its commit "
            f"(40 hexadecimal digits), found {revision!r}"
        )
    return revision


def files_of(model: str) -> list[Path]:
    """What decides the values of a model's directory: of an embedding model, its modules' folders too."""
    folder = Path(model)
    own = {path for pattern in MODEL_FILES for path in folder.glob(pattern) if path.name != MANIFEST}
    return sorted(own | set(_of_modules(folder)))


@lru_cache(maxsize=64)
def _digest(model: str, state: Any) -> str:
    """Of files in a state, which are read for it."""
    folder = Path(model)
    check_files(folder)
    whole, modules = model_digest(folder), _of_modules(folder)
    return json_digest([whole, files_digest(modules, folder)]) if modules else whole


def _of_modules(folder: Path) -> list[Path]:
    """Files in the folders that ``modules.json`` of an embedding model names: pooling, dense layers."""
    try:
        listed = json_value((folder / MODULES).read_bytes())
    except (OSError, ValueError):
        return []  # whoever loads the model says so
    names = (
        {each.get("path") for each in listed if isinstance(each, dict)} if isinstance(listed, list) else ()
    )
    found = [path for pattern in MODEL_FILES for path in folder.glob(f"*/{pattern}")]
    return [path for path in found if path.parent.name in names]
