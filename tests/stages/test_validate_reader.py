"""Validate with the tokeniser of the model that will read the records: told before any GPU, without torch."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from copg.artifacts import read_manifest
from copg.data.group_files import read_groups
from copg.errors import RecordError
from copg.lm.config import ReaderConfig, TextConfig
from copg.records import SPLITS
from copg.run.recipe import parse_recipe, parse_stages
from copg.run.stage_settings import stage_settings
from copg.stages.validate import ValidateConfig, validate_records
from tests.lm.test_fit import ALTERNATES, BAD, GOOD, ask, row
from tests.lm.test_text import TURNS, build


def save(folder: Path, template: str = TURNS) -> str:
    """A model directory without weights: a token a character, a context of 64, no embedding for ``▁yes``."""
    build(template).save_pretrained(folder)
    config = {"model_type": "llama", "vocab_size": 105, "max_position_embeddings": 64}
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def write(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return str(path)


def test_what_the_model_cannot_read_or_say_is_rejected_with_file_line_and_reason(tmp_path: Path) -> None:
    some = row(ask("a"), "x", "y" * 60, "z", rewards=[1.0, 2.0, 3.0], finished=[True, True, False])
    records = write(tmp_path / "a.jsonl", GOOD, *(bad for bad, _, _ in BAD), some)
    reader = ReaderConfig(model=save(tmp_path / "model", ALTERNATES), max_dropped_fraction=1.0)
    out = tmp_path / "groups"
    metrics = validate_records(ValidateConfig(max_rejected_fraction=0.9, reader=reader), records, out)
    groups = {g.source: g for split in SPLITS for g in read_groups(out, split)}
    assert sorted(groups) == ["a.jsonl:1", f"a.jsonl:{len(BAD) + 2}"]
    assert [(c.text, c.reward, c.finished) for c in groups[f"a.jsonl:{len(BAD) + 2}"].completions] == [
        ("x", 1.0, True),
        ("z", 3.0, False),
    ]
    rejected = [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]
    assert [(each["file"], each["line"], each["reason"]) for each in rejected] == [
        ("a.jsonl", line, reason) for line, (_, reason, _) in enumerate(BAD, 2)
    ]
    facts = read_manifest(out, schema="groups").facts
    unexpected = {each["reason"]: each["unexpected"] for each in facts["checks"]}
    for (bad, reason, detail), entry in zip(BAD, rejected, strict=True):
        assert detail in entry["detail"]
        assert json.loads(entry["record"])["prompt"] == bad["prompt"]
        assert metrics[f"rejected/{reason}"] == unexpected[reason] > 0
    # one of the record that stays, two of the record that goes
    assert metrics["dropped/completion_of_too_many_tokens"] == 3
    assert metrics["completion_chars/max"] == 3
    assert facts["text"]["first"]["completion_of_too_many_tokens"].startswith("a.jsonl:4: 82 tokens with")
    assert (facts["text"]["end_of_turn"], facts["text"]["end_of_text"]) == ("<end>", "</s>")


def test_too_many_completions_that_cannot_be_said_end_the_stage(tmp_path: Path) -> None:
    records = write(tmp_path / "a.jsonl", row(ask("a"), "x", "y" * 60, "z"))
    reader = ReaderConfig(model=save(tmp_path / "model"), max_dropped_fraction=0.3)
    with pytest.raises(RecordError) as caught:
        validate_records(ValidateConfig(reader=reader), records, tmp_path / "groups")
    assert "1 of 3 completions" in str(caught.value)
    assert "validate.reader.max_dropped_fraction=0.3" in str(caught.value)
    assert "first a.jsonl:1: 82 tokens with its prompt, the model's context is 64" in str(caught.value)
    assert not (tmp_path / "groups/manifest.json").exists()


def test_nothing_to_train_on_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    records = write(tmp_path / "a.jsonl", GOOD)
    with pytest.raises(RecordError) as caught:
        validate_records(ValidateConfig(gate_fraction=0.999, select_fraction=0), records, tmp_path / "groups")
    assert "no prompt is left to train on, {'select': 0, 'gate': 1} are held out" in str(caught.value)
    assert "validate.gate_fraction=0.999" in str(caught.value)


def test_a_recipe_whose_records_are_all_too_long_ends_in_validate(tmp_path: Path) -> None:
    records = write(tmp_path / "a.jsonl", *(row(ask(f"{n}" * 60), "x", "y") for n in range(9)))
    recipe = parse_recipe(
        {
            "name": "long",
            "records": records,
            "model": save(tmp_path / "model"),
            "rewards": [{"name": "length", "params": {"target": 4}}],
            "trials": [{"method": "copg", "beta": 0.1}],
            "reference": {"max_tokens": 50},
            "text": {"special_tokens": "tokens"},
        }
    )
    settings = {"validate": stage_settings(recipe, "validate", run_dir=tmp_path / "runs")}
    config = parse_stages(recipe, settings)["validate"]
    assert config.reader.text == TextConfig(special_tokens="tokens")
    with pytest.raises(RecordError) as caught:
        validate_records(config, records, tmp_path / "groups")
    assert "9 of 9 records are rejected, nothing is left: 9 prompt_of_too_many_tokens" in str(caught.value)
    assert "a prompt of 80 tokens, reference.max_tokens is 50" in str(caught.value)


def test_the_stage_loads_what_it_takes_alone_and_calls_nobody(tmp_path: Path) -> None:
    records = write(tmp_path / "a.jsonl", GOOD)
    model, home = save(tmp_path / "model"), tmp_path / "home"
    home.mkdir()
    script = (
        "import socket, sys\n"
        "def refuse(*_, **__): raise AssertionError('network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from pathlib import Path\n"
        "from copg.lm.config import ReaderConfig\n"
        "from copg.stages.validate import ValidateConfig, validate_records\n"
        "def loaded(*names): return set(names) & set(sys.modules)\n"
        "assert not loaded('torch', 'transformers', 'great_expectations', 'pandas', 'datasets')\n"
        "splits = {'select_fraction': 0, 'gate_fraction': 0}\n"
        f"validate_records(ValidateConfig(**splits), {records!r}, Path({str(tmp_path / 'plain')!r}))\n"
        "assert not loaded('torch', 'transformers')\n"
        f"config = ValidateConfig(reader=ReaderConfig(model={model!r}), **splits)\n"
        f"found = validate_records(config, {records!r}, Path({str(tmp_path / 'groups')!r}))\n"
        "assert found['groups/count'] == 1\n"
        "assert loaded('transformers') and not loaded('torch')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2]), "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "a turn ends with `<end>`, plain text with `</s>`" in done.stderr
    assert list(home.iterdir()) == [], "something was left in the home directory"
