import subprocess
import sys
from pathlib import Path

import pytest

import copg
from copg.digests import (
    _read_code,
    code_closure,
    code_digest,
    file_digest,
    find_source,
    json_digest,
)
from copg.errors import ModelError
from copg.stores.model_files import model_digest


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


def test_training_depends_on_the_sums_of_groups_and_reference_and_evaluation_do_not() -> None:
    train, reference, evaluate = (
        code_closure(f"copg.stages.{stage}", lambda name: name.startswith("copg"))
        for stage in ("train", "reference", "evaluate")
    )
    assert "copg.losses.groups" in train
    assert "copg.losses.copg" not in train, "it is loaded by name: a trial of another method does not use it"
    used = {name for name in {**reference, **evaluate} if name.startswith("copg.losses.")}
    assert used <= {"copg.losses.units"}


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


def test_words_and_positions_are_no_meaning_and_a_constant_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = package(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    deep = folder / "deep.py"
    before = code_digest("made_package.stage")
    deep.write_text('"""What it is."""\n\n# why\nVALUE = (\n    1\n)\n"""An attribute\'s docstring."""\n')
    (folder / "__init__.py").write_text('__version__ = "2"\nfrom made_package.other import VALUE\n')
    assert code_digest("made_package.stage") == before
    for other in ("VALUE = 1.0\n", "VALUE = True\n", 'VALUE = "1"\n', "VALUE = None\n", "VALUE = (1,)\n"):
        deep.write_text(other)
        assert code_digest("made_package.stage") != before, other


def test_the_meaning_of_a_file_is_the_same_from_every_version_of_python() -> None:
    # worked out by Python 3.11, 3.12 and 3.13, whose trees of such formats differ in an empty piece
    source = (
        'def f(*, a=None, b: int = 0, **c): return f"{a!r:>{b}} {{}}" "x" if c else [b"y", 1e3, 2j, ...]\n'
    )
    assert _read_code(source)[0][:16] == "f039eb21511a062c"


def test_what_only_a_type_checker_imports_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = package(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    checked = "if TYPE_CHECKING:\n    from . import other\nelse:\n    from . import deep\n"
    (folder / "stage.py").write_text(checked)
    assert set(code_closure("made_package.stage", lambda name: name.startswith("made"))) == {
        "made_package.stage",
        "made_package.deep",
    }


def test_templates_count_for_the_modules_that_name_one_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = package(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (folder / "page.j2").write_text('{% include "part.j2" %}')
    (folder / "part.j2").write_text("a")
    (folder / "other.py").write_text('PAGE = "page.j2"\n')
    names, does_not = code_digest("made_package.other"), code_digest("made_package.stage")
    (folder / "other.py").write_text(
        '"""Not page.j2."""  # nor part.j2\n\nPAGE = "page.j2"  # again page.j2\n'
    )
    assert code_digest("made_package.other") == names
    (folder / "stage.py").write_text(
        '"""Beside page.j2."""\n' + (folder / "stage.py").read_text() + "# page.j2\n"
    )
    assert code_digest("made_package.stage") == does_not
    (folder / "part.j2").write_text("b")
    assert code_digest("made_package.other") != names
    assert code_digest("made_package.stage") == does_not


def test_our_modules_import_one_another_by_file_so_that_what_they_use_is_found() -> None:
    # what stands in an ``__init__`` counts in no digest: tables of names, and what looks a name up in them
    tables = {
        ("copg", "__version__"),
        ("copg.losses", "DRAWN_BY_REFERENCE"),
        ("copg.losses", "LOSSES"),
        ("copg.losses", "ORDER_ALONE"),
        ("copg.losses", "WITHOUT_CONTRAST"),
        ("copg.losses", "WITH_MISMATCHED"),
        ("copg.losses", "WITH_VALUES"),
        ("copg.losses", "check_method"),
        ("copg.losses", "find_loss"),
        ("copg.losses", "load_loss"),
        ("copg.rewards", "REWARDS"),
        ("copg.rewards", "load_reward"),
    }
    root = Path(copg.__file__).parent
    for path in sorted(root.rglob("[a-z]*.py")):
        for level, module, names in _read_code(path.read_text())[1]:
            source = find_source(module) if module.partition(".")[0] == "copg" else None
            if level or source is None or source.name != "__init__.py":
                continue
            attributes = {(module, name) for name in names if find_source(f"{module}.{name}") is None}
            assert attributes <= tables, f"{path}: {attributes - tables} come from a package"


def test_importing_the_package_loads_nothing_and_its_public_names_are_there() -> None:
    program = "import sys, copg; print({'torch', 'pyarrow', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert set(copg.__all__) == set(copg.PUBLIC)
    assert all(hasattr(copg, name) for name in copg.__all__)
    with pytest.raises(AttributeError, match="public are"):
        copg.copg_los
