"""KL over the whole vocabulary: worked values, and the sums of two plain forwards a completion."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from copg.errors import ModelError
from copg.lm import divergence
from copg.lm.config import RowConfig
from copg.lm.divergence import compare_reference, token_kl, trace_policy
from copg.lm.head import Head
from copg.lm.rows import TokenGroup
from tests import tiny

GROUPS = [
    TokenGroup([1, 5, 6], [[7, 8, 9, 2], [4], [10, 2]]),
    TokenGroup([1, 9], [[12, 11, 13, 14, 2], [5, 2]]),
    TokenGroup([1, 6, 6, 6, 7], [[4, 5, 6, 7, 8, 9], [9, 8], [15, 16, 2], [4, 2]]),
]


def measure(
    policy: Any, reference: Any, rows: RowConfig, **options: Any
) -> tuple[list[list[float]], list[list[float]]]:
    return compare_reference(reference, GROUPS, trace_policy(policy, GROUPS, rows, **options), rows)


def plain(policy: Any, reference: Any) -> tuple[list[list[float]], list[list[float]]]:
    """KLs and log-ratios through two forwards of every completion by itself, in float64."""
    kls, log_ratios = [], []
    for group in GROUPS:
        pairs = []
        for ids in group.completion_ids:
            row, first = torch.tensor([[*group.prompt_ids, *ids]]), len(group.prompt_ids) - 1
            with torch.no_grad():
                p, r = (
                    model(row).logits[0, first:-1].double().log_softmax(-1) for model in (policy, reference)
                )
            gap = (p - r).gather(1, torch.tensor(ids)[:, None])
            pairs.append((float((p.exp() * (p - r)).sum()), float(gap.sum())))
        kls.append([kl for kl, _ in pairs])
        log_ratios.append([log_ratio for _, log_ratio in pairs])
    return kls, log_ratios


def flat(values: list[list[float]]) -> list[float]:
    return [value for group in values for value in group]


@pytest.mark.parametrize("tile", [1, 2, 4096])
def test_two_positions_over_two_tokens_have_the_worked_kl_whatever_was_drawn(tile: int) -> None:
    # logits (h, 0): h = 0 -> (.5, .5); log 4 -> (.8, .2); log 3 -> (.75, .25)
    # position 1: .5 log(.5/.8) + .5 log(.5/.2) = .2231; position 2: .75 log(.75/.5) + .25 log(.25/.5) = .1308
    # drawn 0 then 1: log-ratios log(.5/.8) = -.4700 and log(.25/.5) = -.6931, for a KL of .3540 together
    policy, reference = torch.tensor([[0.0], [math.log(3)]]), torch.tensor([[math.log(4)], [0.0]])
    head = Head(torch.tensor([[1.0], [0.0]]))
    twice = Head(torch.tensor([[0.5], [0.0]]), scale=2.0)  # the same logits: each model has its own head
    found = token_kl((policy, head), (reference, twice), torch.tensor([0, 1]), dtype=torch.float32, tile=tile)
    assert found.dtype == torch.float64
    assert found[:, 0].tolist() == pytest.approx([0.2231, 0.1308], abs=1e-4)
    assert found[:, 1].tolist() == pytest.approx([-0.4700, -0.6931], abs=1e-4)


@pytest.mark.parametrize("kind", ["llama", "gemma2", "gpt_neox"])
@pytest.mark.parametrize(
    "rows",
    [
        RowConfig(),
        RowConfig(attention="mask", tokens_per_batch=20),
        RowConfig(tokens_per_row=11, split_groups=True, tokens_per_batch=11, tile_tokens=3),
    ],
    ids=["one_batch", "mask", "split_groups"],
)
def test_sums_are_those_of_two_plain_forwards_of_each_completion(kind: str, rows: RowConfig) -> None:
    policy, reference = tiny.build_model(kind, 0), tiny.build_model(kind, 1)
    found = measure(policy, reference, rows)
    expected = plain(policy, reference)
    for mine, theirs in zip(found, expected, strict=True):
        assert [len(values) for values in mine] == [len(values) for values in theirs]
        assert flat(mine) == pytest.approx(flat(theirs), rel=1e-4, abs=1e-4)
    assert min(flat(found[0])) > 0.01


def test_a_model_has_no_kl_from_itself() -> None:
    rows = RowConfig()
    assert {0.0} == {
        v for values in measure(tiny.build_model(), tiny.build_model(), rows) for v in flat(values)
    }


def test_bfloat16_moves_the_kl_little() -> None:
    policy, reference = tiny.build_model("gemma2", 0), tiny.build_model("gemma2", 1)
    exact = flat(plain(policy, reference)[0])
    rows = RowConfig(compute_dtype="bfloat16", parameter_dtype="bfloat16")
    policy, reference = policy.bfloat16(), reference.bfloat16()
    assert trace_policy(policy, GROUPS, rows).states.dtype == torch.bfloat16
    found = flat(measure(policy, reference, rows)[0])
    assert sum(found) == pytest.approx(sum(exact), rel=0.05)
    assert found != exact


def test_states_beyond_the_bound_lie_in_a_file_that_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, reference = tiny.build_model("llama", 0), tiny.build_model("llama", 1)
    expected = measure(policy, reference, RowConfig())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made: list[int] = []
    from_file = torch.from_file
    monkeypatch.setattr(
        torch, "from_file", lambda *a, **k: made.append(k["size"] * k["dtype"].itemsize) or from_file(*a, **k)
    )
    assert measure(policy, reference, RowConfig(), in_memory=0) == expected
    halved = RowConfig(compute_dtype="bfloat16")
    measure(policy, reference, halved, in_memory=0)
    # 27 completion tokens of 32 numbers, of 4 and of 2 bytes
    assert made == [27 * 32 * 4, 27 * 32 * 2]
    assert list(tmp_path.iterdir()) == []


def test_states_without_room_are_told_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ModelError, match=r"GiB of hidden states do not fit its .* set TMPDIR"):
        divergence._allocate(2**40, 2**12, torch.float32, 0)
    assert list(tmp_path.iterdir()) == []


def test_heads_of_different_sizes_are_refused() -> None:
    policy, reference = tiny.build_model(), tiny.build_model()
    policy.resize_token_embeddings(24)
    with pytest.raises(ModelError, match="the policy's head has 24 tokens, the reference's 17"):
        measure(policy, reference, RowConfig())
