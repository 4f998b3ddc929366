"""Beginnings that completions share beyond their prompt: computed once, each completion as if by itself."""

import random
from typing import Any

import pytest
import torch

from copg.errors import RecordError
from copg.lm.attention import layout
from copg.lm.branches import Segment, find_branches, flat_segments, parting_completions
from copg.lm.config import RowConfig
from copg.lm.divergence import compare_reference, trace_policy
from copg.lm.forms import fit_rows
from copg.lm.row_batch import build_batch, num_computed
from copg.lm.rows import TokenGroup, plan_batches, split_group
from copg.lm.scorer import SequenceScorer, group_logps
from copg.lm.telling import telling_groups
from tests import tiny
from tests.lm.test_scorer import ATTENTIONS, attention, flash_varlen, make_token_groups

__all__ = ["attention"]  # a fixture

FORMS = ["shared", "alone", "plain"]
KINDS = ["llama", "gemma2", "mistral"]
"""One of no window, one of windows, a soft cap and layers without a window, one of windows alone."""


def make_ids(count: int, seed: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(4, len(tiny.VOCABULARY)) for _ in range(count)]


def read(ids: list[int], *places: int) -> list[int]:
    """The same, of which the tokens at some places are read and not scored."""
    return [~token if at in places else token for at, token in enumerate(ids)]


TURN, RESULT = make_ids(20, 1), make_ids(24, 2)
ENDS = [make_ids(length, seed) for seed, length in enumerate((9, 7, 12, 5), 3)]
BRANCHED = TokenGroup(
    make_ids(10, 0),
    [
        [*TURN, *read(RESULT, *range(8)), *ENDS[0]],
        make_ids(13, 7),
        [*TURN, *read(RESULT, *range(5, 11)), *ENDS[1]],
        [*read(TURN, 0, 19), *ENDS[2]],
        TURN,  # ends where others go on
        [*TURN, *RESULT, *ENDS[3]],
    ],
    "branched",
)
"""A conversation of two levels: a prompt of 10 tokens, a turn of 20, a result of 24, endings of 9, 7, 12, 5,
and one of 13 that is another from the start: 100 tokens in all, and beyond every window. Each completion has
tokens that it reads and does not score where others score them."""


def plain_logps(model: Any, group: TokenGroup) -> torch.Tensor:
    """One forward a completion by transformers alone; the scored tokens are added up."""
    model.set_attn_implementation("eager")
    start, sums = len(group.prompt_ids), []
    for ids in group.completion_ids:
        given = torch.tensor([*group.prompt_ids, *ids])
        row = torch.where(given < 0, ~given, given)
        logps = model(input_ids=row[None]).logits[0, start - 1 : -1].log_softmax(-1)
        sums.append(logps.gather(1, row[start:, None])[given[start:] >= 0].sum())
    return torch.stack(sums)


def test_the_segments_of_a_branched_group_by_hand() -> None:
    assert BRANCHED.branches == (
        Segment(0, 10, (0, 1, 2, 3, 4, 5), -1, 8),
        Segment(10, 20, (0, 2, 3, 4, 5), 0, 6),
        Segment(30, 24, (0, 2, 5), 1, 4),
        Segment(54, 9, (0,), 2),
        Segment(54, 7, (2,), 2),
        Segment(54, 5, (5,), 2),
        Segment(30, 12, (3,), 1),
        Segment(10, 13, (1,), 0),
    )
    assert (BRANCHED.num_tokens, BRANCHED.longest, BRANCHED.levels) == (100, 63, 2)
    # packed: 100; a row a completion: 63 + 23 + 61 + 42 + 30 + 59; alone: six of the longest
    assert num_computed([BRANCHED], RowConfig()) == num_computed([BRANCHED], RowConfig(form="shared")) == 100
    assert num_computed([BRANCHED], RowConfig(form="plain")) == 278
    assert num_computed([BRANCHED], RowConfig(form="alone")) == 6 * 63


def test_beginnings_in_common_that_would_save_little_leave_a_group_as_it_is() -> None:
    begin = make_ids(15, 1)
    group = TokenGroup([1], [[*begin, 4, 5], [*begin, 6], [*begin, 7, 5], [8]])
    assert group.branches == ()  # 15 tokens in common
    assert find_branches(1, [[*begin, 4, 5], [*begin, 4, 6], [8]], shortest=17) == ()
    assert group.segments == flat_segments(1, [17, 16, 17, 1])
    assert group.num_tokens == 1 + 17 + 16 + 17 + 1
    assert group.levels == 0


def test_two_of_several_that_share_less_than_they_do_have_a_segment() -> None:
    begin = make_ids(5, 1)
    group = find_branches(3, [[*begin, 4, 5, 6, 7, 8], [*begin, 5], [*begin, 4, 5, 6, 9]], shortest=6)
    assert group == (
        Segment(0, 3, (0, 1, 2), -1, 5),
        Segment(3, 8, (0, 2), 0, 3),  # 5 + 3: what all share is too short, and stands in each
        Segment(11, 2, (0,), 1),
        Segment(11, 1, (2,), 1),
        Segment(3, 6, (1,), 0),
    )


@pytest.mark.parametrize("shortest", [1, 2, 5])
def test_the_way_to_each_completion_is_that_completion(shortest: int) -> None:
    rng = random.Random(0)
    shared = 0
    for _ in range(60):
        completions = [[rng.randrange(2) for _ in range(rng.randint(1, 9))] for _ in range(6)]
        group = find_branches(4, completions, shortest=shortest) or flat_segments(4, [*map(len, completions)])
        shared += any(len(each.completions) > 1 for each in group[1:])
        for k, ids in enumerate(completions):
            way = [each for each in group[1:] if k in each.completions]
            assert [each.start for each in way] == [4, *(each.start + each.length for each in way)][:-1]
            assert sum(each.length for each in way) == len(ids)
            assert all(group[each.parent] in [group[0], *way] for each in way)
        for n, each in enumerate(group):
            assert all(group[m].start >= each.start + each.length for m in range(n + 1, n + each.span))
            assert len(each.completions) == 1 or n == 0 or each.length >= shortest
    assert shared > 5


def test_more_levels_than_are_allowed_stay_in_the_endings() -> None:
    ids = make_ids(12, 1)
    nested = [[*ids[: 2 * n], 1] for n in range(1, 7)]  # each parts two tokens after the one before
    assert max(len(each.completions) for each in find_branches(1, nested, shortest=2)[1:]) == 6
    depth = [each.parent for each in find_branches(1, nested, shortest=2, most_levels=3)]
    assert len(set(depth)) == 4  # none, the prompt, and two segments that are continued
    assert find_branches(1, [[4] * n for n in range(1, 300)], shortest=1)  # no depth is too deep


@pytest.mark.filterwarnings("ignore:flex_attention called without")  # compiled only on a GPU
@pytest.mark.parametrize(
    ("kind", "attention"),
    [(kind, attention) for kind in KINDS for attention in ATTENTIONS if attention != "flex"]
    + [pytest.param(kind, "flex", marks=pytest.mark.nightly) for kind in KINDS[1:]]
    + [(KINDS[0], "flex")],
    indirect=["attention"],
)
def test_branched_rows_give_the_log_probabilities_of_single_sequences(kind: str, attention: Any) -> None:
    model, (first, last) = tiny.build_model(kind), make_token_groups(2)
    groups = [first, BRANCHED, last]
    found = group_logps(model, groups, rows=RowConfig(attention=attention, tokens_per_row=300))
    with torch.no_grad():
        expected = [plain_logps(model, group).tolist() for group in groups]
    for group, alone, together in zip(groups, expected, found, strict=True):
        for ids, one, other in zip(group.completion_ids, alone, together, strict=True):
            assert abs(one - other) <= 2e-5 * len(ids)
            assert other == pytest.approx(one, rel=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_a_branched_group_the_same_values(form: Any) -> None:
    model = tiny.build_model("llama" if form == "shared" else "mistral")  # ``shared`` rows know no window
    with torch.no_grad():
        expected = plain_logps(model, BRANCHED).tolist()
    assert group_logps(model, [BRANCHED], rows=RowConfig(form=form)) == [pytest.approx(expected, rel=1e-6)]


def gradient_of(logps: torch.Tensor, model: Any) -> torch.Tensor:
    """Of an uneven sum of the completions' log-probabilities, on all weights."""
    model.zero_grad()
    (logps * torch.linspace(-1, 1.3, len(logps))).sum().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attention", ["mask", "split", "pieces", "varlen"], indirect=True)
def test_branched_rows_give_the_gradients_of_single_sequences(
    kind: str, attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if attention == "varlen" and kind == "gemma2":
        pytest.skip("it has a soft cap: no kernel")
    monkeypatch.setattr("copg.lm.attention.varlen.varlen_attn", flash_varlen)
    model, groups = tiny.build_model(kind), [*make_token_groups(1), BRANCHED]
    plain = gradient_of(torch.cat([plain_logps(model, group) for group in groups]), model)
    dtype: Any = "bfloat16" if attention == "varlen" else "float32"
    rows: Any = RowConfig(attention=attention, compute_dtype=dtype)  # type: ignore[arg-type]
    batch = build_batch(groups, [[0, 1]], rows)
    found = gradient_of(SequenceScorer(model, RowConfig(tile_tokens=16))(batch), model)
    assert (found - plain).norm() <= 1e-5 * plain.norm()


def test_states_of_a_beginning_are_projected_once_and_counted_for_each_completion() -> None:
    batch = build_batch([BRANCHED], [[0]])
    scored = [sum(token >= 0 for token in ids) for ids in BRANCHED.completion_ids]
    assert batch.completion.bincount().tolist() == scored
    # every token beyond the prompt is scored by one of them at least
    assert len(batch.targets) == len(batch.predictors) == 90
    assert batch.token is not None
    for k, ids in enumerate(BRANCHED.completion_ids):
        own = batch.of_completions(batch.targets)[batch.completion == k]
        assert own.tolist() == [token for token in ids if token >= 0]
    assert build_batch(make_token_groups(3), [[0, 1, 2]]).token is None


def test_the_kl_of_a_branched_group_does_not_depend_on_the_form_of_either_pass() -> None:
    drawn = TokenGroup(
        BRANCHED.prompt_ids, [[max(t, ~t) for t in ids] for ids in BRANCHED.completion_ids]
    )  # what a policy drew, of which it read nothing
    groups = [*make_token_groups(2), drawn]
    policy, reference = tiny.build_model(seed=1), tiny.build_model()
    found = [
        compare_reference(
            reference, groups, trace_policy(policy, groups, RowConfig(form=mine)), RowConfig(form=other)
        )
        for mine, other in (("plain",) * 2, ("packed",) * 2, ("alone", "packed"), ("packed", "alone"))
    ]
    for kls, log_ratios in found[1:]:
        for which, expected in ((kls, found[0][0]), (log_ratios, found[0][1])):
            assert which == [pytest.approx(each, abs=2e-4) for each in expected]


def test_a_branch_that_sees_its_sibling_is_seen_by_the_check_on_load(monkeypatch: pytest.MonkeyPatch) -> None:
    model, flat = tiny.build_model(), make_token_groups(4)
    groups = [*flat, BRANCHED]
    fit = fit_rows(model, groups, RowConfig())
    assert (fit.rows.form, fit.levels) == ("packed", 2)
    assert fit.difference <= 2e-6
    assert fit_rows(model, flat, RowConfig()).levels == 0
    limits = layout.Layout.segments

    def seen_by_siblings(row: layout.Layout) -> Any:
        """Segments that do not continue the prompt itself end where their parents do."""
        segment, end = limits(row)
        inner = [
            min(n + span, len(group)) if span > 1 or n == 0 else len(group)
            for group in row.groups
            for n, (_, span) in enumerate(group)
        ]
        return segment, torch.tensor(inner)[segment] if len(row.groups) == 1 else end

    monkeypatch.setattr(layout.Layout, "segments", seen_by_siblings)
    planted = fit_rows(model, groups, RowConfig())
    assert planted.rows.form != "packed"
    assert "differs from single sequences by" in planted.refused["packed"]


def test_the_completions_that_part_last_are_checked() -> None:
    groups = [*make_token_groups(3), BRANCHED]
    *_, told = telling_groups(groups)
    # 0 and 2 share the turn and the result; 3 parts from them after the turn, 1 after the prompt
    assert told.completion_ids == [BRANCHED.completion_ids[k] for k in (0, 1, 2, 3)]
    assert told.levels == 2
    assert parting_completions(BRANCHED.branches, 3) == [0, 2, 3]
    assert len(telling_groups(groups[:3])) == 3


def test_a_branched_group_larger_than_a_row_is_split_where_it_branches_last() -> None:
    with pytest.raises(RecordError, match="group branched has 100 tokens, over tokens_per_row=99"):
        plan_batches([BRANCHED], RowConfig(tokens_per_row=99))
    assert plan_batches([BRANCHED], RowConfig(tokens_per_row=100)) == [[[0]]]
    # beyond the prompt: 0, 2 and 5 have 20 + 24 + 9 + 7 + 5 = 65 together, 3 has 32, 4 has 20, 1 has 13
    assert split_group(BRANCHED, 75) == [[0, 2, 5], [1, 3, 4]]
    assert split_group(BRANCHED, 64) == [[0], [2], [5], [3, 4], [1]]
    model = tiny.build_model()
    whole = group_logps(model, [BRANCHED])[0]
    for limit in (64, 75):
        rows = RowConfig(tokens_per_row=limit, split_groups=True)
        assert group_logps(model, [BRANCHED], rows=rows)[0] == pytest.approx(whole, abs=1e-4)
