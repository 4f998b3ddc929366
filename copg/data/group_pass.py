"""Second pass: all records of a prompt together, from the spool to the splits' files."""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from copg.data.checks import MEMBER_CHECKS, group_checks
from copg.data.group_files import GroupWriter
from copg.data.pooling import by_exact_prompt, pool_records, reward_spread, tied, to_groups
from copg.data.rejections import Rejections
from copg.data.sides import Sides
from copg.data.spool import Bucket, Spool
from copg.data.suite import Suite
from copg.progress import track
from copg.records import SPLITS

_Ids = Mapping[str, Sequence[pa.Array]]
"""Of each split's prompts."""


class GroupPass:
    """Pools records, checks groups, splits them by the expected shares of prompts and counts what it sees."""

    def __init__(
        self, sides: Sides, *, select_fraction: float, gate_fraction: float, min_completions: int = 2
    ) -> None:
        self.members = Suite("records_of_one_prompt", MEMBER_CHECKS)
        self.groups = Suite("groups", group_checks(min_completions))
        self.ids: dict[str, list[pa.Array]] = {split: [] for split in SPLITS}
        """Of the prompts that were written to each split; the same for all forms of one."""
        self.near_ids: dict[str, list[pa.Array]] = {split: [] for split in SPLITS}
        self._sides = sides
        self._fractions = {"select_fraction": select_fraction, "gate_fraction": gate_fraction}
        self._counts: Counter[str] = Counter()
        """Over the groups kept: how many, and sums of what the checks look at."""
        self._spread = 0.0

    def run(self, spool: Spool, rejections: Rejections, writer: GroupWriter) -> None:
        """Groups go to their split's file; the records of others to the rejections."""
        written: Future[None] | None = None
        buckets = track(spool.buckets(), "validate (groups)", spool.num_rows, count=lambda b: len(b.order))
        with ThreadPoolExecutor(1) as thread:  # compression holds no interpreter lock
            for bucket in buckets:
                parts = self._parts(bucket, rejections)
                if written is not None:
                    written.result()
                written = thread.submit(_write, writer, parts)
            if written is not None:
                written.result()

    def _parts(self, bucket: Bucket, rejections: Rejections) -> dict[str, pa.Table]:
        exact, first_forms = by_exact_prompt(bucket)
        return self._groups_of(self._without_lone(exact, rejections), first_forms, rejections)

    def _without_lone(self, bucket: Bucket, rejections: Rejections) -> Bucket:
        """Without the records that lack the rewards which others of their prompt have; no group goes."""
        sizes = bucket.sizes
        several = np.flatnonzero(np.repeat(sizes > 1, sizes))
        if not len(several):
            return bucket
        given = bucket.records["rewards"].is_valid().to_numpy()[bucket.order]
        some = np.repeat(np.logical_or.reduceat(given, bucket.starts), sizes)
        derived = {"lone_without_reward": (some & ~given)[several].astype(np.int64)}
        rejected = self.members.run(derived)
        if not rejected:
            return bucket
        for position in sorted(rejected):
            row = _row(bucket, int(several[position]))
            rejections.add_record(row, rejected[position], derived, position)
        kept = ~np.isin(np.arange(len(bucket.order)), several[list(rejected)])
        group = np.repeat(np.arange(len(sizes)), sizes)[kept]
        return Bucket(bucket.records, bucket.order[kept], np.flatnonzero(np.diff(group, prepend=-1)))

    def _groups_of(
        self, bucket: Bucket, first_forms: np.ndarray, rejections: Rejections
    ) -> dict[str, pa.Table]:
        """Rows of ``GROUP_SCHEMA`` for each split.

        Args:
            first_forms: [G] from ``by_exact_prompt``.
        """
        keys = bucket.records["id"].take(bucket.order[bucket.starts]).combine_chunks()
        split = self._sides.splits_of(keys, **self._fractions)
        arrangement = np.argsort(split, kind="stable")
        pooled = pool_records(bucket, arrangement)
        spread = reward_spread(pooled.groups)
        derived: dict[str, np.ndarray] = {
            "distinct_completions": pooled.distinct,
            "records": pooled.records,
            "differing_columns": pooled.differing,
            "other_forms": (~first_forms[arrangement]).astype(np.int64),
            "duplicate_completions": pooled.duplicates,
            "conflicting_rewards": pooled.conflicts,
            "unrewarded": np.isnan(spread).astype(np.int64),
            "tied": tied(pooled.groups).astype(np.int64),
        }
        good = self._check(bucket, arrangement, derived, rejections)
        self._counts.update({name: int(values[good].sum()) for name, values in derived.items()})
        self._counts["groups"] += int(good.sum())
        self._spread += float(np.nansum(spread[good]))
        kept = pooled.groups if good.all() else pooled.groups.filter(pa.array(good))
        ends = np.concatenate([[0], np.cumsum(np.bincount(split[arrangement][good], minlength=len(SPLITS)))])
        table, parts = to_groups(kept, first_forms[arrangement][good]), {}
        for name, first, end in zip(SPLITS, ends[:-1].tolist(), ends[1:].tolist(), strict=True):
            parts[name] = table.slice(first, end - first)
            self.ids[name].append(_copy(kept["id"].slice(first, end - first)))
            self.near_ids[name].append(_copy(kept["near_id"].slice(first, end - first)))
        return parts

    def _check(
        self,
        bucket: Bucket,
        arrangement: np.ndarray,
        derived: Mapping[str, np.ndarray],
        rejections: Rejections,
    ) -> np.ndarray:
        """[G] True for groups to keep."""
        rejected = self.groups.run(derived)
        for position in sorted(rejected, key=lambda position: arrangement[position]):
            first = bucket.starts[arrangement[position]]
            for place in range(first, first + derived["records"][position]):
                rejections.add_record(_row(bucket, place), rejected[position], derived, position)
        return ~np.isin(np.arange(len(arrangement)), list(rejected))

    def metrics(self) -> dict[str, float]:
        """Counts over the groups kept; spread in reward units, the mean over those that came with rewards."""
        counts = self._counts
        return {
            "records/merged": float(counts["records"] - counts["groups"]),
            "records/differing_columns": float(counts["differing_columns"]),
            "groups/count": float(counts["groups"]),
            "groups/other_forms": float(counts["other_forms"]),
            **{f"groups/{split}": float(sum(map(len, self.ids[split]))) for split in SPLITS},
            "groups/tied": float(counts["tied"]),
            "groups/unrewarded": float(counts["unrewarded"]),
            "completions/count": float(counts["distinct_completions"]),
            "completions/duplicate": float(counts["duplicate_completions"]),
            "completions/conflicting": float(counts["conflicting_rewards"]),
            "reward/spread": self._spread / max(counts["groups"] - counts["unrewarded"], 1),
        }

    def warnings(self) -> list[str]:
        """Which completions were merged, in a line each."""
        counts, found = self._counts, []
        if same := counts["duplicate_completions"]:
            found.append(f"{same} completions stand there already, for the same prompt, and count once")
        if conflicts := counts["conflicting_rewards"]:
            found.append(f"{conflicts} completions came with several rewards, and get their mean")
        return found


def _write(writer: GroupWriter, parts: dict[str, pa.Table]) -> None:
    for split, table in parts.items():
        writer.write_table(split, table)


def _row(bucket: Bucket, place: int) -> pa.RecordBatch:
    """The record at a place of the bucket's order."""
    return bucket.records.slice(int(bucket.order[place]), 1).combine_chunks().to_batches()[0]


def _copy(array: pa.Array) -> pa.Array:
    """A slice without the buffers it was cut from."""
    return pa.concat_arrays([array, array.slice(0, 0)])


def count_leaks(ids: _Ids, near_ids: _Ids) -> dict[str, np.ndarray]:
    """For each two splits, the prompts that are in both: equal ones, and nearly equal ones.

    Impossible by construction, and looked for all the same.
    """
    pairs = list(combinations(ids, 2))
    shared = np.array([_common(ids[one], ids[other]) for one, other in pairs])
    near = np.array([_common(near_ids[one], near_ids[other]) for one, other in pairs])
    return {"shared_prompts": shared, "near_prompts": near - shared}


def _common(one: Sequence[pa.Array], other: Sequence[pa.Array]) -> int:
    small, large = sorted((one, other), key=lambda arrays: sum(map(len, arrays)))
    if not small or not large:
        return 0
    known = pa.chunked_array(small).combine_chunks()
    return sum(int(pc.sum(pc.is_in(array, value_set=known)).as_py() or 0) for array in large)
