"""Generation: what is drawn is the model's own distribution, and no batch changes it."""

import json
import math
import random
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedModel

from copg.errors import ModelError, RecordError
from copg.lm.config import GenerationConfig
from copg.lm.engines import own
from copg.lm.engines.own import draw, uniform_noise
from copg.lm.generation import Generated, Policy, generated, max_prompt_tokens
from copg.lm.load import load_codec
from copg.lm.text import TextCodec
from copg.progress import track
from examples import tiny_llama
from tests import tiny

TOKENIZER = tiny.build_tokenizer()
EOS = TOKENIZER.eos_token_id
CONFIG = GenerationConfig(max_new_tokens=16, seed=3)


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    return lively("llama")


def lively(kind: str) -> PreTrainedModel:
    """Ends after some six tokens in the mean, so that batches shrink while they run."""
    model = tiny.build_model(kind)
    head = model.get_output_embeddings()
    head.bias = torch.nn.Parameter(torch.zeros(len(tiny.VOCABULARY)))
    with torch.no_grad():
        head.weight.mul_(0.2)
        head.bias[EOS] = 1.0
    return model


def prompts(count: int, seed: int = 0) -> list[list[int]]:
    rng = random.Random(seed)
    return [[1, *rng.choices(range(4, len(tiny.VOCABULARY)), k=rng.randint(1, 12))] for _ in range(count)]


def test_a_character_of_which_a_part_was_drawn_is_no_text_of_a_completion_that_was_cut_off() -> None:
    tokenizer = tiny_llama.build_tokenizer(["a b"], vocab_size=300)  # a token a byte
    codec = TextCodec(tokenizer)
    opening = codec.open("a")
    ids = codec.encode(opening, "b \N{GRINNING FACE}", finished=False).ids
    cut, ended = ids[:-1], [*ids[:-1], codec.end_of_text]
    (whole,), (part,), (odd,) = (generated([each], [opening.ids], codec) for each in (ids, cut, ended))
    assert (whole.text, whole.finished) == ("b \N{GRINNING FACE}", False)
    assert (part.text, part.finished) == ("b ", False)
    again = codec.encode(opening, part.text, finished=False).ids
    assert again == cut[: len(again)]
    assert (odd.text.rstrip("\ufffd"), odd.text != "b ", odd.finished) == ("b ", True, True)


def generate(model: Any, tokenizer: Any, *rest: Any, **options: Any) -> list[Generated]:
    return draw(Policy(codec=TextCodec(tokenizer), loaded=model), *rest, **options)


def drawn_one_by_one(model: Any, prompt: list[int], key: str, config: GenerationConfig) -> list[int]:
    """Without batch, cache, mask or padding: the whole sequence through the model for every token."""
    ids: list[int] = []
    for u in uniform_noise(config.seed, key, config.max_new_tokens):
        logits = model(torch.tensor([[*prompt, *ids]])).logits[0, -1].double()
        if config.temperature == 0:
            ids.append(int(logits.argmax()))
        else:
            cumulative = np.cumsum(torch.softmax(logits / config.temperature, -1).detach().numpy())
            ids.append(int(np.searchsorted(cumulative, u * cumulative[-1], side="right")))
        if ids[-1] == EOS:
            break
    return ids


def test_a_token_is_where_the_noise_falls_in_the_cumulative_distribution() -> None:
    # probabilities .5, 0, .25, .25 -> cumulative .5, .5, .75, 1
    logits = torch.tensor([0.5, 0.0, 0.25, 0.25]).log().repeat(6, 1)
    noise = np.array([0.0, 0.49, 0.5, 0.74, 0.76, np.nextafter(1, 0)])
    assert own._choose(logits, noise, 1.0).tolist() == [0, 0, 2, 2, 3, 3]
    assert own._choose(logits, noise, 0.0).tolist() == [0] * 6
    # at temperature 1/2 probabilities are squared: .25, 0, .0625, .0625 -> cumulative 2/3, 2/3, 5/6, 1
    noise = np.array([0.66, 0.67, 0.83, 0.84, 0.0, 0.99])
    assert own._choose(logits, noise, 0.5).tolist() == [0, 2, 2, 3, 0, 3]


def test_top_p_draws_from_the_fewest_likeliest_tokens_that_hold_it() -> None:
    # probabilities .4, .1, .3, .2; the likeliest first: 0 with .4, 2 with .7, 3 with .9, 1 with 1
    logits = torch.tensor([0.4, 0.1, 0.3, 0.2]).log().repeat(4, 1)
    noise = np.array([0.0, 0.45, 0.6, 0.99])
    assert own._choose(logits, noise, 1.0, 0.39).tolist() == [0, 0, 0, 0]
    # tokens 0 and 2 of .7 in all: .45 * .7 = .315 and .6 * .7 = .42 and .99 * .7 = .693
    assert own._choose(logits, noise, 1.0, 0.69).tolist() == [0, 0, 2, 2]
    # tokens 0, 2, 3 of .9: .405, .54, .891
    assert own._choose(logits, noise, 1.0, 0.75).tolist() == [0, 2, 2, 3]
    # all of them, as without it: .45, .6, .99 in .4, .5, .8, 1
    assert own._choose(logits, noise, 1.0, 1.0).tolist() == [0, 1, 2, 3]
    assert own._choose(logits, noise, 1.0, None).tolist() == [0, 1, 2, 3]
    assert own._choose(logits, noise, 0.0, 0.7).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("kind", sorted(tiny.ARCHITECTURES))
@pytest.mark.parametrize("temperature", [1.0, 0.7, 0.0])
def test_a_batch_draws_what_each_prompt_draws_alone(kind: str, temperature: float) -> None:
    model, config = lively(kind), replace(CONFIG, temperature=temperature)
    some = prompts(12)
    keys = [f"p{i}" for i in range(12)]
    expected = [drawn_one_by_one(model, p, k, config) for p, k in zip(some, keys, strict=True)]
    assert len({len(ids) for ids in expected}) > 3 or temperature == 0
    for tokens_per_batch in (1, 60, 100_000):
        drawn = generate(model, TOKENIZER, some, keys, replace(config, tokens_per_batch=tokens_per_batch))
        assert [d.token_ids for d in drawn] == expected


def test_samples_of_one_prompt_share_its_reading_and_nothing_else(model: PreTrainedModel) -> None:
    first, second = prompts(2)
    some = [first, second, first, first, second]
    keys = ["a/0", "b/0", "a/1", "a/2", "b/1"]
    drawn = generate(model, TOKENIZER, some, keys, CONFIG)
    assert [d.token_ids for d in drawn] == [
        drawn_one_by_one(model, p, k, CONFIG) for p, k in zip(some, keys, strict=True)
    ]
    assert len({tuple(d.token_ids) for d in drawn}) == 5


def test_a_completion_grows_past_the_room_first_allotted(model: PreTrainedModel) -> None:
    # the layer allots 64 tokens at a time: 100 make it grow once
    config = replace(CONFIG, max_new_tokens=100)
    endless = lively("llama")
    endless.get_output_embeddings().bias.data[EOS] = -20.0
    some, keys = prompts(3), ["a", "b", "c"]
    drawn = generate(endless, TOKENIZER, some, keys, config)
    assert [len(d.token_ids) for d in drawn] == [100, 100, 100]
    assert [d.token_ids for d in drawn] == [
        drawn_one_by_one(endless, p, k, config) for p, k in zip(some, keys, strict=True)
    ]


def test_greedy_is_what_transformers_generates(model: PreTrainedModel) -> None:
    some = prompts(6)
    drawn = generate(model, TOKENIZER, some, list("abcdef"), replace(CONFIG, temperature=0.0))
    for prompt, ours in zip(some, drawn, strict=True):
        theirs = model.generate(
            torch.tensor([prompt]), do_sample=False, max_new_tokens=16, pad_token_id=0, eos_token_id=EOS
        )
        assert ours.token_ids == theirs[0, len(prompt) :].tolist()


def test_tokens_are_as_frequent_as_the_model_says(model: PreTrainedModel) -> None:
    prompt, count = prompts(1)[0], 4000
    config = replace(CONFIG, max_new_tokens=1)
    drawn = generate(model, TOKENIZER, [prompt] * count, [str(i) for i in range(count)], config)
    seen = Counter(d.token_ids[0] for d in drawn)
    expected = torch.softmax(model(torch.tensor([prompt])).logits[0, -1], -1).tolist()
    for token, p in enumerate(expected):
        # four standard errors of a share
        assert abs(seen[token] / count - p) <= 4 * math.sqrt(p * (1 - p) / count) + 1e-9


def test_noise_depends_on_seed_and_key_alone_and_a_longer_stream_starts_the_same() -> None:
    assert uniform_noise(0, "a", 8)[:3].tolist() == uniform_noise(0, "a", 3).tolist()
    assert len({uniform_noise(seed, key, 1)[0] for seed in range(20) for key in ("a", "b", "a/1")}) == 60
    assert 0.48 < uniform_noise(0, "a", 10_000).mean() < 0.52
    # recorded: another stream would silently draw other completions than earlier runs did
    assert uniform_noise(7, "prompt/0", 2).tolist() == [0.6646466751789776, 0.35954709984214916]


def test_only_a_completion_that_ended_has_the_end_token(model: PreTrainedModel) -> None:
    drawn = generate(
        model, TOKENIZER, prompts(60), [str(i) for i in range(60)], replace(CONFIG, max_new_tokens=5)
    )
    assert {d.finished for d in drawn} == {True, False}
    for d in drawn:
        assert d.finished == (d.token_ids[-1] == EOS)
        assert EOS not in d.token_ids[:-1]
        assert d.finished or len(d.token_ids) == 5
        assert d.text.replace(" ", "") == "".join(tiny.VOCABULARY[i] for i in d.token_ids if i > 3)


def test_the_model_is_given_back_in_the_mode_it_came_in(model: PreTrainedModel) -> None:
    model.train()
    generate(model, TOKENIZER, prompts(1), ["a"], CONFIG)
    assert model.training
    model.eval()
    generate(model, TOKENIZER, prompts(1), ["a"], CONFIG)
    assert not model.training


def test_dropout_is_off_and_an_adapter_is_on() -> None:
    lora = LoraConfig(r=2, target_modules="all-linear", lora_dropout=0.5, init_lora_weights=False)
    adapted = get_peft_model(lively("llama"), lora).train()
    some, keys = prompts(4), list("abcd")
    drawn = generate(adapted, TOKENIZER, some, keys, CONFIG)
    adapted.eval()
    expected = [drawn_one_by_one(adapted, p, k, CONFIG) for p, k in zip(some, keys, strict=True)]
    assert [d.token_ids for d in drawn] == expected
    with adapted.disable_adapter():
        assert [d.token_ids for d in generate(adapted, TOKENIZER, some, keys, CONFIG)] != expected


def test_a_prompt_fills_the_context_at_most(model: PreTrainedModel) -> None:
    # context 160, 16 new tokens: 144 are left
    assert max_prompt_tokens(model.config, CONFIG) == 144
    generate(model, TOKENIZER, [[1] * 144], ["fits"], CONFIG)
    with pytest.raises(RecordError, match="prompt 'long' has 145 tokens; the model has room for 1 to 144"):
        generate(model, TOKENIZER, [[1] * 145], ["long"], CONFIG)
    with pytest.raises(RecordError, match="prompt 'empty' has 0 tokens"):
        generate(model, TOKENIZER, [[]], ["empty"], CONFIG)
    with pytest.raises(ValueError, match="2 prompts and 1 noise keys"):
        generate(model, TOKENIZER, [[1], [1]], ["a"], CONFIG)
    assert generate(model, TOKENIZER, [], [], CONFIG) == []


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_told(temperature: float, value: float) -> None:
    broken = tiny.build_model()
    broken.get_output_embeddings().weight.data[5] = value
    with pytest.raises(FloatingPointError, match="the policy has diverged"):
        generate(broken, TOKENIZER, prompts(2), ["a", "b"], replace(CONFIG, temperature=temperature))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            RuntimeError("shapes of a layer do not match\n at ..."),
            "^model type 'llama' does not compute the next",
        ),
        (NotImplementedError(), "^model type 'llama' does not compute the next token: NotImplementedError$"),
        (torch.OutOfMemoryError("CUDA out of memory"), None),
    ],
)
def test_a_forward_that_fails_is_told_with_the_model_s_kind_and_full_memory_as_it_is(
    error: Exception, told: str | None
) -> None:
    failing = tiny.build_model()

    def fail(*_: Any, **__: Any) -> None:
        raise error

    failing.register_forward_pre_hook(fail)
    with pytest.raises(ModelError if told else type(error), match=told):
        generate(failing, TOKENIZER, prompts(2), ["a", "b"], CONFIG)


def test_a_models_other_end_tokens_end_a_completion_when_they_are_special(tmp_path: Path) -> None:
    cat = tiny.VOCABULARY.index("cat")
    named = tiny.build_model()
    named.generation_config.eos_token_id = [EOS, 1, cat]  # end, start (special), a word (a left-over)
    TOKENIZER.save_pretrained(tmp_path)
    named.save_pretrained(tmp_path)
    assert load_codec(tmp_path).stops == {EOS, 1}
    (tmp_path / "generation_config.json").unlink()
    assert load_codec(tmp_path).stops == {EOS}
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "eos_token_id": [EOS, 0]}))
    assert load_codec(tmp_path).stops == {EOS, 0}  # as transformers has it, without generation_config.json


def test_progress_counts_completions(
    model: PreTrainedModel, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("copg.lm.engines.own.track", partial(track, quiet_s=-1.0))
    generate(model, TOKENIZER, prompts(3), ["a", "b", "c"], CONFIG, description="drawing")
    assert "drawing: 1 of 3" in capsys.readouterr().err
