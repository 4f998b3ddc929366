"""The tree in CONTRIBUTING.md names every file of the source, with a phrase each."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCES = ("copg", "components/copg_components", "pipelines")
UNNAMED = ("__init__.py", "py.typed")
"""What the phrase of the folder stands for."""


def named() -> dict[str, str]:
    """Phrase of each file and folder of the tree, by its path."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (tree,) = re.findall(r"## The tree\n.*?```text\n(.*?)```", text, re.DOTALL)
    found: dict[str, str] = {}
    above: list[str] = []
    for line in tree.splitlines():
        name, _, phrase = line.strip().partition(" ")
        depth = (len(line) - len(line.lstrip())) // 2
        path = "/".join([*above[:depth], name.rstrip("/")])
        assert path not in found, f"{path} stands twice"
        found[path] = phrase.strip()
        above[depth:] = [name.rstrip("/")]
    return found


def test_every_file_stands_in_the_tree_and_every_name_of_it_exists() -> None:
    paths = [path for source in SOURCES for path in (ROOT / source).rglob("*") if path.is_file()]
    files = {
        str(path.relative_to(ROOT))
        for path in paths
        if path.name not in UNNAMED and "__pycache__" not in path.parts
    }
    tree = named()
    assert files - set(tree) == set()
    assert [path for path in tree if not (ROOT / path).exists()] == []


def test_every_name_has_a_phrase() -> None:
    assert [path for path, phrase in named().items() if not phrase] == []
