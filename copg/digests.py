"""Content digests: what a cached step depends on, as 64 hexadecimal digits of SHA-256."""

import ast
import functools
import hashlib
import importlib.util
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

IGNORED = ("ctx", "kind", "type_comment", "type_ignores")
"""Fields of a syntax tree without a meaning of their own."""


def file_digest(path: Path) -> str:
    """Of one file's bytes, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_digest(value: Any) -> str:
    """Of a plain value; the order of keys does not matter, ``10.0`` and ``10`` are one number."""
    return hashlib.sha256(json.dumps(_plain(value), sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def files_digest(files: Iterable[Path], root: Path) -> str:
    """Of names (relative to ``root``) and bytes, in name order."""
    return json_digest({str(path.relative_to(root)): file_digest(path) for path in sorted(files)})


def code_digest(module: str) -> str:
    """Of what ``module`` means, and everything of its package that it imports, directly or not.

    Found by reading the source, not by importing it, so that no heavy library is loaded. Imports inside
    functions count, those for type checkers alone do not. The ``__init__`` file of a package does not count.
    Files that are no Python (style sheets, templates) count by their bytes, where a module beside them names
    one of them.
    """
    package = module.partition(".")[0]
    return json_digest(code_closure(module, lambda name: name.partition(".")[0] == package))


def code_closure(module: str, counts: Callable[[str], bool], *, by_bytes: bool = False) -> dict[str, str]:
    """Digest of each source file that ``module`` reaches by imports, by the name of the module.

    Args:
        module: where to start.
        counts: whether a module is one to digest, and to follow the imports of.
        by_bytes: digest whole files, ``__init__`` files included, instead of what they mean.
    """
    found: dict[str, str] = {}
    listed = functools.cache(_files)  # for this closure alone: the next one sees what was edited meanwhile
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen or not counts(name):
            continue
        seen.add(name)
        waiting += [name.rpartition(".")[0]] if "." in name else []
        path = find_source(name, listed)
        if path is None:
            continue
        is_package, source = path.name == "__init__.py", path.read_text()
        package = name if is_package else name.rpartition(".")[0]
        meaning, imports, texts = _read_code(source)
        if by_bytes:
            found[name] = file_digest(path)
        else:
            data = [path.parent / file for file in listed(path.parent) if _is_data(file)]
            if name == module if is_package else any(file.name in text for file in data for text in texts):
                found[f"{package}/"] = files_digest(data, path.parent)
            if is_package:
                continue
            found[name] = meaning
        waiting += _imported(imports, package)
    return found


def _files(folder: Path) -> frozenset[str]:
    """Names of the files in a folder; none where there is no folder."""
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file())
    except OSError:
        return frozenset()


def find_source(module: str, listed: Callable[[Path], frozenset[str]] = _files) -> Path | None:
    """The file of a module, found on disk: asking for the module's own spec would import its parents.

    Args:
        module: its full name.
        listed: names of the files in a folder.
    """
    top, *parts = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not parts:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    bases = [Path(folder).joinpath(*parts) for folder in spec.submodule_search_locations or ()]
    for base in bases:
        if "__init__.py" in listed(base):
            return base / "__init__.py"
        if f"{base.name}.py" in listed(base.parent):
            return base.parent / f"{base.name}.py"
    return None


def _is_data(file: str) -> bool:
    return file[0] != "." and not file.endswith((".py", ".pyc", ".typed"))


def _imported(imports: Iterable[tuple[int, str, tuple[str, ...]]], package: str) -> list[str]:
    """Full names of what is imported, relative ones resolved; a name may be an attribute, not a module."""
    found = []
    for level, name, attributes in imports:
        parents = package.split(".")[: len(package.split(".")) - level + 1] if level else []
        base = ".".join([*parents, *([name] if name else [])])
        found += [base, *(f"{base}.{attribute}" for attribute in attributes)]
    return found


@functools.cache
def _read_code(source: str) -> tuple[str, tuple[tuple[int, str, tuple[str, ...]], ...], frozenset[str]]:
    """Digest of what a file means, its imports as level, module and names, and the texts in it."""
    tree = ast.parse(source)
    meaning = json.dumps(_meaning(tree), sort_keys=True, separators=(",", ":"))
    texts: set[str] = set()
    found: list[tuple[int, str, tuple[str, ...]]] = []
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found += [(0, alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or "", tuple(alias.name for alias in node.names)))
        elif isinstance(node, ast.If) and _is_for_types(node.test):
            waiting += node.orelse
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.add(node.value)
        else:
            waiting += (child for child in ast.iter_child_nodes(node) if not _is_text(child))
    return hashlib.sha256(meaning.encode()).hexdigest(), tuple(found), frozenset(texts)


def _meaning(value: Any) -> Any:
    """A syntax tree as plain values, the same from every version of Python.

    Without positions, comments, and statements that are nothing but a text, such as docstrings.
    """
    if value is None or type(value) is str:
        return value
    if isinstance(value, ast.JoinedStr):  # only some versions of Python keep its empty pieces
        pieces = (piece for piece in value.values if getattr(piece, "value", None) != "")
        return ["JoinedStr", [_meaning(piece) for piece in pieces]]
    if isinstance(value, ast.AST):
        fields = {}
        for name in value._fields:
            if name not in IGNORED and (item := _meaning(getattr(value, name, None))) not in (None, []):
                fields[name] = item
        return [type(value).__name__, fields]
    if isinstance(value, list):
        return [_meaning(item) for item in value if not _is_text(item)]
    return [type(value).__name__, repr(value)]


def _is_for_types(test: ast.expr) -> bool:
    """``TYPE_CHECKING`` or ``typing.TYPE_CHECKING``."""
    if isinstance(test, ast.Attribute) and isinstance(test.value, ast.Name):
        return (test.value.id, test.attr) == ("typing", "TYPE_CHECKING")
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def _is_text(node: Any) -> bool:
    constant = node.value if isinstance(node, ast.Expr) else None
    return isinstance(constant, ast.Constant) and isinstance(constant.value, str)
