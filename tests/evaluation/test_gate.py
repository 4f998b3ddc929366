import math
from dataclasses import replace

import numpy as np
import pytest

from copg.evaluation import gate
from copg.evaluation.criteria import Criteria
from copg.evaluation.gate import Contender, exclusion, gain
from copg.evaluation.power import fewest_prompts
from copg.records import Estimate, Evaluation


def evaluation(name="copg_0.1", reward=(0.6, 0.5, 0.7), kl=(2.0, 1.8, 2.2), **changes) -> Evaluation:
    one = Evaluation(
        name=name,
        split="gate",
        num_prompts=40,
        reward=Estimate(*reward),
        kl=Estimate(*kl),
        length=Estimate(20.0, 19.0, 21.0),
        finished_fraction=1.0,
        method="copg",
        beta=0.1,
    )
    return replace(one, **changes)


def contender(name: str, level: float, *, num_prompts: int = 40, digest: str = "", **changes) -> Contender:
    """Rewards level + 0.0, 0.1, 0.2, ... modulo 1: hard and easy prompts, the same for everybody."""
    rewards = {f"p{i}": [level + (i % 10) / 10] for i in range(num_prompts)}
    mean = level + 0.45
    low, high = mean - 0.09, mean + 0.09
    found = evaluation(name, (mean, low, high), num_prompts=num_prompts, **changes)
    return Contender(found, digest or name, rewards)


REFERENCE = contender("reference", 0.0, kl=(0.0, 0.0, 0.0))
ERROR = 0.001


def decide(candidate, reference, champion, *, max_kl=5.0, min_gain=0.0, **more):
    criteria = Criteria(max_kl=max_kl, min_gain=min_gain, level=ERROR)
    return gate.decide(candidate, reference, champion, criteria=criteria, **more)


def choose_trial(evaluations, *, max_kl):
    """By means alone, as of evaluations whose draws are not known."""
    chosen = gate.choose_trial([Contender(each, each.name) for each in evaluations], max_kl=max_kl)
    return None if chosen is None else chosen.evaluation


def drawn(name: str, level: float, kl: float, seed: int, spread: float = 0.1) -> Contender:
    """Rewards around ``level`` of 40 prompts."""
    noise = np.random.default_rng(seed).normal(0, spread, 40)
    rewards = {f"p{i}": [level + float(x)] for i, x in enumerate(noise)}
    mean = float(level + noise.mean())
    found = evaluation(name, (mean, mean - 0.1, mean + 0.1), (kl, kl, kl), num_prompts=40)
    return Contender(found, name, rewards)


def test_of_trials_as_good_as_the_best_the_nearest_to_the_reference_is_chosen() -> None:
    reference = drawn("reference", 0.0, 0.0, 0)
    near, far, worse = drawn("near", 0.30, 1.0, 1), drawn("far", 0.31, 6.0, 2), drawn("worse", 0.15, 0.2, 3)
    assert far.evaluation.reward.mean > near.evaluation.reward.mean
    assert gain(far, near).low < 0 < gain(far, worse).low
    assert gate.choose_trial([far, worse, near], reference, max_kl=9.0) is near
    assert gate.choose_trial([far, worse, near], max_kl=9.0) is far, "by means alone"


def test_a_trial_that_does_not_surely_beat_the_reference_is_not_chosen_for_its_nearness() -> None:
    reference = drawn("reference", 0.0, 0.0, 0)
    best, null = drawn("best", 0.10, 6.0, 1, spread=0.05), drawn("null", 0.05, 0.1, 2, spread=1.0)
    assert gain(best, null).low < 0, "as good as the best as far as one can tell"
    assert gate.choose_trial([best, null], reference, max_kl=9.0) is best


def test_where_no_trial_surely_beats_the_reference_the_best_mean_is_chosen() -> None:
    reference = drawn("reference", 0.0, 0.0, 0)
    trials = [drawn("a", 0.0, 0.1, 1), drawn("b", 0.0, 5.0, 2)]
    best = max(trials, key=lambda each: each.evaluation.reward.mean)
    assert gate.choose_trial(trials, reference, max_kl=9.0) is best


def test_the_best_trial_is_the_one_of_highest_mean_reward() -> None:
    trials = [evaluation("a", (0.5, 0.4, 0.6)), evaluation("b", (0.6, 0.5, 0.7))]
    assert choose_trial(trials, max_kl=5.0).name == "b"


def test_of_equally_good_trials_the_nearer_to_the_reference_is_best() -> None:
    trials = [evaluation("a", kl=(3.0, 2.9, 3.1)), evaluation("b", kl=(2.0, 1.9, 2.1))]
    assert choose_trial(trials, max_kl=5.0).name == "b"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"diverged": True}, "diverged"),
        ({"kl": (4.9, 4.7, 5.1)}, "KL 4.90 [4.70, 5.10] nats, its upper end over 5"),
        ({"reward": (math.nan, math.nan, math.nan)}, "not finite"),
        ({"kl": (1.0, 1.0, math.inf)}, "not finite"),
    ],
)
def test_a_trial_that_cannot_be_promoted_is_not_chosen_though_it_earns_most(changes, why) -> None:
    best = evaluation("best", **{"reward": (9.0, 8.9, 9.1), **changes})
    assert choose_trial([best, evaluation("second")], max_kl=5.0).name == "second"
    assert choose_trial([best], max_kl=5.0) is None
    assert why in exclusion(best, max_kl=5.0)


def test_a_trial_exactly_at_the_kl_budget_can_be_promoted() -> None:
    assert exclusion(evaluation(kl=(4.0, 3.0, 5.0)), max_kl=5.0) is None


def test_prompts_in_common_cancel_so_a_gain_shows_that_two_intervals_side_by_side_would_hide() -> None:
    candidate = contender("copg_0.1", 0.1)
    # apart: .55 [.46, .64] and .45 [.36, .54] overlap; by prompt each gains exactly .1
    found = gain(candidate, REFERENCE)
    assert (found.mean, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))
    decision = decide(candidate, REFERENCE, None, max_kl=5.0)
    assert decision.promoted
    assert decision.reasons == (
        "KL 2.00 [1.80, 2.20] nats is within 5",
        "the gain over the reference, 0.1 [0.1, 0.1] at error 0.001 over the same 40 prompts, is more than 0 "
        "(reward 0.55 [0.46, 0.64] against 0.45 [0.36, 0.54])",
        "there is no champion yet",
    )


def test_without_rewards_by_prompt_the_intervals_must_lie_apart() -> None:
    candidate = replace(contender("copg_0.1", 0.1), rewards={})
    # .46 - .54 = -.08 and .64 - .36 = .28
    found = gain(candidate, REFERENCE)
    assert (found.mean, found.low, found.high) == pytest.approx((0.1, -0.08, 0.28))
    assert not decide(candidate, REFERENCE, None).promoted
    apart = replace(contender("copg_0.1", 0.2), rewards={})  # .56 - .54 = .02 > 0
    assert decide(apart, REFERENCE, None).promoted


def test_pairs_are_made_by_prompt_not_by_position() -> None:
    candidate = contender("copg_0.1", 0.1)
    backwards = replace(candidate, rewards=dict(reversed(candidate.rewards.items())))
    assert gain(backwards, REFERENCE) == gain(candidate, REFERENCE)


def test_a_gain_no_larger_than_min_gain_is_rejected_with_its_numbers() -> None:
    candidate = contender("copg_0.1", 0.1)
    assert decide(candidate, REFERENCE, None, max_kl=5.0, min_gain=0.09).promoted
    decision = decide(candidate, REFERENCE, None, max_kl=5.0, min_gain=0.11)
    assert not decision.promoted
    assert decision.reasons == (
        "the gain over the reference, 0.1 [0.1, 0.1] at error 0.001 over the same 40 prompts, is not surely "
        "more than 0.11 (reward 0.55 [0.46, 0.64] against 0.45 [0.36, 0.54])",
    )


def test_a_champion_must_be_beaten_as_well() -> None:
    champion = contender("champion", 0.2)
    decision = decide(contender("copg_0.1", 0.1), REFERENCE, champion, max_kl=5.0)
    assert not decision.promoted
    assert "the gain over the champion, -0.1 [-0.1, -0.1]" in decision.reasons[0]
    assert decide(contender("copg_0.1", 0.3), REFERENCE, champion).promoted


def test_a_champion_is_never_compared_with_itself() -> None:
    champion = contender("champion", 0.1, digest="same")
    decision = decide(contender("copg_0.1", 0.1, digest="same"), REFERENCE, champion, max_kl=5.0)
    assert decision.promoted
    assert decision.reasons[-1] == "it is the champion itself, and is not compared with itself"
    other = decide(contender("copg_0.1", 0.1, digest="other"), REFERENCE, champion, max_kl=5.0)
    assert not other.promoted  # equal rewards of another policy are no gain


def test_all_that_failed_is_told_and_nothing_else() -> None:
    candidate = contender("copg_0.1", 0.1, kl=(6.0, 5.5, 6.5))
    decision = decide(
        candidate, REFERENCE, None, max_kl=5.0, min_gain=1.0, data_faults=["3 % of records rejected"]
    )
    assert not decision.promoted
    assert [reason.split(":")[0].split(",")[0] for reason in decision.reasons] == [
        "the data are not valid",
        "copg_0.1 is too far from the reference",
        "the gain over the reference",
    ]


def test_a_few_prompts_promote_nobody_however_large_the_gain() -> None:
    few = contender("copg_0.1", 5.0, num_prompts=7)
    decision = decide(few, REFERENCE, None, max_kl=5.0)
    assert decision.reasons == ("7 prompts are too few to compare with the reference, 8 are needed",)
    assert decide(contender("copg_0.1", 5.0, num_prompts=8), REFERENCE, None).promoted
    strangers = replace(few, rewards={f"other{i}": [9.0] for i in range(40)})
    assert not decide(strangers, REFERENCE, None).promoted


def test_of_bounded_rewards_so_few_prompts_promote_nobody_that_no_gain_could_be_seen() -> None:
    # the largest gain there is, from 0 to 1 on every prompt, multiplies a stake by less than 2 each time
    least = fewest_prompts(ERROR)
    assert least > math.log2(1 / ERROR)

    def all_of(reward: float, num_prompts: int) -> Contender:
        one = contender("one", 0.0, num_prompts=num_prompts, digest=str(reward))
        return replace(one, rewards={prompt: [reward] for prompt in one.rewards}, bounds=(0.0, 1.0))

    for num_prompts, promoted in ((least - 1, False), (least, True)):
        decision = decide(all_of(1.0, num_prompts), all_of(0.0, num_prompts), None)
        assert (decision.promoted, decision.tested) == (promoted, promoted)
    few = decide(all_of(1.0, least - 1), all_of(0.0, least - 1), None).reasons
    assert few == (f"{least - 1} prompts are too few to compare with the reference, {least} are needed",)


def test_only_a_decision_that_hangs_on_gains_spends() -> None:
    candidate, champion = contender("copg_0.1", 0.1, digest="d"), contender("champion", 0.1, digest="d")
    assert decide(candidate, REFERENCE, None).tested
    assert decide(candidate, REFERENCE, contender("champion", 0.2)).tested, "whether or not it passes"
    assert not decide(candidate, REFERENCE, champion).tested, "it stands already"
    assert not decide(candidate, REFERENCE, None, data_faults=["bad"]).tested
    assert not decide(candidate, REFERENCE, None, guards={"guard length: 2 times as long": False}).tested
    assert not decide(candidate, REFERENCE, None, max_kl=1.0).tested


def test_a_guard_that_fails_promotes_nobody_and_says_why() -> None:
    candidate = contender("copg_0.1", 0.1)
    decision = decide(
        candidate, REFERENCE, None, guards={"guard length: fine": True, "guard facts: fell": False}
    )
    assert (decision.promoted, decision.reasons) == (False, ("guard facts: fell",))
    assert (
        "guard length: fine"
        in decide(candidate, REFERENCE, None, guards={"guard length: fine": True}).reasons
    )


def test_prompts_of_one_document_count_as_one() -> None:
    documents = {f"p{i}": f"d{i // 8}" for i in range(40)}
    candidate = replace(contender("copg_0.1", 0.1), clusters=documents)
    assert decide(candidate, REFERENCE, None).reasons == (
        "5 prompts are too few to compare with the reference, 8 are needed",
    )
    pairs = replace(candidate, clusters={f"p{i}": f"d{i // 2}" for i in range(40)})
    assert any(
        "over the same 40 prompts of 20 clusters, is" in r for r in decide(pairs, REFERENCE, None).reasons
    )
