"""Guards: margins worked out by hand, and which fail together."""

from dataclasses import replace

import numpy as np
import pytest

from copg.evaluation.criteria import GuardConfig
from copg.evaluation.draws import Draws
from copg.evaluation.guards import _rejected, check_guards, missing_guards

CONFIG = GuardConfig(rewards=["truth"])


def drawn(
    seed: int, *, truth: float = 0.5, length: float = 20.0, finished: float = 1.0, likes: float = 0.0
) -> Draws:
    """Two completions of each of 100 prompts; ``likes`` is how much the reward follows the length."""
    rng = np.random.default_rng(seed)
    lengths = np.maximum(rng.normal(length, 4, (100, 2)).round(), 1)
    columns = {
        "rewards": rng.normal(1, 0.2, (100, 2)) + likes * (lengths - length),
        "lengths": lengths,
        "characters": 5 * lengths,
        "finished": (rng.random((100, 2)) < finished) * 1.0,
    }

    def by_prompt(values) -> dict[str, list[float]]:
        return {f"p{i}": row.tolist() for i, row in enumerate(values)}

    parts = {"truth": by_prompt(rng.normal(truth, 0.2, (100, 2)))}
    return Draws(parts=parts, **{name: by_prompt(values) for name, values in columns.items()})


def failed(candidate: Draws, reference: Draws, config: GuardConfig = CONFIG, **more) -> list[str]:
    found = check_guards(candidate, reference, config, **more)
    return [sentence for sentence, holds in found.items() if not holds]


REFERENCE = drawn(0)


def test_a_policy_like_the_reference_keeps_every_margin_and_says_what_was_measured() -> None:
    found = check_guards(drawn(1), REFERENCE, CONFIG, logged=REFERENCE.characters)
    assert all(found.values())
    names = ("truth", "finished", "length", "length against logs", "correlation")
    assert [sentence.partition(":")[0] for sentence in found] == [f"guard {name}" for name in names]


@pytest.mark.parametrize(
    ("changes", "guard"),
    [
        ({"truth": 0.3}, "guard truth: -0."),  # a fall of .2 in a spread of .2, of which .2 is allowed: .04
        ({"finished": 0.8}, "guard finished: share -0.2"),
        ({"length": 36.0}, "guard length: 1."),
        ({"length": 11.0}, "guard length: 0.5"),
        ({"likes": 0.1}, "guard correlation: correlation of reward and length 0."),
    ],
)
def test_each_guard_catches_its_own_fault_and_no_other(changes, guard) -> None:
    (sentence,) = failed(drawn(1, **changes), REFERENCE)
    assert sentence.startswith(guard)
    assert sentence.endswith("is surely over its margin")


def test_a_change_within_its_margin_passes_though_it_is_sure() -> None:
    small = drawn(1, truth=0.48, length=25.0, finished=0.97)
    assert failed(small, REFERENCE) == []
    strict = GuardConfig(rewards=["truth"], max_length_ratio=1.1)
    assert [each[:12] for each in failed(small, REFERENCE, strict)] == ["guard length"]


def test_the_logs_hold_only_a_policy_whose_reference_wrote_as_they_do() -> None:
    candidate = drawn(1, length=27.0)
    shorter = {prompt: [70.0] for prompt in REFERENCE.characters}  # the reference writes 1.43 times as much
    assert failed(candidate, REFERENCE, logged=shorter)[0].startswith("guard length against logs: 1.9")
    far = {prompt: [10.0] for prompt in REFERENCE.characters}
    assert failed(candidate, REFERENCE, logged=far) == []


def test_holm_rejects_the_smallest_at_its_share_and_stops_at_the_first_that_stays() -> None:
    # .05 / 3 = .0167, .05 / 2 = .025, .05
    assert _rejected([0.03, 0.016, 0.024], 0.05) == [True, True, True]
    assert _rejected([0.03, 0.016, 0.026], 0.05) == [False, True, False]
    assert _rejected([0.017, 0.018, 0.019], 0.05) == [False, False, False]


def test_of_policies_that_keep_every_margin_no_more_are_refused_than_it_says() -> None:
    refused = sum(bool(failed(drawn(2 * seed + 1), drawn(2 * seed))) for seed in range(60))
    assert refused <= 3


def test_prompts_of_one_document_are_no_evidence_of_their_own() -> None:
    bad = drawn(1, length=36.0)
    assert failed(bad, REFERENCE, clusters=dict.fromkeys(bad.lengths, "one")) == []


def test_a_guard_that_was_not_measured_is_named() -> None:
    assert missing_guards(REFERENCE, GuardConfig(rewards=["truth", "facts"])) == ["facts"]


def test_a_reward_that_is_length_is_caught_also_where_the_references_length_or_reward_does_not_vary() -> None:
    hacked = drawn(1, likes=0.1)
    for still in ("lengths", "rewards"):
        values = {prompt: [0.1, 0.1] if still == "rewards" else [20.0, 20.0] for prompt in REFERENCE.lengths}
        reference = replace(REFERENCE, **{still: values})
        (sentence,) = failed(hacked, reference)
        assert sentence.startswith("guard correlation: correlation of reward and length 0.9")
        assert "from 0.00, a rise of 0.3 allowed (0 where reward or length does not vary)" in sentence
        assert failed(drawn(1), reference) == []
        # and a policy that does not vary has no correlation that could have risen
        assert failed(replace(drawn(1), **{still: values}), REFERENCE) == []


def test_a_policy_that_writes_nothing_is_caught_by_the_length_of_the_logs() -> None:
    silent = replace(drawn(1), characters={prompt: [0.0, 0.0] for prompt in REFERENCE.characters})
    (sentence,) = failed(silent, REFERENCE, logged=REFERENCE.characters)
    assert sentence.startswith("guard length against logs: 0.00 times as long, from 0.67 to 1.50 allowed")
