"""A world of two tokens that end: what is trained must be the one that the template ends a turn with."""

import pytest
import torch

from copg.lm.text import TextCodec
from copg.training.ending import hints
from tests.lm import two_enders
from tests.lm.two_enders import EOS, PROMPTS, TEXTS, TURN, World, ids


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def with_end(logs: list[tuple[int, list[int]]], token: int) -> list[tuple[int, list[int]]]:
    """The same texts, ended by a token."""
    shift = two_enders.ENDS.index(token) * len(TEXTS)
    return [(prompt, [text + shift for text in texts]) for prompt, texts in logs]


def test_ours_are_the_ids_of_the_right_run() -> None:
    codec = TextCodec(two_enders.build_tokenizer())
    for prompt in PROMPTS:
        opening = codec.open([{"role": "user", "content": prompt}])
        assert opening.ids == ids(prompt)
        for text, outcome in zip(TEXTS, two_enders.OUTCOMES, strict=False):
            assert codec.encode(opening, text, finished=True).ids == outcome == [*ids(text), TURN]


def test_the_end_of_the_template_keeps_the_gain_that_the_end_of_text_loses() -> None:
    world = World(two_enders.build_table())
    before, logs = world.earned(world.reference), world.logs()
    assert before.wrong < 1e-3
    right = world.train(0.1, logs)
    assert right.earned.reward - before.reward > 0.9
    assert right.earned.wrong <= before.wrong
    planted = world.train(0.1, with_end(logs, EOS))  # eos whatever the template writes
    assert planted.earned.reward - before.reward < 0.5 * (right.earned.reward - before.reward)
    assert planted.earned.wrong > 2 * before.wrong
    assert max(right.residual, planted.residual) < 0.03, "by which nobody tells them apart"


def drifted(trained: two_enders.Trained) -> bool:
    """Whether a training that ended so would be told to have left its logs."""
    seen = {"kl/mean": trained.earned.kl, "log_ratio/weighted_last": trained.logged_kl}
    return any(hint.startswith("drifted off the logs") for hint in hints(seen))


@pytest.mark.nightly
def test_a_network_moves_the_end_that_no_log_holds_which_is_told_and_fresh_completions_hold_it() -> None:
    # The table has the same loss, optimiser and logs: what moves <eos> here are shared weights. In float64,
    # by SGD, with another epsilon and with its head frozen it moved as well; with all but its head frozen it
    # did not, nor by a random step as long.
    world = World(two_enders.build_network())
    before, logs = world.earned(world.reference), world.logs()
    assert before.wrong < 1e-3
    right = world.train(1e-3, logs)
    assert right.earned.reward - before.reward > 0.2
    assert right.earned.wrong > 20 * before.wrong
    assert drifted(right)
    fresh = world.train(1e-3, logs, fresh=True)
    assert fresh.earned.wrong < right.earned.wrong / 10
    assert not drifted(fresh)
