"""Engines of generation: found by the name of their file, chosen by settings alone."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import copg
from copg.config import parse_config
from copg.errors import ConfigError
from copg.lm.config import GenerationConfig
from copg.training.config import SampleConfig

ENGINE = """
from copg.lm.generation import Generated

def draw(policy, prompts, noise_keys, config, *, description=None):
    return [Generated([7], f"echo of {key}", finished=True) for key in noise_keys]
"""
SCRIPT = """
import sys
from copg.config import parse_config
from copg.lm.config import GenerationConfig
config = parse_config(GenerationConfig, {"engine": "echo"}, where="generation")
assert "torch" not in sys.modules
from copg.lm.generation import Policy, load_engine
print(load_engine(config)(Policy(codec=None), [[1]], ["a/0"], config)[0].text)
print(*sorted(name for name in sys.modules if name.startswith("copg.lm.engines.")))
"""


def test_an_engine_is_one_file_and_no_other_is_loaded(tmp_path: Path) -> None:
    shutil.copytree(Path(copg.__file__).parent, tmp_path / "copg")
    (tmp_path / "copg/lm/engines/echo.py").write_text(ENGINE)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:2] == ["echo of a/0", "copg.lm.engines.echo"]


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
        parse_config(SampleConfig, settings, where="train.samples")
