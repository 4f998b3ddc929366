"""What lies at an address, which is a path or a URL of any store that fsspec knows, and copies of it."""

import hashlib
import shutil
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from copg.artifacts import MANIFEST, WEIGHTS_DELETED, Manifest, parse_manifest, sync
from copg.errors import ArtifactError, without_secrets
from copg.progress import warn
from copg.stores.files import patiently
from copg.stores.retrying import Retries

T = TypeVar("T")
_BLOCK = 2**24
LOOKING = Retries(first_s=1.0, longest_s=10.0, patience_s=60.0)
"""For what an earlier run left: where it cannot be had, there is another way."""


def is_finished(address: str) -> bool:
    """Whether an artifact lies there: a file, or a directory with a manifest; False where nobody can look."""
    if "://" not in address:
        path = Path(address)
        return (path / MANIFEST).is_file() if path.is_dir() else path.exists()
    import fsspec

    try:
        files, path_there = fsspec.url_to_fs(address)
        here = (path_there, f"{path_there}/{MANIFEST}")
        whole = _ask(address, lambda: any(map(files.isfile, here)))
    except Exception as error:  # of an object store, whatever its client raises
        said = without_secrets(f"{type(error).__name__}: {error}").partition("\n")[0]
        warn(f"{address}: cannot be looked at, so it is made again ({said})")
        return False
    return bool(whole)


def find_damage(address: str, *, digest: str) -> str:
    """What is wrong with an artifact, in a few words; empty when each of its files is what it should be.

    Args:
        address: of its directory.
        digest: that its manifest must have.

    Raises:
        ArtifactError: its store does not answer, or lets nobody in: that says nothing about the artifact.
    """
    import fsspec

    try:
        files, root = fsspec.url_to_fs(address)
        found = _ask(address, lambda: _manifest(files, root))
        if found is None:
            return f"no {MANIFEST} lies there"
        if found.digest != digest:
            return f"another artifact lies there, of digest {found.digest[:12]}"
        for name, expected in found.files.items():
            if damage := _ask(address, partial(_file_damage, files, root, name, expected)):
                return damage
    except OSError as error:
        raise ArtifactError(f"{address}: cannot be looked at: {_line(error)}") from None
    except (ImportError, ValueError) as error:  # no such scheme here, or no manifest
        return _line(error)
    return ""


def state_of(address: str) -> list[list[str]]:
    """Name, size and time of change of each file there: while they stay the same, so do the contents.

    An address that nobody can look at has none.
    """
    import fsspec

    try:
        files, root = fsspec.url_to_fs(address)
        found = _ask(address, lambda: files.find(root, detail=True))
    except (OSError, ImportError, ValueError):
        return []
    kept = ("size", "mtime", "ino", "LastModified", "ETag", "updated")
    return [[name, *(str(info.get(key)) for key in kept)] for name, info in sorted(found.items())]


def names_in(address: str) -> list[str]:
    """Names of what lies directly in a folder; empty where there is none, or nobody can look."""
    import fsspec

    try:
        files, root = fsspec.url_to_fs(address)
        found = _ask(address, lambda: files.ls(root, detail=False))
    except (OSError, ImportError, ValueError):
        return []
    return sorted(name.rstrip("/").rpartition("/")[2] for name in found)


def copy_artifact(source: str, target: str) -> None:
    """Copy a directory, its manifest last so that it is whole or does not exist, or a single file.

    Within one file system files become links, within one object store the store itself copies.

    Raises:
        ArtifactError: something cannot be read or written.
    """
    import fsspec

    try:
        files, root = fsspec.url_to_fs(source)
        there, base = fsspec.url_to_fs(target)
        if _ask(source, lambda: files.isfile(root)):
            return _ask(f"{source} to {target}", lambda: _copy_file(files, root, there, base))
        names = sorted(
            _ask(source, lambda: _relative(files, root)), key=lambda name: (name == MANIFEST, name)
        )
        if not names:
            raise FileNotFoundError("nothing lies there")
        for name in names:
            copy = partial(_copy_file, files, f"{root}/{name}", there, f"{base}/{name}")
            _ask(f"{source} to {target}", copy)
    except (OSError, ImportError, ValueError) as error:
        raise ArtifactError(f"{source}: cannot be copied to {target}: {_line(error)}") from None


def _ask(address: str, call: Callable[[], T]) -> T:
    """What a call gives that may be made again; of a store, a fault that passes is waited out."""
    return patiently(call, what=address, retries=LOOKING) if "://" in address else call()


def _copy_file(files: Any, path: str, there: Any, target: str) -> None:
    if not _is_local(there):
        if files is there:
            there.cp_file(path, target)
            return
        with files.open(path, "rb") as given, there.open(target, "wb") as taken:
            shutil.copyfileobj(given, taken, _BLOCK)
        return
    part = Path(f"{target}.{uuid.uuid4().hex}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        if not (_is_local(files) and _linked(path, part)):
            with files.open(path, "rb") as given, part.open("wb") as taken:
                shutil.copyfileobj(given, taken, _BLOCK)
        sync(part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)  # also where both names were one file already


def _linked(path: str, target: Path) -> bool:
    """Whether a hard link could be made: not across file systems, nor on every volume."""
    try:
        target.hardlink_to(path)
    except OSError:
        return False
    return True


def _is_local(files: Any) -> bool:
    return "file" in (files.protocol if isinstance(files.protocol, tuple) else (files.protocol,))


def _relative(files: Any, root: str) -> list[str]:
    return [str(path).removeprefix(root).lstrip("/") for path in files.find(root)]


def _manifest(files: Any, root: str) -> Manifest | None:
    try:
        return parse_manifest(files.cat_file(f"{root}/{MANIFEST}"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{MANIFEST}: {error}") from None


def _file_damage(files: Any, root: str, name: str, expected: str) -> str:
    try:
        with files.open(f"{root}/{name}", "rb") as file:
            found = hashlib.sha256()
            while block := file.read(_BLOCK):
                found.update(block)
    except FileNotFoundError:
        note = f"{root}/{WEIGHTS_DELETED}"
        why = f": {files.cat_file(note).decode().strip()}" if files.isfile(note) else ""
        return f"{name} is missing{why}"
    return "" if found.hexdigest() == expected else f"{name} changed since it was written"


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
