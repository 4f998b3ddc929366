"""The demo's reference: a short training gives a model directory that writes completions that end."""

import random
from pathlib import Path

import pytest
import torch

from copg.lm.config import GenerationConfig
from copg.lm.engines.own import draw
from copg.lm.generation import Policy
from copg.lm.load import load_codec, load_model, load_tokenizer
from copg.stores.model_files import model_digest
from examples.demo import train_reference
from examples.fitting import Budget
from examples.reports import draw_report

pytestmark = pytest.mark.nightly  # the demo in its container trains this reference as well


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    first = train_reference(folder / "short", steps=2)
    last = train_reference(folder / "long", steps=80)
    assert last < first / 2  # from nearly ln(vocabulary) to the frequencies of words
    return folder / "long"


def test_it_is_a_llama_of_about_a_million_parameters_with_its_own_tokeniser(reference: Path) -> None:
    model, tokenizer = load_model(reference), load_tokenizer(reference)
    assert model.config.model_type == "llama"
    assert 0.8e6 < sum(p.numel() for p in model.parameters()) < 1.3e6
    assert len({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}) == 3
    assert (reference / "model.safetensors").is_file()
    assert len(model_digest(reference)) == 64


def test_a_prompt_is_short_and_the_tokeniser_gives_any_text_back(reference: Path) -> None:
    codec = load_codec(reference)
    lengths = [len(codec.open(draw_report(random.Random(i)).prompt).ids) for i in range(50)]
    assert 25 <= min(lengths) <= max(lengths) <= 80
    for text in ("Fire at Corley farm.", "naïve 漢字 \t\n🙂", "  two spaces"):
        opening = codec.open("Fire.")
        assert codec.decode(codec.encode(opening, text, finished=True).ids, opening.ids) == text


def test_its_completions_end(reference: Path) -> None:
    model, codec = load_model(reference), load_codec(reference)
    prompts = [codec.open(draw_report(random.Random(i)).prompt).ids for i in range(32)]
    policy, keys = Policy(codec=codec, loaded=model), [str(i) for i in range(32)]
    drawn = draw(policy, prompts, keys, GenerationConfig(max_new_tokens=96))
    assert sum(d.finished for d in drawn) >= 28
    assert sum(d.text.endswith(".") for d in drawn) >= 16, [d.text for d in drawn]


def test_the_same_seed_trains_the_same_weights(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    losses = [train_reference(tmp_path / str(i), steps=3) for i in range(2)]
    assert losses[0] == losses[1]
    assert model_digest(tmp_path / "0") == model_digest(tmp_path / "1")


def test_a_budget_is_spent_in_steps_or_in_minutes() -> None:
    assert list(Budget(steps=4).fractions()) == [0, 0.25, 0.5, 0.75]
    fractions = Budget(minutes=0.001).fractions()  # 60 ms
    spent = [next(fractions)]
    spent += list(fractions)
    assert spent == sorted(spent)
    assert 0 <= spent[0] <= spent[-1] < 1
