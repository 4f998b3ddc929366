"""The process that holds the tests: runs them against the program in the other process, and counts."""

import ast
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

from copg.rewards.sandbox.given_tests import check_imports, compiled, free_names, parse, problem
from copg.rewards.sandbox.link import Gone, Link, RecordProblem
from copg.rewards.sandbox.program import program


class Tally:
    """Which assertions passed."""

    def __init__(self) -> None:
        self.num_asserts = 0
        self.passed: set[int] = set()
        self.failed: set[int] = set()
        self.first_failure = ""

    @contextmanager
    def counted(self, number: int) -> Iterator[None]:
        """Around one assert: a failure is counted, and the tests go on."""
        try:
            yield
        except RecordProblem:
            raise
        except (Exception, Gone) as error:
            self.fail(error)
            self.failed.add(number)
        else:
            self.passed.add(number)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Around code of the tests: why it breaks off is remembered, unless the record is at fault."""
        try:
            yield
        except RecordProblem:
            raise
        except (Exception, Gone, SystemExit) as error:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Remember why, the first time."""
        if not self.first_failure:
            self.first_failure = f"{type(error).__name__}: {error}"[:200]


class _CountAsserts(ast.NodeTransformer):
    """Puts ``with __counted__(n):`` around each assert that asserts something."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        if isinstance(node.test, ast.Constant) and node.test.value:
            return node
        call = ast.Call(ast.Name("__counted__", ast.Load()), [ast.Constant(self._tally.num_asserts)], [])
        self._tally.num_asserts += 1
        return ast.copy_location(ast.With([ast.withitem(call)], [node]), node)


def examine(job: dict[str, Any], link: Link) -> dict[str, Any]:
    """Run the tests of a job: ``{"passed": .., "total": .., "failure": ..}``, or ``{"fault": ..}``.

    A block of tests counts its asserts, each a test; a list counts its members. A block that breaks off fails
    the asserts it did not reach; one without asserts is a single test, passed when it ends.
    """
    tests, setup, entry_point = job["tests"], job["setup"], job["entry_point"]
    tally = Tally()
    try:
        blocks = [parse(test, "tests") for test in ([tests] if isinstance(tests, str) else tests)]
        before = parse(setup, "setup")
        for tree, what in ((before, "setup"), *((block, "tests") for block in blocks)):
            check_imports(tree, what)
        if isinstance(tests, str):
            _check_reached(blocks[0])
        names: dict[str, Any] = {"__name__": "tests", "__counted__": tally.counted}
        before = _run_own_setup(before, blocks, names)
        try:
            link.load(program(job["prompt"], job["completion"], entry_point))
        except (Exception, Gone) as error:
            tally.fail(error)
            return _verdict(0, _total(tests, blocks, tally), tally)
        _bind_names(names, [before, *blocks], link)
        if isinstance(tests, str):
            return _examine_block(blocks[0], before, names, entry_point, link, tally)
        return _examine_list(blocks, before, names, tally)
    except RecordProblem as fault:
        return {"fault": str(fault)[:300]}


def _run_own_setup(before: ast.Module, blocks: list[ast.Module], names: dict[str, Any]) -> ast.Module:
    """Run the setup up to its first statement that needs the program; what is left of it.

    Raises:
        RecordProblem: it fails, and no program can have a part in that.
    """
    called, looked_into = free_names([before, *blocks])
    needs_program = called | (looked_into - sys.stdlib_module_names)
    _bind_modules(names, looked_into)
    own = list(
        takewhile(
            lambda statement: (
                not any(
                    isinstance(node, ast.Name) and node.id in needs_program for node in ast.walk(statement)
                )
            ),
            before.body,
        )
    )
    try:
        exec(compiled(ast.Module(own, [])), names)
    except (Exception, SystemExit) as error:
        raise problem("setup", error) from None
    futures = [node for node in own if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    return ast.Module(futures + before.body[len(own) :], [])


def _total(tests: Any, blocks: list[ast.Module], tally: Tally) -> int:
    if not isinstance(tests, str):
        return len(blocks)
    _CountAsserts(tally).visit(blocks[0])
    return max(1, tally.num_asserts)


def _verdict(passed: int, total: int, tally: Tally) -> dict[str, Any]:
    return {"passed": passed, "total": total, "failure": tally.first_failure}


def _bind_modules(names: dict[str, Any], looked_into: set[str]) -> None:
    for name in looked_into & sys.stdlib_module_names:
        # never the program's: it could answer for math.isclose
        try:
            names[name] = importlib.import_module(name)
        except ImportError as error:
            raise problem("tests", error) from None


def _bind_names(names: dict[str, Any], trees: list[ast.Module], link: Link) -> None:
    called, looked_into = free_names(trees)
    for name in (called | looked_into) - names.keys():
        try:
            names[name] = link.name(name)
        except (NameError, Gone):
            continue  # the test that needs it fails


def _examine_block(
    block: ast.Module,
    before: ast.Module,
    names: dict[str, Any],
    entry_point: str,
    link: Link,
    tally: Tally,
) -> dict[str, Any]:
    code = compiled(_CountAsserts(tally).visit(block))
    finished = False
    with tally.attempt():
        exec(compiled(before), names)
        exec(code, names)
        if callable(names.get("check")):
            if not entry_point:
                raise RecordProblem("tests define check(candidate), and the record names no entry point")
            names["check"](link.name(entry_point))
        elif tally.num_asserts and not tally.passed | tally.failed:
            _call_tests(block, names)
        finished = True
    good = len(tally.passed - tally.failed)
    if finished:
        total = len(tally.passed | tally.failed)
        return _verdict(good, total, tally) if total else _verdict(1, 1, tally)
    return _verdict(good, max(tally.num_asserts, good + 1), tally)


def _call_tests(block: ast.Module, names: dict[str, Any]) -> None:
    """Call the functions that pytest would: ``test_..`` without arguments, in their order."""
    for statement in block.body:
        if isinstance(statement, ast.FunctionDef) and statement.name.startswith("test"):
            wanted = len(statement.args.posonlyargs + statement.args.args) - len(statement.args.defaults)
            if wanted > 0:
                raise RecordProblem(f"tests: {statement.name!r} takes arguments that nothing gives")
            names[statement.name]()


def _check_reached(block: ast.Module) -> None:
    """Refuse tests whose asserts no program could reach, as far as their text tells.

    Raises:
        RecordProblem: they stand in functions that nothing calls, or in a class for unittest.
    """
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    inside = [each for each in block.body if isinstance(each, defined)]
    if any(
        isinstance(base, ast.Attribute | ast.Name) and "TestCase" in ast.unparse(base)
        for each in inside
        if isinstance(each, ast.ClassDef)
        for base in each.bases
    ):
        raise RecordProblem("tests are a class for unittest, which is not run; write functions test_..")
    outside = (node for each in block.body if each not in inside for node in ast.walk(each))
    if any(isinstance(node, ast.Assert) for node in outside):
        return
    holders = [each for each in inside if any(isinstance(node, ast.Assert) for node in ast.walk(each))]
    used = {node.id for node in ast.walk(block) if isinstance(node, ast.Name)}
    called = (
        each.name in used or each.name == "check" or each.name.startswith("test") or each.decorator_list
        for each in holders
    )
    if holders and not any(called):
        raise RecordProblem(f"tests hold asserts in {holders[0].name!r} alone, which nothing calls")


def _examine_list(
    blocks: list[ast.Module], before: ast.Module, names: dict[str, Any], tally: Tally
) -> dict[str, Any]:
    passed = 0
    with tally.attempt():
        exec(compiled(before), names)
    for block in blocks:
        with tally.attempt():
            exec(compiled(block), names)
            passed += 1
    return _verdict(passed, len(blocks), tally)
