"""The tokeniser beside a model, by its files: the same that ``AutoTokenizer`` gives, without torch."""

import json
from pathlib import Path
from typing import Any

import pytest

from copg.errors import ModelError
from copg.lm.tokenizer import Limits, read_codec, read_limits
from tests.lm.test_text import TURNS, build


def write(folder: Path, **files: Any) -> str:
    folder.mkdir(exist_ok=True)
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return str(folder)


@pytest.mark.parametrize(
    ("config", "limits"),
    [
        ({"max_position_embeddings": 64, "vocab_size": 9}, Limits(64, 9)),
        ({"n_positions": 1024, "vocab_size": 9}, Limits(1024, 9)),
        ({"vocab_size": 9, "text_config": {"max_position_embeddings": 8}}, Limits(8, 9)),
        ({"vocab_size": 9, "text_config": {"vocab_size": 7}}, Limits(None, 7)),
        ({"max_seq_len": 2048, "vocab_size": 9}, Limits(2048, 9)),  # MPT and DBRX
        ({"context_length": 1024, "vocab_size": 9}, Limits(1024, 9)),  # RWKV
        ({"thinker_config": {"text_config": {"max_position_embeddings": 8, "vocab_size": 7}}}, Limits(8, 7)),
        ({}, Limits(None, None)),
        # as Gemma 3 4B has it: its lengths are the defaults of its kind
        ({"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}}, Limits(131072, 262208)),
    ],
)
def test_limits_are_those_of_the_language_model(tmp_path: Path, config: Any, limits: Limits) -> None:
    assert read_limits(write(tmp_path, config=config)) == limits


@pytest.mark.parametrize("declared", ["PreTrainedTokenizerFast", "TokenizersBackend"])
def test_the_files_give_what_auto_tokenizer_gives(tmp_path: Path, declared: str) -> None:
    from copg.lm.load import load_codec

    build(TURNS).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    write(
        tmp_path, config={"model_type": "llama"}, tokenizer_config={**settings, "tokenizer_class": declared}
    )
    write(tmp_path, generation_config={"eos_token_id": [2, 5]})
    light, heavy = read_codec(str(tmp_path)), load_codec(str(tmp_path))
    assert light.about()["stops"] == ["</s>", "<end>"]
    write(tmp_path, config={"model_type": "llama", "eos_token_id": [2, 4]}, generation_config={"top_k": 1})
    for codec in (read_codec(str(tmp_path)), load_codec(str(tmp_path))):
        assert codec.about()["stops"] == ["</s>", "<end>", "<turn>"]
    assert light.tokenizer.backend_tokenizer.to_str() == heavy.tokenizer.backend_tokenizer.to_str()
    assert type(light.tokenizer) is type(heavy.tokenizer)
    assert light.about() == heavy.about()
    assert light.ending == "a turn ends with `<end>`, plain text with `</s>`"


def test_what_auto_tokenizer_alone_can_load_is_said(tmp_path: Path, capsys: Any) -> None:
    build(TURNS).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    del settings["tokenizer_class"]
    write(tmp_path, config={"model_type": "llama"}, tokenizer_config=settings)
    assert read_codec(str(tmp_path)).about()["end_of_turn"] == "<end>"
    assert "only AutoTokenizer can load its tokeniser: torch is loaded" in capsys.readouterr().err


def test_a_file_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(ModelError, match=r"tokenizer_config.json: is no JSON"):
        read_codec(str(tmp_path))
