"""The house is in order: few entries in ``copg``, nothing that stands twice."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("copg", "components/copg_components", "pipelines/copg_pipelines")
EQUAL = 10
"""Lines of code that may not stand twice."""


def code_lines(source: str) -> list[tuple[int, str]]:
    """Number and text of each line of code, spaces made one; no blanks, comments, docstrings or imports."""
    left_out: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        told = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if told or isinstance(node, ast.Import | ast.ImportFrom):
            left_out |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = ((number, " ".join(line.split())) for number, line in enumerate(source.splitlines(), 1))
    return [(n, line) for n, line in lines if line and line[0] != "#" and n not in left_out]


def find_twins(sources: dict[str, str], length: int = EQUAL) -> list[str]:
    """Where the same ``length`` lines of code begin a second time."""
    places: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, source in sources.items():
        lines = code_lines(source)
        for start in range(len(lines) - length + 1):
            window = lines[start : start + length]
            places[tuple(text for _, text in window)].append(f"{name}:{window[0][0]}")
    return [" = ".join(found) for found in places.values() if len(found) > 1]


def test_ten_equal_lines_are_found_whatever_stands_between_and_around_them() -> None:
    body = [f"x{number} = {number}" for number in range(EQUAL)]
    one = "import a\\n" + "\n".join(body)
    other = '"""Told."""\n\n\nfor y in z:\n' + "\n# why\n\n".join(f"    {line}" for line in body)
    assert find_twins({"one.py": one.replace("\\n", "\n"), "other.py": other}) == ["one.py:2 = other.py:5"]
    assert find_twins({"one.py": "\n".join(body[:-1]), "other.py": other}) == []


def test_no_ten_equal_lines_stand_twice() -> None:
    files = (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")))
    assert find_twins({str(path.relative_to(ROOT)): path.read_text() for path in files}) == []


def test_copg_has_at_most_twenty_entries() -> None:
    entries = {path.name for path in (ROOT / "copg").iterdir()} - {"__pycache__"}
    assert len(entries) <= 20, sorted(entries)
