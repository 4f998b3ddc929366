"""No cached log-probability outlives a change of what it depends on: the benchmark's changes, one by one."""

from pathlib import Path

import pytest

from benchmarks.changes import CHANGES, Setting, base_setting
from benchmarks.reference import NOT_FOR, wrong_values
from benchmarks.reference_sides import run_copg

TRIED = [name for name in CHANGES if name not in NOT_FOR["copg"]]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Setting, Path]:
    """The unchanged run, and a cache that it alone has filled."""
    root = tmp_path_factory.mktemp("changes")
    setting = base_setting(root, chat=20)
    run_copg(setting, root / "cache")
    return setting, root / "cache"


def test_there_are_at_least_twelve() -> None:
    assert len(TRIED) >= 12


@pytest.mark.parametrize("name", TRIED)
def test_no_stale_value_is_used(base: tuple[Setting, Path], name: str, tmp_path: Path) -> None:
    setting, cache = base
    changed = CHANGES[name](setting, tmp_path)
    found, true = run_copg(changed, cache), run_copg(changed, tmp_path / "empty")
    assert wrong_values(found, true) == 0
