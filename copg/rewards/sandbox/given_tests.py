"""The code that a record brings, its tests and their setup: read, and checked before any program runs."""

import ast
import builtins
from types import CodeType

from copg.rewards.sandbox.link import RecordProblem


def parse(source: str, what: str) -> ast.Module:
    """Source code of a record as a tree.

    Raises:
        RecordProblem: Python cannot compile it.
    """
    try:
        tree = ast.parse(source)
        # finds what the parser lets pass: a return outside of a function
        compile(source, f"<{what}>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise problem(what, error) from None
    return tree


def problem(what: str, error: BaseException) -> RecordProblem:
    """What an error says about the tests or their setup."""
    return RecordProblem(f"{what}: {type(error).__name__}: {error}")


def check_imports(tree: ast.Module, what: str) -> None:
    """Run every import of the record, however deep, while nothing but the record can be at fault.

    Raises:
        RecordProblem: one fails, and no ``try`` around it expects that.
    """
    expected = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.Try) and any(map(_catches_import_errors, node.handlers))
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in expected:
            try:
                exec(compiled(ast.Module([node], [])), {"__name__": "tests"})
            except (Exception, SystemExit) as error:
                raise problem(what, error) from None


def _catches_import_errors(handler: ast.ExceptHandler) -> bool:
    caught = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
    return handler.type is None or any(
        isinstance(node, ast.Name) and node.id in caught for node in ast.walk(handler.type)
    )


def compiled(tree: ast.Module) -> CodeType:
    """A tree, changed or not, ready to run."""
    return compile(ast.fix_missing_locations(tree), "<tests>", "exec", dont_inherit=True)


def free_names(trees: list[ast.Module]) -> tuple[set[str], set[str]]:
    """Names that tests use and nobody defines: those called or passed on, and those only looked into."""
    used: set[str] = set()
    looked_into: set[str] = set()
    defined = set(vars(builtins))
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                (used if isinstance(node.ctx, ast.Load) else defined).add(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                looked_into.add(node.value.id)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                defined.add(node.name)
            elif isinstance(node, ast.arg):
                defined.add(node.arg)
            elif isinstance(node, ast.alias):
                defined.add((node.asname or node.name).partition(".")[0])
            elif isinstance(node, ast.ExceptHandler) and node.name:
                defined.add(node.name)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                looked_into.discard(node.func.id)
    free = used - defined
    return free - looked_into, free & looked_into
