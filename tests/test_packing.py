"""Prefix-shared rows: the log-probabilities and gradients of completions by themselves."""

import random

import pytest
import torch

from copg.errors import ModelError, RecordError
from copg.losses import copg_loss
from copg.packing import (
    SequenceScorer,
    TokenGroup,
    build_batch,
    check_rows,
    group_logps,
    pack_rows,
    plan_batches,
)
from copg.settings import RowConfig
from tests import tiny


def make_token_groups(num_groups: int, seed: int = 0) -> list[TokenGroup]:
    rng = random.Random(seed)

    def ids(least: int, most: int) -> list[int]:
        return [rng.randrange(len(tiny.VOCABULARY)) for _ in range(rng.randint(least, most))]

    return [TokenGroup(ids(1, 20), [ids(1, 12) for _ in range(rng.randint(1, 5))]) for _ in range(num_groups)]


def plain_logps(model: torch.nn.Module, group: TokenGroup) -> torch.Tensor:
    """One forward a completion, nothing shared."""
    sums = []
    for completion in group.completion_ids:
        ids = torch.tensor([[*group.prompt_ids, *completion]])
        start = len(group.prompt_ids)
        logps = model(input_ids=ids).logits[0, start - 1 : -1].log_softmax(-1)
        sums.append(logps.gather(1, ids[0, start:, None]).sum())
    return torch.stack(sums)


@pytest.mark.parametrize("kind", sorted(tiny.ARCHITECTURES))
@pytest.mark.parametrize("tokens_per_row", [0, 200], ids=["one_group_a_row", "several_groups_a_row"])
def test_rows_give_the_log_probabilities_of_single_sequences(kind: str, tokens_per_row: int) -> None:
    model, groups = tiny.build_model(kind), make_token_groups(12)
    rows = RowConfig(tokens_per_row=tokens_per_row, tokens_per_batch=300, tile_tokens=16)
    for group, logps in zip(groups, group_logps(model, groups, rows=rows), strict=True):
        with torch.no_grad():
            alone = plain_logps(model, group)
        for ids, expected, found in zip(group.completion_ids, alone.tolist(), logps, strict=True):
            assert abs(found - expected) <= 2e-5 * len(ids)
            assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", sorted(tiny.ARCHITECTURES))
@pytest.mark.parametrize("tile_tokens", [7, 4096], ids=["tiles", "one_tile"])
def test_rows_give_the_gradients_of_single_sequences(kind: str, tile_tokens: int) -> None:
    groups = make_token_groups(6, seed=1)
    sizes = [len(group.completion_ids) for group in groups]
    rewards = torch.linspace(0, 1, sum(sizes))
    index = torch.repeat_interleave(torch.arange(len(groups)), torch.tensor(sizes))

    def gradient(logps: torch.Tensor, model: torch.nn.Module) -> torch.Tensor:
        copg_loss(logps, torch.full_like(logps, -20.0), rewards, index, beta=0.3).mean().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    model = tiny.build_model(kind)
    plain = gradient(torch.cat([plain_logps(model, group) for group in groups]), model)
    model.zero_grad()
    batch = build_batch(groups, [[i] for i in range(len(groups))])
    fast = gradient(SequenceScorer(model, RowConfig(tile_tokens=tile_tokens))(batch), model)
    assert (fast - plain).norm() <= 1e-5 * plain.norm()


def test_best_fit_fills_the_fullest_row_that_has_room() -> None:
    # budget 10: 7 opens row 0 (3 left), 6 opens row 1 (4 left), 4 fits row 1 exactly, 3 fits row 0 exactly
    assert pack_rows([3, 7, 4, 6], 10) == [[1, 0], [3, 2]]
    assert pack_rows([5, 5, 5], 0) == [[0], [1], [2]]  # 0: a row is as long as the largest group


def test_a_group_longer_than_a_row_is_refused_with_its_size() -> None:
    with pytest.raises(RecordError, match="group 1 has 11 tokens, over tokens_per_row=10"):
        pack_rows([4, 11], 10)


def test_batches_hold_every_group_once_within_the_token_budget() -> None:
    lengths = [random.Random(3).randint(5, 90) for _ in range(200)]
    plan = plan_batches(lengths, RowConfig(tokens_per_row=100, tokens_per_batch=400))
    assert sorted(i for batch in plan for row in batch for i in row) == list(range(200))
    for batch in plan:
        widths = [sum(lengths[i] for i in row) for row in batch]
        assert max(widths) <= 100
        assert max(widths) * len(widths) <= 400


def test_two_groups_in_a_row_do_not_see_one_another() -> None:
    model = tiny.build_model()
    first, second = make_token_groups(2, seed=5)
    alone = group_logps(model, [first])[0]
    beside = group_logps(model, [first, second], rows=RowConfig(tokens_per_row=200))[0]
    assert beside == pytest.approx(alone, abs=1e-4)


def test_a_model_whose_rows_are_wrong_is_refused() -> None:
    model = tiny.build_model()
    check_rows(model, make_token_groups(2), RowConfig(), tolerance=2e-5)
    model.config.final_logit_softcapping = 2.0  # the model itself does not cap: its head is another than ours
    with pytest.raises(ModelError, match="differ from single sequences"):
        check_rows(model, make_token_groups(2), RowConfig(), tolerance=2e-5)
