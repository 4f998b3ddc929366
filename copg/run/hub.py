"""Names of the hub: the commit that each points to, and what can be told of it before it is fetched."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from copg.digests import json_digest
from copg.errors import ModelError, RecordError
from copg.lm.weights import read_settings
from copg.stores.files import passes, patiently
from copg.stores.retrying import Retries

COMMIT_LENGTH = 40
HUB = Retries(first_s=2.0, longest_s=10.0, patience_s=30.0)
"""For a hub that is away: ``resolve``, which asks it, is tried once."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a name stands for."""

    digest: str
    folder: Path | None
    """Where its files lie on this machine; None for what is still on the hub."""
    revision: str | None = None
    """Commit on the hub; None for local files."""
    num_bytes: int = 0
    """Size of the local files."""


def find_on_hub(
    name: str, revision: str | None, kind: str, error: type[RecordError] | type[ModelError]
) -> Source:
    """The commit that a hub name points to; without network, the one in the hub's local cache.

    Raises:
        CopgError: of the class ``error``: neither knows the name.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if revision is not None and len(revision) == COMMIT_LENGTH:
        return Source(json_digest([kind, name, revision]), cached(name, revision, kind), revision)

    def ask() -> Source:
        commit = str(HfApi().repo_info(name, revision=revision, repo_type=kind).sha)
        return Source(json_digest([kind, name, commit]), cached(name, commit, kind), commit)

    try:
        return ask()
    except Exception as problem:  # whatever the network does, the hub's cache may still know the name
        try:
            found = snapshot_download(name, revision=revision, repo_type=kind, local_files_only=True)
            return Source(json_digest([kind, name, Path(found).name]), Path(found), Path(found).name)
        except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError):
            reason = str(problem).partition("\n")[0]
            passing = passes(problem)
    try:
        if passing:
            return patiently(ask, what=f"the hub, asked for {name},", retries=HUB)
    except Exception as problem:
        reason = str(problem).partition("\n")[0]
    raise error(f"{kind}={name!r}: no such local path, and the hub gave none: {reason}")


def cached(name: str, revision: str | None, kind: str) -> Path | None:
    """Where the cache of the hub on this machine holds a name at a revision, if it does."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, repo_type=kind, local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None


def look_up(model: str, revision: str | None) -> Source:
    """What the name of a model stands for on the hub, whose cache holds its configuration afterwards.

    Raises:
        ModelError: the hub has no such model, or cannot be reached and its cache holds none.
    """
    found = find_on_hub(model, revision, "model", ModelError)
    read_settings(model, found.revision)
    return found


def has_weights(folder: Path | None) -> TypeGuard[Path]:
    """Whether weights lie there: the cache of the hub may hold the configuration of a model alone."""
    return folder is not None and any(folder.glob("*.safetensors"))


def check_weights_on_hub(model: str, commit: str) -> None:
    """Refuse a model for which the hub holds pickled weights, or none; nothing where the hub is away.

    Raises:
        ModelError: it holds no safetensors.
    """
    from huggingface_hub import HfApi

    try:
        files = HfApi().list_repo_files(model, revision=commit)
    except Exception:  # whatever the network does: who loads it says so
        return
    if not any(file.endswith(".safetensors") and "/" not in file for file in files):
        raise ModelError(f"{model}: no *.safetensors weights on the hub; pickled weights are never loaded")
