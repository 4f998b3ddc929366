"""Whether tests can find fault with any program, as far as their text tells, before one is run."""

import ast
from collections.abc import Iterable, Iterator

from copg.rewards.sandbox.given_tests import free_names
from copg.rewards.sandbox.link import RecordProblem

CALLED = ("test", "check", "runTest")
"""How functions begin that are called without the tests' own doing."""
MODULE_NAME = "__main__"
"""Tests run as a script does: what stands under ``if __name__ == "__main__"`` is meant to be run."""
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINED = (*_FUNCTIONS, ast.ClassDef)
_BY_TEXT = {"eval", "exec", "globals", "locals", "vars", "getattr"}
"""Where these are used, a function may be called that no name in the text calls."""
Defined = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def check_reached(blocks: list[ast.Module], entry_point: str) -> None:
    """Refuse tests that could find fault with no program, or that want what nobody gives them.

    Args:
        blocks: one, or the members of a list, of which each counts.
        entry_point: name of the function under test; empty when the record names none.

    Raises:
        RecordProblem: asserts that nothing calls, tests that are async or generators, or that take arguments.
    """
    _check_no_asyncio(blocks)
    running = [node for block in blocks for node in _running(block.body)]
    inside = {id(n) for each in running if isinstance(each, ast.ClassDef) for n in _running(each.body)}
    defined = [node for node in running if isinstance(node, _DEFINED) and id(node) not in inside]
    used = {node.id for block in blocks for node in ast.walk(block) if isinstance(node, ast.Name)}
    cases = _cases(defined)
    roots = [node for node in defined if node.name in cases or _is_test(node)]
    for node in roots:
        _check_called(node, used, entry_point)
    decorated = [node for node in defined if node.decorator_list]  # may be called where they are registered
    reached = _reached(blocks, running, [*roots, *decorated])
    if reached is None:
        return
    for block in blocks:
        judging = [node for node in ast.walk(block) if _finds_fault(node)]
        if any(map(_is_assert, judging)) and not any(id(node) in reached for node in judging):
            raise RecordProblem(f"tests hold asserts {_place(block)}")
    names = set.union(*free_names(blocks))
    judging = [
        node
        for block in blocks
        for node in ast.walk(block)
        if _finds_fault(node) or (isinstance(node, ast.Name) and node.id in names)
    ]
    if judging and not any(id(node) in reached for node in judging):
        raise RecordProblem(f"tests use the program {_place(blocks[0])}")


def is_assertion(node: ast.AST) -> bool:
    """Whether an expression asserts: ``self.assertEqual(..)``, ``assert_close(..)``, ``pytest.raises``."""
    if not isinstance(node, ast.Call):
        return False
    name, of = _called(node)
    return name.startswith("assert") or (of, name) in (("self", "fail"), ("pytest", "raises"))


def _called(node: ast.Call) -> tuple[str, str]:
    """The name that is called, and what it is looked up in."""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr, node.func.value.id if isinstance(node.func.value, ast.Name) else ""
    return (node.func.id if isinstance(node.func, ast.Name) else ""), ""


def asserts_nothing(node: ast.Assert) -> bool:
    """``assert True``."""
    return isinstance(node.test, ast.Constant) and bool(node.test.value)


def never_true(node: ast.expr) -> bool:
    """What stands where a right program never comes: ``assert False``, ``self.fail()``."""
    if isinstance(node, ast.Call):
        return _called(node) == ("fail", "self")
    return isinstance(node, ast.Constant) and not node.value


def _is_assert(node: ast.AST) -> bool:
    return (isinstance(node, ast.Assert) and not asserts_nothing(node)) or is_assertion(node)


def _finds_fault(node: ast.AST) -> bool:
    return isinstance(node, ast.Raise) or _is_assert(node)


def _is_test(node: Defined) -> bool:
    """Whether pytest would call it, or it is ``check``."""
    if isinstance(node, ast.ClassDef):
        return node.name.startswith("Test") and "__init__" not in {getattr(s, "name", "") for s in node.body}
    return node.name.startswith("test") or node.name == "check"


def _cases(definitions: list[Defined]) -> set[str]:
    """Names of the classes that derive from unittest's, also by way of another one."""
    bases = {
        each.name: {ast.unparse(base).rpartition(".")[2] for base in each.bases}
        for each in definitions
        if isinstance(each, ast.ClassDef)
    }
    cases = {"TestCase"}
    while more := {name for name, of in bases.items() if of & cases} - cases:
        cases |= more
    return cases


def _check_no_asyncio(blocks: list[ast.Module]) -> None:
    """Refuse tests that need an event loop: it needs sockets, and behind the walls there are none."""
    for node in (node for block in blocks for node in ast.walk(block)):
        if isinstance(node, ast.AsyncFunctionDef) and any(map(_is_assert, ast.walk(node))):
            raise RecordProblem(f"tests: {node.name!r} is async, which is not run; write a plain function")
        if isinstance(node, ast.Call) and _called(node)[1] == "asyncio":
            raise RecordProblem(f"tests call asyncio.{_called(node)[0]}, and nothing async is run")


def _check_called(node: Defined, used: set[str], entry_point: str) -> None:
    """Refuse a test that cannot be called, unless the tests call it themselves."""
    if isinstance(node, ast.ClassDef):
        for method in node.body:
            if isinstance(method, _FUNCTIONS) and method.name.startswith("test"):
                static = any("staticmethod" in ast.unparse(each) for each in method.decorator_list)
                _check_arguments(method, given=0 if static else 1, name=f"{node.name}.{method.name}")
    elif node.name == "check" and _wanted(node):
        if node.name not in used and not entry_point:
            raise RecordProblem("tests define check(candidate), and the record names no entry point")
        if node.name not in used:
            _check_arguments(node, given=1, name=node.name)
    else:
        _check_arguments(node, given=100 if node.name in used else 0, name=node.name)


def _check_arguments(node: ast.FunctionDef | ast.AsyncFunctionDef, *, given: int, name: str) -> None:
    if isinstance(node, ast.AsyncFunctionDef):
        raise RecordProblem(f"tests: {name!r} is async, which is not run; write a plain function")
    if any(isinstance(inner, ast.Yield | ast.YieldFrom) for inner in _running(node.body)):
        raise RecordProblem(f"tests: {name!r} yields, and is not run; write a plain function")
    if any(ast.unparse(each).endswith("expectedFailure") for each in node.decorator_list):
        raise RecordProblem(f"tests: {name!r} is expected to fail, and is not run")
    patched = any("patch" in ast.unparse(each) for each in node.decorator_list)  # gives what it replaced
    missing = [] if patched else _wanted(node)[given:]
    if missing:
        raise RecordProblem(f"tests: {name!r} takes arguments that nothing gives: {', '.join(missing)}")


def _wanted(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Arguments that a caller must give."""
    places = node.args.posonlyargs + node.args.args
    named = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    without = places[: len(places) - len(node.args.defaults)]
    return [each.arg for each in (*without, *(each for each, default in named if default is None))]


def _reached(blocks: list[ast.Module], running: list[ast.AST], roots: list[Defined]) -> set[int] | None:
    """All that may run, by identity; None where the text does not tell."""
    by_name: dict[str, list[Defined]] = {}
    for node in (node for block in blocks for node in ast.walk(block)):
        if isinstance(node, _DEFINED):
            by_name.setdefault(node.name, []).append(node)
    todo: list[ast.AST] = [*running, *_bodies(roots)]
    reached: set[int] = set()
    while todo:
        node = todo.pop()
        reached.add(id(node))
        if isinstance(node, ast.Name):
            if node.id in _BY_TEXT:
                return None
            todo += _bodies(by_name.pop(node.id, []))
    return reached


def _bodies(definitions: Iterable[Defined]) -> Iterator[ast.AST]:
    """What runs when these are called, a class with all its methods and bases."""
    for each in definitions:
        for node in _running(each.body):
            yield node
            if isinstance(each, ast.ClassDef) and isinstance(node, _DEFINED):
                yield from _bodies([node])


def _running(statements: list[ast.stmt]) -> Iterator[ast.AST]:
    """What runs when these do: no bodies of functions, nothing under a condition that never holds."""
    todo: list[ast.AST] = list(statements)
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, _FUNCTIONS):
            todo += [*node.decorator_list, *node.args.defaults]
        elif isinstance(node, ast.If | ast.While | ast.IfExp) and (holds := _holds(node.test)) is not None:
            alive = node.body if holds else node.orelse
            todo += alive if isinstance(alive, list) else [alive]
        else:
            todo += ast.iter_child_nodes(node)


def _holds(test: ast.expr) -> bool | None:
    """What a condition is, where that is known: constants, and comparisons with ``__name__``."""
    if isinstance(test, ast.Constant):
        return bool(test.value)
    if ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        return False
    if isinstance(test, ast.Compare) and "__name__" in ast.unparse(test) and len(test.ops) == 1:
        sides = [test.left, *test.comparators]
        texts = [each.value for each in sides if isinstance(each, ast.Constant)]
        if len(texts) == 1 and isinstance(test.ops[0], ast.Eq | ast.NotEq):
            return (texts[0] == MODULE_NAME) == isinstance(test.ops[0], ast.Eq)
    return None


def _place(block: ast.Module) -> str:
    """Where it stands that is never reached."""
    holders = [
        each
        for each in ast.walk(block)
        if isinstance(each, _DEFINED) and any(_finds_fault(node) for node in ast.walk(each))
    ]
    return f"in {holders[0].name!r} alone, which nothing calls" if holders else "where nothing comes"
