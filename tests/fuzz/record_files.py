"""Hostile files of records: each line is a record or has its reason, or the file is refused in a line."""

import csv
import gzip
import io
import json
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from copg.data.found import Reading
from copg.data.portions import portions
from copg.data.readers import Rows
from copg.data.rejections import REJECTED
from copg.data.shapes import READ_AS
from copg.errors import CopgError
from copg.stages.validate import ValidateConfig, validate_records
from tests.fuzz.values import FIELDS, damaged, line, row, table

MOST_CHARS = 5000
"""Of a line that refuses something."""
Made = dict[str, Any]
"""What a whole run of cases shares."""


def account(path: Path, reading: Reading, lines: Iterable[int], *, called: str = "") -> None:
    """Read a file, and see that each of its lines is a record or has a reason.

    Args:
        path: of the file, or of a folder.
        reading: what the user says of it.
        lines: the numbers of those that hold something.
        called: what a record calls it; empty: as the file is named.
    """
    told: Counter[int] = Counter()
    for portion in portions(Rows(str(path)), reading, num_workers=0):
        for found in (portion.records, portion.defects):
            for source in found["source"].to_pylist():
                name, _, number = source.rpartition(":")
                assert name == (called or path.name)
                told[int(number)] += 1
        for defect in portion.defects.to_pylist():
            assert defect["reason"]
            assert defect["detail"]
            assert len(defect["detail"]) < MOST_CHARS
    assert set(told) == set(lines)


def reading(rng: random.Random) -> Reading:
    """What the user says, at times something that the records are not."""
    asked = rng.choice((None, None, None, *READ_AS))
    columns = {rng.choice(("prompt", "reward", "completion")): rng.choice((*FIELDS, "a.b", "", "\x00"))}
    return Reading(columns if rng.random() < 0.2 else {}, asked, rng.random() < 0.2)


def lines(rng: random.Random, most: int) -> list[bytes]:
    """Lines of a file that is not one list."""
    rows = [line(rng).replace(b"\n", b" ") for _ in range(rng.randint(1, most))]
    return [b"{}", *rows] if b"".join(rows).strip(b" \t\n\r\x0b\f").startswith(b"[") else rows


def read_list(rng: random.Random, folder: Path, made: Made) -> None:
    """One list over any number of lines, whole or hurt: items have their places, or the file is refused."""
    rows = [row(rng) for _ in range(rng.randint(1, 12))]
    text = json.dumps(rows, ensure_ascii=rng.random() < 0.5, indent=rng.choice((None, 1)))
    data = text.encode("utf-8", "surrogatepass")
    path = folder / rng.choice(("a.json", "b.jsonl"))
    if rng.random() < 0.5:
        path.write_bytes(data)
        account(path, reading(rng), range(1, len(rows) + 1))
        return
    path.write_bytes(b"[" + damaged(rng, data[1:]))
    there = sum(1 for _ in Rows(str(path)))
    account(path, reading(rng), range(1, there + 1))


def read_lines(rng: random.Random, folder: Path, made: Made) -> None:
    rows = lines(rng, 12)
    data = rng.choice((b"", b"", b"\xef\xbb\xbf")) + b"\n".join(rows) + rng.choice((b"", b"\n", b"\n\n"))
    path = folder / rng.choice(("a.jsonl", "b.json", "c.ndjson"))
    path.write_bytes(data if rng.random() < 0.95 else data.decode(errors="replace").encode("utf-16"))
    there = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    account(path, reading(rng), (n for n, each in enumerate(there, 1) if each.strip(b" \t\n\r\x0b\f")))


def read_table(rng: random.Random, folder: Path, made: Made) -> None:
    cells: list[dict[str, str]] = []
    for _ in range(rng.randint(1, 6)):
        each = row(rng)
        fields = each if isinstance(each, dict) else {"prompt": each}
        cells.append({k: v if isinstance(v, str) else json.dumps(v) for k, v in fields.items()})
    names = list(dict.fromkeys(name for each in cells for name in each)) or ["prompt"]
    stream = io.StringIO()
    ends = rng.choice(("\n", "\r\n", "\r"))
    writer = csv.DictWriter(stream, names, lineterminator=ends, escapechar="\\", restval="")
    writer.writeheader()
    for each in cells:
        writer.writerow(each)
    data = stream.getvalue().encode("utf-8", "surrogatepass")
    path = folder / "a.csv"
    path.write_bytes(damaged(rng, data) if rng.random() < 0.5 else data)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        try:
            found, last, reader = [], 0, csv.reader(text, strict=True)
            for each in reader:
                found += [last + 1] if each else []  # the line on which the record begins
                last = reader.line_num
        except csv.Error:
            found = []
    account(path, reading(rng), found[1:])


def read_parquet(rng: random.Random, folder: Path, made: Made) -> None:
    path = folder / "a.parquet"
    data = io.BytesIO()
    try:
        pq.write_table(table(rng), data)
    except (pa.ArrowException, ValueError):
        return  # no such file can be
    path.write_bytes(damaged(rng, data.getvalue()) if rng.random() < 0.3 else data.getvalue())
    account(path, reading(rng), [1])


def read_compressed(rng: random.Random, folder: Path, made: Made) -> None:
    data = b"\n".join(lines(rng, 3))
    kinds = (("a.jsonl.gz", gzip.compress(data)), ("a.jsonl.zst", zstandard.compress(data)))
    name, packed = rng.choice(kinds)
    hurt = rng.random() < 0.6
    (folder / name).write_bytes(damaged(rng, packed) if hurt else packed)
    if hurt:
        for _ in portions(Rows(str(folder / name)), reading(rng), num_workers=0):
            pass
    else:
        there = enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1)
        account(folder / name, reading(rng), (n for n, each in there if each.strip(b" \t\n\r\x0b\f")))


def read_saved(rng: random.Random, folder: Path, made: Made) -> None:
    """A data set as ``datasets`` saves it."""
    import datasets

    rows = [each for each in (row(rng) for _ in range(rng.randint(1, 4))) if isinstance(each, dict)]
    try:
        saved = datasets.Dataset.from_list(rows) if rng.random() < 0.6 else datasets.Dataset(table(rng))
        saved.save_to_disk(folder / "set")
    except Exception:  # of pyarrow, datasets and the file system: no such data set can be
        return
    if rng.random() < 0.5:
        hurt = rng.choice(sorted((folder / "set").iterdir()))
        hurt.write_bytes(damaged(rng, hurt.read_bytes()))
        for _ in portions(Rows(str(folder / "set")), reading(rng), num_workers=0):
            pass
    else:
        account(folder / "set", reading(rng), range(1, len(saved) + 1), called="set/data")


def validate_lines(rng: random.Random, folder: Path, made: Made) -> None:
    """A file through the whole stage: every record is in a group, merged, or kept with its reason."""
    rows = lines(rng, 40)
    (folder / "a.jsonl").write_bytes(b"\n".join(rows))
    asked = rng.choice((*[None] * 9, *READ_AS))
    config = ValidateConfig(workers=0, max_rejected_fraction=1.0, min_completions=1, read_as=asked)
    there = sum(1 for each in rows if each.strip(b" \t\n\r\x0b\f"))
    metrics, refused = {}, None
    try:
        metrics = validate_records(config, str(folder / "a.jsonl"), folder / "groups")
    except CopgError as error:
        refused = error
    rejected = (folder / "groups" / REJECTED).read_bytes().count(b"\n")
    if refused is not None:
        assert rejected == there or "nothing is left" not in str(refused), refused
        raise refused
    assert metrics["records/read"] == there
    assert metrics["groups/count"] + metrics["records/merged"] + rejected == there
