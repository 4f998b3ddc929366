"""How a training ended, in sentences."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from copg.losses.diagnostics import weighted_log_ratio
from copg.losses.groups import Completions
from copg.training.ending import hints, last_means
from copg.training.log import read_metrics

WELL = {
    "steps/done": 40.0,
    "steps/clipped": 2.0,
    "residual/last": 0.05,
    "kl/mean": 1.5,
    "log_ratio/weighted_last": 1.2,
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"residual/last": 0.8, "steps/done": 33.0},
            "unfinished: residual 0.8 after 33 steps: take more steps, by epochs or fewer groups_per_step, "
            "or raise the learning rate",
        ),
        (
            {"residual/last": 0.73, "residual/rise": 2.6},
            "overshot: residual rose 2.6-fold on the way and is 0.73 after 40 steps: lower the learning rate",
        ),
        ({"residual/last": 0.8, "residual/rise": 1.2}, "unfinished: residual 0.8 after 40 steps"),
        ({"residual/last": 2.5}, "worse than at the start: residual 2.5 after 40 steps"),
        (
            {"residual/last": 0.998, "kl/mean": 0.001},
            "moved nothing: residual 1 and KL 0.001 nats after 40 steps",
        ),
        ({"steps/clipped": 39.0}, "clipped in 98 % of the steps"),
        ({"kl/mean": 9.0}, "drifted off the logs: drawn completions lie 9 nats away, logged ones show 1.2"),
        ({"kl/mean": 2.0, "log_ratio/weighted_last": -3.0}, "drifted off the logs"),
    ],
)
def test_each_way_to_end_badly_is_one_hint_and_a_good_end_is_none(change, said) -> None:
    assert hints(WELL) == []
    (found,) = hints({**WELL, **change})
    assert found.startswith(said)


def test_no_advice_is_what_the_training_does_already_or_the_reverse_of_another() -> None:
    grew: dict[str, float] = {**WELL, "steps/clipped": 38.0}
    assert hints(grew, clip_follows=True) == [
        "clipped in 95 % of the steps: gradients grew from step to step: lower the learning rate"
    ]
    unfinished, drifted = hints({**WELL, "residual/last": 0.8, "kl/mean": 9.0})
    assert unfinished.endswith("take more steps, by epochs or fewer groups_per_step")
    assert "lower the learning rate" in drifted
    # drawn completions are where they were, and yet the logged ones were thrown about
    (overshot,) = hints({**WELL, "residual/last": 1.9, "residual/rise": 3.0, "kl/mean": 0.001})
    assert overshot.startswith("overshot: ")
    (worse,) = hints({**WELL, "residual/last": 1.9, "kl/mean": 0.001})
    assert worse.startswith("worse than at the start: ")


def test_a_method_without_a_residual_that_moved_nothing_says_so() -> None:
    still = {"steps/done": 40.0, "steps/clipped": 0.0, "kl/mean": 0.0002, "log_ratio/weighted_last": -0.0001}
    (found,) = hints(still)
    assert found.startswith("moved nothing: KL 0.0002 nats after 40 steps: raise the learning rate")
    assert hints({**still, "prompts/tied": 1.0}) == []  # there was nothing to learn
    assert hints({**still, "log_ratio/weighted_last": 0.2}) == []


def test_what_was_not_measured_is_not_judged() -> None:
    assert hints({}) == []
    assert hints({"steps/done": 5.0, "steps/clipped": 0.0}) == []


def test_the_last_quarter_of_the_steps_is_looked_at_and_ten_at_most(tmp_path: Path) -> None:
    rows = [{"step": 0, "kl/mean": 0.0}]
    rows += [{"step": n, "residual/fraction": float(n), "log_ratio/weighted": None} for n in range(1, 9)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert last_means(read_metrics(tmp_path / "metrics.jsonl")) == {
        "residual/last": 7.5,  # of 8 steps: 7, 8
        "residual/rise": 5.0,  # 7.5 over the mean of 1, 2
    }
    many = [{"step": n, "residual/fraction": float(n)} for n in range(100)]
    assert last_means(many)["residual/last"] == 94.5
    fell = [{"step": n, "residual/fraction": 1 / (n + 1)} for n in range(100)]
    assert last_means(fell)["residual/rise"] == 1.0
    assert last_means(rows[:1]) == {}
    # a step whose groups are all tied has no residual, wherever it comes: of 2, 1, 3 the rise is 3 / 1
    tied: list[dict[str, Any]] = [{"residual/fraction": value} for value in (None, 2.0, 1.0, None, 3.0, None)]
    assert last_means(tied) == {"residual/rise": 3.0}
    assert last_means(tied[:1]) == {}


def test_the_kl_that_logs_show_by_hand() -> None:
    # ratios 1 and 3, weights 1/4 and 3/4: 3/4 ln 3; and a lone completion that lost a factor of e
    log_ratio = torch.tensor([0.0, 1.0986123, -1.0])
    zeros, group = torch.zeros(3), torch.tensor([0, 0, 1])
    found = weighted_log_ratio(Completions(log_ratio, zeros, zeros, torch.ones(3), group))
    torch.testing.assert_close(found, torch.tensor([0.75 * 1.0986123, -1.0]))
