"""Groups of an artifact: a Parquet file for each split, read and written in batches of bounded memory."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from copg.records import GROUP_SCHEMA, SPLITS, Group, groups_to_table, table_to_groups

ROWS_PER_BATCH = 512


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
