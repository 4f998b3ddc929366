"""Rewards that count as one: worked out by hand, and what a policy that found their disagreement is worth."""

import itertools
import math
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest

from copg.config import parse_config
from copg.errors import ConfigError, RewardError
from copg.evaluation.criteria import Criteria
from copg.evaluation.draws import Draws
from copg.evaluation.estimates import estimate
from copg.evaluation.gate import Contender, Decision, decide
from copg.records import Estimate, Evaluation
from copg.report.model_card import _origin
from copg.report.numbers import _added_by_parts
from copg.rewards.bounds import bounds_of_parts, check_ranges
from copg.rewards.contract import Condition, Ensemble, RewardSpec, Scale
from copg.rewards.ensemble import check_ensembles, lower_bound_range, spread
from copg.rewards.mixture import Mixture
from copg.rewards.registry import digest_of_purpose, digest_of_rewards

JUDGES = Ensemble(name="judges")


def member(label: str, coefficient: float = 1.0, **changes) -> RewardSpec:
    """One of the ensemble ``judges``."""
    ensemble = Ensemble(name="judges", coefficient=coefficient)
    return RewardSpec("m:f", label=label, params={"of": label}, ensemble=ensemble, **changes)


def mixture(values: dict[str, dict[str, float]], *specs: RewardSpec, scales=None) -> Mixture:
    """Of rewards that look a completion's value up."""

    def of(part: str):
        return lambda prompts, completions, columns: [values[part][text] for text in completions]

    return Mixture(specs, {spec.part: of(spec.part) for spec in specs}, scales)


def scored(one: Mixture, *texts: str) -> list[float]:
    return one(["p"] * len(texts), texts, [{}] * len(texts)).total


def test_an_ensemble_is_worth_the_mean_of_its_members_less_what_they_disagree_by() -> None:
    values = {"a": {"x": 1.0}, "b": {"x": 2.0}, "c": {"x": 6.0}, "short": {"x": -4.0}}
    judges = [member(part, 0.5, weight=2.0) for part in "abc"]
    found = mixture(values, *judges, RewardSpec("m:g", 0.25, label="short"))
    # mean 3; squares of -2, -1, 3 are 14, over three 14/3; 2 * (3 - .5 * sqrt(14/3)) - .25 * 4
    assert scored(found, "x") == pytest.approx([6 - math.sqrt(14 / 3) - 1], rel=1e-15)
    parts = {part: [of["x"]] for part, of in values.items()}
    assert found.disagreements(parts) == {"judges": pytest.approx([math.sqrt(14 / 3)])}
    added = found.contributions(parts)
    assert {part: each for part, (each,) in added.items()} == pytest.approx(
        {"a": 2 / 3, "b": 4 / 3, "c": 4.0, "judges": -math.sqrt(14 / 3), "short": -1.0}
    )


def test_the_report_splits_a_gain_into_what_members_say_and_what_they_disagree_by() -> None:
    specs = [
        {"name": "m:f", "label": part, "params": {"of": part}, "ensemble": {"name": "judges"}}
        for part in "ab"
    ]
    manifest = SimpleNamespace(config={"rewards": specs}, facts={"scales": {}})
    draws = Draws(rewards={"p": [1.0, 2.0]}, parts={"a": {"p": [1.0, 6.0]}, "b": {"p": [3.0, 2.0]}})
    found = _added_by_parts(SimpleNamespace(manifest=manifest), draws)
    # means 2 and 4, deviations 1 and 2: the rewards that were drawn
    assert found == {"a": {"p": [0.5, 3.0]}, "b": {"p": [1.5, 1.0]}, "judges": {"p": [-1.0, -2.0]}}


def test_the_card_of_a_policy_says_which_rewards_counted_as_one() -> None:
    specs = [asdict(member(part, 0.5)) for part in "ab"]
    gate = SimpleNamespace(beta=0.1, method="copg")
    best = SimpleNamespace(
        splits={"gate": gate}, manifest=SimpleNamespace(config={"rewards": specs}), weight=None
    )
    assert _origin(best)[2:] == [
        f"- 1 x `m:f` `{{'of': '{part}'}}`, in ensemble `judges`, which counts by the mean of its members "
        "less 0.5 standard deviations over them"
        for part in "ab"
    ]


def test_of_two_members_it_is_the_lower_one_and_without_a_coefficient_the_mean() -> None:
    values = {"a": {"x": 3.0, "y": -1.0, "z": 2.0}, "b": {"x": 1.0, "y": 5.0, "z": 2.0}}
    assert scored(mixture(values, member("a"), member("b")), "x", "y", "z") == pytest.approx([1, -1, 2])
    assert scored(mixture(values, member("a", 0), member("b", 0)), "x", "y", "z") == [2, 2, 2]


def test_members_that_agree_cost_nothing_whatever_they_say() -> None:
    assert [spread([value] * num) for value in (0.1, 1e9 + 0.1, -1e300) for num in (2, 3, 7)] == [0.0] * 9
    assert spread([1e308, -1e308]) == math.inf, "which the mixture refuses as a sum that is not finite"
    with pytest.raises(RewardError, match=r"sum of rewards is -?(inf|nan)"):
        scored(mixture({"a": {"x": 1e308}, "b": {"x": -1e308}}, member("a"), member("b")), "x")


def test_no_members_own_scale_counts_where_they_are_standardised() -> None:
    specs = [member("a", standardise=True), member("b", standardise=True)]
    values = {"a": {"x": 3.0, "y": 1.0}, "b": {"x": 0.2, "y": 0.5}}
    scales = {"a": Scale(2.0, 2.0), "b": Scale(0.3, 0.1)}
    # x: (3 - 2) / 2 = .5 and (.2 - .3) / .1 = -1, the lower: -1;  y: -.5 and 2: -.5
    found = scored(mixture(values, *specs, scales=scales), "x", "y")
    assert found == pytest.approx([-1, -0.5])
    other = {**values, "b": {text: 1e6 * value + 1e9 for text, value in values["b"].items()}}
    far = {**scales, "b": Scale(1e9 + 3e5, 1e5)}
    assert scored(mixture(other, *specs, scales=far), "x", "y") == pytest.approx(found)


def test_a_clip_and_a_condition_hold_for_each_member() -> None:
    condition = Condition(part="valid", at_least=1, otherwise=-2.0)
    specs = [member(part, clip=(-1.0, 1.0), only_if=condition) for part in "ab"]
    values = {"a": {"x": 9.0, "y": 1.0}, "b": {"x": 0.5, "y": 0.0}, "valid": {"x": 1.0, "y": 0.0}}
    found = mixture(values, *specs, RewardSpec("m:g", 0.0, label="valid"))
    assert scored(found, "x", "y") == pytest.approx([0.5, -2.0])  # the lower of 1 and .5; -2 both


TWO = (member("a"), member("b"))


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        (TWO[:1], r"^ensemble 'judges': has one member, 'a', which disagrees with nobody"),
        ((*TWO, RewardSpec("m:f", label="judges")), r"^ensemble 'judges': is the name of a reward, too"),
        ((TWO[0], replace(TWO[1], params={"of": "a"})), r"'a' and 'b' are the same reward"),
        ((TWO[0], member("b", weight=2.0)), r"'a' and 'b' differ in weight"),
        ((TWO[0], member("b", standardise=True)), r"'a' and 'b' differ in standardise"),
        ((TWO[0], member("b", clip=(0.0, 1.0))), r"'a' and 'b' differ in clip"),
        ((TWO[0], member("b", 2.0)), r"'a' and 'b' differ in ensemble"),
        ((member("a", weight=-1.0), member("b", weight=-1.0)), r"weight=-1 must be >= 0"),
        (
            [RewardSpec("reward_model", label=x, params={"model": x}, ensemble=JUDGES) for x in "ab"],
            r"reward model 'a' has a zero and a unit of its own: set standardise: true",
        ),
    ],
)
def test_an_ensemble_that_would_mean_nothing_is_refused_in_a_line(specs, message) -> None:
    with pytest.raises(RewardError, match=message) as caught:
        check_ensembles(specs)
    assert "\n" not in str(caught.value)


def test_members_between_different_values_are_on_no_one_scale_until_they_are_standardised() -> None:
    rouge, near = (RewardSpec(name, ensemble=JUDGES) for name in ("rouge", "similarity"))
    with pytest.raises(
        RewardError, match="not on one scale, 'rouge' from 0 to 1 and 'similarity' from -1 to"
    ):
        check_ranges([rouge, near], {})
    check_ranges([rouge, RewardSpec("bleu", ensemble=JUDGES)], {})
    check_ranges([replace(each, standardise=True) for each in (rouge, near)], {})


@pytest.mark.parametrize(
    "values", [{"name": ""}, {"name": "j", "coefficient": -1}, {"name": "j", "coefficient": math.inf}]
)
def test_a_coefficient_is_a_finite_number_that_is_not_negative(values) -> None:
    with pytest.raises(ConfigError, match="ensemble"):
        parse_config(RewardSpec, {"name": "rouge", "ensemble": values}, where="rewards")


def test_an_ensemble_lies_between_what_its_members_can_come_to() -> None:
    # of two in [0, 1] at coefficient 1 the lower; of three, one at 1 and two at 0: 1/3 - sqrt(2)/3
    assert lower_bound_range([(0, 1)] * 2, 1.0) == pytest.approx((0, 1))
    assert lower_bound_range([(0, 1)] * 3, 1.0) == pytest.approx((1 / 3 - math.sqrt(2) / 3, 1))
    rng = np.random.default_rng(0)
    for num, coefficient in itertools.product((2, 3, 5), (0.0, 0.5, 1.0, 3.0)):
        ends = np.sort(rng.normal(size=(num, 2)), axis=1)
        low, high = lower_bound_range([(a, b) for a, b in ends], coefficient)
        corners = [[ends[i, end] for i, end in enumerate(which)] for which in np.ndindex(*[2] * num)]
        inside = [list(ends[:, 0] + rng.random(num) * (ends[:, 1] - ends[:, 0])) for _ in range(100)]
        for point in corners + inside:
            assert low - 1e-12 <= np.mean(point) - coefficient * np.std(point) <= high + 1e-12
    specs = [RewardSpec(name, 2.0, ensemble=JUDGES) for name in ("rouge", "bleu", "chrf")]
    short = RewardSpec("length", clip=(-1.0, 0.0), params={"max": 3})
    # 2 * [(1 - sqrt(2)) / 3, 1] + [-1, 0]
    found = bounds_of_parts([*specs, short], {}, {})["reward"]
    assert found == pytest.approx((2 * (1 - math.sqrt(2)) / 3 - 1, 2))
    unknown = RewardSpec("m:f", 2.0, ensemble=JUDGES)
    assert "reward" not in bounds_of_parts([*specs, unknown], {}, {})


def test_a_digest_moves_with_the_ensemble_and_purposes_without_one_stay_what_they_were() -> None:
    plain = [RewardSpec("rouge"), RewardSpec("bleu")]
    ensembles = [None, JUDGES, Ensemble(name="judges", coefficient=2.0), Ensemble(name="panel")]
    mixed = [[replace(spec, ensemble=ensemble) for spec in plain] for ensemble in ensembles]
    assert len(set(map(digest_of_rewards, mixed))) == len(set(map(digest_of_purpose, mixed))) == len(mixed)
    # as registries hold it: another would begin the error budget of a gate anew
    assert digest_of_purpose([RewardSpec("format", params={"pattern": "x"})]) == PURPOSE


PURPOSE = "10d8cdef65adc3341d295ae99b9541f3fbabf9cb27e597a1f2717a0054ce461d"

# A world of three completions. The logs hold two of them, on which three judges learnt the truth; what the
# third is worth each of them guessed, and one of them far too high.
TRUTH = {"poor": 0.0, "good": 1.0, "odd": -1.0}
LEARNT = {"a": {**TRUTH, "odd": 6.0}, "b": {**TRUTH, "odd": 1.0}, "c": TRUTH}
REFERENCE = {"poor": 0.55, "good": 0.449, "odd": 0.001}
BETA = 0.15


def judge(coefficient: float) -> Mixture:
    return mixture(LEARNT, *(member(part, coefficient) for part in LEARNT))


def optimum(rewards: Mixture) -> dict[str, float]:
    """Probabilities of the policy that maximises E[R] - beta KL: the reference tilted by exp(R / beta)."""
    tilted = {
        text: p * math.exp(r / BETA)
        for (text, p), r in zip(REFERENCE.items(), scored(rewards, *REFERENCE), strict=True)
    }
    return {text: weight / sum(tilted.values()) for text, weight in tilted.items()}


def contender(name: str, policy: dict[str, float], rewards: Mixture) -> Contender:
    """What draws of a policy are worth to these rewards: two of each of 100 prompts."""
    rng = np.random.default_rng([len(name), 7])
    texts = rng.choice(list(policy), (100, 2), p=list(policy.values()))
    values = [scored(rewards, *map(str, of_prompt)) for of_prompt in texts]
    kl = sum(p * math.log(p / REFERENCE[text]) for text, p in policy.items())
    found = Evaluation(
        name=name,
        split="gate",
        num_prompts=100,
        reward=estimate(values),
        kl=Estimate(kl, kl, kl),
        length=Estimate(1.0, 1.0, 1.0),
        finished_fraction=1.0,
    )
    return Contender(found, name, {f"p{i}": each for i, each in enumerate(values)})


def decided(policy: dict[str, float], rewards: Mixture) -> Decision:
    reference = contender("reference", REFERENCE, rewards)
    return decide(contender("trial", policy, rewards), reference, None, criteria=Criteria())


def test_where_members_disagree_off_the_logs_the_lower_bound_refuses_what_the_mean_promotes() -> None:
    mean, bound = judge(0.0), judge(1.0)
    assert scored(mean, "poor", "good", "odd") == pytest.approx([0, 1, 2])
    # odd: mean 2, squares of 4, -1, -3 are 26, over three 8.667
    assert scored(bound, "poor", "good", "odd") == pytest.approx([0, 1, 2 - math.sqrt(26 / 3)])
    gamed, honest = optimum(mean), optimum(bound)
    worth = {name: sum(p * TRUTH[text] for text, p in policy.items()) for name, policy in
             (("reference", REFERENCE), ("gamed", gamed), ("honest", honest))}  # fmt: skip
    # .001 e^(2/.15) = 617 beside .449 e^(1/.15) = 353: two of three completions are odd
    assert gamed["odd"] == pytest.approx(0.636, abs=0.001)
    assert worth["gamed"] < worth["reference"] < 0.9 < worth["honest"]
    assert decided(gamed, mean).promoted
    refused = decided(gamed, bound)
    assert not refused.promoted
    assert "gain" in refused.reasons[0] or "reward" in refused.reasons[0], refused.reasons
    assert decided(honest, bound).promoted
