"""Which files a name of records stands for, and what is in them by their names."""

import re
from contextlib import AbstractContextManager
from pathlib import Path

from copg.digests import file_digest, json_digest
from copg.errors import RecordError
from copg.stores.promised import as_promised

FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".parquet": "parquet"}
COMPRESSIONS = {".gz": (b"\x1f\x8b", "gzip"), ".zst": (b"\x28\xb5\x2f\xfd", "zstd")}
"""First bytes, which decide, and name."""
READABLE = sorted(FORMATS) + [f"{ending}{c}" for ending in (".jsonl", ".csv") for c in COMPRESSIONS]

MAX_NAMED = 3
"""Of the files that are not read, by kind."""
_PATTERN = re.compile(r"[*?\[]")

SAVED_DATA_SET = (("dataset_dict.json",), ("state.json", "dataset_info.json"))
"""What tells a folder that ``datasets`` saved."""


def find_files(records: str) -> list[tuple[str, Path]]:
    """The files that ``records`` names, by relative name; none when only a data set can be meant.

    Hidden files and, in a folder or a pattern, files of other kinds are passed over.

    Raises:
        RecordError: a path that is not there, or that holds nothing readable.
    """
    path = Path(records)
    if not records:
        raise RecordError("records is empty; name a file, a folder, a pattern or a data set")
    if path.is_file():
        if file_format(path) is None:
            raise RecordError(f"{records}: a file of records ends in one of {READABLE}")
        return [(_name(path, path.parent), path)]
    if _is_saved(path):
        return []
    if not path.is_dir() and not _PATTERN.search(records):
        if file_format(path) is None and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", records):
            return []
        raise RecordError(f"{records}: no such file or folder")
    named = [(name, p) for name, p in _entries(records) if p.is_file() and file_format(p) is not None]
    if not named:
        told = "".join(f"; {line}" for line in passed_over(records))
        raise RecordError(f"{records}: holds no file of records; they end in one of {READABLE}{told}")
    return named


def passed_over(records: str) -> list[str]:
    """A line for each kind of thing that lies in a folder or meets a pattern, and is not read.

    Hidden ones, and folders that are gone through, are not counted.
    """
    path = Path(records)
    if not records or _is_saved(path) or not (path.is_dir() or _PATTERN.search(records)):
        return []
    kinds: dict[str, list[str]] = {}
    for name, entry in _entries(records):
        if entry.is_dir() and entry.is_symlink() and path.is_dir():
            kinds.setdefault("folders that are links are not followed", []).append(name)
        elif entry.is_file() and file_format(entry) is None:
            kinds.setdefault("files whose ending nobody reads", []).append(name)
        elif not entry.is_file() and not entry.is_dir():
            kinds.setdefault("no files, or links that lead nowhere", []).append(name)
    return [f"{kind}: {some(names)}" for kind, names in sorted(kinds.items())]


def _is_saved(folder: Path) -> bool:
    return any(all((folder / name).is_file() for name in names) for names in SAVED_DATA_SET)


def _entries(records: str) -> list[tuple[str, Path]]:
    """All that lies in a folder, at any depth, or meets a pattern, by relative name; hidden ones apart."""
    path = Path(records)
    root = path if path.is_dir() else Path(_PATTERN.split(records, maxsplit=1)[0] + "_").parent
    found = path.rglob("*") if path.is_dir() else root.glob(str(path.relative_to(root)))
    named = sorted((_name(entry, root), entry) for entry in found)
    return [(name, p) for name, p in named if not any(part[:1] == "." for part in name.split("/"))]


def some(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def source_files(records: str) -> list[tuple[str, Path]]:
    """All that decides what ``records`` holds, by relative name: its files, or those of a saved data set.

    Raises:
        RecordError: as ``find_files``.
    """
    named = find_files(records)
    folder = Path(records)
    if not named and folder.is_dir():  # saved by ``datasets``
        named = [(str(f.relative_to(folder)), f) for f in sorted(folder.rglob("*")) if f.is_file()]
    return named


def source_digest(named: list[tuple[str, Path]]) -> str:
    """Of names and bytes."""
    return json_digest({name: file_digest(file) for name, file in named})


def records_as_promised(records: str, digest: str) -> AbstractContextManager[None]:
    """Around the reading of records: refused where they are not, or do not stay, those of the digest.

    Args:
        digest: of the records that are meant; empty: whatever lies there.
    """

    def files() -> list[Path]:
        return [path for _, path in source_files(records)]

    def read() -> str:
        return source_digest(source_files(records))

    return as_promised(records, digest, files=files, digest=read, error=RecordError)


def file_format(path: Path) -> str | None:
    """``jsonl``, ``csv`` or ``parquet``, by the name; None for any other file."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return FORMATS.get(suffixes[-1]) if suffixes else None


def _name(path: Path, root: Path) -> str:
    """Relative, with forward slashes, and UTF-8 even where the file system holds other bytes."""
    return path.relative_to(root).as_posix().encode("utf-8", "backslashreplace").decode()
