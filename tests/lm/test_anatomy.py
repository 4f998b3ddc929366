"""What is read of a configuration is the language model's, also where that is a part of it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import XLNetConfig

from copg.lm import anatomy
from copg.lm.anatomy import read_anatomy
from copg.lm.config import GenerationConfig, RowConfig
from copg.lm.decoders import CachedDecoder, choose_decoder
from copg.lm.forms import fit_rows
from copg.lm.generation import max_prompt_tokens
from copg.lm.load import load_config
from copg.lm.rows import TokenGroup
from copg.lm.scorer import group_logps
from copg.lm.tokenizer import read_limits
from tests import tiny

GROUP = TokenGroup([4, 5, 6, 7, 8, 9, 10, 11, 12], [[13, 14, 15, 16], [9, 8, 7, 6, 5, 4, 2]])
"""Beyond the window of 8 tokens."""


def test_a_composite_model_is_exact_beyond_its_window() -> None:
    model: Any = tiny.build_composite()
    found = read_anatomy(model.config)
    assert (found.composite, found.windows, found.layers, found.context) == (True, (8,), 2, 64)
    fit = fit_rows(model, [GROUP], RowConfig())
    assert fit.rows.form == "packed"
    expected, start = [], len(GROUP.prompt_ids)
    for ids in GROUP.completion_ids:
        row = torch.tensor([[*GROUP.prompt_ids, *ids]])
        with torch.no_grad():
            logps = model(input_ids=row).logits[0, start - 1 : -1].log_softmax(-1)
        expected.append(float(logps.gather(1, row[0, start:, None]).sum()))
    assert group_logps(model, [GROUP], rows=fit.rows)[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("planted", [False, True])
def test_an_outer_configuration_in_its_place_is_seen(planted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = tiny.build_composite()
    if planted:
        monkeypatch.setattr(anatomy, "text_config", lambda config: config)
    prompts = [[4, 5, 6], [7, 8]]
    right = [
        max_prompt_tokens(model.config, GenerationConfig(max_new_tokens=8)) == 56,
        read_anatomy(model.config).windows == (8,),
        choose_decoder(model, prompts, 4) is CachedDecoder,
    ]
    assert right == [not planted] * 3


def test_a_kind_that_nothing_limits_has_no_context_though_it_gives_a_number(tmp_path: Path) -> None:
    config = XLNetConfig(vocab_size=40, d_model=32, n_head=4, n_layer=1)
    assert config.max_position_embeddings == -1
    config.save_pretrained(tmp_path)
    assert read_anatomy(config).context is read_limits(str(tmp_path)).context is None


def test_the_file_alone_says_the_same_without_torch(tmp_path: Path) -> None:
    tiny.build_composite().save_pretrained(tmp_path)
    limits, found = read_limits(str(tmp_path)), load_config(tmp_path)
    assert (limits.context, limits.num_embeddings) == (read_anatomy(found).context, 40) == (64, 40)
    outer = json.loads((tmp_path / "config.json").read_text())
    assert "max_position_embeddings" not in outer
