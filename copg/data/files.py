"""Which files a name of records stands for, and what is in them by their names."""

import re
from pathlib import Path

from copg.digests import file_digest, json_digest
from copg.errors import RecordError

FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".parquet": "parquet"}
COMPRESSIONS = {".gz": (b"\x1f\x8b", "gzip"), ".zst": (b"\x28\xb5\x2f\xfd", "zstd")}
"""First bytes, which decide, and name."""
READABLE = sorted(FORMATS) + [f"{ending}{c}" for ending in (".jsonl", ".csv") for c in COMPRESSIONS]

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
    if path.is_dir():
        if any(all((path / name).is_file() for name in names) for names in SAVED_DATA_SET):
            return []
        found, root = [p for p in path.rglob("*") if p.is_file()], path
    elif re.search(r"[*?\[]", records):
        root = Path(re.split(r"[*?\[]", records, maxsplit=1)[0] + "_").parent
        found = [p for p in root.glob(str(path.relative_to(root))) if p.is_file()]
    elif file_format(path) is None and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", records):
        return []
    else:
        raise RecordError(f"{records}: no such file or folder")
    named = sorted((_name(p, root), p) for p in found if file_format(p) is not None)
    named = [(name, p) for name, p in named if not any(part[0] == "." for part in name.split("/"))]
    if not named:
        raise RecordError(f"{records}: holds no file of records; they end in one of {READABLE}")
    return named


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


def file_format(path: Path) -> str | None:
    """``jsonl``, ``csv`` or ``parquet``, by the name; None for any other file."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return FORMATS.get(suffixes[-1]) if suffixes else None


def _name(path: Path, root: Path) -> str:
    """Relative, with forward slashes, and UTF-8 even where the file system holds other bytes."""
    return path.relative_to(root).as_posix().encode("utf-8", "backslashreplace").decode()
