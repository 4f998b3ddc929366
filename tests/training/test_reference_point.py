"""The reference point of a step: of all its groups, however they are cut, and which rewards have a side."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from copg.data.mismatched import MISMATCHED
from copg.errors import ConfigError
from copg.lm.config import RowConfig
from copg.lm.rows import TokenGroup
from copg.lm.scorer import SequenceScorer, group_logps
from copg.losses.groups import Completions
from copg.records import Completion, Group
from copg.training.config import TrialConfig
from copg.training.data import TrainData
from copg.training.reference_point import check_mismatched, reference_point
from tests import tiny
from tests.training.test_split_groups import make_data, step

OTHERS = [([1, 5, 9], [7, 8, 2]), ([1, 6], [3, 12, 10, 11, 2]), ([1, 4, 4, 9], [2]), ([1, 7], [])]
"""Prompts and completions of other prompts; the last has none."""


def data_with(ref_logps: float, rewards: tuple[float, ...] = (1, 0, 1, 0)) -> TrainData:
    groups = []
    for number, (prompt, ids) in enumerate(OTHERS):
        column = {MISMATCHED: {"token_ids": ids, "ref_logps": ref_logps - number}} if ids else {}
        own = [Completion("", token_ids=[5, 2], reward=rewards[number], ref_logps=-3.0)]
        groups.append(Group(str(number), "", own, column, prompt_ids=prompt))
    return TrainData(groups, mismatched=True)


def point(data: TrainData, *, tokens_per_batch: int = 4096, mine: tuple[int, ...] = (0, 1, 2, 3)) -> float:
    rows = RowConfig(tokens_per_batch=tokens_per_batch)
    scorer = SequenceScorer(tiny.build_model(), rows)
    return reference_point(Accelerator(cpu=True), scorer, data, mine, 1.0, rows)


def test_it_is_the_mean_log_ratio_of_other_prompts_completions_without_those_that_have_none() -> None:
    groups = [TokenGroup(prompt, [ids]) for prompt, ids in OTHERS[:3]]
    policy = [logps for (logps,) in group_logps(tiny.build_model(), groups)]
    # the reference gives -50, -51, -52
    expected = sum(logp + 50 + number for number, logp in enumerate(policy)) / 3
    assert expected > 1
    assert point(data_with(-50)) == pytest.approx(expected, rel=1e-6)
    assert point(data_with(-50), mine=(1, 3)) == pytest.approx(policy[1] + 51, rel=1e-6)
    assert point(data_with(0)) == point(data_with(-50), mine=(3,)) == 0


def test_a_step_in_many_batches_has_the_reference_point_and_the_gradient_of_the_whole() -> None:
    data = make_data([2, 1, 5, 3, 1])
    once, expected = step(data, RowConfig(), "kto")
    apart, found = step(data, RowConfig(tokens_per_batch=1), "kto")
    assert once.reference_point is not None
    assert once.reference_point > 1
    assert apart.reference_point == pytest.approx(once.reference_point, rel=1e-6)
    assert apart.loss == pytest.approx(once.loss, rel=1e-5)
    assert (found - expected).norm() <= 1e-5 * expected.norm()


@pytest.mark.parametrize("thumbs", [(1.0, 0.0), (1.0, -1.0), (7.1, 7.0), (-1e9, -1e9 - 1)])
def test_a_thumb_has_its_side_whatever_numbers_stand_for_it(thumbs: tuple[float, float]) -> None:
    up, down = thumbs
    data = data_with(-50, (up, down, down, down))
    found = data.from_point(data.completions([0, 1, 2, 3], torch.zeros(4)), 0.5)
    assert found.rewards.sign().tolist() == [1, -1, -1, -1]
    assert found.reference_point is not None
    assert found.reference_point.tolist() == [0.5] * 4


def test_a_reward_at_the_mean_of_all_is_on_neither_side() -> None:
    data = data_with(-50, (0.2, 0.4, 0.3, 0.3))
    assert data.mean != 0.3  # by rounding
    found: Completions = data.from_point(data.completions([0, 1, 2, 3], torch.zeros(4)), 0.0)
    assert found.rewards.sign().tolist() == [-1, 1, 0, 0]


def test_logs_without_a_side_or_without_completions_of_other_prompts_are_refused() -> None:
    trial = TrialConfig(beta=0.1, method="kto")
    check_mismatched(trial, data_with(-50), Path("r"))
    with pytest.raises(
        ConfigError, match=r"^trial kto_0\.1: every training completion has reward 1, so none is"
    ):
        check_mismatched(trial, data_with(-50, (1, 1, 1, 1)), Path("r"))
    group = Group("x", "", [Completion("", token_ids=[2], reward=1.0, ref_logps=-1.0)], prompt_ids=[1])
    message = "^r: no training prompt has a completion of another .*: set reference.mismatched: true$"
    with pytest.raises(ConfigError, match=message):
        check_mismatched(trial, TrainData([group], mismatched=True), Path("r"))
