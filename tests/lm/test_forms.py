"""In which form of rows a model is exact, by a check on the longest groups; none is refused for rows."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertLMHeadModel,
    BloomConfig,
    BloomForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
)

from copg.errors import ModelError
from copg.lm.config import GenerationConfig, RowConfig
from copg.lm.decoders import CachedDecoder, WholeDecoder, choose_decoder
from copg.lm.divergence import compare_reference, trace_policy
from copg.lm.engines.own import draw
from copg.lm.forms import fit_rows
from copg.lm.generation import Policy
from copg.lm.load import load_model
from copg.lm.reference import ReferencePass
from copg.lm.row_batch import build_batch, num_computed
from copg.lm.rows import TokenGroup, plan_batches
from copg.lm.scorer import SequenceScorer, group_logps
from copg.lm.telling import checked_calls, telling_groups
from copg.lm.text import TextCodec
from copg.records import Completion, Group
from copg.stores.reference_store import Numerics, open_references
from tests import kinds, models_table, tiny

VOCABULARY = len(tiny.VOCABULARY)
FORMS = ["packed", "shared", "alone", "plain"]


def make_groups(longest: int = 20) -> list[TokenGroup]:
    rng = random.Random(2)

    def ids(count: int) -> list[int]:
        return [rng.randrange(4, VOCABULARY) for _ in range(count)]

    return [TokenGroup(ids(7), [ids(3), ids(9)]), TokenGroup(ids(2), [ids(longest), ids(4), ids(4)])]


def mamba() -> Any:
    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 32, "state_size": 8, "num_hidden_layers": 2}
    return tiny.saved_and_loaded(MambaForCausalLM(MambaConfig(**sizes)))


def bloom() -> Any:
    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 32, "n_layer": 2, "n_head": 4}
    return tiny.saved_and_loaded(BloomForCausalLM(BloomConfig(**sizes)))


def bert(*, is_decoder: bool) -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = BertConfig(vocab_size=VOCABULARY, is_decoder=is_decoder, initializer_range=0.2, **sizes)
    return tiny.saved_and_loaded(BertLMHeadModel(config))


def plain_logps(model: Any, group: TokenGroup) -> list[float]:
    """One forward a completion, by nothing but transformers."""
    start, sums = len(group.prompt_ids), []
    for ids in group.completion_ids:
        row = torch.tensor([[*group.prompt_ids, *ids]])
        with torch.no_grad():
            logps = model(input_ids=row).logits[0, start - 1 : -1].log_softmax(-1)
        sums.append(float(logps.gather(1, row[0, start:, None]).sum()))
    return sums


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_a_llama_the_same_values_and_gradients(form: str) -> None:
    groups, rows = make_groups(), RowConfig(form=form)  # type: ignore[arg-type]
    model = tiny.build_model()
    expected = [plain_logps(model, group) for group in groups]
    assert group_logps(model, groups, rows=rows) == [pytest.approx(each, rel=1e-6) for each in expected]
    found = []
    for of_rows in (RowConfig(), rows):
        model.zero_grad()
        for plan in plan_batches(groups, of_rows):
            SequenceScorer(model, of_rows)(build_batch(groups, plan, of_rows)).sum().backward()
        found.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert (found[0] - found[1]).norm() <= 1e-5 * found[0].norm()


def test_tokens_of_each_form_by_hand() -> None:
    groups = make_groups()
    # packed: 7+3+9 = 19 and 2+20+4+4 = 30, nothing padded; as masked rows 2 * 30; shared: the same 2 * 30;
    # alone: rows of 2+20 = 22 for three completions, two more of 7+9 = 16 in the same batch: 5 * 22;
    # plain: 10 + 16 + 22 + 6 + 6
    expected = {"packed": 49, "shared": 60, "alone": 110, "plain": 60}
    assert {form: num_computed(groups, RowConfig(form=form)) for form in FORMS} == expected  # type: ignore[arg-type]
    assert num_computed(groups, RowConfig(attention="mask")) == 60
    # in parts of 24 tokens at most the second group has its prompt twice: 19, 2+20 and 2+4+4
    assert num_computed(groups, RowConfig(form="packed", tokens_per_row=24, split_groups=True)) == 51


def test_a_recurrent_model_is_computed_a_completion_at_a_time_and_trained() -> None:
    model, groups = mamba(), make_groups()
    fit = fit_rows(model, groups, RowConfig())
    assert fit.rows.form == "alone"
    assert list(fit.refused) == ["packed", "shared"]
    about = fit.about(groups, torch.device("cpu"))
    assert (about["form"], about["attention"], about["cost"]) == ("alone", "own", round(110 / 49, 4))
    expected = [plain_logps(model, group) for group in groups]
    assert group_logps(model, groups, rows=fit.rows) == [pytest.approx(each, rel=1e-5) for each in expected]


def test_a_model_with_a_head_of_its_own_is_computed_through_it() -> None:
    model, groups = bert(is_decoder=True), make_groups()
    rows = fit_rows(model, groups, RowConfig()).rows
    assert rows.form == "plain"
    expected = [plain_logps(model, group) for group in groups]
    assert group_logps(model, groups, rows=rows) == [pytest.approx(each, rel=1e-5) for each in expected]


def test_a_model_that_sees_what_follows_is_refused() -> None:
    with pytest.raises(ModelError, match="'bert' gives a token another probability once others follow it"):
        fit_rows(bert(is_decoder=False), make_groups(), RowConfig())


def test_a_form_that_was_asked_for_and_is_not_exact_is_refused() -> None:
    with pytest.raises(ModelError, match="'mamba' is not exact in rows: packed: "):
        fit_rows(mamba(), make_groups(), RowConfig(form="packed"))


def test_a_head_that_ours_gets_wrong_is_seen_and_gone_round() -> None:
    model = tiny.build_model()
    assert fit_rows(model, make_groups(), RowConfig()).rows.form == "packed"
    model.config.final_logit_softcapping = 2.0  # the model itself does not cap
    fit = fit_rows(model, make_groups(), RowConfig())
    assert fit.rows.form == "plain"
    assert "differs from single sequences by" in fit.refused["packed"]


def test_a_wrong_window_is_seen_on_the_telling_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    model, groups = tiny.build_model("mistral"), make_groups(tiny.WINDOW + 9)
    assert fit_rows(model, groups, RowConfig()).rows.form == "packed"
    monkeypatch.setattr("copg.lm.attention.layout.SharedRows.limited", lambda rows, _: rows.visible)
    assert fit_rows(model, groups, RowConfig()).rows.form != "packed"
    assert fit_rows(model, groups[:1], RowConfig()).rows.form == "packed"  # within the window it is the same


def test_a_single_completion_that_is_wrong_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    model, groups = tiny.build_model(), make_groups(60)

    def moved(*args: Any, rows: RowConfig, **options: Any) -> list[list[float]]:
        found = group_logps(*args, rows=rows, **options)
        if rows.form != "plain":
            found[-1][0] -= 2e-4  # nats, of 3 tokens: 7e-5 a token; of all 80 tokens 2.5e-6 each
        return found

    assert fit_rows(model, groups, RowConfig()).rows.form == "packed"
    monkeypatch.setattr("copg.lm.forms.group_logps", moved)
    assert fit_rows(model, groups, RowConfig()).rows.form == "plain"


def longrope() -> Any:
    """A model whose rotary positions are others once any sequence of a batch has more than 16 tokens."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    factors = {"short_factor": [1.0] * 4, "long_factor": [2.0, 3.0, 4.0, 5.0], "factor": 8.0}
    rope = {"rope_type": "longrope", "original_max_position_embeddings": 16, "rope_theta": 100.0, **factors}
    torch.manual_seed(0)
    config = LlamaConfig(
        **sizes,
        vocab_size=VOCABULARY,
        max_position_embeddings=128,
        rope_parameters=rope,
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config)


def test_rotary_positions_that_depend_on_the_batch_are_seen() -> None:
    model, groups = tiny.saved_and_loaded(longrope()), make_groups(60)
    assert fit_rows(model, groups, RowConfig()).rows.form == "plain"
    assert fit_rows(model, groups[:1], RowConfig()).rows.form == "packed"  # none is beyond 16 positions


def test_a_reference_is_checked_again_where_a_later_group_is_longer_and_its_form_stays_slow(
    tmp_path: Path,
) -> None:
    longrope().save_pretrained(tmp_path / "model")
    model = load_model(tmp_path / "model")
    store = open_references(str(tmp_path / "store"), Numerics("weights", "float32", "float32"))
    engine = ReferencePass(str(tmp_path / "model"), None, store, RowConfig(), 0)
    long, short = make_groups(60)[1], make_groups()[0]
    longer = TokenGroup([4 + n % 9 for n in range(30)], [[5 + n % 7 for n in range(40)], [6] * 20])
    assert fit_rows(model, [longer], RowConfig()).rows.form == "packed"  # by itself: all beyond 16 positions
    other = TokenGroup([9, 8, 7], [[4, 5], [6]])
    forms = []
    for groups in ([short], [long, TokenGroup([5], [[6, 7], [8]])], [longer], [other, long]):
        made = [
            Group(
                str(n),
                "",
                [Completion("", token_ids=list(ids)) for ids in group.completion_ids],
                prompt_ids=list(group.prompt_ids),
            )
            for n, group in enumerate(groups)
        ]
        engine.fill(made)
        forms.append(engine.form["form"])
        for group, filled in zip(groups, made, strict=True):
            found = [completion.ref_logps for completion in filled.completions]
            assert found == pytest.approx(plain_logps(model, group), abs=1e-4)
    assert forms == ["packed", "plain", "plain", "plain"]


def test_the_longest_the_largest_and_the_shortest_group_are_checked() -> None:
    groups = [
        TokenGroup([4] * 5, [[5], [6]]),
        TokenGroup([4] * 9, [[5] * 8, [6]]),  # 17 tokens: the longest
        TokenGroup([4], [[5] * n for n in (6, 5, 5, 5, 6, 5)]),  # 33 tokens in all: the largest
        TokenGroup([4] * 3, [[5], [6]]),  # 4 tokens: the shortest
    ]
    first, second, third = telling_groups(groups)
    assert (first, third) == (groups[1], groups[3])
    assert second.completion_ids == [[5] * 6, [5] * 5, [5] * 5, [5] * 6]  # the four longest, in their order


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("attention", ["split", "mask"])
def test_a_check_takes_no_larger_a_batch_than_the_run(form: Any, attention: Any) -> None:
    rng = random.Random(4)
    sizes = [(rng.randrange(20, 60), rng.randrange(20, 80), rng.randrange(2, 7)) for _ in range(40)]
    groups = [TokenGroup([4] * p, [[5 + k] * (c + k) for k in range(n)], str(p)) for p, c, n in sizes]
    rows = RowConfig(form=form, attention=attention, tokens_per_batch=256)

    def largest(of: list[TokenGroup], rows: RowConfig) -> int:
        batches = [build_batch(of, plan, rows) for plan in plan_batches(of, rows)]
        return max(batch.input_ids.numel() for batch in batches)

    calls = checked_calls(telling_groups(groups), groups, rows)
    assert len(calls) == 2
    for call, budgets in calls:
        assert largest(call, replace(rows, **budgets)) <= largest(groups, rows)
    (pair, budgets) = calls[1]
    (_, *more) = plan_batches(pair, replace(rows, **budgets))
    assert bool(more) == (form == "plain")  # else in one batch, the longest beside the shortest
    (all_at_once,) = checked_calls(telling_groups(groups), groups, RowConfig(form=form, attention=attention))
    assert len(all_at_once[0]) == 3


def test_rotary_positions_that_depend_on_the_batch_are_seen_in_small_batches_too() -> None:
    model = tiny.saved_and_loaded(longrope())
    long = TokenGroup([4 + n % 9 for n in range(30)], [[5 + n % 7 for n in range(40)], [6] * 20])
    short, rows = TokenGroup([9, 8, 7], [[4, 5], [6]]), RowConfig(tokens_per_batch=80)
    assert fit_rows(model, [long], rows).rows.form == "packed"
    assert fit_rows(model, [long, short], rows).rows.form == "plain"


def test_of_a_head_of_its_own_no_logits_of_the_prompt_are_kept() -> None:
    group = make_groups()[1]
    batch = build_batch([group], [[0]], RowConfig(form="plain"))
    states = SequenceScorer(bert(is_decoder=True), RowConfig(form="plain")).states(batch)
    assert states.shape == (20 + 4 + 4, VOCABULARY)


def test_an_error_of_a_forward_is_a_mistake_with_the_kind_of_the_model() -> None:
    beyond = TokenGroup([VOCABULARY + 3], [[4, 5]])
    with pytest.raises(
        ModelError, match="model type 'llama' does not compute packed rows: index out of range"
    ):
        group_logps(tiny.build_model(), [beyond])


def test_memory_that_is_full_is_no_fault_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.build_model()

    def full(*_: Any, **__: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")

    monkeypatch.setattr(model.model, "forward", full)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        group_logps(model, make_groups())


@pytest.mark.parametrize(("build", "decoder"), [(tiny.build_model, CachedDecoder), (mamba, WholeDecoder)])
def test_what_is_drawn_is_drawn_by_the_decoder_that_is_right(build: Any, decoder: type) -> None:
    model, prompts = build(), [[4, 5, 6], [7], [8, 9, 10, 11]]
    assert choose_decoder(model, prompts, 5) is decoder
    drawing = choose_decoder(model, prompts, 5)(model, prompts)
    rows = [list(prompt) for prompt in prompts]
    for _ in range(4):
        tokens = drawing.logits.argmax(-1)
        with torch.no_grad():
            alone = [int(model(input_ids=torch.tensor([row])).logits[0, -1].argmax()) for row in rows]
        assert tokens.tolist() == alone
        rows = [[*row, token] for row, token in zip(rows, alone, strict=True)]
        drawing.advance(tokens)


def test_the_kl_of_a_policy_does_not_depend_on_the_form_of_either_pass() -> None:
    policy, reference, groups = tiny.build_model(seed=1), tiny.build_model(), make_groups()
    found = [
        compare_reference(
            reference, groups, trace_policy(policy, groups, RowConfig(form=mine)), RowConfig(form=other)
        )
        for mine, other in (("packed",) * 2, ("alone", "packed"), ("packed", "plain"), ("plain",) * 2)
    ]
    for kls, log_ratios in found[1:]:
        for which, expected in ((kls, found[0][0]), (log_ratios, found[0][1])):
            assert which == [pytest.approx(each, abs=2e-4) for each in expected]


def test_alibi_positions_are_left_to_the_model() -> None:
    fit = fit_rows(bloom(), make_groups(), RowConfig())
    assert fit.rows.form == "alone"


def test_a_model_that_asks_for_the_name_of_its_attention_is_that_of_plain_transformers(
    tmp_path: Path,
) -> None:
    """Under another name this one leaves out which tokens a layer chose to see."""
    folder, groups = kinds.save_kind("deepseek_v32", tmp_path), models_table.make_groups()
    expected = models_table.eager_logps(folder, groups)
    model = load_model(folder)
    fit = fit_rows(model, groups, RowConfig())
    assert "packed" in fit.refused
    found = group_logps(model, groups, rows=fit.rows)
    assert found == [pytest.approx(each, abs=1e-4) for each in expected]
    short = TokenGroup([5, 6, 7], [[8, 9], [10]])
    group_logps(model, [short], rows=RowConfig(form="packed"))
    assert [plain_logps(model, group) for group in groups] != [pytest.approx(e, abs=1e-2) for e in expected]
    policy = Policy(codec=TextCodec(tiny.build_tokenizer()), loaded=model)
    draw(policy, [[5, 6, 7]], ["a"], GenerationConfig(max_new_tokens=1))
    assert [plain_logps(model, group) for group in groups] == [pytest.approx(e, abs=1e-4) for e in expected]
