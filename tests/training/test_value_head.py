"""The value of a prompt: what it reads, what it moves, and that it stays with the training."""

import random

import pytest
import torch
from accelerate import Accelerator

from copg.errors import ModelError
from copg.lm.config import RowConfig
from copg.lm.row_batch import build_batch
from copg.lm.rows import TokenGroup, plan_batches
from copg.lm.scorer import SequenceScorer
from copg.records import Completion, Group
from copg.training.config import CheckpointConfig, TrainConfig, TrialConfig
from copg.training.data import TrainData
from copg.training.step import accumulate_gradients, diagnose
from copg.training.value_head import ValuedScorer, open_scorer, train_head
from tests import tiny
from tests.training.test_split_groups import make_data

FORMS = [
    RowConfig(attention="split"),
    RowConfig(attention="mask"),
    RowConfig(form="shared"),
    RowConfig(form="alone"),
]


def make_scorer(rows: RowConfig | None = None) -> ValuedScorer:
    """With a head that finds something in every state."""
    scorer = open_scorer(tiny.build_model(), rows or RowConfig(), "dro_v")
    assert isinstance(scorer, ValuedScorer)
    torch.nn.init.normal_(scorer.value_head.weight, generator=torch.Generator().manual_seed(0))
    torch.nn.init.constant_(scorer.value_head.bias, 0.3)
    return scorer


def make_groups() -> list[TokenGroup]:
    """Completions that share beginnings, that begin with tokens which are only read, and one by itself."""
    rng = random.Random(1)

    def ids(count: int) -> list[int]:
        return [rng.randrange(4, len(tiny.VOCABULARY)) for _ in range(count)]

    turn, header = ids(20), [~token for token in ids(3)]
    branches = [[*turn, *ids(4)], [*turn, *ids(6)], ids(5)]
    read_first = [[*header, *ids(4)], [*header, *ids(2)]]
    return [TokenGroup(ids(6), branches), TokenGroup(ids(9), read_first), TokenGroup(ids(4), [ids(3)])]


@torch.no_grad()
def values_by_hand(scorer: ValuedScorer, group: TokenGroup) -> list[float]:
    """Of each completion: the state after the prompt, and after what is read before anything is drawn."""
    found = []
    for completion in group.completion_ids:
        drawn = next(place for place, token in enumerate(completion) if token >= 0)
        given = [*group.prompt_ids, *(~token for token in completion[:drawn])]
        state = scorer.model.model(torch.tensor([given]))[0][0, -1].double()
        state = (state - state.mean()) / (state.var(correction=0) + 1e-5).sqrt() / len(state) ** 0.5
        found.append(float(scorer.value_head.weight[0].double() @ state) + 0.3)
    return found


@pytest.mark.parametrize("rows", FORMS, ids=["split", "mask", "shared", "alone"])
@torch.no_grad()
def test_in_rows_of_every_form_the_value_is_of_the_prompt_alone(rows: RowConfig) -> None:
    scorer, groups = make_scorer(rows), make_groups()
    plain = SequenceScorer(scorer.model, rows)
    for plan in plan_batches(groups, rows):
        batch = build_batch(groups, plan, rows)
        found = scorer(batch)
        expected = [value for index in batch.groups for value in values_by_hand(scorer, groups[index])]
        assert found[:, 1].tolist() == pytest.approx(expected, abs=1e-5)
        torch.testing.assert_close(found[:, 0], plain(batch))
    apart = values_by_hand(scorer, groups[0]) + values_by_hand(scorer, groups[1])
    assert max(apart) - min(apart) > 0.1


def test_rows_without_hidden_states_are_refused_in_one_line() -> None:
    with pytest.raises(
        ModelError, match="method=dro_v reads the value of a prompt off hidden states"
    ) as told:
        open_scorer(tiny.build_model(), RowConfig(form="plain"), "dro_v")
    assert "\n" not in str(told.value)


def test_values_move_the_head_alone_and_the_policy_moves_by_what_they_leave() -> None:
    scorer, data = make_scorer(), make_data([2, 3])
    (plan,) = plan_batches(data.token_groups([0, 1]), RowConfig())
    scorer(build_batch(data.token_groups([0, 1]), plan))[:, 1].sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in scorer.model.parameters())
    assert scorer.value_head.weight.grad.any()
    assert float(scorer.value_head.bias.grad) == 5  # completions


def test_the_head_begins_at_0_with_its_own_rate_and_other_methods_have_none() -> None:
    model = tiny.build_model()
    scorer = open_scorer(model, RowConfig(), "dro_v")
    optimizer = torch.optim.AdamW([{"params": list(model.parameters())}], lr=1.0)
    trial = TrialConfig(method="dro_v", beta=1.0, learning_rate=2e-3, value_learning_rate=0.05)
    config = TrainConfig(model="m", trial=trial, checkpoint=CheckpointConfig(folder="f"))
    assert train_head(scorer, optimizer, config) is scorer
    assert not any(p.any() for p in scorer.value_head.parameters())
    assert optimizer.param_groups[1]["rate"] == pytest.approx(25)
    assert not any("value" in name for name, _ in model.named_parameters())  # so nothing exported has one
    plain = open_scorer(model, RowConfig(), "copg")
    assert type(plain) is SequenceScorer
    assert train_head(plain, optimizer, config) is model


def test_values_come_to_what_their_prompts_are_worth() -> None:
    # one completion a prompt: its reward is 2 in three prompts and 0 in three, and the policy is held still
    rng = random.Random(0)
    prompts = [[rng.randrange(4, len(tiny.VOCABULARY)) for _ in range(5)] for _ in range(6)]
    model = tiny.build_model().requires_grad_(False)
    scorer = open_scorer(model, RowConfig(), "dro_v")
    (plan,) = plan_batches([TokenGroup(ids, [[7, 2]]) for ids in prompts], RowConfig())
    batch = build_batch([TokenGroup(ids, [[7, 2]]) for ids in prompts], plan)
    logps = dict(zip(batch.groups, scorer(batch)[:, 0].tolist(), strict=True))
    known = {"token_ids": [7, 2]}
    drawn = [Completion("", reward=2.0 * (i % 2), ref_logps=logps[i], **known) for i in range(6)]
    data = TrainData(Group(str(i), "", [drawn[i]], prompt_ids=ids) for i, ids in enumerate(prompts))
    assert (data.spread, data.mean, data.overall_spread) == (1.0, 1.0, 1.0)
    optimizer = torch.optim.AdamW(scorer.value_head.parameters(), lr=0.6, weight_decay=0.0)
    trial, errors = TrialConfig(method="dro_v", beta=0.5), []
    for _ in range(25):
        optimizer.zero_grad()
        result = accumulate_gradients(Accelerator(cpu=True), scorer, data, range(6), trial, RowConfig())
        errors.append(diagnose(data, result, 0.5)["value/error_fraction"])
        optimizer.step()
    assert errors[0] == pytest.approx(1, abs=1e-3)
    assert errors[-1] < 0.1
    assert result.scored[:, 1].tolist() == pytest.approx([2 * (i % 2) - 1 for i in result.indices], abs=0.5)
