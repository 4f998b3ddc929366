import math

from hypothesis import example, given
from hypothesis import strategies as st

from copg.evaluation.frontier import Point, frontier


def test_the_frontier_starts_at_the_reference_and_leaves_out_who_is_beaten_on_both() -> None:
    near, beaten, far = Point("near", 1.0, 0.5), Point("beaten", 2.0, 0.4), Point("far", 3.0, 0.9)
    # near earns .5 > .3 of the reference; beaten costs more KL than near and earns less; far earns most
    found = frontier([far, beaten, near], reference_reward=0.3)
    assert found == [Point("reference", 0.0, 0.3), near, far]


def test_a_policy_worse_than_the_reference_is_never_on_the_frontier() -> None:
    assert frontier([Point("worse", 0.1, 0.2)], reference_reward=0.3) == [Point("reference", 0.0, 0.3)]


def test_of_two_policies_at_one_kl_the_better_one_is_on_the_frontier() -> None:
    a, b = Point("a", 1.0, 0.5), Point("b", 1.0, 0.6)
    assert frontier([a, b], reference_reward=0.3)[1:] == [b]


def test_a_negative_estimate_of_kl_counts_as_zero() -> None:
    assert frontier([Point("a", -0.01, 0.5)], reference_reward=0.3)[1:] == [Point("a", 0.0, 0.5)]


def test_a_diverged_policy_without_finite_numbers_is_left_out() -> None:
    points = [Point("a", math.nan, 0.5), Point("b", 1.0, math.nan), Point("c", math.inf, 0.9)]
    assert len(frontier(points, reference_reward=0.3)) == 1


@example([(0.0, 0.0), (0.0, -1.0)], -1.0)
@given(st.lists(st.tuples(st.floats(0, 50), st.floats(-5, 5)), max_size=20), st.floats(-5, 5))
def test_nobody_beats_a_policy_on_the_frontier_and_somebody_beats_every_other(pairs, reward) -> None:
    points = [Point(str(i), kl, r) for i, (kl, r) in enumerate(pairs)]
    found = frontier(points, reference_reward=reward)
    everyone = [Point("reference", 0.0, reward), *points]
    for point in everyone:
        beaten = any(
            o.kl <= point.kl and o.reward >= point.reward and (o.kl, o.reward) != (point.kl, point.reward)
            for o in everyone
        )
        same = any((o.kl, o.reward) == (point.kl, point.reward) for o in found)
        if point.name != "reference":
            # who lies where the reference does is found there, as it begins the frontier also when beaten
            assert same == (not beaten or (point.kl, point.reward) == (0.0, reward))
