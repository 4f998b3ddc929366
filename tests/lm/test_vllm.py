"""vLLM behind ``generate``'s interface. It needs a GPU, so a stand-in has the signatures of vLLM 0.33."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, MambaConfig, RwkvConfig

from copg.config import parse_config
from copg.errors import ConfigError, ModelError
from copg.lm.config import GenerationConfig
from copg.lm.engines.own import draw as draw_own
from copg.lm.engines.vllm import asked, draw, share_out
from copg.lm.generation import Policy
from copg.lm.load import load_codec, load_model
from copg.lm.text import TextCodec
from copg.lm.vllm_worker import sampling
from copg.training.config import MonitorConfig
from tests import tiny
from tests.lm.test_text import TURNS, build

PROMPTS = [[1, 4, 5], [1, 6], [1, 4, 5]]
KEYS = ["a/0", "b/0", "a/1"]
STAND_IN = """
import json, os, sys
import torch
from transformers import AutoModelForCausalLM

class SamplingParams:
    def __init__(self, *, temperature, top_p, max_tokens, seed, stop_token_ids, ignore_eos, detokenize):
        assert ignore_eos and not detokenize
        self.__dict__.update(temperature=temperature, max_tokens=max_tokens, seed=seed, stops=stop_token_ids)
        self.top_p = top_p

class Output:
    def __init__(self, token_ids):
        self.token_ids = tuple(token_ids)
        self.outputs = [self]

class LLM:
    def __init__(self, model, *, revision, dtype, tensor_parallel_size, max_model_len,
                 skip_tokenizer_init, trust_remote_code, enable_prefix_caching, enable_lora=False,
                 max_lora_rank=16):
        assert skip_tokenizer_init and not trust_remote_code
        self.max_model_len = max_model_len
        if os.environ.get("STAND_IN_FAILS"):
            print("noise", file=sys.stderr)
            raise RuntimeError("no room for the weights")
        self.model = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype))
        self.lora = enable_lora and max_lora_rank

    @torch.no_grad()
    def generate(self, prompts, sampling_params, *, lora_request=None):
        if lora_request:
            from peft import PeftModel
            assert self.lora >= json.load(open(lora_request.lora_path + "/adapter_config.json"))["r"]
            self.model = PeftModel.from_pretrained(self.model, lora_request.lora_path)
        return [self.one(p["prompt_token_ids"], s) for p, s in zip(prompts, sampling_params, strict=True)]

    def one(self, prompt, settings):
        noise, ids = torch.Generator().manual_seed(settings.seed), list(prompt)
        assert len(prompt) + settings.max_tokens <= self.max_model_len
        while len(ids) - len(prompt) < settings.max_tokens:
            logits = self.model(torch.tensor([ids])).logits[0, -1].float()
            if settings.temperature == 0:
                ids.append(int(logits.argmax()))
            else:
                chances = (logits / settings.temperature).softmax(0)
                best, order = chances.sort(descending=True)
                chances[order[best.cumsum(0) - best >= settings.top_p]] = 0
                ids.append(int(torch.multinomial(chances, 1, generator=noise)))
            if ids[-1] in settings.stops:
                break
        return Output(ids[len(prompt):])
"""
LORA = """
class LoRARequest:
    def __init__(self, lora_name, lora_int_id, lora_path):
        assert lora_int_id > 0
        self.lora_path = lora_path
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GenerationConfig:
    package = tmp_path / "path" / "vllm"
    (package / "lora").mkdir(parents=True)
    (package / "__init__.py").write_text(STAND_IN)
    (package / "lora" / "__init__.py").touch()
    (package / "lora" / "request.py").write_text(LORA)
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(tmp_path / "path"), os.environ.get("PYTHONPATH", "")])
    )
    return GenerationConfig(max_new_tokens=6, temperature=0, vllm_python=sys.executable)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny.save_model(tmp_path / "model")


def test_it_draws_what_the_model_says_in_the_order_given(config: GenerationConfig, model: Path) -> None:
    codec = load_codec(model)
    found = draw(Policy(location=model, codec=codec), PROMPTS, KEYS, config)
    greedy = replace(config, vllm_python="")
    assert found == draw_own(Policy(loaded=load_model(model), codec=codec), PROMPTS, KEYS, greedy)


NO_EOS_TURNS = TURNS.replace("<end>", "{{ eos_token }}")


@pytest.mark.parametrize(
    ("template", "named", "stops"),
    [
        (TURNS, [], {"</s>", "<end>"}),
        (TURNS, ["<turn>"], {"</s>", "<end>", "<turn>"}),  # as gpt-oss names <|call|>
        (TURNS, ["yes"], {"</s>", "<end>"}),  # a left-over default: a word is no end
        (NO_EOS_TURNS, [], {"</s>"}),
        (None, ["<end>"], {"</s>", "<end>"}),
    ],
)
def test_vllm_stops_where_the_codec_says_and_nowhere_else(
    template: str | None, named: list[str], stops: set[str]
) -> None:
    tokenizer = build(template)
    codec = TextCodec(tokenizer, named_ends=[tokenizer.convert_tokens_to_ids(token) for token in named])
    config = GenerationConfig(max_new_tokens=6, temperature=0.5, top_p=0.9)
    settings = sampling(asked(Policy(codec=codec), PROMPTS, KEYS, config))
    assert len({each.pop("seed") for each in settings}) == len(PROMPTS)
    ids = [tokenizer.convert_tokens_to_ids(token) for token in stops]
    for each in settings:
        assert sorted(each.pop("stop_token_ids")) == sorted(ids) == sorted(codec.stops)
        # its own ends are off, no text is made that a string could stop, and nothing else bounds a completion
        assert each == {
            "temperature": 0.5,
            "top_p": 0.9,
            "max_tokens": 6,
            "ignore_eos": True,
            "detokenize": False,
        }


@pytest.mark.nightly
def test_an_adapter_is_served_over_its_base(config: GenerationConfig, model: Path, tmp_path: Path) -> None:
    adapted = get_peft_model(
        load_model(model), LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)
    )
    adapted.peft_config["default"].base_model_name_or_path = str(model)
    adapted.save_pretrained(tmp_path / "adapter")
    codec = load_codec(model)
    found = draw(Policy(location=tmp_path / "adapter", codec=codec), PROMPTS, KEYS, config)
    own, adapted = replace(config, vllm_python=""), load_model(tmp_path / "adapter")
    assert found == draw_own(Policy(loaded=adapted, codec=codec), PROMPTS, KEYS, own)
    assert found != draw_own(Policy(location=model, codec=codec), PROMPTS, KEYS, own)


@pytest.mark.nightly
def test_a_sequence_has_its_own_seed_whatever_shares_its_request(
    config: GenerationConfig, model: Path
) -> None:
    codec, hot = load_codec(model), replace(config, temperature=1.0, max_new_tokens=12)
    first, _, second = draw(Policy(location=model, codec=codec), PROMPTS, KEYS, hot)
    (alone,) = draw(Policy(location=model, codec=codec), PROMPTS[:1], KEYS[:1], hot)
    assert first == alone
    assert first != second  # another sample of the same prompt


@pytest.mark.parametrize(
    ("heads", "expected"),
    [
        ({"num_attention_heads": 12}, [1, 2, 3, 4, 6, 6]),  # of 1, 2, 3, 4, 6 and 8 GPUs
        ({"num_attention_heads": 12, "mamba_n_heads": 128}, [1, 2, 2, 4, 4, 4]),  # by 4 at most
        ({"num_attention_heads": [16, 8]}, [1, 2, 2, 4, 4, 8]),  # layer by layer
        ({"linear_num_key_heads": 16, "linear_num_value_heads": 32}, [1, 2, 2, 4, 4, 8]),
        ({"num_attention_heads": None}, [1] * 6),
        ({}, [1] * 6),
    ],
)
def test_a_model_is_shared_out_over_gpus_as_its_heads_allow(heads: Any, expected: list[int]) -> None:
    assert [share_out(SimpleNamespace(**heads), gpus) for gpus in (1, 2, 3, 4, 6, 8)] == expected
    assert share_out(SimpleNamespace(**heads), 0) == 1


def test_a_model_without_heads_of_attention_is_shared_out_over_none() -> None:
    assert share_out(MambaConfig(), 8) == share_out(RwkvConfig(), 8) == 1
    assert share_out(GPT2Config(n_head=6), 8) == 6


@pytest.mark.nightly
def test_what_vllm_died_of_is_told_in_one_line(
    config: GenerationConfig, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_FAILS", "1")
    with pytest.raises(
        ModelError, match=r"^vLLM ended with exit code 1: RuntimeError: no room for the weights$"
    ):
        draw(Policy(location=model, codec=load_codec(model)), PROMPTS, KEYS, config)


def test_a_python_that_is_not_there_is_named(config: GenerationConfig, model: Path) -> None:
    nowhere = replace(config, vllm_python="/nowhere/python")
    with pytest.raises(ModelError, match="vllm_python='/nowhere/python' cannot be run: No such file"):
        draw(Policy(location=model, codec=load_codec(model)), PROMPTS, KEYS, nowhere)


def test_training_refuses_an_engine_that_reads_weights_from_disk() -> None:
    with pytest.raises(ConfigError, match=r"generation\.vllm_python is for evaluate"):
        parse_config(MonitorConfig, {"generation": {"vllm_python": "python"}}, where="train.samples")
