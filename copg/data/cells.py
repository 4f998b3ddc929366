"""Rows of CSV: cells under the names of a header."""

import contextlib
import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from copg.data.bounds import Bounds
from copg.data.json_lines import Defect, is_unicode
from copg.data.json_values import BOM
from copg.data.rows import Row
from copg.errors import RecordError

SEPARATORS = (",", ";", "\t")
"""Between the cells of CSV: that of its name, that of spreadsheets whose numbers have commas, and tabs."""
_SAYS = re.compile(r'"?sep=([,;\t|])"?[,;]*', re.IGNORECASE)
"""A first line by which Excel is told what stands between the cells, be it saved as a cell since."""
HEADER_BYTES = 65536
"""Of a file, in which its header is looked for."""


def separator_of(stream: "io.BufferedReader[Any]") -> str:
    """What stands between the cells: as Excel's own line ``sep=;`` before the header says, else by the
    header, a comma wherever there is one.
    """
    start = stream.peek(HEADER_BYTES).removeprefix(BOM).decode(errors="replace")
    header = next((line for line in start.splitlines() if line.strip()), "")
    if said := _SAYS.fullmatch(header):
        return said[1]
    for separator in SEPARATORS:
        with contextlib.suppress(csv.Error):
            if len(next(csv.reader([header], delimiter=separator), [])) > 1:
                return separator
    return SEPARATORS[0]


def read_cells(
    name: str, path: Path, stream: "io.BufferedReader[Any]", bounds: Bounds, separator: str
) -> Iterator[Row]:
    """A row for each record below the header, lines that are blank apart.

    Args:
        name: of the file in its folder.
        path: for messages.
        stream: its bytes, without compression.
        bounds: of a line.
        separator: of ``separator_of``.

    Raises:
        RecordError: it is no CSV, or its header names a column twice.
    """
    csv.field_size_limit(bounds.max_line_bytes)
    with io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        reader = csv.reader(text, strict=True, delimiter=separator)
        header: list[str] | None = None
        last = 0
        try:
            for cells in reader:
                line, last = last + 1, reader.line_num
                if header is None and _SAYS.fullmatch(separator.join(cells)):
                    continue
                if cells and header is None:
                    header = _read_header(path, line, cells)
                elif cells and header is not None:
                    yield _row_of(name, line, header, cells)
        except csv.Error as error:
            where = f"{path}:{last + 1}"
            raise RecordError(f"{where}: the record that begins here is not CSV: {error}") from None


def _row_of(name: str, line: int, header: list[str], cells: list[str]) -> Row:
    if len(cells) != len(header):
        uneven = Defect("not_an_object", f"{len(cells)} cells under a header of {len(header)}")
        return Row(name, line, value=cells, defect=uneven, cells=True)
    defect = None if is_unicode(cells) else Defect("invalid_utf8", "bytes that are not UTF-8")
    return Row(name, line, value=dict(zip(header, cells, strict=True)), defect=defect, cells=True)


def _read_header(path: Path, line: int, cells: list[str]) -> list[str]:
    if not is_unicode(cells):
        raise RecordError(f"{path}:{line}: the header is not UTF-8")
    if len(set(cells)) != len(cells):
        ((twice, _),) = Counter(cells).most_common(1)
        raise RecordError(f"{path}:{line}: the header names a column twice: {twice!r:.200}")
    return cells
