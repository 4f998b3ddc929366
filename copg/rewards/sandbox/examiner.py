"""The process that holds the tests: runs them against the program in the other process, and counts."""

import ast
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from types import CodeType, ModuleType
from typing import Any

from copg.rewards.sandbox.collect import call_tests
from copg.rewards.sandbox.given_tests import check_imports, compiled, free_names, parse, problem
from copg.rewards.sandbox.link import Gone, Link, RecordProblem
from copg.rewards.sandbox.program import program
from copg.rewards.sandbox.reach import MODULE_NAME, check_reached
from copg.rewards.sandbox.tally import Marks, Tally


@dataclass
class Marked:
    """A block of tests, or a member of a list, ready to run."""

    code: CodeType
    awaited: set[int]
    """Its assertions that a program should reach."""
    ended: bool = False
    """Whether it ran to its end, and in a list without a failure."""
    defined: dict[str, Any] = field(default_factory=dict)
    """What it added to the names."""

    def run(self, names: dict[str, Any], tally: Tally) -> bool:
        """Run it at module level; whether it ends."""
        known = dict(names)
        self.ended = tally.ends(lambda: exec(self.code, names))
        self.defined = {name: value for name, value in names.items() if known.get(name) is not value}
        return self.ended

    def checks_nothing(self, tally: Tally) -> bool:
        """Whether it has assertions, and the program came to none of them."""
        return bool(self.awaited) and not self.awaited & tally.reached


def examine(job: dict[str, Any], link: Link) -> dict[str, Any]:
    """Run the tests of a job: ``{"passed": .., "total": .., "failure": ..}``, or ``{"fault": ..}``.

    A block of tests counts its assertions, each a test, and functions for pytest or unittest without one; a
    list counts its members. A block that breaks off fails the assertions it did not reach, and one that came
    to none fails all; one without assertions is a single test, passed when it ends.
    """
    tests, setup, entry_point = job["tests"], job["setup"], job["entry_point"]
    listed = not isinstance(tests, str)
    tally = Tally()
    # a module, so that unittest finds its classes, and dataclasses what their annotations name
    module = sys.modules[MODULE_NAME] = ModuleType(MODULE_NAME)
    names = vars(module)
    names.update(tally.names)
    try:
        blocks = [parse(test, "tests") for test in (tests if listed else [tests])]
        before = parse(setup, "setup")
        for tree, what in ((before, "setup"), *((block, "tests") for block in blocks)):
            check_imports(tree, what)
        check_reached(blocks, entry_point)
        before = _run_own_setup(before, blocks, names)
        marked = [_marked(block, tally, goes_on=not listed) for block in blocks]
        try:
            link.load(program(job["prompt"], job["completion"], entry_point))
        except (Exception, Gone) as error:
            tally.fail(error)
            return _verdict(0, len(marked) if listed else max(1, len(tally.awaited)), tally)
        _bind_names(names, [before, *blocks], link)
        set_up = tally.ends(lambda: exec(compiled(before), names))
        given = partial(link.name, entry_point)
        if listed:
            return _examine_list(marked, names, given, tally)
        return _examine_block(marked[0], names, given, tally, set_up=set_up)
    except RecordProblem as fault:
        return {"fault": str(fault)[:300]}


def _marked(block: ast.Module, tally: Tally, *, goes_on: bool) -> Marked:
    known = set(tally.awaited)
    code = compiled(Marks(tally, goes_on=goes_on).visit(block))
    return Marked(code, tally.awaited - known)


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
    block: Marked, names: dict[str, Any], given: Callable[[], Any], tally: Tally, *, set_up: bool
) -> dict[str, Any]:
    whole = set_up and block.run(names, tally) and call_tests(block.defined, given, tally)
    good = len(tally.passed - tally.failed)
    judged = tally.passed | tally.failed
    if not whole:
        return _verdict(good, max(len(judged | tally.awaited), good + 1), tally)
    if block.checks_nothing(tally):
        tally.fail(AssertionError("no assert was reached"))
        judged |= block.awaited
    if not judged:
        return _verdict(int(not tally.num_skipped), 1, tally)
    return _verdict(good, len(judged), tally)


def _examine_list(
    members: list[Marked], names: dict[str, Any], given: Callable[[], Any], tally: Tally
) -> dict[str, Any]:
    for member in members:
        member.run(names, tally)
    for member in members:  # what a later one calls is not called again
        before = tally.num_failures
        if member.ended:
            member.ended = call_tests(member.defined, given, tally) and tally.num_failures == before
    passed = sum(member.ended and not member.checks_nothing(tally) for member in members)
    return _verdict(passed, len(members), tally)
