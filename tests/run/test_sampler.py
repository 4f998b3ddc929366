"""Who draws the completions of a run, by what the recipe says and what lies there today."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from copg.errors import ModelError
from copg.run.check import settings_of
from copg.run.recipe import parse_recipe
from copg.run.sampler import find_sampler
from copg.run.sources import DigestMemo, find_model
from tests import tiny


def configs(reference: Path, runs: Path, **sample: Any) -> Any:
    values = {
        "name": "tiny",
        "records": "r.jsonl",
        "model": str(reference),
        "rewards": [{"name": "length", "params": {"target": 4}}],
        "trials": [{"beta": 0.1}],
        "sample": sample,
    }
    memo = DigestMemo(runs)
    digest = find_model(str(reference), None, memo).digest
    return settings_of(parse_recipe(values), runs, digest=digest), memo


def test_without_a_word_it_is_the_reference_and_a_run_without_the_section_has_nobody(
    reference_dir: Path, tmp_path: Path
) -> None:
    settings, memo = configs(reference_dir, tmp_path, completions=3)
    found = find_sampler(settings, {}, memo)
    assert found is not None
    assert (found.config.model, found.note) == (str(reference_dir), "")
    assert found.digest == found.config.model_digest == settings["reference"].model_digest
    del settings["sample"]
    assert find_sampler(settings, {}, memo) is None


def test_another_model_has_its_own_digest_and_a_missing_one_is_named(
    reference_dir: Path, tmp_path: Path
) -> None:
    other = tiny.save_model(tmp_path / "other", seed=1)
    settings, memo = configs(reference_dir, tmp_path, model=str(other))
    found = find_sampler(settings, {}, memo)
    assert found is not None
    assert found.digest == found.config.model_digest != settings["reference"].model_digest
    settings, memo = configs(reference_dir, tmp_path, model="./nowhere")
    with pytest.raises(ModelError, match=r"'\./nowhere': no such directory"):
        find_sampler(settings, {}, memo)
    (other / "config.json").write_text('{"model_type": "musicgen"}')
    settings, memo = configs(reference_dir, tmp_path, model=str(other))
    with pytest.raises(ModelError, match="model type 'musicgen' is refused: it writes codes of sounds"):
        find_sampler(settings, {}, memo)


def test_while_nobody_is_champion_the_reference_draws_and_it_is_said(
    reference_dir: Path, tmp_path: Path
) -> None:
    settings, memo = configs(reference_dir, tmp_path, model="champion")
    found = find_sampler(settings, {}, memo)
    assert found is not None
    assert found.config.model == str(reference_dir)
    assert found.note == "sample: nobody is champion yet: completions are drawn from the reference"


def test_an_endpoint_is_its_address_model_and_body_not_its_key_or_its_limits(
    reference_dir: Path, tmp_path: Path
) -> None:
    endpoint = {"url": "https://host/v1", "model": "m"}
    settings, memo = configs(reference_dir, tmp_path, endpoint=endpoint)

    def digest(**change: Any) -> str:
        sample = settings["sample"]
        changed = replace(sample, endpoint=replace(sample.endpoint, **change))
        found = find_sampler({**settings, "sample": changed}, {}, memo)
        assert found is not None
        return found.digest

    assert digest() == digest(key_file="/k", num_parallel=2, max_requests=9, attempts=1)
    assert len({digest(), digest(model="n"), digest(url="https://other/v1"), digest(body={"a": 1})}) == 4
