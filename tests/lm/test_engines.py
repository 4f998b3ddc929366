"""Engines of generation, chosen by settings alone."""

import pytest

from copg.config import parse_config
from copg.errors import ConfigError
from copg.lm.config import GenerationConfig
from copg.training.config import MonitorConfig


def test_a_recipe_without_an_engine_draws_as_before() -> None:
    assert GenerationConfig().engine_name == "own"
    assert GenerationConfig(vllm_python="/opt/vllm/bin/python").engine_name == "vllm"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine": "vlm"}, r"engine='vlm' is unknown; use one of \['own', 'vllm'\]"),
        ({"engine": "vllm"}, "engine='vllm' does not go with vllm_python=''"),
        ({"engine": "own", "vllm_python": "python"}, "engine='own' does not go with vllm_python='python'"),
    ],
)
def test_an_engine_that_cannot_be_is_refused(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(GenerationConfig, settings, where="generation")


def test_training_draws_from_memory() -> None:
    settings = {"generation": {"engine": "vllm", "vllm_python": "python"}}
    with pytest.raises(ConfigError, match=r"generation\.vllm_python is for evaluate"):
        parse_config(MonitorConfig, settings, where="train.samples")
