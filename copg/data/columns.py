"""Rows as Arrow columns: what each record holds, beside its counts and lengths."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from copg.data.counts import COUNTS, count_records
from copg.data.json_lines import Defect
from copg.data.rows import Row
from copg.data.shapes import Record, RecordReader
from copg.records import MESSAGES, SETTINGS, TOOLS, Prompt, prompt_id

RECORD_SCHEMA = pa.schema(
    [
        pa.field("id", pa.binary(16), nullable=False),
        pa.field("exact_id", pa.uint64(), nullable=False),
        pa.field("near_id", pa.uint64(), nullable=False),
        pa.field("side", pa.binary(16), nullable=False),
        pa.field("prompt", pa.string()),
        pa.field("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        pa.field("texts", pa.list_(pa.string()), nullable=False),
        pa.field("rewards", pa.list_(pa.float64())),
        pa.field("finished", pa.list_(pa.bool_()), nullable=False),
        pa.field("overlays", pa.list_(pa.string()), nullable=False),
        pa.field("distinct", pa.int64(), nullable=False),
        pa.field("columns", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
    ]
)
"""One row a record.

- ``id``: equal for prompts that differ in white space or Unicode form alone; ``exact_id``: for equal ones;
  ``near_id``: for those that differ in case, punctuation or chat form alone.
- ``side``: what decides on the split: the ``id``, or the digest of the record's cluster.
- ``overlays``: columns of each completion alone, as JSON.
- ``distinct``: how many of its completions differ.
"""

REMARKS = ("read_as", "unused", "dropped")
"""Of each record, in words: its shape; what of it was not used, or was read as absent; and the keys of its
messages that nothing reads, a line each.
"""

PORTION_SCHEMA = pa.schema(
    [
        *RECORD_SCHEMA,
        *(pa.field(name, pa.int64()) for name in COUNTS),
        *(pa.field(name, pa.string()) for name in REMARKS),
    ]
)
DEFECT_SCHEMA = pa.schema(
    [
        pa.field("position", pa.int64()),
        pa.field("source", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("record", pa.string()),
    ]
)

MAX_RECORD_CHARS = 2000
"""How much of a row is kept that is no record."""
_PUNCTUATION = bytes(c for c in range(128) if not chr(c).isalnum())


@dataclass(frozen=True, slots=True)
class Portion:
    """Consecutive rows as columns."""

    records: pa.RecordBatch
    """Of ``PORTION_SCHEMA``: the rows that are records, in order."""
    defects: pa.RecordBatch
    """Of ``DEFECT_SCHEMA``: the others, with their positions."""

    @property
    def num_rows(self) -> int:
        """Of both."""
        return int(self.records.num_rows + self.defects.num_rows)


def to_portion(rows: Iterable[Row], reader: RecordReader) -> Portion:
    """Parse rows and find out what they mean; a row that holds several groups counts as so many."""
    records: list[Record] = []
    sources: list[str] = []
    defects: list[dict[str, Any]] = []
    for row in rows:
        source = f"{row.file}:{row.line}"
        try:
            found = reader.read(row.parse(), cells=row.cells)
            for record in found if row.remark else ():
                record.unused = "; ".join(filter(None, (record.unused, row.remark)))
            records += found
            sources += [source] * len(found)
        except Defect as defect:
            position = len(records) + len(defects)
            texts = {"source": source, "reason": defect.reason, "detail": defect.detail, "record": _text(row)}
            defects.append({"position": position} | {name: printable(text) for name, text in texts.items()})
    return Portion(_to_batch(records, sources), pa.RecordBatch.from_pylist(defects, DEFECT_SCHEMA))


def _text(row: Row) -> str:
    if row.raw is not None:
        return row.raw[: 4 * MAX_RECORD_CHARS].decode("utf-8", "backslashreplace").strip()[:MAX_RECORD_CHARS]
    return str(row.value)[:MAX_RECORD_CHARS]


def printable(text: str) -> str:
    """Without halves of surrogate pairs, which no file can hold."""
    return text.encode("utf-8", "backslashreplace").decode()


def _to_batch(records: Sequence[Record], sources: Sequence[str]) -> pa.RecordBatch:
    asks = [_asked(record) for record in records]
    columns: list[list[Any]] = [
        [bytes.fromhex(prompt_id(r.prompt, asked)) for r, (asked, _) in zip(records, asks, strict=True)],
        [exact_id(r.prompt, asked) for r, (_, asked) in zip(records, asks, strict=True)],
        [near_id(r.prompt) for r in records],
        [],
        [r.prompt if isinstance(r.prompt, str) else None for r in records],
        [None if isinstance(r.prompt, str) else r.prompt for r in records],
        [r.texts for r in records],
        [r.rewards for r in records],
        [r.finished for r in records],
        [r.overlays or [None] * len(r.texts) for r in records],
        [_distinct(r) for r in records],
        [r.columns for r in records],
        list(sources),
    ]
    names = RECORD_SCHEMA.names
    columns[names.index("side")] = [r.side or key for r, key in zip(records, columns[0], strict=True)]
    arrays = [pa.array(c, field.type) for c, field in zip(columns, RECORD_SCHEMA, strict=True)]
    content = pa.array([_content(r.prompt) for r in records], pa.string())
    counts = count_records(content, arrays[names.index("texts")], arrays[names.index("rewards")])
    counts["unranked_completions"] = pa.array([r.unranked for r in records], pa.int64())
    counts["unsaid_ends"] = pa.array([r.unsaid_ends for r in records], pa.int64())
    remarks = [pa.array([getattr(r, name) for r in records], pa.string()) for name in REMARKS]
    return pa.RecordBatch.from_arrays(
        [*arrays, *(counts[name] for name in COUNTS), *remarks], schema=PORTION_SCHEMA
    )


def exact_id(prompt: Prompt, asked: str = "") -> int:
    """64-bit digest of a prompt to the letter, and of what it asks of its template."""
    text = (prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False)) + asked
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _asked(record: Record) -> tuple[str, str]:
    """What a chat asks of its template beside its messages, as JSON: however written, and to the letter.

    The order of keys is part of the letter: a template writes tools and calls as they stand.
    """
    held = record.columns
    asks = (TOOLS, SETTINGS, MESSAGES)
    if isinstance(record.prompt, str) or not any(f'"{name}"' in held for name in asks):
        return "", ""
    columns = json.loads(held)
    asked = {name: columns[name] for name in asks if columns.get(name)}
    for name, value in asked.items():
        if isinstance(value, str):
            with suppress(ValueError, RecursionError):
                asked[name] = json.loads(value)
    if not asked:
        return "", ""
    letter = {name: json.dumps(asked[name], sort_keys=name == SETTINGS) for name in asked}
    return json.dumps(asked, sort_keys=True), json.dumps(letter)


def with_completions(records: pa.RecordBatch, rows: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
    """Rows of ``PORTION_SCHEMA`` with the completions that ``rows`` have now, counted again."""
    contents = [_content(row["messages"] if row["prompt"] is None else row["prompt"]) for row in rows]
    names = ("texts", "rewards", "finished", "overlays")
    found = {name: pa.array([row[name] for row in rows], RECORD_SCHEMA.field(name).type) for name in names}
    pairs = [zip(row["texts"], row["finished"], strict=True) for row in rows]
    found["distinct"] = pa.array([len(set(each)) for each in pairs], pa.int64())
    found |= count_records(pa.array(contents, pa.string()), found["texts"], found["rewards"])
    arrays = [found.get(name, records[name]) for name in PORTION_SCHEMA.names]
    return pa.RecordBatch.from_arrays(arrays, schema=PORTION_SCHEMA)


def near_id(prompt: Prompt) -> int:
    """64-bit digest of a prompt without case, ASCII white space and punctuation, roles and chat form.

    A prompt of punctuation alone keeps it.
    """
    content = _content(prompt)
    text = content.encode().lower() if content.isascii() else content.casefold().encode()
    letters = text.translate(None, _PUNCTUATION) or text
    return int.from_bytes(hashlib.blake2b(letters, digest_size=8).digest(), "little")


def _content(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(message["content"] for message in prompt)


def _distinct(record: Record) -> int:
    if all(record.finished):
        return len(set(record.texts))
    return len(set(zip(record.texts, record.finished, strict=True)))
