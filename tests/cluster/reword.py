"""A copy of the sources with every docstring reworded, of which an image is made that means the same.

    python -m tests.cluster.reword build/reworded
    make -C build/reworded image IMAGE=localhost/copg:reworded

The tests take its name as ``--reworded-image``.
"""

import ast
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEFT = shutil.ignore_patterns("__pycache__", "build", "runs", ".venv", ".git", ".*_cache")


def reword(folder: Path) -> int:
    """Reword what stands in a folder; how many docstrings that were."""
    return sum(_reword(path) for path in sorted(folder.rglob("*.py")))


def _reword(path: Path) -> int:
    text = path.read_text()
    lines, known = text.splitlines(keepends=True), (ast.Module, ast.ClassDef, ast.FunctionDef)
    told = [n for n in ast.walk(ast.parse(text)) if isinstance(n, known) and ast.get_docstring(n) is not None]
    for node in told:
        first = node.body[0].lineno - 1
        lines[first] = lines[first].replace('"""', '"""In other words: ', 1)
    path.write_text("".join(lines))
    return len(told)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    shutil.copytree(ROOT, target, ignore=LEFT, symlinks=True)
    parts = ("copg", "components", "pipelines")
    print(f"{sum(reword(target / part) for part in parts)} docstrings reworded in {target}")
