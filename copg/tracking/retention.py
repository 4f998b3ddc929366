"""Disk space: the weights of policies that nobody keeps; everything else of them stays."""

from dataclasses import dataclass
from typing import Any

from copg.artifacts import MANIFEST, WEIGHTS_DELETED, parse_manifest
from copg.stores.files import open_files

NO_WEIGHTS = "it has no weights any more"


@dataclass(frozen=True, slots=True)
class Deleted:
    """What became of a policy's weights."""

    num_files: int = 0
    num_bytes: int = 0
    why_not: str = ""
    """Why nothing was deleted; empty when something was."""

    def __str__(self) -> str:
        if self.why_not:
            return f"kept: {self.why_not}"
        return f"deleted {self.num_files} files, {self.num_bytes / 2**20:.1f} MiB"


def delete_weights(uri: str, *, digest: str, reason: str) -> Deleted:
    """Delete the ``*.safetensors`` that a policy's manifest lists, and leave a note that says why.

    Nothing is touched in a directory without the manifest of a policy of this digest. A place that cannot
    be reached or written is no error: the weights stay and the answer says so.

    Args:
        uri: path or address of the policy's directory, whatever fsspec reads.
        digest: of the policy, as its evaluation has it.
        reason: a sentence for whoever asks for the weights later.
    """
    try:
        files, root = open_files(uri)
        if not files.isfile(f"{root}/{MANIFEST}"):
            return Deleted(why_not=f"no {MANIFEST} there")
        manifest = parse_manifest(files.cat_file(f"{root}/{MANIFEST}"))
        if manifest.schema != "policy" or manifest.digest != digest:
            return Deleted(why_not=f"its {MANIFEST} is not that of this policy")
        return _delete_listed(files, root, set(manifest.files), reason)
    except (OSError, ImportError, ValueError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        return Deleted(why_not=lines[0])


def _delete_listed(files: Any, root: str, listed: set[str], reason: str) -> Deleted:
    there = {path.removeprefix(root).lstrip("/"): path for path in files.find(root)}
    weights = [path for name, path in there.items() if name.endswith(".safetensors") and name in listed]
    if not weights:
        return Deleted(why_not=NO_WEIGHTS)
    num_bytes = sum(files.size(path) for path in weights)
    files.pipe_file(f"{root}/{WEIGHTS_DELETED}", f"{reason}\n".encode())
    for path in weights:
        files.rm_file(path)
    return Deleted(len(weights), num_bytes)
