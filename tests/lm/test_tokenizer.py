"""The tokeniser beside a model, by its files: the same that ``AutoTokenizer`` gives, without torch."""

import json
import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from copg.errors import ModelError
from copg.lm.config import GenerationConfig, RowConfig, TextConfig
from copg.lm.sampling import ModelSampler
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


INSTRUCT = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]"
    "{% else %}{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)


def tekken(folder: Path) -> dict[str, Any]:
    """Mistral's file alone: special tokens, then the 256 bytes, then two merges of ``yes``."""
    specials = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "<pad>"]
    words = [*(bytes([byte]) for byte in range(256)), b"ye", b"yes"]
    held = {
        "config": {"pattern": r"\p{L}+|\s+|[^\p{L}\s]+", "default_num_special_tokens": len(specials)},
        "vocab": [{"rank": i, "token_bytes": b64encode(w).decode()} for i, w in enumerate(words)],
        "special_tokens": [{"rank": i, "token_str": token} for i, token in enumerate(specials)],
    }
    write(folder, tekken=held, config={"model_type": "mistral", "vocab_size": 264})
    (folder / "chat_template.jinja").write_text(INSTRUCT)
    return held


def test_mistral_s_file_alone_is_a_tokeniser(tmp_path: Path) -> None:
    from copg.lm.load import load_codec

    tekken(tmp_path)
    for codec in (read_codec(str(tmp_path)), load_codec(str(tmp_path))):
        assert codec.ending == "a turn ends with `</s>`"
        opening = codec.open([{"role": "user", "content": "yes"}])
        assert opening.ids == [1, 3, 263, 4]  # <s> [INST] yes [/INST]
        # "no" is its bytes: 6 special tokens, then n = 110, o = 111
        assert codec.encode(opening, "yes", finished=True).ids == [263, 2]
        assert codec.encode(codec.open("no"), "no", finished=True).ids == [116, 117, 2]
        assert codec.open("no").ids == [1, 116, 117]  # its models were trained behind <s>


@pytest.mark.parametrize("left", ["tokenizer.json", "tekken.json"])
def test_a_policy_whose_tokeniser_is_one_file_alone_is_held_against_the_reference(
    tmp_path: Path, left: str
) -> None:
    from copg.lm.load import check_vocabulary, load_tokenizer

    reference, policy = tmp_path / "reference", tmp_path / "policy"
    for folder in (reference, policy):
        if left == "tekken.json":
            write(folder)
            tekken(folder)
        else:
            build(TURNS).save_pretrained(folder)
            write(folder, config={"model_type": "llama"})
    (policy / "tokenizer_config.json").unlink(missing_ok=True)
    tokenizer = load_tokenizer(reference)
    check_vocabulary(policy, tokenizer, "reference")
    if left == "tekken.json":
        held = json.loads((policy / left).read_text())
        held["vocab"][257]["token_bytes"] = b64encode(b"no").decode()
        write(policy, tekken=held)
    else:
        (policy / left).write_text((policy / left).read_text().replace('"<turn>"', '"<other>"'))
    with pytest.raises(ModelError, match="policy: has another vocabulary than reference"):
        check_vocabulary(policy, tokenizer, "reference")


@pytest.mark.parametrize("held", ["tokenizer.json", "tekken.json", "tokenizer_config.json", None])
def test_an_adapter_draws_by_its_own_tokeniser_whatever_the_file_and_else_by_its_base_s(
    tmp_path: Path, held: str | None
) -> None:
    write(tmp_path, adapter_config={"base_model_name_or_path": "base"})
    if held is not None:
        (tmp_path / held).write_text("{}")
    sampler = ModelSampler(str(tmp_path), None, "d", GenerationConfig(), RowConfig(), TextConfig())
    assert sampler.reads_as == (("base", None) if held is None else (str(tmp_path), None))


@pytest.mark.nightly
def test_mistral_s_file_alone_needs_no_torch(tmp_path: Path) -> None:
    tekken(tmp_path)
    program = "import sys; from copg.lm.tokenizer import read_codec; read_codec(sys.argv[1]); "
    program += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False).returncode == 0


def test_an_old_file_of_mistral_s_without_special_tokens_is_a_line(tmp_path: Path) -> None:
    held = tekken(tmp_path)
    del held["special_tokens"]
    write(tmp_path, tekken=held)
    with pytest.raises(ModelError, match=r"no tokeniser can be loaded: .*mistral-common.*$"):
        read_codec(str(tmp_path))


def test_a_file_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(ModelError, match=r"tokenizer_config.json: is no JSON"):
        read_codec(str(tmp_path))
