import subprocess
import sys
from pathlib import Path

import pytest

from copg.digests import code_digest, file_digest, json_digest, model_digest
from copg.errors import ModelError


def package(root: Path) -> Path:
    """A package whose ``heavy`` fails when it is imported, and is imported by ``stage`` inside a function."""
    folder = root / "made_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "stage.py").write_text("def run():\n    from made_package.heavy import NAME\n")
    (folder / "heavy.py").write_text("import made_package.deep\nraise RuntimeError\n")
    (folder / "deep.py").write_text("VALUE = 1\n")
    (folder / "other.py").write_text("VALUE = 1\n")
    return folder


def test_code_changes_with_all_that_is_imported_and_with_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = package(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = code_digest("made_package.stage")
    (folder / "other.py").write_text("VALUE = 2\n")
    assert code_digest("made_package.stage") == before
    (folder / "deep.py").write_text("VALUE = 2\n")
    assert code_digest("made_package.stage") != before


def test_reading_code_imports_none_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    code_digest("made_package.stage")
    assert "made_package" not in sys.modules


def test_digesting_every_stage_loads_no_numerical_library() -> None:
    program = (
        "import sys; from copg.digests import code_digest; "
        "[code_digest(f'copg.stages.{s}') for s in ('reference', 'train', 'evaluate')]; "
        "print({'torch', 'transformers', 'datasets', 'mlflow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_training_depends_on_the_losses_and_reference_and_evaluation_do_not(tmp_path: Path) -> None:
    from copg.digests import _imports, _source

    def reached(module: str) -> set[str]:
        seen, waiting = set(), [module]
        while waiting:
            name = waiting.pop()
            path = _source(name)
            if name in seen or path is None:
                continue
            seen.add(name)
            waiting += [found for found in _imports(path.read_text()) if found.startswith("copg")]
        return seen

    assert "copg.losses.groups" in reached("copg.stages.train")
    assert "copg.losses.groups" not in reached("copg.stages.reference") | reached("copg.stages.evaluate")


def test_whole_floats_and_the_order_of_keys_do_not_count() -> None:
    assert (
        json_digest({"a": 1, "b": [2.0]})
        == json_digest({"b": [2], "a": 1.0})
        != json_digest({"a": 1, "b": [2.5]})
    )


def test_a_models_card_and_log_do_not_count_and_its_weights_do(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"1")
    before = model_digest(tmp_path)
    (tmp_path / "README.md").write_text("card")
    assert model_digest(tmp_path) == before
    (tmp_path / "model.safetensors").write_bytes(b"2")
    assert model_digest(tmp_path) != before
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no \*\.safetensors weights"):
        model_digest(tmp_path)


def test_a_file_is_known_by_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    # SHA-256 of nothing
    assert file_digest(tmp_path / "a") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_style_sheet_beside_a_package_is_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "styled"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "page.css").write_text("a {}")
    monkeypatch.syspath_prepend(tmp_path)
    before = code_digest("styled")
    (package / ".page.css.swp").write_text("what an editor leaves there does not count")
    assert code_digest("styled") == before
    (package / "page.css").write_text("b {}")
    assert code_digest("styled") != before
