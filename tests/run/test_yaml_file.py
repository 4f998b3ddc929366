from pathlib import Path

import pytest

from copg.errors import ConfigError
from copg.run.yaml_file import read_yaml, set_value


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return path


def test_a_number_in_exponent_form_is_a_number(tmp_path: Path) -> None:
    values = read_yaml(written(tmp_path, "a: 1e-6\nb: 1.5e3\nc: 3\nd: 1e6x\n"))
    assert values == {"a": 1e-6, "b": 1500.0, "c": 3, "d": "1e6x"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "recipe.yaml:3: key 'a' is given twice"),
        ("train:\n  epochs: 1\n  epochs: 2\n", "recipe.yaml:3: key 'epochs' is given twice"),
        ("a: [1, 2\nb: 3\n", "recipe.yaml:2: "),
        ("- a\n- b\n", "holds list, not keys and values"),
        ("", "recipe.yaml: is empty, or nothing but comments"),
        ("# a: 1\n", "recipe.yaml: is empty, or nothing but comments"),
        ("a: &a {b: 1}\nc:\n  <<: *a\n", "recipe.yaml:3: '<<' is not taken: write out the keys"),
        ("a: 1\n!!int : 2\n", "recipe.yaml:2: '' is no int"),
        ("a: 1\nb: !!bool perhaps\n", "recipe.yaml:2: 'perhaps' is no bool"),
        ("a: !!timestamp never\n", "recipe.yaml:1: 'never' is no timestamp"),
        ("a: !!python/object:os.system {}\n", "could not determine a constructor"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_yaml(written(tmp_path, text))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read"):
        read_yaml(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(ConfigError, match=r"bytes\.yaml: is not UTF-8"):
        read_yaml(tmp_path / "bytes.yaml")


def test_an_override_reaches_any_depth_and_list_items() -> None:
    values = {"train": {"epochs": 1}, "trials": [{"beta": 0.1}, {"beta": 0.2}], "score": None}
    for override in (
        "train.epochs=3",
        "train.rows.tokens=4",
        "trials.1.beta=1e-3",
        "score.source=given",
        "a=[x, y]",
    ):
        set_value(values, override)
    assert values == {
        "train": {"epochs": 3, "rows": {"tokens": 4}},
        "trials": [{"beta": 0.1}, {"beta": 0.001}],
        "score": {"source": "given"},
        "a": ["x", "y"],
    }


@pytest.mark.parametrize(
    "override",
    [
        "train",
        "=3",
        "train.epochs.more=1",
        "trials.7.beta=1",
        "trials.².beta=1",
        "trials.²=1",
        "trials.2" + "0" * 5000 + "=1",
    ],
)
def test_an_override_that_leads_nowhere_is_refused(override: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        set_value({"train": {"epochs": 1}, "trials": [{}]}, override)


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [1, *a]\n", "a.1 refers to itself"),
        ("a: &a {b: *a}\n", "a.b refers to itself"),
        (BOMB, "holds more than 100,000 values"),
        ("a: " + "[" * 5000 + "]" * 5000 + "\n", "is nested too deeply"),
        ("trials: [{beta: .nan}]\n", "trials.0.beta=nan must be a finite number"),
        ("a: 1e999\n", "a=inf must be a finite number"),
        ("name: 2024-01-01\n", "name=2024-01-01 is a date; quote it if it is a text"),
        ("name: 2024-13-45\n", "month must be in 1..12"),
        ("? [a]\n: b\n", "a key must be a plain text"),
        ("a: {1: b}\n", "key 1 under a is no text: quote it"),
        ("a: !!binary aGk=\n", "is a bytes; quote it"),
    ],
)
def test_what_no_run_could_write_down_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_yaml(written(tmp_path, text))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_an_override_is_held_to_the_same() -> None:
    with pytest.raises(ConfigError, match=r"--set: train\.x=nan must be a finite"):
        set_value({"train": {}}, "train.x=.nan")


def test_a_number_that_is_not_finite_is_told_with_its_key() -> None:
    with pytest.raises(ConfigError, match=r"^--set: train\.epochs=inf must be a finite number$"):
        set_value({}, "train.epochs=1e400")
