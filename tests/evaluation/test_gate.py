import math
from dataclasses import replace

import pytest

from copg.evaluation.gate import Contender, choose_trial, decide, exclusion, gain
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
        "the gain over the reference, 0.1 [0.1, 0.1] over the same 40 prompts, is more than 0 "
        "(reward 0.55 [0.46, 0.64] against 0.45 [0.36, 0.54])",
        "there is no champion yet",
    )


def test_without_rewards_by_prompt_the_intervals_must_lie_apart() -> None:
    candidate = replace(contender("copg_0.1", 0.1), rewards={})
    # .46 - .54 = -.08 and .64 - .36 = .28
    found = gain(candidate, REFERENCE)
    assert (found.mean, found.low, found.high) == pytest.approx((0.1, -0.08, 0.28))
    assert not decide(candidate, REFERENCE, None, max_kl=5.0).promoted
    apart = replace(contender("copg_0.1", 0.2), rewards={})  # .56 - .54 = .02 > 0
    assert decide(apart, REFERENCE, None, max_kl=5.0).promoted


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
        "the gain over the reference, 0.1 [0.1, 0.1] over the same 40 prompts, is not surely more than 0.11 "
        "(reward 0.55 [0.46, 0.64] against 0.45 [0.36, 0.54])",
    )


def test_a_champion_must_be_beaten_as_well() -> None:
    champion = contender("champion", 0.2)
    decision = decide(contender("copg_0.1", 0.1), REFERENCE, champion, max_kl=5.0)
    assert not decision.promoted
    assert "the gain over the champion, -0.1 [-0.1, -0.1]" in decision.reasons[0]
    assert decide(contender("copg_0.1", 0.3), REFERENCE, champion, max_kl=5.0).promoted


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
    assert decide(contender("copg_0.1", 5.0, num_prompts=8), REFERENCE, None, max_kl=5.0).promoted
    strangers = replace(few, rewards={f"other{i}": [9.0] for i in range(40)})
    assert not decide(strangers, REFERENCE, None, max_kl=5.0).promoted
