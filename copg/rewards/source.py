"""The source a reward depends on, found by reading it: nothing is imported but parent packages."""

import ast
import importlib.util
from collections.abc import Callable
from pathlib import Path

from copg.digests import file_digest, json_digest
from copg.errors import RewardError

PLUMBING = ("copg.rewards", "copg.rewards.contract")
"""What moves rewards about and decides no value: a new one must not make the old ones be paid for again."""


def code_of_reward(name: str) -> str:
    """Of one of our rewards: its file and what it imports of rewards and sandbox, less the plumbing."""
    return json_digest(_closure(f"copg.rewards.{name}", _is_ours))


def code_of_own(name: str) -> str:
    """Of a user's module and of what it imports from its own package or from the folder it lies in.

    A ``path/file.py:function`` is one file and counts alone.

    Raises:
        RewardError: when there is no source to read.
    """
    location = name.rpartition(":")[0]
    if location.endswith(".py"):
        if not Path(location).is_file():
            raise RewardError(f"reward '{name}': {location} is no file")
        return file_digest(Path(location))
    found = _closure(location, lambda module: _is_users(module, location))
    if not found:
        raise RewardError(f"reward '{name}': no source of module '{location}' is found")
    return json_digest(found)


def _closure(start: str, counts: Callable[[str], bool]) -> dict[str, str]:
    """Digest of each source file reachable by imports through modules that count, by module name."""
    seen: dict[str, str] = {}
    waiting = [start]
    while waiting:
        module = waiting.pop()
        path = _source(module)
        if module in seen or path is None or not counts(module):
            continue
        seen[module] = file_digest(path)
        waiting += [module.rpartition(".")[0]] if "." in module else []
        waiting += _imports(path, module)
    return seen


def _is_ours(module: str) -> bool:
    return module.startswith(("copg.rewards.", "copg.rewards.sandbox.")) and module not in PLUMBING


def _is_users(module: str, location: str) -> bool:
    """Whether a module belongs to the user's: same package, or beside it outside of installed packages."""
    top, own = module.partition(".")[0], location.partition(".")[0]
    if top == own:
        return True
    folder, own_folder = _folder(top), _folder(own)
    return (
        folder is not None and folder == own_folder and folder.name not in ("site-packages", "dist-packages")
    )


def _folder(top: str) -> Path | None:
    path = _source(top)
    if path is None:
        return None
    return path.parent.parent if path.name == "__init__.py" else path.parent


def _source(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def _imports(path: Path, module: str) -> list[str]:
    """Full names of what a file imports, relative ones resolved; a name may be an attribute, not a module."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return found
