"""One group from all records of a prompt: their completions pooled, each distinct one kept once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from copg.data.columns import RECORD_SCHEMA, list_lengths
from copg.data.spool import Bucket
from copg.records import GROUP_SCHEMA


@dataclass(slots=True)
class Pool:
    """Distinct completions in order of first appearance; a cut-off one differs from the finished one."""

    texts: list[str]
    finished: list[bool]
    rewards: list[float] | None
    """None when no record came with rewards."""
    conflicts: int
    """Completions that stood there several times with different rewards: they got the mean."""


def pool_completions(records: Sequence[dict[str, Any]]) -> Pool:
    """The completions of records that all came with rewards, or all without.

    Args:
        records: with ``texts``, ``finished`` and ``rewards``.
    """
    given = all(record["rewards"] is not None for record in records)
    found: dict[tuple[str, bool], list[float]] = {}
    for record in records:
        rewards = record["rewards"] if given else [0.0] * len(record["texts"])
        for text, finished, reward in zip(record["texts"], record["finished"], rewards, strict=True):
            found.setdefault((text, finished), []).append(reward)
    return Pool(
        texts=[text for text, _ in found],
        finished=[finished for _, finished in found],
        rewards=[mean_reward(rewards) for rewards in found.values()] if given else None,
        conflicts=sum(len(set(rewards)) > 1 for rewards in found.values()),
    )


def mean_reward(rewards: Sequence[float]) -> float:
    """The mean, without rounding where all are equal and without overflow where they are huge."""
    if len(set(rewards)) == 1:
        return rewards[0]
    return sum(reward / len(rewards) for reward in rewards)


@dataclass(slots=True)
class Pooled:
    """The groups of a bucket, before any is refused."""

    groups: pa.RecordBatch
    """Rows of ``RECORD_SCHEMA``, one a prompt: its pooled completions, all else from its first record."""
    records: np.ndarray
    """[G] records of each prompt."""
    distinct: np.ndarray
    """[G] completions of each."""
    duplicates: np.ndarray
    """[G] completions that stood there already."""
    conflicts: np.ndarray
    """[G] completions with several rewards."""
    differing: np.ndarray
    """[G] records whose other columns were not those of the first."""


def pool_records(bucket: Bucket, arrangement: np.ndarray) -> Pooled:
    """One row a prompt.

    Args:
        bucket: with rows of ``RECORD_SCHEMA``.
        arrangement: [G] the prompts, by their index in the bucket, in the order to give them in.
    """
    sizes, firsts = bucket.sizes, bucket.order[bucket.starts]
    lengths = list_lengths(bucket.records["texts"])[bucket.order]
    completions = np.add.reduceat(lengths, bucket.starts)
    plain = (sizes == 1) & (bucket.records["distinct"].to_numpy()[firsts] == completions)
    conflicts, differing = np.zeros(len(firsts), np.int64), np.zeros(len(firsts), np.int64)
    several = iter(bucket.records.take(bucket.order[np.repeat(~plain, sizes)]).to_pylist())
    rows: list[dict[str, Any]] = []
    for group in np.flatnonzero(~plain).tolist():
        members = list(islice(several, int(sizes[group])))
        pool = pool_completions(members)
        conflicts[group] = pool.conflicts
        differing[group] = sum(member["columns"] != members[0]["columns"] for member in members)
        rows.append(members[0] | {"texts": pool.texts, "finished": pool.finished, "rewards": pool.rewards})
    pooled = pa.Table.from_pylist(rows, schema=RECORD_SCHEMA)
    firsts[~plain] = bucket.records.num_rows + np.arange(len(rows))
    groups = pa.concat_tables([bucket.records, pooled]).take(firsts[arrangement]).combine_chunks()
    distinct = list_lengths(groups["texts"])
    return Pooled(
        groups=groups.to_batches()[0],
        records=sizes[arrangement],
        distinct=distinct,
        duplicates=completions[arrangement] - distinct,
        conflicts=conflicts[arrangement],
        differing=differing[arrangement],
    )


def to_groups(records: pa.RecordBatch) -> pa.Table:
    """Rows of ``GROUP_SCHEMA``, one for each row of ``RECORD_SCHEMA``."""
    texts, rewards = records["texts"], records["rewards"]
    lengths = list_lengths(texts)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    total = int(offsets[-1])
    given = np.repeat(rewards.is_valid().to_numpy(zero_copy_only=False), lengths)
    values = np.zeros(total)
    values[given] = rewards.flatten().to_numpy(zero_copy_only=False)
    kind = GROUP_SCHEMA.field("completions").type.value_type
    empty = pa.array([], pa.string()), pa.array([], pa.float64())
    no_parts = pa.MapArray.from_arrays(pa.array(np.zeros(total + 1, np.int32)), *empty)
    completions = pa.StructArray.from_arrays(
        [
            texts.flatten(),
            records["finished"].flatten(),
            pa.array(values, mask=~given),
            no_parts,
            pa.nulls(total, kind.field("token_ids").type),
            pa.nulls(total, pa.float64()),
        ],
        fields=list(kind),
    )
    return pa.Table.from_arrays(
        [
            pa.array([key.hex() for key in records["id"].to_pylist()]),
            records["prompt"],
            records["messages"],
            pa.ListArray.from_arrays(offsets.astype(np.int32), completions),
            records["columns"],
            pa.nulls(len(records), GROUP_SCHEMA.field("prompt_ids").type),
            records["source"],
        ],
        schema=GROUP_SCHEMA,
    )


def reward_spread(groups: pa.RecordBatch) -> np.ndarray:
    """[G] standard deviation of the rewards of each group; NaN where there are none."""
    rewards = groups["rewards"]
    lengths = list_lengths(rewards)
    row = np.repeat(np.arange(len(groups)), lengths)
    values = rewards.flatten().to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mean = np.bincount(row, values, len(groups)) / lengths
        spread: np.ndarray = np.sqrt(np.bincount(row, (values - mean[row]) ** 2, len(groups)) / lengths)
    return spread


def tied(groups: pa.RecordBatch) -> np.ndarray:
    """[G] True where a group came with rewards and all of them are equal."""
    rewards = groups["rewards"]
    lengths = list_lengths(rewards)
    values = rewards.flatten().to_numpy(zero_copy_only=False)
    first = np.repeat(np.cumsum(lengths) - lengths, lengths)
    differ = np.bincount(np.repeat(np.arange(len(groups)), lengths), values != values[first], len(groups))
    equal: np.ndarray = (lengths > 0) & (differ == 0)
    return equal
