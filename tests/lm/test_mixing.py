"""A mix of two models: its distribution counted out, what is drawn from it, and how far it is."""

import math
from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from copg.errors import ModelError
from copg.lm.config import GenerationConfig, RowConfig
from copg.lm.decoders import CachedDecoder, choose_decoder
from copg.lm.divergence import compare_reference, trace_policy
from copg.lm.engines.own import draw, uniform_noise
from copg.lm.generation import Policy
from copg.lm.mixing import MixedModel
from copg.lm.rows import TokenGroup
from copg.lm.text import TextCodec
from tests import tiny

TOKENIZER = tiny.build_tokenizer()
CODEC = TextCodec(TOKENIZER)
EOS, TOKENS = TOKENIZER.eos_token_id, range(len(tiny.VOCABULARY))
PROMPT = [1, 5, 6]
WEIGHTS = [0.25, 0.75, 1.5]
COMPLETIONS = [(EOS,), *((a, b) for a, b in product(TOKENS, TOKENS) if a != EOS)]
"""All that may be said in two tokens."""


def flat_model(seed: int, kind: str = "llama") -> Any:
    """Several tokens are likely, so that frequencies tell."""
    model = tiny.build_model(kind, seed)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(0.5)
    return model


@pytest.fixture(scope="module")
def models() -> tuple[Any, Any]:
    """Policy and reference."""
    return flat_model(0), flat_model(1)


def token_logps(models: tuple[Any, Any], weight: float, ids: list[int]) -> torch.Tensor:
    """[T, V] of the mix by its definition, in float64, two forwards of this sequence alone."""
    with torch.no_grad():
        policy, reference = (m(torch.tensor([ids])).logits[0].double().log_softmax(-1) for m in models)
    weighed = policy.exp() ** weight * reference.exp() ** (1 - weight)
    return (weighed / weighed.sum(-1, keepdim=True)).log()


def counted_out(models: tuple[Any, Any], weight: float) -> dict[tuple[int, ...], float]:
    """The log-probability of every completion, nats."""
    first = token_logps(models, weight, PROMPT)[-1]
    second = [token_logps(models, weight, [*PROMPT, a])[-1] for a in TOKENS]
    return {
        ids: float(first[ids[0]] + (second[ids[0]][ids[1]] if len(ids) > 1 else 0.0)) for ids in COMPLETIONS
    }


def drawn(models: tuple[Any, Any], weight: float, keys: list[str], max_new_tokens: int = 2) -> list[Any]:
    config = GenerationConfig(max_new_tokens=max_new_tokens, seed=3)
    policy = Policy(codec=CODEC, loaded=MixedModel(*models, weight))
    return [tuple(each.token_ids) for each in draw(policy, [PROMPT] * len(keys), keys, config)]


@pytest.mark.parametrize("weight", WEIGHTS)
def test_completions_are_drawn_as_often_as_the_mix_says(models: tuple[Any, Any], weight: float) -> None:
    expected = {ids: 4000 * math.exp(logp) for ids, logp in counted_out(models, weight).items()}
    assert sum(expected.values()) == pytest.approx(4000)
    found = Counter(drawn(models, weight, [f"g/{i}" for i in range(4000)]))
    cells = [ids for ids, number in expected.items() if number >= 5]
    counts = [[found[ids] for ids in cells], [expected[ids] for ids in cells]]
    for column in counts:
        column.append(4000 - sum(column))
    assert len(cells) > 25
    assert chisquare(*counts).pvalue > 1e-3


@pytest.mark.parametrize("kind", ["llama", "gemma2", "gpt_neox"])
@pytest.mark.parametrize("weight", WEIGHTS)
def test_each_token_is_where_its_noise_falls_in_the_mix(kind: str, weight: float) -> None:
    models = flat_model(0, kind), flat_model(1, kind)
    for key, ids in zip("abcde", drawn(models, weight, list("abcde"), 12), strict=True):
        expected: list[int] = []
        for u in uniform_noise(3, key, 12):
            cumulative = np.cumsum(token_logps(models, weight, [*PROMPT, *expected])[-1].exp().numpy())
            expected.append(int(np.searchsorted(cumulative, u * cumulative[-1], side="right")))
            if expected[-1] == EOS:
                break
        assert list(ids) == expected


def test_keys_and_values_of_both_are_kept_where_each_has_its_own_number_of_layers() -> None:
    deep = tiny.build_model("llama", 1)
    short = tiny.build_model("llama", 0)
    short.model.layers = short.model.layers[:1]
    short.config.num_hidden_layers = 1
    for pair in ((short, deep), (deep, short)):
        mixed = MixedModel(*pair, 0.5)
        assert choose_decoder(mixed, [PROMPT, [1, 9]], 4) is CachedDecoder


def test_at_its_ends_lie_the_reference_and_the_policy(models: tuple[Any, Any]) -> None:
    ids = torch.tensor([[1, 5, 6, 9, 4, 4]])
    with torch.no_grad():
        for weight, model in zip((1.0, 0.0), models, strict=True):
            mixed = MixedModel(*models, weight)(input_ids=ids).logits
            assert torch.equal(mixed, model(ids).logits.log_softmax(-1))
    keys = [f"g/{i}" for i in range(40)]
    config = GenerationConfig(max_new_tokens=12, seed=3)
    for weight, model in zip((1.0, 0.0), models, strict=True):
        own = draw(Policy(codec=CODEC, loaded=model), [PROMPT] * 40, keys, config)
        assert drawn(models, weight, keys, 12) == [tuple(each.token_ids) for each in own]
    assert drawn(models, 0.0, keys, 12) != drawn(models, 1.0, keys, 12)


@pytest.mark.parametrize("weight", [0.0, *WEIGHTS, 1.0])
@pytest.mark.parametrize("tile", [1, 4096])
def test_kl_and_log_ratio_are_those_of_the_mix_counted_out(
    models: tuple[Any, Any], weight: float, tile: int
) -> None:
    policy, reference = models
    said = [list(ids) for ids in COMPLETIONS]
    groups, rows = [TokenGroup(PROMPT, said)], RowConfig(tile_tokens=tile)
    trace = trace_policy(policy, groups, rows)
    (kls,), (log_ratios,) = compare_reference(reference, groups, trace, rows, weight=weight)
    mix, ref = counted_out(models, weight), counted_out(models, 0.0)
    expected = [mix[ids] - ref[ids] for ids in COMPLETIONS]
    assert log_ratios == pytest.approx(expected, abs=2e-5)
    chances = [math.exp(mix[ids]) for ids in COMPLETIONS]
    whole = sum(p * gap for p, gap in zip(chances, expected, strict=True))
    assert sum(p * kl for p, kl in zip(chances, kls, strict=True)) == pytest.approx(whole, abs=2e-5)
    assert (whole > 0.003) == (weight > 0)


def test_vocabularies_of_different_sizes_are_refused() -> None:
    policy, reference = tiny.build_model(), tiny.build_model()
    policy.resize_token_embeddings(24)
    with pytest.raises(ModelError, match="the policy has logits of 24 tokens, the reference of 17"):
        MixedModel(policy, reference, 0.5)(input_ids=torch.tensor([PROMPT]))
