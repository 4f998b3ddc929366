"""(R, beta) and (s R + c, s beta) have the same optimum, and come to the same policy on the way there."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from copg.losses import LOSSES, VARIANTS, WITH_MISMATCHED, WITH_VALUES
from copg.losses.units import has_reward_units
from copg.records import Completion, Group
from copg.rewards.distribution import Distribution
from copg.training import step
from copg.training.clipping import clip_at, remember
from copg.training.config import OptimizerConfig, TrialConfig
from copg.training.data import TrainData
from copg.training.optim import learning_rate

NUM_PROMPTS, NUM_TEXTS, NUM_FEATURES = 6, 8, 10
"""A world in which all that a policy may say is known, so that policies are compared exactly."""
SCALES = [(1e-6, 0.0), (1e-6, 1e3), (1e6, -1e15), (100.0, 1e11)]
"""Scale, and an offset of up to 1e9 scaled spreads."""


def world(scale: float, offset: float) -> TrainData:
    rng = np.random.default_rng(3)
    ref = rng.dirichlet(np.full(NUM_TEXTS, 2.0), NUM_PROMPTS)
    groups = []
    for prompt in range(NUM_PROMPTS):
        texts = rng.permutation(NUM_TEXTS)[: 3 + prompt]
        completions = [
            Completion("", reward=scale * float(rng.normal()) + offset, token_ids=[int(text)])
            for text in texts
        ]
        for completion, text in zip(completions, texts, strict=True):
            completion.ref_logps = float(np.log(ref[prompt, text]))
        groups.append(Group(str(prompt), "", completions, prompt_ids=[prompt]))
    return TrainData(groups)


def trained(method: str, beta: float, data: TrainData, *, steps: int = 40, **settings: Any) -> np.ndarray:
    """[prompts, texts] what a log-linear policy says after some steps at the defaults but the rate.

    Its weights are shared by all prompts: a table would have entries without any gradient but rounding, of
    which Adam makes whole steps.
    """
    config = OptimizerConfig(learning_rate=0.05, **settings)
    features = torch.randn(NUM_PROMPTS, NUM_TEXTS, NUM_FEATURES, generator=torch.Generator().manual_seed(1))
    weights = torch.zeros(NUM_FEATURES, requires_grad=True)
    values = torch.zeros(NUM_PROMPTS, requires_grad=True)
    trained = [weights, *([values] if method in WITH_VALUES else [])]
    optimizer = torch.optim.AdamW(trained, lr=config.learning_rate, eps=config.epsilon, weight_decay=0.0)
    trial, indices = TrialConfig(method=method, beta=beta), list(range(NUM_PROMPTS))
    norms: list[float] = []
    for number in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate(number, steps, config, peak=config.learning_rate)
        table = (features @ weights).log_softmax(1)
        logps = torch.cat([table[i, [ids[0] for ids in data.token_group(i).completion_ids]] for i in indices])
        of_prompt = torch.cat([values[i].expand(len(data.token_group(i).completion_ids)) for i in indices])
        scored = torch.stack([logps, of_prompt], 1) if method in WITH_VALUES else logps
        point = {"point": 0.1} if method in WITH_MISMATCHED else {}
        loss = step.group_losses(data, trial, indices, scored, **point).mean()
        optimizer.zero_grad()
        loss.backward()
        limit = clip_at(config.max_grad_norm, norms)
        norms = remember(norms, float(torch.nn.utils.clip_grad_norm_(trained, limit)))
        optimizer.step()
    return (features @ weights).detach().double().softmax(1).numpy()


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).sum(1).max() / 2)


@pytest.mark.parametrize("method", {**LOSSES, **VARIANTS})
def test_scale_and_offset_of_rewards_change_no_policy(method: str) -> None:
    plain = trained(method, 0.3, world(1.0, 0.0))
    untrained = trained(method, 0.3, world(1.0, 0.0), steps=0)
    assert distance(plain, untrained) > 0.1
    for scale, offset in SCALES:
        beta = 0.3 * scale if has_reward_units(method) else 0.3
        moved = trained(method, beta, world(scale, 0.0 if method == "pg" else offset))
        assert distance(plain, moved) < 1e-3, (scale, offset)


@pytest.mark.parametrize("method", ["copg", "dro_v", "dpo"])
def test_so_it_is_where_the_clip_follows_the_norms(method: str) -> None:
    plain = trained(method, 0.3, world(1.0, 0.0), max_grad_norm=None)
    if method != "dpo":  # whose norms here are below 1
        assert distance(plain, trained(method, 0.3, world(1.0, 0.0))) > 1e-3  # another clip, another policy
    for scale, offset in SCALES:
        beta = 0.3 * scale if has_reward_units(method) else 0.3
        assert distance(plain, trained(method, beta, world(scale, offset), max_grad_norm=None)) < 1e-3


def test_a_clip_in_reward_units_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_reward_units(data: TrainData, trial: TrialConfig, indices: Any, logps: Any) -> Any:
        return step.load_loss(trial.method)(data.completions(indices, logps), beta=trial.beta)

    monkeypatch.setattr(step, "group_losses", in_reward_units)
    assert distance(trained("copg", 0.3, world(1.0, 0.0)), trained("copg", 3e-7, world(1e-6, 0.0))) > 1e-3


def test_an_offset_moves_policy_gradient_without_a_baseline_as_its_docstring_says() -> None:
    assert distance(trained("pg", 0.3, world(1.0, 0.0)), trained("pg", 0.3, world(1.0, 5.0))) > 0.05


def group(*rewards: float) -> Group:
    made = [Completion("", reward=r, token_ids=[1], ref_logps=-1.0) for r in rewards]
    return Group("x", "", made, prompt_ids=[0])


def test_a_step_counts_ties_and_spreads_of_prompts_with_several_completions_as_score_does() -> None:
    groups = [group(1, 3), group(5, 5), group(7), group(0, 2, 4)]
    result = step.StepResult(0.0, torch.zeros(8), [0, 1, 2, 3], 12)
    told = step.diagnose(TrainData(groups), result, 0.1)
    # deviations sqrt(2), 0 and 2; one of three is tied, and the completion alone is neither
    assert told["reward_spread/mean"] == pytest.approx((2**0.5 + 0 + 2) / 3)
    assert told["groups/tied"] == pytest.approx(1 / 3)
    counted = Distribution([])
    for each in groups:
        counted.add(each.completions)
    assert told["groups/tied"] == pytest.approx(counted.metrics()["groups/tied"])
    alone = step.diagnose(TrainData([group(7)]), step.StepResult(0.0, torch.zeros(1), [0], 2), 0.1)
    assert math.isnan(alone["groups/tied"])


def test_the_spread_is_that_within_prompts_by_hand() -> None:
    # deviations sqrt(2), 0 and 2, and one completion alone that has none
    data = TrainData([group(1e9, 1e9 + 2), group(5, 5, 5), group(0, 2, 4), group(7)])
    assert data.spread == pytest.approx((2**0.5 + 0 + 2) / 3)
    assert TrainData([group(3, 3), group(7)]).spread == 1.0
