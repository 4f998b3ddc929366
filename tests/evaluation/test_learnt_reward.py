import math
import random
from statistics import NormalDist

import pytest

from copg.evaluation.learnt_reward import (
    auc,
    calibration_error,
    measure_pairs,
    measure_thumbs,
    reliability,
    thumb_reliability,
    win,
)
from copg.training.comparisons import Comparisons
from copg.training.thumbs import Thumbs


def test_reliability_compares_confidence_with_being_right() -> None:
    # differences +-ln 3: confidence 3/4, right in 2 of 3; 0: confidence 1/2, half right
    x = math.log(3)
    table = reliability([x, x, -x, 0.0])
    assert table == [
        {"pairs": 1.0, "confidence": 0.5, "accuracy": 0.5},
        {"pairs": 3.0, "confidence": pytest.approx(0.75), "accuracy": pytest.approx(2 / 3)},
    ]
    # 3/4 of the pairs are off by 3/4 - 2/3 = 1/12
    assert calibration_error(table) == pytest.approx(1 / 16)
    assert reliability([5000.0])[0]["confidence"] == 1.0
    assert (win(0.0), win(0.1), win(-0.1)) == (0.5, 1.0, 0.0)


def test_thumbs_are_held_against_the_chance_that_the_model_gives_them() -> None:
    # sigmoid(ln 3) = 3/4, up in 1 of 2; sigmoid(-ln 3) = 1/4, up in none
    x = math.log(3)
    table = thumb_reliability([x, x, -x], [1.0, 0.0, 0.0])
    assert table == [
        {"thumbs": 1.0, "probability": pytest.approx(1 / 4), "up": 0.0},
        {"thumbs": 2.0, "probability": pytest.approx(3 / 4), "up": 1 / 2},
    ]
    assert calibration_error(table) == pytest.approx(1 / 4)
    assert [row["probability"] for row in thumb_reliability([-9999.0, 9999.0], [0.0, 1.0])] == pytest.approx(
        [0, 1]
    )


def test_the_auc_is_the_share_of_pairs_of_an_up_and_a_down_that_are_ranked_rightly() -> None:
    # ups 3, 1 and downs 2, 1: 3 beats both, 1 loses to 2 and ties with 1: (2 + 0 + 1/2) / 4
    found = auc([[3.0, 2.0], [1.0], [1.0]], [[1.0, 0.0], [1.0], [0.0]])
    assert found.mean == pytest.approx(2.5 / 4)
    assert 0 <= found.low < found.mean < found.high <= 1
    assert auc([[2.0], [1.0]], [[1.0], [0.0]]).mean == 1
    assert auc([[1.0], [1.0]], [[1.0], [0.0]]).mean == 0.5


def test_the_interval_of_the_auc_holds_the_truth_also_where_prompts_hold_several_thumbs() -> None:
    # a score is N(0, 1) of its prompt and N(0, 1) of its own, and 1 more where it is up: an up of one prompt
    # and a down of another differ by N(1, 4), so that the truth is Phi(1/2)
    rng, truth, held = random.Random(0), NormalDist().cdf(0.5), 0
    for _ in range(100):
        up = [[float(rng.random() < 0.3)] * 3 for _ in range(80)]
        shared = [rng.gauss(0, 1) for _ in up]
        scores = [[rng.gauss(thumb + own, 1) for thumb in of] for of, own in zip(up, shared, strict=True)]
        found = auc(scores, up)
        held += found.low <= truth <= found.high
    assert 90 <= held <= 99  # 95 are expected; single completions as the unit hold 84


def thumbs(*lengths_and_up: tuple[int, float]) -> list[Thumbs]:
    return [Thumbs([{}], [length], [up]) for length, up in lengths_and_up]


def test_the_rule_of_length_is_the_one_that_train_teaches() -> None:
    shorter_is_up = thumbs((1, 1.0), (2, 1.0), (9, 0.0), (8, 0.0))
    metrics, table = measure_thumbs(
        thumbs((3, 1.0), (7, 0.0), (1, 0.0)), [[math.log(3)], [-math.log(3)], [0.0]], shorter_is_up
    )
    assert metrics["auc/mean"] == 1.0
    # the shortest is down, the up lies between: one of two
    assert metrics["length_auc/mean"] == 0.5
    assert metrics["loss/mean"] == pytest.approx((math.log(4 / 3) * 2 + math.log(2)) / 3)
    assert metrics["constant_loss/mean"] == pytest.approx(math.log(2))  # half of train is up
    assert metrics["thumbs/up"] == pytest.approx(1 / 3)
    assert [row["thumbs"] for row in table] == [1, 1, 1]


def test_pairs_are_measured_by_group() -> None:
    data = [Comparisons([], [5, 3], [(0, 1)]), Comparisons([], [1, 9, 4], [(0, 1), (2, 1)])]
    longer_is_better = [Comparisons([], [2, 1], [(0, 1)])]
    metrics, _ = measure_pairs(data, [[1.0, 0.0], [2.0, 1.0, 0.0]], longer_is_better)
    # right, then right and wrong; the longer is better, then worse and better
    assert metrics["accuracy/mean"] == pytest.approx(3 / 4)
    assert metrics["length_accuracy/mean"] == pytest.approx(1 / 2)
    assert metrics["over_length/mean"] == pytest.approx(1 / 4)
    assert (metrics["pairs/count"], metrics["prompts/count"]) == (3, 2)


def test_where_the_shorter_is_preferred_length_alone_is_the_rule_that_prefers_it() -> None:
    shorter = [Comparisons([], [3, 7 + i], [(0, 1)]) for i in range(40)]
    model = [[1.0, 0.0]] * 30 + [[0.0, 1.0]] * 10
    metrics, _ = measure_pairs(shorter, model, shorter)
    assert (metrics["accuracy/mean"], metrics["length_accuracy/mean"]) == (0.75, 1.0)
    assert metrics["accuracy/low"] > 0.5
    assert metrics["over_length/high"] < 0


def test_what_a_model_gets_beyond_length_is_paired_by_prompt() -> None:
    # right wherever length is right, and in ten of twenty prompts more: apart the intervals overlap
    data = [Comparisons([], [9 if i < 80 else 1, 5], [(0, 1)]) for i in range(100)]
    model = [[1.0, 0.0]] * 90 + [[0.0, 1.0]] * 10
    metrics, _ = measure_pairs(data, model, data)
    assert metrics["over_length/mean"] == pytest.approx(0.1)
    assert metrics["accuracy/low"] < metrics["length_accuracy/mean"] + 0.05
    assert metrics["over_length/low"] > 0


def test_thumbs_told_apart_by_length_alone_get_nothing_beyond_it() -> None:
    rng = random.Random(0)
    data = [Thumbs([{}], [rng.randint(1, 9)], [0.0]) for _ in range(60)]
    for each in data:
        each.up[0] = float(each.lengths[0] > 5)
    by_length, _ = measure_thumbs(data, [[float(each.lengths[0])] for each in data], data)
    assert by_length["auc/mean"] == by_length["length_auc/mean"] == 1.0
    assert by_length["over_length/low"] <= 0 <= by_length["over_length/high"]
    random_lengths = [Thumbs([{}], [rng.randint(1, 9)], each.up) for each in data]
    better, _ = measure_thumbs(random_lengths, [[own] for each in data for own in each.up], random_lengths)
    assert better["over_length/low"] > 0


def test_prompts_of_a_document_count_as_one_in_what_a_reward_model_is_measured_by() -> None:
    # 8 documents of 4 prompts each, which are right or wrong together, are 8 prompts
    right = [True, True, True, True, True, True, False, True]

    def measured(copies: int, clusters: bool) -> list[dict[str, float]]:
        named = [f"d{i}" if clusters else "" for i in range(8) for _ in range(copies)]
        lengths = [[5, 5 + i % 3 - 1] for i in range(8) for _ in range(copies)]
        scores = [[1.0, 0.0] if good else [0.0, 1.0] for good in right for _ in range(copies)]
        pairs = [Comparisons([], of, [(0, 1)], name) for of, name in zip(lengths, named, strict=True)]
        both = [Thumbs([], of, [1.0, 0.0], name) for of, name in zip(lengths, named, strict=True)]
        return [measure_pairs(pairs, scores, pairs)[0], measure_thumbs(both, scores, both)[0]]

    once, together, apart = measured(1, False), measured(4, True), measured(4, False)
    ends = [f"{name}/{end}" for name in ("accuracy", "auc", "over_length") for end in ("low", "high")]
    for alone, clustered, counted in zip(once, together, apart, strict=True):
        known = [end for end in ends if end in alone]
        assert [clustered[end] for end in known] == pytest.approx([alone[end] for end in known])
        assert all(counted[end] > alone[end] for end in known if end.endswith("low"))
    one = [Comparisons([], [1, 2], [(0, 1)], "the only document") for _ in range(9)]
    assert measure_pairs(one, [[1.0, 0.0]] * 9, one)[0]["accuracy/low"] > 0.5  # each prompt for itself then


def test_a_handful_of_thumbs_ranked_rightly_is_no_certainty() -> None:
    few = thumbs((4, 1.0), (4, 0.0), (4, 0.0))
    alone, _ = measure_thumbs(few, [[1.0], [0.0], [0.0]], few)
    # one thumb up: nothing is known but the ends
    assert (alone["auc/mean"], alone["auc/low"], alone["auc/high"]) == (1.0, 0.0, 1.0)
    assert alone["over_length/low"] == -1.0
    scores = [[float(i < 8)] for i in range(40)]
    rare = thumbs(*[(4, float(i < 8)) for i in range(40)])
    eight, _ = measure_thumbs(rare, scores, rare)
    # as sure as 8 pairs ranked rightly, whose exact end lies at .6
    pairs = [Comparisons([], [4, 4], [(0, 1)])] * 8
    assert eight["auc/low"] == pytest.approx(measure_pairs(pairs, [[1.0, 0.0]] * 8, pairs)[0]["accuracy/low"])
    assert 0.5 < eight["auc/low"] < 0.75
