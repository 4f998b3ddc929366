import json
import multiprocessing

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from copg.cli.stores import store_app
from copg.errors import StoreError
from copg.stores.reward_store import REWARDS, open_rewards, reward_key
from copg.stores.values import find_stores


def keys(*texts: str) -> list[bytes]:
    return [reward_key("p", text, {}) for text in texts]


def test_a_value_comes_back_in_the_same_and_in_a_later_process(tmp_path) -> None:
    store = open_rewards(str(tmp_path), "d" * 64)
    store.append(keys("a", "b"), [0.1, -2.0])
    assert store.get(keys("b", "c", "a")) == [-2.0, None, 0.1]
    assert open_rewards(str(tmp_path), "d" * 64).get(keys("a")) == [None]
    store.flush()
    later = open_rewards(str(tmp_path), "d" * 64)
    assert later.get(keys("b", "c", "a")) == [-2.0, None, 0.1]
    assert len(later) == 2


def test_rewards_do_not_see_each_others_values(tmp_path) -> None:
    store = open_rewards(str(tmp_path), "d" * 64, {"name": "rouge_l"})
    store.append(keys("a"), [1.0])
    store.flush()
    assert open_rewards(str(tmp_path), "e" * 64).get(keys("a")) == [None]
    assert '"rouge_l"' in (tmp_path / ("d" * 20) / "reward.json").read_text()


def test_a_key_moves_with_prompt_completion_columns_and_group() -> None:
    chat = [{"role": "user", "content": "p"}]
    others = [
        reward_key("p", "a", {}),
        reward_key("q", "a", {}),
        reward_key(None, "a", {}),
        reward_key(chat, "a", {}),
        reward_key("p", "b", {}),
        reward_key("p", "a", {"x": 1}),
        reward_key("p", "a", {"x": "1"}),
        reward_key("p", "a", {}, "group:0"),
    ]
    assert len(set(others)) == len(others)
    assert reward_key("p", "a", {"x": 1, "y": 2}) == reward_key("p", "a", {"y": 2, "x": 1})


def test_keys_that_end_in_null_bytes_are_found_and_not_mixed_up(tmp_path) -> None:
    made = [b"a" * 15 + b"\0", b"a" * 14 + b"\0\0", b"\0" * 16, b"a" * 16]
    store = open_rewards(str(tmp_path), "d" * 64)
    store.append(made, [1.0, 2.0, 3.0, 4.0])
    store.flush()
    assert open_rewards(str(tmp_path), "d" * 64).get(made) == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_never_gets_in(tmp_path, bad) -> None:
    store = open_rewards(str(tmp_path), "d" * 64)
    with pytest.raises(
        StoreError, match=r"reward=(nan|inf) is not finite; 1 of 2 are refused and nothing was stored"
    ):
        store.append(keys("a", "b"), [1.0, bad])
    store.flush()
    assert store.get(keys("a", "b")) == [None, None]
    assert list(tmp_path.iterdir()) == []


def test_a_shard_cut_short_is_named(tmp_path) -> None:
    store = open_rewards(str(tmp_path), "d" * 64)
    store.append(keys("a"), [1.0])
    store.flush()
    (shard,) = tmp_path.glob("*/*.parquet")
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(StoreError, match=r"\.parquet: cannot be read .* remove it and it is computed again"):
        open_rewards(str(tmp_path), "d" * 64)


def write_some(root: str, worker: int) -> None:
    store = open_rewards(root, "d" * 64)
    for n in range(20):
        store.append(keys(f"{worker}/{n}", f"shared/{n}"), [worker + n / 100, float(n)])
        store.flush()


def test_several_writers_at_once_lose_nothing(tmp_path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_some, args=(str(tmp_path), worker)) for worker in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    store = open_rewards(str(tmp_path), "d" * 64)
    assert len(store) == 3 * 20 + 20
    assert store.get(keys("2/7", "shared/3")) == [2.07, 3.0]
    assert not list(tmp_path.glob("*/*.part"))


def test_shards_are_plain_parquet_and_late_values_are_written_on_the_way(tmp_path) -> None:
    store = open_rewards(str(tmp_path), "d" * 64, rows_per_shard=2)
    store.append(keys("a"), [1.0])
    assert not list(tmp_path.glob("*/*.parquet"))
    store.append(keys("b"), [2.0])
    (shard,) = tmp_path.glob("*/*.parquet")
    assert sorted(pq.read_table(shard)["reward"].to_pylist()) == [1.0, 2.0]


def test_a_store_by_url_works_as_a_folder_does() -> None:
    store = open_rewards("memory://rewards", "d" * 64)
    store.append(keys("a"), [1.0])
    store.flush()
    assert open_rewards("memory://rewards", "d" * 64).get(keys("a")) == [1.0]


def filled(root: str, *shards: dict[str, float]) -> None:
    """A store of one reward, a shard for each mapping."""
    store = open_rewards(root, "d" * 64, {"name": "rouge_l", "params": {"stem": True}})
    for shard in shards:
        store.append(keys(*shard), list(shard.values()))
        store.flush()


@pytest.mark.parametrize("url", [False, True])
def test_compacting_leaves_one_shard_and_every_value_and_readers_notice_nothing(tmp_path, url) -> None:
    root = "memory://compacted" if url else str(tmp_path)
    filled(root, {"a": 1.0, "b": 2.0}, {"a": 1.0, "c": 3.0}, {"d": 4.0})
    (part,) = find_stores(REWARDS, root)
    before = part.stats()
    # 2 + 2 + 1 rows, one key twice
    assert (before["rows"], before["shards"], before["reward"]["name"]) == (5, 3, "rouge_l")
    reading = part.shards.batches()
    assert next(reading).num_rows > 0
    assert part.compact() == {"shards": 1, "rows_removed": 1}
    # a reader that began with the old shards goes on with the new one
    assert {key for table in reading for key in table["key"].to_pylist()} >= set(keys("a", "b", "c", "d"))
    assert (part.stats()["rows"], part.stats()["shards"]) == (4, 1)
    assert open_rewards(root, "d" * 64).get(keys("a", "b", "c", "d")) == [1.0, 2.0, 3.0, 4.0]
    assert part.compact() == {"shards": 1, "rows_removed": 0}


def test_verifying_counts_what_contradicts_and_what_is_not_finite(tmp_path) -> None:
    filled(str(tmp_path), {"a": 1.0, "b": 100.0}, {"a": 1.0005, "b": 100.2})
    (part,) = find_stores(REWARDS, str(tmp_path))
    # tolerance 1e-3, relative: .0005 and .2 of 100 -> only .2 > .1
    assert part.verify() == {"rows": 4, "not_finite": 0, "contradictions": 1}
    columns = [pa.array(keys("n"), REWARDS.schema[0].type), pa.array([float("nan")], pa.float64())]
    pq.write_table(pa.Table.from_arrays(columns, schema=REWARDS.schema), f"{part.path}/planted.parquet")
    assert part.verify()["not_finite"] == 1


def test_the_command_looks_after_a_reward_store_as_after_a_reference_store(tmp_path) -> None:
    filled(str(tmp_path / "rewards"), {"a": 1.0}, {"b": 2.0})
    run = CliRunner().invoke
    shown = json.loads(run(store_app, ["stats", str(tmp_path / "rewards")]).output)
    assert [(part["rows"], part["shards"]) for part in shown] == [(2, 2)]
    assert json.loads(run(store_app, ["compact", str(tmp_path / "rewards")]).output)["shards"] == 1
    assert json.loads(run(store_app, ["verify", str(tmp_path / "rewards")]).output)["rows"] == 2
    nothing = run(store_app, ["stats", str(tmp_path / "none")]).exception
    assert "holds neither reference log-probabilities nor rewards" in str(nothing)
