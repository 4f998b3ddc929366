"""What every test starts from: no hub, few threads, and a tiny reference made on the spot."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from pathlib import Path

import pytest

from tests import tiny


@pytest.fixture(scope="session")
def reference_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of some 60,000 parameters with its own tokeniser, never written to by a test."""
    return tiny.save_model(tmp_path_factory.mktemp("reference"))
