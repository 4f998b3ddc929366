"""Every causal kind of transformers as docs/models.md has it: exact in its form, or refused with a reason."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers.utils import logging

from copg.errors import ModelError
from copg.lm.anatomy import read_anatomy
from copg.lm.kinds import PACKAGES, REFUSED, check_kind
from copg.lm.load import load_config, load_model
from copg.lm.tokenizer import read_limits
from copg.training.config import LoraConfig
from copg.training.optim import add_adapter
from tests import kinds, models_table

FORMS = models_table.read_forms()
LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
BERT = {"model_type": "bert", "architectures": ["BertForMaskedLM"]}
MOST_REFUSED = 8
SLOW: tuple[Any, ...] = ((), pytest.mark.nightly)


def test_the_table_has_every_kind_and_few_are_refused() -> None:
    assert sorted(FORMS) == kinds.KINDS
    assert "not examined" not in models_table.DOCUMENT.read_text()
    assert sum(not form for form in FORMS.values()) <= MOST_REFUSED


def test_those_that_the_table_refuses_are_refused_by_their_configuration() -> None:
    assert {kind for kind, form in FORMS.items() if not form} == REFUSED.keys() | PACKAGES.keys()


def saved(folder: Path, config: dict[str, Any]) -> str:
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"model_type": "reformer"}, "'reformer' is refused: it reads texts of set lengths alone"),
        ({"model_type": "gemma3n"}, "'gemma3n' is refused: transformers needs the package timm for it"),
        (BERT, "'bert' is refused: it fills gaps, and sees what follows"),
        ({**BERT, "architectures": ["BertModel"]}, "sees what follows .no is_decoder: true in config.json."),
        ({**BERT, "architectures": ["BertLMHeadModel"]}, "sees what follows"),
        ({"model_type": "xlm-roberta"}, "'xlm-roberta' is refused: .* sees what follows"),
        ({"model_type": "bert-generation"}, "sees what follows .no is_decoder: true"),
        ({"model_type": "xlm"}, "sees what follows .no causal: true"),
        ({**LLAMA, "is_causal": False}, "sees what follows .no is_causal: true"),
        (
            {"model_type": "gemma3_text", "use_bidirectional_attention": True},
            "sees what follows .no use_bidirectional_attention: false",
        ),
        ({"model_type": "t5"}, "'t5' is refused: it is no language model that draws from left to right"),
        ({"model_type": "t5", "architectures": ["LlamaForCausalLM"]}, "'t5' is refused"),
        ({"model_type": "florence2"}, "'florence2' is refused: it is no language model that draws"),
        ({"model_type": "own", "architectures": ["OwnForCausalLM"]}, "cannot be loaded: .*model type `own`"),
        ({}, "cannot be loaded: Unrecognized model"),
    ],
)
def test_a_model_that_does_not_draw_is_refused_by_its_configuration(
    config: Any, why: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=why):
        check_kind(saved(tmp_path, config))


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=SLOW[kind != "mistral3"]) for kind in kinds.BEYOND]
)
def test_a_kind_that_reads_images_too_and_is_in_no_list_of_causal_ones_is_exact(
    kind: str, tmp_path: Path
) -> None:
    logging.set_verbosity_error()
    examined = models_table.examine(kind, tmp_path, train=kind != "mistral3")
    assert (examined.form, examined.reason) == ("packed", "")
    assert examined.difference <= models_table.TOLERANCE
    check_kind(str(tmp_path))
    model = load_model(tmp_path)
    adapted = add_adapter(model, LoraConfig(rank=2), seed=0)
    touched = {name for name, _ in adapted.named_parameters() if "lora_" in name}
    assert touched
    assert all(".language_model." in name for name in touched)
    found = read_anatomy(model.config)
    assert read_limits(str(tmp_path)).context == found.context == kinds.CONTEXT
    assert kind != "mistral3" or found.windows == (kinds.WINDOW,)


@pytest.mark.parametrize(
    "config",
    [
        *(LLAMA, {"model_type": "gemma3"}, {"model_type": "mistral3"}, {**BERT, "is_decoder": True}),
        {"model_type": "gemma4_text", "use_bidirectional_attention": "vision"},
    ],
)
def test_a_model_that_draws_is_not(config: Any, tmp_path: Path) -> None:
    check_kind(saved(tmp_path, config))


def test_without_a_configuration_there_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model, 'config\.json' is missing"):
        check_kind(str(tmp_path))


def check(kind: str, folder: Path, *, train: bool) -> None:
    logging.set_verbosity_error()
    found = models_table.examine(kind, folder, train=train)
    assert found.form == FORMS[kind], found.reason
    assert found.difference <= models_table.TOLERANCE
    assert bool(found.form) or found.reason
    if (folder / "config.json").is_file():  # the file alone says what the configuration says
        assert read_limits(str(folder)).context == read_anatomy(load_config(folder)).context


@pytest.mark.parametrize("kind", kinds.KINDS[::4])
def test_a_kind_is_exact_in_the_form_that_the_table_has(kind: str, tmp_path: Path) -> None:
    check(kind, tmp_path, train=False)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", kinds.KINDS)
def test_a_kind_takes_a_step_of_all_weights_and_of_an_adapter(kind: str, tmp_path: Path) -> None:
    check(kind, tmp_path, train=True)
