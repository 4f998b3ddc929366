"""Prefix-shared rows: the log-probabilities and gradients of completions by themselves."""

import random
from typing import Any

import pytest
import torch

from copg.errors import ModelError, RecordError
from copg.lm.attention import dispatch
from copg.lm.attention.layout import Layout
from copg.lm.attention.split import CALL_COST, pieces_of
from copg.lm.branches import flat_segments
from copg.lm.config import RowConfig
from copg.lm.row_batch import build_batch
from copg.lm.rows import TokenGroup, pack_rows, plan_batches
from copg.lm.scorer import SequenceScorer, group_logps
from copg.losses.copg import copg_loss
from copg.losses.groups import Completions
from tests import tiny

ATTENTIONS = ["mask", "split", "pieces", "flex"]
"""``pieces``: split, with every group in pieces, however small."""


@pytest.fixture
def attention(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param != "pieces":
        return request.param
    monkeypatch.setattr("copg.lm.attention.split.CALL_COST", -1)
    return "split"


def make_token_groups(num_groups: int, seed: int = 0) -> list[TokenGroup]:
    rng = random.Random(seed)

    def ids(least: int, most: int) -> list[int]:
        return [rng.randrange(len(tiny.VOCABULARY)) for _ in range(rng.randint(least, most))]

    return [TokenGroup(ids(1, 20), [ids(1, 12) for _ in range(rng.randint(1, 5))]) for _ in range(num_groups)]


def plain_logps(model: Any, group: TokenGroup) -> torch.Tensor:
    """One forward a completion, nothing shared, attention as transformers writes it out."""
    model.set_attn_implementation("eager")
    sums = []
    for completion in group.completion_ids:
        ids = torch.tensor([[*group.prompt_ids, *completion]])
        start = len(group.prompt_ids)
        logps = model(input_ids=ids).logits[0, start - 1 : -1].log_softmax(-1)
        sums.append(logps.gather(1, ids[0, start:, None]).sum())
    return torch.stack(sums)


@pytest.mark.filterwarnings("ignore:flex_attention called without")  # compiled only on a GPU
@pytest.mark.parametrize("kind", sorted(tiny.ARCHITECTURES))
@pytest.mark.parametrize("attention", ATTENTIONS, indirect=True)
@pytest.mark.parametrize("tokens_per_row", [0, 200], ids=["one_group_a_row", "several_groups_a_row"])
def test_rows_give_the_log_probabilities_of_single_sequences(
    kind: str, attention: Any, tokens_per_row: int
) -> None:
    model, groups = tiny.build_model(kind), make_token_groups(12)
    rows = RowConfig(tokens_per_row=tokens_per_row, tokens_per_batch=300, tile_tokens=16, attention=attention)
    together = group_logps(model, groups, rows=rows)
    for group, logps in zip(groups, together, strict=True):
        with torch.no_grad():
            alone = plain_logps(model, group)
        for ids, expected, found in zip(group.completion_ids, alone.tolist(), logps, strict=True):
            assert abs(found - expected) <= 2e-5 * len(ids)
            assert found == pytest.approx(expected, rel=1e-6)


def gradients(kind: str, attention: str, tile_tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of ``copg_loss``, one after the other: through rows, and through single sequences."""
    groups = make_token_groups(6, seed=1)
    sizes = [len(group.completion_ids) for group in groups]
    rewards = torch.linspace(0, 1, sum(sizes))
    index = torch.repeat_interleave(torch.arange(len(groups)), torch.tensor(sizes))

    def gradient(logps: torch.Tensor, model: torch.nn.Module) -> torch.Tensor:
        ref_logps, num_tokens = torch.full_like(logps, -20.0), torch.ones_like(index)
        completions = Completions(logps, ref_logps, rewards, num_tokens, index)
        copg_loss(completions, beta=0.3).mean().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    model = tiny.build_model(kind)
    plain = gradient(torch.cat([plain_logps(model, group) for group in groups]), model)
    model.zero_grad()
    settings: Any = {
        "attention": attention,
        "compute_dtype": "bfloat16" if attention == "varlen" else "float32",
    }
    batch = build_batch(groups, [[i] for i in range(len(groups))], RowConfig(**settings))
    fast = gradient(SequenceScorer(model, RowConfig(tile_tokens=tile_tokens))(batch), model)
    return fast, plain


@pytest.mark.parametrize("kind", sorted(tiny.ARCHITECTURES))
@pytest.mark.parametrize("attention", ["mask", "split", "pieces"], indirect=True)
@pytest.mark.parametrize("tile_tokens", [7, 4096], ids=["tiles", "one_tile"])
def test_rows_give_the_gradients_of_single_sequences(kind: str, attention: str, tile_tokens: int) -> None:
    fast, plain = gradients(kind, attention, tile_tokens)
    assert (fast - plain).norm() <= 1e-5 * plain.norm()


def flash_varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    query_ends: torch.Tensor,
    key_ends: torch.Tensor,
    longest_query: int,
    longest_key: int,
    *,
    scale: float | None,
    window_size: tuple[int, int],
    enable_gqa: bool,
) -> torch.Tensor:
    """What FlashAttention's varlen kernel computes, a sequence at a time; causal, aligned at the end."""
    assert window_size == (-1, 0)
    assert query_ends.dtype == key_ends.dtype == torch.int32
    assert enable_gqa == (query.shape[1] != key.shape[1])
    outputs = []
    for i in range(len(query_ends) - 1):
        q = query[query_ends[i] : query_ends[i + 1]].transpose(0, 1)
        k, v = (x[key_ends[i] : key_ends[i + 1]].transpose(0, 1) for x in (key, value))
        assert q.shape[1] <= longest_query
        assert k.shape[1] <= longest_key
        visible = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool).tril(k.shape[1] - q.shape[1])
        out = torch.nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=visible, scale=scale, enable_gqa=enable_gqa
        )
        outputs.append(out.transpose(0, 1))
    return torch.cat(outputs)


@pytest.mark.parametrize("kind", sorted(set(tiny.ARCHITECTURES) - {"gemma2"}))  # it has a soft cap: no kernel
def test_the_sequences_of_a_varlen_call_are_those_of_the_rows(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("copg.lm.attention.varlen.varlen_attn", flash_varlen)
    fast, plain = gradients(kind, "varlen", 4096)
    assert (fast - plain).norm() <= 1e-5 * plain.norm()


def test_scores_under_a_soft_cap_are_written_out_a_group_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    widths: list[int] = []
    plain = dispatch.plain_attention

    def recorded(query: Any, *others: Any, **named: Any) -> Any:
        widths.append(query.shape[2])
        return plain(query, *others, **named)

    monkeypatch.setattr(dispatch, "plain_attention", recorded)
    groups = make_token_groups(5, seed=3)
    group_logps(tiny.build_model("gemma2"), groups, rows=RowConfig(attention="split", tokens_per_batch=4096))
    sizes = [group.num_tokens for group in groups]
    assert sorted(widths) == sorted(2 * sizes)  # in both layers


def test_flex_attention_is_refused_for_training_on_a_cpu() -> None:
    with pytest.raises(ModelError, match="attention='flex' has no backward pass on a CPU"):
        gradients("llama", "flex", 4096)


def test_a_model_that_was_saved_does_not_ask_for_our_attention(tmp_path: Any) -> None:
    model = tiny.build_model()
    group_logps(model, make_token_groups(1))
    model.save_pretrained(tmp_path)
    assert "copg" not in (tmp_path / "config.json").read_text()


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@pytest.mark.parametrize("kind", ["mistral", "gemma2"])
@pytest.mark.parametrize("attention", ATTENTIONS, indirect=True)
def test_a_window_is_counted_in_positions_not_in_places_of_a_row(kind: str, attention: Any) -> None:
    model, rng = tiny.build_model(kind), random.Random(7)
    ids = [[rng.randrange(4, len(tiny.VOCABULARY)) for _ in range(tiny.WINDOW)] for _ in range(4)]
    groups = [TokenGroup(ids[0][:30], [ids[1], ids[2][:25]]), TokenGroup(ids[3], [ids[0][:9], ids[1]])]
    rows = RowConfig(attention=attention, tokens_per_row=200)
    found = group_logps(model, groups, rows=rows)
    with torch.no_grad():
        expected = [plain_logps(model, group).tolist() for group in groups]
    assert found == [pytest.approx(each, rel=1e-6) for each in expected]


def test_best_fit_fills_the_fullest_row_that_has_room() -> None:
    # budget 10: 7 opens row 0 (3 left), 6 opens row 1 (4 left), 4 fits row 1 exactly, 3 fits row 0 exactly
    assert pack_rows([3, 7, 4, 6], 10) == [[1, 0], [3, 2]]
    # 8 opens row 0 (2 left), 6 opens row 1 (4 left), 3 goes there (1 left): 1 fills it, though row 0 has room
    assert pack_rows([1, 3, 6, 8], 10) == [[3], [2, 1, 0]]
    assert pack_rows([5, 5, 5], 0) == [[0], [1], [2]]  # 0: a row is as long as the largest group


def test_a_group_longer_than_a_row_is_refused_with_its_id_and_size() -> None:
    with pytest.raises(RecordError, match="group 1 has 11 tokens, over tokens_per_row=10"):
        pack_rows([4, 11], 10)
    group = TokenGroup([1] * 5, [[2] * 3, [3] * 3], "ab12")
    with pytest.raises(RecordError, match="group ab12 has 11 tokens, over tokens_per_row=10"):
        group_logps(tiny.build_model(), [group], rows=RowConfig(tokens_per_row=10))


@pytest.mark.parametrize("attention", ["mask", "split"], indirect=True)
def test_a_group_longer_than_a_row_has_the_same_log_probabilities_in_parts(attention: Any) -> None:
    model, groups = tiny.build_model(), make_token_groups(6, seed=4)
    whole = group_logps(model, groups)
    rows = RowConfig(tokens_per_row=34, split_groups=True, attention=attention)
    assert any(group.num_tokens > 34 for group in groups)
    for expected, found in zip(whole, group_logps(model, groups, rows=rows), strict=True):
        assert found == pytest.approx(expected, abs=1e-4)


def test_a_completion_longer_than_a_row_is_refused_even_in_parts() -> None:
    group = TokenGroup([1] * 5, [[2] * 3, [3] * 6], "ab12")
    with pytest.raises(RecordError, match="group ab12: prompt and one completion have 11 tokens, over"):
        group_logps(tiny.build_model(), [group], rows=RowConfig(tokens_per_row=10, split_groups=True))


@pytest.mark.parametrize("attention", ["mask", "split"], indirect=True)
def test_batches_hold_every_group_once_within_the_token_budget(attention: Any) -> None:
    rng = random.Random(3)
    lengths = [rng.randint(5, 90) for _ in range(200)]
    groups = [TokenGroup([1], [[2] * (length - 1)]) for length in lengths]
    plan = plan_batches(groups, RowConfig(tokens_per_row=100, tokens_per_batch=400, attention=attention))
    assert sorted(i for batch in plan for row in batch for i in row) == list(range(200))
    for batch in plan:
        widths = [sum(lengths[i] for i in row) for row in batch]
        assert max(widths) * len(widths) <= 400  # with padding; a flat batch is a single row without any
        assert max(widths) <= (100 if attention == "mask" else 400)


@pytest.mark.parametrize("attention", ATTENTIONS, indirect=True)
def test_two_groups_in_a_row_do_not_see_one_another(attention: Any) -> None:
    model = tiny.build_model()
    first, second = make_token_groups(2, seed=5)
    alone = group_logps(model, [first])[0]
    rows = RowConfig(tokens_per_row=200, attention=attention)
    beside = group_logps(model, [first, second], rows=rows)[0]
    assert beside == pytest.approx(alone, abs=1e-4)


@pytest.mark.parametrize(
    ("prompt", "lengths", "in_pieces"),
    [(8, [4, 4], False), (300, [100, 60, 60, 100], True), (40, [300, 300], True)],
)
def test_large_groups_are_computed_in_pieces_and_small_ones_with_a_mask(
    prompt: int, lengths: list[int], in_pieces: bool
) -> None:
    spans = [(each.length, each.span) for each in flat_segments(prompt, lengths)]
    pieces = pieces_of(Layout((tuple(spans),)), 128, torch.float32, CALL_COST)
    assert all(piece.mask is None for piece in pieces) == in_pieces
    assert (len(pieces) > 1) == in_pieces


def test_gradient_checkpointing_gives_the_same_gradients() -> None:
    groups = make_token_groups(3, seed=6)
    found = []
    for checkpointing in (False, True):
        model = tiny.build_model().train()
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        SequenceScorer(model, RowConfig())(build_batch(groups, [[0, 1, 2]])).sum().backward()
        found.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert (found[0] - found[1]).norm() <= 1e-6 * found[0].norm()


def test_attention_dropout_is_refused() -> None:
    model = tiny.build_model().train()
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.1
    with pytest.raises(ModelError, match=r"attention dropout=0\.1 must be 0"):
        SequenceScorer(model, RowConfig())(build_batch(make_token_groups(1), [[0]]))
