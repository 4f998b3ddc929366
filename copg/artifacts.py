"""Artifacts: directories that exist for the next stage once ``manifest.json`` lies in them."""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from copg.digests import file_digest, json_digest
from copg.errors import ArtifactError
from copg.records import GROUP_SCHEMA, SPLITS, Group, groups_to_table, table_to_groups

MANIFEST = "manifest.json"
INCOMPLETE = ".incomplete"
WEIGHTS_DELETED = "weights_deleted.txt"
"""Left in a policy whose weights were deleted to free the disk: a sentence that says why."""
VERSION = 1
"""Of the layout below; raised by hand when a reader of the old one would misread the new one."""
ROWS_PER_BATCH = 512
BASELINES = ("reference", "champion")
"""Whose evaluations trials are compared with; no trial has such a name."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an artifact is, and what it came from."""

    schema: str
    """``groups``, ``scored``, ``referenced``, ``policy``, ``evaluation``, ``report`` or ``registration``."""
    stage: str
    rows: int
    digest: str
    """Of schema and deterministic files: equal contents have equal digests on every machine and day."""
    files: dict[str, str]
    """SHA-256 of each deterministic file, by relative path."""
    config: dict[str, Any] = field(default_factory=dict)
    """The stage's settings, as resolved."""
    parents: dict[str, str] = field(default_factory=dict)
    """Digest of each input artifact, by its name."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What the stage wants the next one or a reader to know: counts, metrics, ``diverged``."""
    version: int = VERSION


def begin(directory: Path) -> Path:
    """An empty directory for a stage to fill; what an interrupted attempt left there is removed.

    Raises:
        ArtifactError: when something else, or a finished artifact, lies there.
    """
    if directory.exists() and any(directory.iterdir()):
        if not (directory / INCOMPLETE).exists():
            raise ArtifactError(f"{directory}: is not empty; choose another output or remove it")
        shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / INCOMPLETE).touch()
    return directory


def seal(
    directory: Path,
    *,
    schema: str,
    stage: str,
    rows: int,
    config: Mapping[str, Any],
    parents: Mapping[str, str],
    facts: Mapping[str, Any] | None = None,
    volatile: tuple[str, ...] = (),
) -> Manifest:
    """Write the manifest, last and at once: from here on the artifact exists.

    Args:
        volatile: relative paths, files or directories, whose bytes carry times, run ids or HTML and so
            stay out of the digest.
    """
    (directory / INCOMPLETE).unlink(missing_ok=True)
    files = {
        name: file_digest(directory / name)
        for name in sorted(str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file())
        if name != MANIFEST and not any(name == v or name.startswith(f"{v}/") for v in volatile)
    }
    manifest = Manifest(
        schema=schema,
        stage=stage,
        rows=rows,
        digest=json_digest({"schema": schema, "version": VERSION, "files": files}),
        files=files,
        config=dict(config),
        parents=dict(parents),
        facts=dict(facts or {}),
    )
    write_json(directory / MANIFEST, asdict(manifest))
    return manifest


def read_manifest(directory: Path, *, schema: str, verify: bool = True) -> Manifest:
    """The manifest of an artifact, once its files are what the manifest says.

    Args:
        schema: what the caller can read.
        verify: also compare the SHA-256 of every file.

    Raises:
        ArtifactError: no manifest, another schema or version, a file missing or changed.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise ArtifactError(f"{directory}: no finished artifact, {MANIFEST} is missing")
    try:
        manifest = Manifest(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ArtifactError(f"{path}: cannot be read as a manifest: {error}") from None
    if (manifest.schema, manifest.version) != (schema, VERSION):
        found = f"{manifest.schema} v{manifest.version}"
        raise ArtifactError(f"{directory}: holds {found}, this stage reads {schema} v{VERSION}")
    for name, digest in manifest.files.items():
        file = directory / name
        if not file.is_file():
            note = directory / WEIGHTS_DELETED
            why = note.read_text().strip() if note.is_file() else f"{MANIFEST} lists it"
            raise ArtifactError(f"{file}: is missing: {why}")
        if verify and file_digest(file) != digest:
            raise ArtifactError(f"{file}: changed since stage '{manifest.stage}' wrote it")
    return manifest


def evaluation_name(directory: Path) -> str:
    """Whose evaluation lies there: a trial's name, ``reference`` or ``champion``."""
    return str(read_manifest(directory, schema="evaluation", verify=False).facts["name"])


def find_baselines(directories: Iterable[Path]) -> tuple[Path, Path | None]:
    """Find the evaluation of the reference, and that of the champion where there is one.

    Raises:
        ArtifactError: the reference's is not among them.
    """
    found = {evaluation_name(directory): directory for directory in directories}
    reference, champion = map(found.get, BASELINES)
    if reference is None:
        raise ArtifactError(f"baselines: none of {sorted(found)} is the evaluation of the reference")
    return reference, champion


def write_json(path: Path, value: Any) -> None:
    """Indented JSON without NaN, written beside ``path`` and moved there at once."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    part.replace(path)


class GroupWriter:
    """Writes groups to ``<split>.parquet``, one file a split, in batches of bounded memory.

    A split without groups gets a file without rows, so that every groups artifact has all three files.
    """

    def __init__(self, directory: Path) -> None:
        self.num_groups = dict.fromkeys(SPLITS, 0)
        self.num_completions = dict.fromkeys(SPLITS, 0)
        self._waiting: dict[str, list[Group]] = {split: [] for split in SPLITS}
        self._table = {split: GROUP_SCHEMA.empty_table() for split in SPLITS}
        self._files = {
            split: pq.ParquetWriter(directory / f"{split}.parquet", GROUP_SCHEMA, compression="zstd")
            for split in SPLITS
        }

    def write(self, split: str, group: Group) -> None:
        """Add one group to a split."""
        self._waiting[split].append(group)
        if len(self._waiting[split]) >= ROWS_PER_BATCH:
            self._flush(split)

    def write_table(self, split: str, table: pa.Table) -> None:
        """Add rows of ``GROUP_SCHEMA`` to a split; the file is the same in whatever portions they come."""
        self._flush(split)
        self.num_groups[split] += table.num_rows
        self.num_completions[split] += pc.sum(pc.list_value_length(table["completions"])).as_py() or 0
        table = pa.concat_tables([self._table[split], table])
        whole = table.num_rows // ROWS_PER_BATCH * ROWS_PER_BATCH
        for first in range(0, whole, ROWS_PER_BATCH):
            self._files[split].write_table(table.slice(first, ROWS_PER_BATCH).combine_chunks())
        self._table[split] = table.slice(whole).combine_chunks()

    def _flush(self, split: str) -> None:
        groups, self._waiting[split] = self._waiting[split], []
        if groups:
            self.write_table(split, groups_to_table(groups))

    def __enter__(self) -> "GroupWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for split in SPLITS:
            if kind is None:
                self._flush(split)
                if self._table[split].num_rows:
                    self._files[split].write_table(self._table[split])
            self._files[split].close()


def read_groups(directory: Path, split: str) -> Iterator[Group]:
    """The groups of one split, in their stored order, a batch in memory at a time."""
    for batch in pq.ParquetFile(directory / f"{split}.parquet").iter_batches(batch_size=ROWS_PER_BATCH):
        yield from table_to_groups(batch)


def count_groups(directory: Path, split: str) -> int:
    """How many groups a split holds, from the file's footer alone."""
    return int(pq.ParquetFile(directory / f"{split}.parquet").metadata.num_rows)
