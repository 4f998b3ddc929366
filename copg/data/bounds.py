"""How much of the records is in memory at a time."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Sizes at which work is cut; the artifact is the same whatever they are, ``max_line_bytes`` apart."""

    bytes_per_block: int = 2**20
    """Of lines read at once."""
    lines_per_block: int = 2**13
    """Of lines handed on at once."""
    max_line_bytes: int = 2**26
    """Of one line of JSON; a longer one makes its file unusable."""
    rows_per_chunk: int = 2**10
    bytes_per_chunk: int = 2**22
    """Of rows that are not all lines of JSON: a chunk ends where it reaches either bound. As Python objects a
    record takes several times its size."""
    rows_per_frame: int = 2**17
    """Checked at once; Great Expectations takes some 10 ms a check, of however many rows."""
    defects_per_frame: int = 2**13
    """Until which their texts are kept."""
    bucket_bytes: int = 2**25
    """Of records that are pooled at once."""
    max_buckets: int = 256
    """Files open at a time; beyond ``max_buckets * bucket_bytes`` of records the buckets grow instead."""
    bytes_worth_workers: int = 2**25
    """Of files; for less, processes take longer to start than they save."""


BOUNDS = Bounds()
