import re
import subprocess
import sys
from pathlib import Path

import pytest

from copg.config import parse_config
from copg.errors import ConfigError
from copg.rewards import REWARDS, load_reward
from copg.rewards.contract import RecordFault, RewardSpec, read_column, read_texts


def test_a_column_is_found_by_its_name_then_by_its_path() -> None:
    columns = {"meta": {"references": ["a"], "deep": {"x": 1}}, "meta.flat": 7}
    assert read_column(columns, "meta.references", 0) == ["a"]
    assert read_column(columns, "meta.deep.x", 0) == 1
    assert read_column(columns, "meta.flat", 0) == 7


def test_a_missing_column_names_its_place_in_the_batch_and_what_there_is() -> None:
    with pytest.raises(
        RecordFault, match=re.escape("column 'meta.y' is missing; the record has ['b', 'meta']")
    ) as e:
        read_column({"meta": {"x": 1}, "b": 2}, "meta.y", 3)
    assert e.value.index == 3


def test_texts_are_one_text_or_a_list_of_texts_and_nothing_else() -> None:
    assert read_texts({"r": "one"}, "r", 0) == ["one"]
    assert read_texts({"r": ["one", "two"]}, "r", 0) == ["one", "two"]
    for wrong, message in (
        (5, "found 5"),
        (["a", None], "a list of texts"),
        ([], "empty list"),
        (None, "found None"),
    ):
        with pytest.raises(RecordFault, match=message):
            read_texts({"r": wrong}, "r", 0)


def test_a_spec_is_parsed_strictly_and_named_by_its_label_or_function() -> None:
    spec = parse_config(RewardSpec, {"name": "mine.scores:brevity", "weight": 2}, where="rewards")
    assert (spec.part, spec.weight, spec.params) == ("brevity", 2.0, {})
    assert RewardSpec("rouge_l", label="summary").part == "summary"
    with pytest.raises(ConfigError, match=r"rewards\.wight is unknown"):
        parse_config(RewardSpec, {"name": "rouge_l", "wight": 2}, where="rewards")
    with pytest.raises(ConfigError, match=r"rewards\.weight"):
        parse_config(RewardSpec, {"name": "rouge_l", "weight": float("nan")}, where="rewards")


def test_each_reward_has_a_file_of_its_name_and_a_documented_unit() -> None:
    for name in REWARDS:
        cls = load_reward(name)
        assert cls.__module__ == f"copg.rewards.{name.removesuffix('_l')}"  # rouge_l stands with rouge
        assert "Unit: " in (cls.__doc__ or ""), name


def test_the_light_rewards_load_no_torch() -> None:
    code = (
        "import sys; from copg.rewards.contract import RewardSpec; import copg.stages.score\n"
        "from copg.rewards.registry import digest_of_rewards\n"
        "from copg.rewards.mixture import build_mixture\n"
        "specs = [RewardSpec('rouge_l'), RewardSpec('length', params={'max': 3}),"
        " RewardSpec('format', params={'json_schema': {}}), RewardSpec('reference_overlap')]\n"
        "digest_of_rewards(specs)\n"
        "build_mixture(specs)(['p'], ['a b'], [{'references': 'a'}])\n"
        "assert not {'torch', 'transformers'} & set(sys.modules), 'torch was imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
