"""Mixes of exact optima: the ends, the whole as a product of its tokens, and what is lost at equal KL."""

import numpy as np
import pytest

from experiments.frontier_exact import BETAS, build, compare, join, mix, split

WORLD = build(num_prompts=16)


def test_a_policy_is_the_product_of_its_tokens() -> None:
    first, second = split(WORLD.optimum())
    assert np.allclose(first.sum(-1), 1)
    assert np.allclose(second.sum(-1), 1)
    assert np.allclose(join(first, second), WORLD.optimum())
    # the third string is "b" alone: b, then the end
    assert np.allclose(WORLD.optimum()[:, 2], first[:, 1] * second[:, 1, 5])


def test_at_the_ends_of_the_mixes_lie_reference_and_policy() -> None:
    policy = WORLD.optimum()
    assert np.allclose(mix(policy, WORLD.reference, 0), WORLD.reference)
    assert np.allclose(mix(policy, WORLD.reference, 1), policy)
    assert np.allclose(mix(policy, WORLD.reference, 0.3).sum(-1), 1)


def test_no_mix_beats_the_optimum_of_its_kl_and_each_is_near_it() -> None:
    rows = compare(WORLD, BETAS)
    assert [row["kl"] for row in rows] == sorted(row["kl"] for row in rows)
    for row in rows:
        assert 0 < row["weight"] < 1
        assert -0.045 <= row["difference"] <= 1e-9


def test_one_optimum_mixed_with_itself_loses_nothing() -> None:
    (row,) = compare(WORLD, [WORLD.beta])
    assert row["weight"] == pytest.approx(1, abs=1e-9)
    assert row["difference"] == pytest.approx(0, abs=1e-9)
