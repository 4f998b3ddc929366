"""One group from all records of a prompt: their completions pooled, each distinct one kept once."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from copg.data.columns import RECORD_SCHEMA
from copg.data.counts import list_lengths
from copg.data.spool import Bucket
from copg.records import GROUP_SCHEMA, TURNS


@dataclass(slots=True)
class Pool:
    """Distinct completions in order of first appearance; a cut-off one differs from the finished one."""

    texts: list[str]
    finished: list[bool]
    rewards: list[float] | None
    """None when no record came with rewards."""
    conflicts: int
    """Completions that stood there several times with different rewards: they got the mean."""
    places: list[tuple[int, int]]
    """Of each: the record it first stood in, and its place there."""


def pool_completions(records: Sequence[dict[str, Any]]) -> Pool:
    """The completions of records that all came with rewards, or all without.

    Args:
        records: with ``texts``, ``finished``, ``rewards`` and ``overlays``.
    """
    given = all(record["rewards"] is not None for record in records)
    found: dict[tuple[str, bool, str], list[float]] = {}
    places: dict[tuple[str, bool, str], tuple[int, int]] = {}
    for number, record in enumerate(records):
        rewards = record["rewards"] if given else [0.0] * len(record["texts"])
        completions = zip(record["texts"], record["finished"], record["overlays"], rewards, strict=True)
        for place, (text, finished, overlay, reward) in enumerate(completions):
            key = (text, finished, _turns(overlay))
            found.setdefault(key, []).append(reward)
            places.setdefault(key, (number, place))
    return Pool(
        texts=[text for text, *_ in found],
        finished=[finished for _, finished, _ in found],
        rewards=[mean_reward(rewards) for rewards in found.values()] if given else None,
        conflicts=sum(len(set(rewards)) > 1 for rewards in found.values()),
        places=list(places.values()),
    )


def _turns(overlay: str | None) -> str:
    """The messages of a completion that is more than its words: it differs where they do."""
    if overlay is None or f'"{TURNS}"' not in overlay:
        return ""
    return json.dumps(json.loads(overlay).get(TURNS))


def own_columns(records: Sequence[dict[str, Any]], places: Sequence[tuple[int, int]]) -> list[str | None]:
    """How the columns of each completion differ from those of the first record, which are the group's.

    Args:
        records: with ``columns`` and ``overlays``, as JSON.
        places: the record and the place in it of each completion.

    Returns:
        As JSON; a column that the completion's record lacks is null. None where nothing differs.
    """
    first = records[0]["columns"]
    differing: dict[str, dict[str, Any]] = {}
    overlays: list[str | None] = []
    for number, place in places:
        columns, own = records[number]["columns"], records[number]["overlays"][place]
        if columns != first and columns not in differing:
            group, here = json.loads(first), json.loads(columns)
            missing = dict.fromkeys(group.keys() - here.keys())
            differing[columns] = missing | {k: v for k, v in here.items() if k not in group or group[k] != v}
        if not differing.get(columns):
            overlays.append(own)
        else:
            overlay = differing[columns] | json.loads(own or "{}")
            overlays.append(json.dumps(dict(sorted(overlay.items())), ensure_ascii=False))
    return overlays


def _differ(one: str, other: str) -> bool:
    return one != other and json.loads(one) != json.loads(other)


def by_exact_prompt(bucket: Bucket) -> tuple[Bucket, np.ndarray]:
    """The records of each prompt apart where it stands in several forms, of white space or Unicode.

    Returns:
        The bucket with one group a form, a prompt's in order of appearance; [G] True where the group is the
        first form of its prompt.
    """
    exact = bucket.records["exact_id"].to_numpy()[bucket.order]
    group = np.repeat(np.arange(len(bucket.starts)), bucket.sizes)
    mixed = np.unique(group[exact != exact[bucket.starts][group]])
    if not len(mixed):
        return bucket, np.ones(len(bucket.starts), bool)
    form = np.zeros(len(exact), np.int64)  # of its prompt, by first appearance
    for number in mixed.tolist():
        places = slice(bucket.starts[number], bucket.starts[number] + bucket.sizes[number])
        _, firsts, inverse = np.unique(exact[places], return_index=True, return_inverse=True)
        form[places] = np.argsort(np.argsort(firsts))[inverse]
    order = np.lexsort((np.arange(len(exact)), form, group))
    changes = (np.diff(group[order], prepend=-1) != 0) | (np.diff(form[order], prepend=-1) != 0)
    starts = np.flatnonzero(changes)
    return Bucket(bucket.records, bucket.order[order], starts), form[order][starts] == 0


def mean_reward(rewards: Sequence[float]) -> float:
    """The mean, without rounding where all are equal and without overflow where they are huge."""
    if len(set(rewards)) == 1:
        return rewards[0]
    return sum(reward / len(rewards) for reward in rewards)


@dataclass(slots=True)
class Pooled:
    """The groups of a bucket, before any is refused."""

    groups: pa.RecordBatch
    """Rows of ``RECORD_SCHEMA``, one a prompt: its pooled completions, all else from its first record; what
    differs in the columns of others stays with their completions."""
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
        differing[group] = sum(_differ(member["columns"], members[0]["columns"]) for member in members)
        overlays = own_columns(members, pool.places)
        rows.append(
            members[0]
            | {"texts": pool.texts, "finished": pool.finished, "rewards": pool.rewards, "overlays": overlays}
        )
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


def to_groups(records: pa.RecordBatch, first_forms: np.ndarray) -> pa.Table:
    """Rows of ``GROUP_SCHEMA``, one for each row of ``RECORD_SCHEMA``.

    Args:
        first_forms: [G] from ``by_exact_prompt``: where False, the group gets an id of its own.
    """
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
            records["overlays"].flatten(),
        ],
        fields=list(kind),
    )
    return pa.Table.from_arrays(
        [
            pa.array(_group_ids(records, first_forms)),
            records["prompt"],
            records["messages"],
            pa.ListArray.from_arrays(offsets.astype(np.int32), completions),
            records["columns"],
            pa.nulls(len(records), GROUP_SCHEMA.field("prompt_ids").type),
            records["source"],
        ],
        schema=GROUP_SCHEMA,
    )


def _group_ids(records: pa.RecordBatch, first_forms: np.ndarray) -> list[str]:
    ids = [key.hex() for key in records["id"].to_pylist()]
    for row in np.flatnonzero(~first_forms).tolist():
        form = records["exact_id"][row].as_py()
        ids[row] = ids[row][:16] + f"{form:016x}"
    return ids


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
