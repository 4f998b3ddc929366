"""``reference``: computed once in its life, reused only where it is right."""

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from copg.artifacts import begin, read_manifest, seal
from copg.data.group_files import GroupWriter, read_groups
from copg.data.mismatched import MISMATCHED, mismatched_of
from copg.errors import MismatchError, RecordError, StoreError
from copg.lm import reference as reference_pass
from copg.lm.config import RowConfig
from copg.lm.load import load_model
from copg.lm.rows import TokenGroup
from copg.lm.scorer import group_logps
from copg.records import Completion, Group, in_shard, prompt_id
from copg.rewards.ladder import read_ladder
from copg.stages.reference import ReferenceConfig, reference_groups, reference_shard
from copg.stores.reference_store import Numerics, completion_key, open_references
from copg.stores.values import ValueStore
from tests import tiny
from tests.evaluations import reseal


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    return tiny.write_scored(tmp_path / "scored")


@pytest.fixture
def config(reference_dir: Path, tmp_path: Path) -> ReferenceConfig:
    return ReferenceConfig(model=str(reference_dir), store=str(tmp_path / "store"), check_samples=4)


def num_completions(artifact: Path) -> int:
    return sum(len(group.completions) for group in read_groups(artifact, "train"))


def test_every_train_completion_gets_ids_and_the_log_probability_of_the_reference(
    config: ReferenceConfig, scored: Path, reference_dir: Path, tmp_path: Path
) -> None:
    metrics = reference_groups(config, scored, tmp_path / "out")
    read_manifest(tmp_path / "out", schema="referenced")
    groups = list(read_groups(tmp_path / "out", "train"))
    assert metrics["reference/computed"] == num_completions(scored)
    model = load_model(reference_dir)
    for group in groups[:5]:
        assert group.prompt_ids[0] == 1  # the start token
        assert all(c.token_ids[-1] == 2 for c in group.completions)  # finished: end of sequence
        ids = [c.token_ids for c in group.completions]
        expected = group_logps(model, [TokenGroup(group.prompt_ids, ids)])[0]
        assert [c.ref_logps for c in group.completions] == pytest.approx(expected, abs=1e-4)
    held_out = next(read_groups(tmp_path / "out", "select"))
    assert held_out.prompt_ids
    assert held_out.completions[0].ref_logps is None


def test_completions_of_others_get_a_ladder_by_what_the_reference_gives_them(
    config: ReferenceConfig, scored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = reference_groups(config, scored, tmp_path / "out")
    ladder = read_ladder(read_manifest(tmp_path / "out", schema="referenced").facts["ladder"])
    assert ladder is not None
    assert ladder.base == "weighted"
    assert "logged by others, weighted by the reference's own probabilities" in capsys.readouterr().err
    logps = [
        ([c.reward for c in g.completions], [c.ref_logps for c in g.completions])
        for g in read_groups(tmp_path / "out", "train")
    ]
    # - ln of the share of the best, by prompt
    by_hand = [
        -math.log(
            sum(math.exp(p) for r, p in zip(*g, strict=True) if r == max(g[0])) / sum(map(math.exp, g[1]))
        )
        for g in logps
        if len(g[0]) > 1
    ]
    assert ladder.support == metrics["support/mean"] == pytest.approx(sum(by_hand) / len(by_hand))

    drawn = read_manifest(scored, schema="scored")
    kept = {**ladder.facts(), "base": "reference"}
    reseal(scored, facts={**drawn.facts, "ladder": kept})
    reference_groups(config, scored, tmp_path / "again")
    assert read_manifest(tmp_path / "again", schema="referenced").facts["ladder"] == kept
    assert "weighted by the reference" not in capsys.readouterr().err


def test_a_second_run_computes_nothing_and_one_more_row_costs_one_row(
    config: ReferenceConfig, scored: Path, tmp_path: Path
) -> None:
    first = reference_groups(config, scored, tmp_path / "first")
    again = reference_groups(config, scored, tmp_path / "again")
    assert again["reference/computed"] == 0
    assert again["reference/reused"] == first["reference/computed"]
    assert again["reference/checked"] >= 4
    assert read_manifest(tmp_path / "first", schema="referenced").digest == (
        read_manifest(tmp_path / "again", schema="referenced").digest
    )
    more = tiny.write_scored(tmp_path / "more", train=25, select=7)  # the first select group moves to train
    added = reference_groups(config, more, tmp_path / "third")
    assert added["reference/reused"] == first["reference/computed"]
    assert added["reference/computed"] == num_completions(more) - num_completions(scored)


def test_other_weights_under_the_same_path_find_nothing(
    config: ReferenceConfig, scored: Path, tmp_path: Path
) -> None:
    model = tiny.save_model(tmp_path / "model")
    config = replace(config, model=str(model))
    reference_groups(config, scored, tmp_path / "first")
    weights = load_file(model / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"] * 1.01
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    assert reference_groups(config, scored, tmp_path / "second")["reference/reused"] == 0


def test_bfloat16_finds_no_float32_value(config: ReferenceConfig, scored: Path, tmp_path: Path) -> None:
    reference_groups(config, scored, tmp_path / "first")
    config = replace(config, rows=RowConfig(compute_dtype="bfloat16"))
    assert reference_groups(config, scored, tmp_path / "second")["reference/reused"] == 0


def test_each_use_checks_other_values_and_leaves_the_same_artifact(
    config: ReferenceConfig, scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference_groups(config, scored, tmp_path / "first", groups_per_chunk=6)  # 4 chunks
    checked: list[set[bytes]] = []
    compare = reference_pass.mean_difference

    def seen(model, groups, stored, rows):
        checked[-1] |= {completion_key(g.prompt_ids, ids) for g in groups for ids in g.completion_ids}
        return compare(model, groups, stored, rows)

    monkeypatch.setattr(reference_pass, "mean_difference", seen)
    for name in ("second", "third"):
        checked.append(set())
        metrics = reference_groups(config, scored, tmp_path / name, groups_per_chunk=6)
        assert metrics["reference/checked"] == len(checked[-1]) >= 4
    assert checked[0] != checked[1]
    digests = {read_manifest(tmp_path / n, schema="referenced").digest for n in ("first", "second", "third")}
    assert len(digests) == 1


def rewrite_store(store: Path, change: float) -> None:
    """Add ``change`` to every stored value, behind the store's back."""
    for shard in store.rglob("*.parquet"):
        table = pq.read_table(shard)
        values = [value + change for value in table["ref_logps"].to_pylist()]
        # by a name that promises no digest, as those of 0.1.0
        bare = shard.with_name(f"{shard.name.partition('.')[0]}.parquet")
        shard.unlink()
        pq.write_table(table.set_column(1, table.schema.field(1), [values]), bare)


def test_a_store_whose_values_moved_is_refused(config: ReferenceConfig, scored: Path, tmp_path: Path) -> None:
    reference_groups(config, scored, tmp_path / "first")
    rewrite_store(tmp_path / "store", 0.01)
    with pytest.raises(MismatchError, match="stored values differ from the reference by"):
        reference_groups(config, scored, tmp_path / "second")


def test_a_value_that_is_no_number_when_computed_again_is_refused(
    config: ReferenceConfig, scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference_groups(config, scored, tmp_path / "first")
    monkeypatch.setattr(reference_pass, "mean_difference", lambda *_: float("nan"))
    with pytest.raises(MismatchError, match="by nan nats a token"):
        reference_groups(config, scored, tmp_path / "second")


def test_rows_are_checked_on_all_groups_even_where_one_value_is_missing(
    config: ReferenceConfig, scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference_groups(config, scored, tmp_path / "first")
    seen: list[TokenGroup] = []
    fit = reference_pass.fit_reference

    def noted(name: str, model: object, groups: list[TokenGroup], rows: RowConfig) -> object:
        seen.extend(groups)
        return fit(name, model, groups, rows)

    monkeypatch.setattr(reference_pass, "fit_reference", noted)
    reference_groups(replace(config, check_samples=1), scored, tmp_path / "second")
    whole = [len(group.completions) for group in read_groups(tmp_path / "first", "train")]
    assert [len(group.completion_ids) for group in seen] == whole


def test_rows_are_checked_again_where_completions_are_the_first_to_share_a_beginning(
    config: ReferenceConfig, reference_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, levels = reference_pass.fit_reference, []

    def noted(*given: Any) -> Any:
        levels.append(max(group.levels for group in given[2]))
        return fit(*given)

    monkeypatch.setattr(reference_pass, "fit_reference", noted)
    store = open_references(config.store, Numerics("weights", "float32", "float32"))
    engine = reference_pass.ReferencePass(str(reference_dir), None, store, RowConfig(), 0)
    turns = [[5 + n % 7, *range(4, 16), *range(4, 10)] for n in range(5)]

    def branched(number: int) -> Group:
        """Completions that share so many turns, one after the other."""
        ids = [[t for turn in turns[:n] for t in turn] + [16, n + 4] for n in (*range(number + 1), number)]
        return Group(str(number), "", [Completion("", token_ids=each) for each in ids], prompt_ids=[1, 5, 6])

    for number in (0, 0, 1, 1, 0, 2, 4, 3, 4):  # beyond three levels a check sees no more
        engine.fill([branched(number)])
    assert levels == [0, 1, 2, 4]


def test_a_group_larger_than_a_row_is_refused_with_its_id(
    config: ReferenceConfig, scored: Path, tmp_path: Path
) -> None:
    sizes = {
        group.id: len(group.prompt.split()) + 1 + sum(len(c.text.split()) + 1 for c in group.completions)
        for group in read_groups(scored, "train")
    }
    largest = max(sizes, key=lambda id_: sizes[id_])
    rows = RowConfig(tokens_per_row=sizes[largest] - 1)
    with pytest.raises(
        RecordError, match=f"group {largest} has {sizes[largest]} tokens, over tokens_per_row"
    ):
        reference_groups(replace(config, rows=rows), scored, tmp_path / "out")


def test_chunks_change_nothing(
    config: ReferenceConfig, scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference_groups(config, scored, tmp_path / "first")
    whole = read_manifest(tmp_path / "first", schema="referenced").digest
    asked: list[int] = []
    lookup = ValueStore.lookup
    monkeypatch.setattr(ValueStore, "lookup", lambda self, keys: asked.append(1) or lookup(self, keys))
    reference_groups(config, scored, tmp_path / "second", tokens_per_chunk=60)
    assert len(asked) > 3
    assert read_manifest(tmp_path / "second", schema="referenced").digest == whole


def test_a_stored_value_that_is_not_finite_is_refused(
    config: ReferenceConfig, scored: Path, tmp_path: Path
) -> None:
    reference_groups(config, scored, tmp_path / "first")
    rewrite_store(tmp_path / "store", float("nan"))
    with pytest.raises(StoreError, match="not finite"):
        reference_groups(config, scored, tmp_path / "second")


def test_what_does_not_fit_is_dropped_and_counted(
    config: ReferenceConfig, scored: Path, tmp_path: Path
) -> None:
    metrics = reference_groups(replace(config, max_tokens=14), scored, tmp_path / "out")
    assert metrics["dropped/completions_too_long"] > 0
    left = list(read_groups(tmp_path / "out", "train"))
    assert all(len(g.prompt_ids) + len(c.token_ids) <= 14 for g in left for c in g.completions)
    assert all(len(g.completions) >= 2 for g in left)
    gone = metrics.get("dropped/groups_of_fewer_than_two", 0)
    assert len(left) + gone == 24


def test_groups_larger_than_a_row_are_computed_in_parts_where_that_is_asked_for(
    config: ReferenceConfig, scored: Path, tmp_path: Path
) -> None:
    reference_groups(config, scored, tmp_path / "whole")
    rows = RowConfig(tokens_per_row=30, split_groups=True)
    store = str(tmp_path / "another store")
    reference_groups(replace(config, rows=rows, store=store), scored, tmp_path / "parts")
    whole, parts = (list(read_groups(tmp_path / name, "train")) for name in ("whole", "parts"))
    assert max(len(g.prompt_ids) + sum(len(c.token_ids) for c in g.completions) for g in whole) > 30
    expected = [c.ref_logps for group in whole for c in group.completions]
    assert [c.ref_logps for g in parts for c in g.completions] == pytest.approx(expected, abs=1e-4)
    assert read_manifest(tmp_path / "parts", schema="referenced").facts["rows"]["cost"] > 1


def test_a_completion_that_was_cut_off_has_another_key_than_a_finished_one() -> None:
    assert completion_key([1], [5, 2]) != completion_key([1], [5])


def test_nothing_to_train_on_is_an_error_that_names_the_setting(
    config: ReferenceConfig, scored: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecordError) as caught:
        reference_groups(replace(config, max_tokens=2), scored, tmp_path / "out")
    assert "no group is left to train on" in str(caught.value)
    assert "24 groups_of_fewer_than_two" in str(caught.value)
    assert "first made:1 (completions_too_long), reference.max_tokens is 2" in str(caught.value)


def others_of(artifact: Path) -> dict[str, tuple[list[int], float] | None]:
    return {group.id: mismatched_of(group) for group in read_groups(artifact, "train")}


def test_each_training_prompt_gets_a_completion_of_the_one_before_it_where_that_is_asked_for(
    config: ReferenceConfig, scored: Path, reference_dir: Path, tmp_path: Path
) -> None:
    reference_groups(config, scored, tmp_path / "plain")
    assert {*others_of(tmp_path / "plain").values()} == {None}
    config = replace(config, mismatched=True)
    metrics = reference_groups(config, scored, tmp_path / "out")
    groups, model = list(read_groups(tmp_path / "out", "train")), load_model(reference_dir)
    assert metrics["reference/mismatched"] == metrics["reference/computed"] == len(groups)
    for before, group in pairwise([groups[-1], *groups]):
        ids, ref_logps = mismatched_of(group) or ([], 0.0)
        assert ids in [c.token_ids for c in before.completions]  # a text, whose ids no prompt changes
        assert ids not in [c.token_ids for c in group.completions]
        whole = torch.tensor([[*group.prompt_ids, *ids]])
        logps = model(whole).logits[0, :-1].log_softmax(-1).gather(1, whole[0, 1:, None])[:, 0]
        assert ref_logps == pytest.approx(float(logps[len(group.prompt_ids) - 1 :].sum()), abs=1e-3)
    assert not any(MISMATCHED in g.columns for g in read_groups(tmp_path / "out", "select"))

    # neither chunks, nor a share that the store has already, as of a run that was killed, change the column
    reference_groups(config, scored, tmp_path / "chunks", groups_per_chunk=3, tokens_per_chunk=40)
    assert others_of(tmp_path / "chunks") == others_of(tmp_path / "out")
    elsewhere = replace(config, store=str(tmp_path / "shares"))
    assert 0 < reference_shard(elsewhere, scored, 1, 2) < len(groups)
    gone_on = reference_groups(elsewhere, scored, tmp_path / "gone on")
    share = [group for group in groups if in_shard(group.id, 1, 2)]
    assert gone_on["reference/reused"] == sum(len(group.completions) + 1 for group in share)
    for key, other in others_of(tmp_path / "gone on").items():
        ids, ref_logps = others_of(tmp_path / "out")[key] or ([], 0.0)
        assert other == (ids, pytest.approx(ref_logps))


def made(folder: Path, groups: dict[str, list[str]]) -> Path:
    """Scored groups; a completion that ends with a dash was cut off there."""
    begin(folder)
    with GroupWriter(folder) as writer:
        for prompt, texts in groups.items():
            held = [Completion(t.rstrip("-"), finished=t[-1] != "-", reward=float(len(t))) for t in texts]
            writer.write("train", Group(prompt_id(prompt), prompt, held, {}, source="made:1"))
    seal(folder, schema="scored", stage="score", rows=len(groups), config={}, parents={})
    return folder


def words_of(artifact: Path) -> list[str]:
    """What stands beside each prompt."""
    held = [other[0] if other else [] for other in others_of(artifact).values()]
    return [" ".join(tiny.VOCABULARY[i] for i in ids) for ids in held]


def test_what_is_put_beside_a_prompt_fits_after_it_and_is_none_of_its_own(
    config: ReferenceConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = {
        "red cat": ["blue", "dog runs here now"],
        "green dog ? ?": ["blue", "dog  runs here now", "red red"],
        "here there now": ["cat cat cat", "red"],
    }
    scored = made(tmp_path / "scored", logs)
    config = replace(config, mismatched=True, max_tokens=8)
    reference_groups(config, scored, tmp_path / "out")
    # the first looks back to the last; of the first's the second has one, and had the other, spaces apart, so
    # it goes on to the last one's, of which 5 + 4 tokens are too many
    assert words_of(tmp_path / "out") == ["cat cat cat </s>", "red </s>", "blue </s>"]

    same = made(tmp_path / "same", {"red cat": ["blue", "red"], "green dog": ["red", "blue"]})
    with pytest.raises(
        RecordError, match=r"same: reference\.mismatched: no training prompt has another one n"
    ):
        reference_groups(config, same, tmp_path / "none")
    assert "prompts_without_mismatched" not in capsys.readouterr().err
    # what was cut off there is another completion of the same text
    some = made(tmp_path / "some", {"red cat": ["blue", "red"], "green dog": ["blue-", "red-", "cat"]})
    assert reference_groups(config, some, tmp_path / "some out")["reference/mismatched"] == 1
    assert words_of(tmp_path / "some out") == ["cat </s>", ""]
    assert "prompts_without_mismatched: 1, first made:1" in capsys.readouterr().err
