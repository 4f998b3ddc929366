"""Groups larger than a row: in parts, the same loss and the same gradient."""

import random

import pytest
import torch
from accelerate import Accelerator

from copg.data.mismatched import MISMATCHED
from copg.lm.config import RowConfig
from copg.lm.scorer import SequenceScorer
from copg.losses import LOSSES, VARIANTS
from copg.records import Completion, Group
from copg.training.config import TrialConfig
from copg.training.data import TrainData
from copg.training.step import StepResult, accumulate_gradients
from copg.training.value_head import ValuedScorer, open_scorer
from tests import tiny


def make_data(sizes: list[int]) -> TrainData:
    rng = random.Random(0)

    def ids(length: int) -> list[int]:
        return [rng.randrange(len(tiny.VOCABULARY)) for _ in range(length)]

    def completion() -> Completion:
        return Completion(
            "", token_ids=ids(rng.randint(1, 8)), reward=rng.random(), ref_logps=-15 * rng.random()
        )

    groups = [Group(str(size), "", [completion() for _ in range(size)], prompt_ids=ids(6)) for size in sizes]
    for group in groups:  # far below what a model gives them, so that a reference point is above 0
        group.columns[MISMATCHED] = {"token_ids": ids(3), "ref_logps": -20 * rng.random() - 20}
    return TrainData(groups, mismatched=True)


def step(
    data: TrainData, rows: RowConfig, method: str, whole_step: int = 0
) -> tuple[StepResult, torch.Tensor]:
    model = tiny.build_model()
    accelerator = Accelerator(cpu=True)
    scorer = open_scorer(model, rows, method)
    if isinstance(scorer, ValuedScorer):
        torch.nn.init.normal_(scorer.value_head.weight, generator=torch.Generator().manual_seed(0))
    result = accumulate_gradients(
        accelerator,
        scorer,
        data,
        range(len(data)),
        TrialConfig(beta=0.3, method=method),
        rows,
        whole_step=whole_step,
    )
    return result, torch.cat([p.grad.flatten() for p in scorer.parameters()])


@pytest.mark.parametrize("method", sorted({**LOSSES, **VARIANTS}))
def test_parts_add_up_to_the_gradient_of_the_whole_group(method: str) -> None:
    data = make_data([2, 9, 3, 12])
    limit = 24
    assert sorted(data.num_tokens(i) > limit for i in range(4)) == [False, False, True, True]
    whole, expected = step(data, RowConfig(), method)
    parts, found = step(data, RowConfig(tokens_per_row=limit, split_groups=True), method)
    assert (found - expected).norm() <= 1e-5 * expected.norm()
    assert parts.loss == pytest.approx(whole.loss, rel=1e-5)
    order = [parts.indices.index(i) for i in whole.indices]
    sizes = [len(data.token_group(i).completion_ids) for i in parts.indices]
    by_group = parts.scored.split(sizes)
    torch.testing.assert_close(torch.cat([by_group[i] for i in order]), whole.scored)
    assert parts.num_tokens == whole.num_tokens


def branching_data() -> TrainData:
    """Two groups; in the first one all but one completion begin with 20 tokens, and two with 18 more."""
    rng = random.Random(2)

    def ids(length: int) -> list[int]:
        return [rng.randrange(4, len(tiny.VOCABULARY)) for _ in range(length)]

    def group(name: str, completions: list[list[int]]) -> Group:
        known = {"reward": rng.random(), "ref_logps": -40 * rng.random()}
        made = [Completion("", token_ids=each, **known | {"reward": rng.random()}) for each in completions]
        return Group(name, "", made, prompt_ids=ids(6))

    turn, result = ids(20), [~token for token in ids(18)]
    branches = [[*turn, *result, *ids(7)], [*turn, *ids(9)], ids(5), [*turn, *result, *ids(4)]]
    return TrainData([group("branches", branches), group("flat", [ids(8), ids(6)])])


@pytest.mark.parametrize("method", ["copg", "dpo"])
def test_a_step_on_branches_has_the_gradient_of_completions_by_themselves(method: str) -> None:
    data = branching_data()
    assert [data.num_tokens(i) for i in range(2)] == [6 + 20 + 18 + 7 + 4 + 9 + 5, 6 + 8 + 6]
    once, found = step(data, RowConfig(form="packed"), method)
    for rows in (RowConfig(form="alone"), RowConfig(tokens_per_row=60, split_groups=True)):
        apart, expected = step(data, rows, method)
        assert (found - expected).norm() <= 1e-5 * expected.norm()
        assert once.loss == pytest.approx(apart.loss, rel=1e-5)


def test_the_weight_of_a_completion_is_minus_its_leave_one_out_advantage() -> None:
    from copg.training.split_groups import weigh_pieces
    from copg.training.step import _loss

    data = make_data([9])
    rows = RowConfig(tokens_per_row=24, split_groups=True)
    scorer = SequenceScorer(tiny.build_model(), rows)
    trial = TrialConfig(beta=0.3)
    split = weigh_pieces(
        scorer,
        data.token_groups([0]),
        rows,
        lambda logps: _loss(data, trial, 1.0, [0], logps),
        torch.device("cpu"),
    )
    known = data.completions([0], split.scored)
    regularised = (known.rewards.float() - 0.3 * (known.policy_logps - known.ref_logps)) / data.spread
    others = (regularised.sum() - regularised) / 8
    weights = torch.cat(split.coefficients)
    expected = others - regularised  # the loss is minimised: minus RLOO's R_beta(i) - mean of the others
    assert len(split.pieces) > 1
    torch.testing.assert_close(weights.sort().values, expected.sort().values, atol=1e-4, rtol=1e-4)


def test_a_group_larger_than_a_row_is_refused_unless_it_may_be_split() -> None:
    from copg.errors import RecordError

    with pytest.raises(
        RecordError, match=r"group 9 has \d+ tokens, over tokens_per_row=24; raise that, or set"
    ):
        step(make_data([2, 9]), RowConfig(tokens_per_row=24), "copg")


def test_the_groups_of_a_shorter_last_step_weigh_as_all_others_do() -> None:
    data = make_data([2, 3, 4])
    mean, of_three = step(data, RowConfig(), "copg")
    cut_short, of_eight = step(data, RowConfig(), "copg", whole_step=8)
    # a group weighs 1/8 in a step of eight, also where three are left: the gradient is 3/8 of their mean's
    torch.testing.assert_close(of_eight, of_three * 3 / 8)
    assert cut_short.loss == pytest.approx(mean.loss)  # which is told as the mean over its groups
