"""What an artifact says of itself to people who look at a pipeline."""

from pathlib import Path
from typing import Any

import pytest

from copg.artifacts import begin, seal
from copg.run.card import card_of

FACTS = {"trial": "copg_0.05", "method": "copg", "beta": 0.05, "seed": 0, "diverged": False, "metrics": {}}


def made(folder: Path, schema: str, files: dict[str, str], config: dict[str, Any], **facts: Any) -> str:
    begin(folder)
    for name, text in files.items():
        (folder / name).write_text(text)
    sealed = seal(folder, schema=schema, stage="x", rows=7, config=config, parents={}, facts=facts)
    return sealed.digest


@pytest.mark.parametrize(
    ("file", "form"), [("adapter_config.json", "adapter"), ("model.safetensors", "merged")]
)
def test_a_policy_tells_its_base_its_method_and_whether_it_needs_the_base(
    tmp_path: Path, file: str, form: str
) -> None:
    config = {"model": "owner/model", "revision": "abc"}
    digest = made(tmp_path / "policy", "policy", {file: "{}"}, config, **FACTS)
    assert card_of(tmp_path / "policy") == {
        "schema": "policy",
        "rows": 7,
        "digest": digest[:12],
        "base_model": "owner/model@abc",
        "trial": "copg_0.05",
        "method": "copg",
        "beta": 0.05,
        "seed": 0,
        "diverged": False,
        "form": form,
    }


def test_groups_tell_rows_and_digest_and_no_model(tmp_path: Path) -> None:
    digest = made(tmp_path / "groups", "groups", {"train.parquet": "x"}, {"seed": 0, "model": "owner/model"})
    assert card_of(tmp_path / "groups") == {"schema": "groups", "rows": 7, "digest": digest[:12]}


def test_a_file_and_an_unfinished_directory_tell_nothing(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("x")
    begin(tmp_path / "half")
    assert card_of(tmp_path / "page.html") == card_of(tmp_path / "half") == card_of(tmp_path / "none") == {}
