"""Reading rows from the ``datasets`` library: a saved folder, or a data set by name."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from copg.data.rows import Row, rows_of
from copg.errors import RecordError

ROWS_PER_BATCH = 1024


def read_dataset(records: str, subset: str | None, split: str | None, revision: str | None) -> Iterator[Row]:
    """The rows of one split, in its order.

    Raises:
        RecordError: it cannot be loaded, or has several splits and none was chosen.
    """
    part, dataset = _load(records, subset, split, revision)
    name = f"{Path(records).name if Path(records).is_dir() else records}/{part}"
    first = 1
    for table in dataset.with_format("arrow").iter(batch_size=ROWS_PER_BATCH):
        for batch in table.to_batches():
            yield from rows_of(name, first, batch)
            first += batch.num_rows


def _load(records: str, subset: str | None, split: str | None, revision: str | None) -> tuple[str, Any]:
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
