"""Reading files of records into rows that know where they came from."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from copg.data.bounds import BOUNDS, Bounds
from copg.data.cells import SEPARATORS, read_cells, separator_of
from copg.data.files import COMPRESSIONS, file_format, find_files, passed_over, some
from copg.data.json_values import BOM, LIST, OBJECTS, kind_of_values, read_values
from copg.data.rows import Lines, Row, rows_of, twice_named
from copg.errors import RecordError

ROWS_PER_BATCH = 1024
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class Rows:
    """The rows of one or several files in the order of their names, or of a ``datasets`` data set.

    Args:
        records: a file, a folder (all readable files in it, at any depth), a pattern with ``*``, a folder
            that ``datasets`` saved, or the name of a data set.
        subset: configuration of the data set.
        split: of the data set; needed when it has several.
        revision: of a data set on the hub.

    Raises:
        RecordError: there is nothing to read.
    """

    def __init__(
        self,
        records: str,
        *,
        subset: str | None = None,
        split: str | None = None,
        revision: str | None = None,
        bounds: Bounds = BOUNDS,
    ) -> None:
        self.bounds = bounds
        self.files = find_files(records)
        self.passed_over = passed_over(records)
        """What lies there and is not read, in a line a kind."""
        self.total_bytes = sum(path.stat().st_size for _, path in self.files)
        self._records, self._dataset = records, (subset, split, revision)
        self._finished_bytes = 0
        self._values: dict[str, dict[str, None]] = {LIST: {}, OBJECTS: {}}
        self._separators: dict[str, dict[str, None]] = {}
        self._open: io.BufferedReader[Any] | None = None

    @property
    def done_bytes(self) -> int:
        """How much of the files has been read, in bytes on disk."""
        return self._finished_bytes + (self._open.tell() if self._open else 0)

    @property
    def are_lines(self) -> bool:
        """True when every row is a line of JSON."""
        return bool(self.files) and all(file_format(path) == "jsonl" for _, path in self.files)

    def __iter__(self) -> Iterator[Row]:
        if not self.files:
            yield from _read_dataset(self._records, *self._dataset)
        for name, path, file in self._opened():
            match file_format(path):
                case "parquet":
                    yield from _read_parquet(name, path, file)
                case "csv":
                    yield from self._cells_of(name, path, file)
                case _:
                    for lines in self._lines_of(name, path, file):
                        yield from lines.rows()

    def lines(self) -> Iterator[Lines]:
        """The same rows in blocks, where they ``are_lines``, for others to take apart.

        Raises:
            RecordError: what makes a whole file unusable, with the line reached where there is one.
        """
        for name, path, file in self._opened():
            yield from self._lines_of(name, path, file)

    def told(self) -> list[str]:
        """A line for each kind of JSON file that is no lines, and for each separator of CSV that is no comma,
        once such files were read.
        """
        read = {kind: some([*names]) for kind, names in self._values.items() if names}
        lines = [f"read as {kind}, numbered by their places: {names}" for kind, names in read.items()]
        apart = {sign: some([*names]) for sign, names in self._separators.items()}
        return [*lines, *(f"read as cells between {sign!r}: {names}" for sign, names in apart.items())]

    def _cells_of(self, name: str, path: Path, file: "io.BufferedReader[Any]") -> Iterator[Row]:
        with _text_of(path, file) as stream:
            separator = separator_of(stream)
            if separator != SEPARATORS[0]:
                self._separators.setdefault(separator, {})[name] = None
            yield from read_cells(name, path, stream, self.bounds, separator)

    def _lines_of(self, name: str, path: Path, file: "io.BufferedReader[Any]") -> Iterator[Lines]:
        with _text_of(path, file) as stream:
            if kind := kind_of_values(stream):
                self._values[kind][name] = None
                yield from read_values(name, path, stream, self.bounds, kind=kind)
            else:
                yield from _read_lines(name, path, stream, self.bounds)

    def _opened(self) -> Iterator[tuple[str, Path, "io.BufferedReader[Any]"]]:
        for name, path in self.files:
            try:
                file = io.BufferedReader(io.FileIO(path), 2**20)
            except OSError as error:
                raise RecordError(f"{path}: cannot be opened: {error.strerror}") from None
            with file:
                if file.peek(64).startswith(LFS_POINTER):
                    how = "fetch it with 'git lfs pull'"
                    raise RecordError(f"{path}: is a git-lfs pointer, not the data; {how}")
                self._open = file
                try:
                    yield name, path, file
                finally:
                    self._open = None
            self._finished_bytes += path.stat().st_size


@contextlib.contextmanager
def _text_of(path: Path, file: "io.BufferedReader[Any]") -> "Iterator[io.BufferedReader[Any]]":
    """What a file of text holds, without its compression."""
    try:
        stream = _decompress(path, file, file.peek(64))
        if stream.peek(64).startswith(UTF_16):
            raise RecordError(f"{path}: is UTF-16; convert it to UTF-8")
        yield stream
    except OSError as error:
        raise RecordError(f"{path}: cannot be read to its end: {error}") from None


def _decompress(path: Path, file: "io.BufferedReader[Any]", head: bytes) -> "io.BufferedReader[Any]":
    for ending, (magic, name) in COMPRESSIONS.items():
        if head.startswith(magic):
            return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(file, "r"), name), 2**20)
        if path.suffix.lower() == ending:
            raise RecordError(f"{path}: is named {ending} but does not hold {name} data")
    return file


def _read_lines(name: str, path: Path, stream: "io.BufferedReader[Any]", bounds: Bounds) -> Iterator[Lines]:
    """Blocks of about a mebibyte, longer where a line is, and of a bounded number of lines."""
    first = 1
    while data := stream.read(bounds.bytes_per_block):
        if not data.endswith(b"\n"):
            data += stream.readline(bounds.max_line_bytes)
        num_lines = data.count(b"\n") + (not data.endswith(b"\n"))
        last = data.removesuffix(b"\n")
        if len(last) - last.rfind(b"\n") > bounds.max_line_bytes:
            where = f"{path}:{first + num_lines - 1}"
            raise RecordError(f"{where}: a line of {bounds.max_line_bytes >> 20} MiB or more")
        data = data.removeprefix(BOM) if first == 1 else data
        lines = [data] if num_lines <= bounds.lines_per_block else io.BytesIO(data).readlines()
        for start in range(0, len(lines), bounds.lines_per_block):
            yield Lines(name, first + start, b"".join(lines[start : start + bounds.lines_per_block]))
        first += num_lines


def _read_parquet(name: str, path: Path, file: "io.BufferedReader[Any]") -> Iterator[Row]:
    try:
        parquet = pq.ParquetFile(file, buffer_size=2**20)
        if twice := twice_named(parquet.schema_arrow):
            raise RecordError(f"{path}: names a column twice: {twice!r:.200}")
        num_read = 0
        for row in rows_of(name, parquet.iter_batches(ROWS_PER_BATCH)):
            yield row
            num_read += 1
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise RecordError(f"{path}: cannot be read as Parquet: {reason}") from None
    if num_read != (said := parquet.metadata.num_rows):  # damaged where no checksum tells it
        raise RecordError(f"{path}: cannot be read as Parquet: it says {said:,} rows, and holds {num_read:,}")


def _read_dataset(records: str, subset: str | None, split: str | None, revision: str | None) -> Iterator[Row]:
    """The rows of one split, in its order.

    Raises:
        RecordError: it cannot be loaded, or has several splits and none was chosen.
    """
    part, dataset = _load_dataset(records, subset, split, revision)
    name = f"{Path(records).name if Path(records).is_dir() else records}/{part}"
    if twice := twice_named(dataset.features.arrow_schema):
        raise RecordError(f"{records}: names a column twice: {twice!r:.200}")
    tables = dataset.with_format("arrow").iter(batch_size=ROWS_PER_BATCH)
    try:
        yield from rows_of(name, (whole(batch) for table in tables for batch in table.to_batches()))
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise RecordError(f"{records}: cannot be read as Arrow: {reason}") from None


def whole(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same, once its offsets are seen to lie in its memory: of a damaged file they may point anywhere.

    Raises:
        pa.ArrowInvalid: they do not.
    """
    batch.validate(full=True)
    return batch


def _load_dataset(
    records: str, subset: str | None, split: str | None, revision: str | None
) -> tuple[str, Any]:
    import datasets

    try:
        if Path(records).is_dir():
            loaded = datasets.load_from_disk(records)
        else:
            loaded = datasets.load_dataset(records, subset, revision=revision)
    except Exception as error:  # hub, network, disk and data set scripts each raise their own
        reason = str(error).partition("\n")[0]
        raise RecordError(f"{records}: no such file, and no data set that can be loaded: {reason}") from None
    if isinstance(loaded, datasets.Dataset):
        return str(loaded.split or "data"), loaded
    if split is None and len(loaded) == 1:
        (split,) = loaded
    if split is None or split not in loaded:
        raise RecordError(f"{records}: dataset_split={split!r} is not there; use one of {sorted(loaded)}")
    return split, loaded[split]
