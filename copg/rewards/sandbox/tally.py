"""Which assertions of a record's tests were reached, and which passed."""

import ast
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType

from copg.rewards.sandbox.link import RecordProblem
from copg.rewards.sandbox.reach import CALLED, asserts_nothing, is_assertion, never_true

_COUNTED, _ENTERED = "__counted__", "__entered__"


class Tally:
    """Assertions by number; a test that has none in its text gets a number when it runs."""

    def __init__(self) -> None:
        self.awaited: set[int] = set()
        """Those that a program should reach: an ``assert False`` is not for right ones."""
        self.reached: set[int] = set()
        self.passed: set[int] = set()
        self.failed: set[int] = set()
        self.entered: set[CodeType] = set()
        """Functions that the tests called themselves."""
        self.num_failures = 0
        self.num_skipped = 0
        self.first_failure = ""
        self._next = 0

    @property
    def names(self) -> dict[str, Callable[..., object]]:
        """What code that was marked calls."""
        return {_COUNTED: self.counted, _ENTERED: self._enter}

    def new(self, *, awaited: bool = True) -> int:
        """The number of one more."""
        self._next += 1
        self.awaited |= {self._next} if awaited else set()
        return self._next

    @contextmanager
    def counted(self, number: int, goes_on: bool = True) -> Iterator[None]:
        """Around one assertion: a failure in it is counted, and the tests go on or may catch it."""
        self.reached.add(number)
        before = self.num_failures
        try:
            yield
        except (RecordProblem, SystemExit):
            raise
        except BaseException as error:  # the program may be gone
            if not goes_on:
                raise
            self.fail(error)
        self.judge(number, passed=self.num_failures == before)

    def judge(self, number: int, *, passed: bool) -> None:
        """An assertion or test passed, or did not; one in a loop passes when it always does."""
        self.reached.add(number)
        (self.passed if passed else self.failed).add(number)

    def ends(self, body: Callable[[], object]) -> bool:
        """Run code of the tests; whether it ends. Why it breaks off is remembered.

        Raises:
            RecordProblem: the record is at fault.
        """
        try:
            body()
        except RecordProblem:
            raise
        except SystemExit as leaving:  # as scripts end: asserts that follow are not reached
            if leaving.code:
                self.fail(leaving)
            return not leaving.code
        except BaseException as error:
            self.fail(error)
            return False
        return True

    def fail(self, error: BaseException) -> None:
        """Count a failure, and remember why the first was one."""
        self.num_failures += 1
        if not self.first_failure:
            self.first_failure = f"{type(error).__name__}: {error}"[:200]

    def _enter(self) -> None:
        self.entered.add(sys._getframe(1).f_code)


def counts(code: CodeType) -> bool:
    """Whether an assertion stands in the text of a function."""
    inner = (each for each in code.co_consts if isinstance(each, CodeType))
    return _COUNTED in code.co_names or any(map(counts, inner))


class Marks(ast.NodeTransformer):
    """Puts ``with __counted__(n):`` around each assertion, and ``__entered__()`` into each test."""

    def __init__(self, tally: Tally, *, goes_on: bool) -> None:
        """Nothing is marked yet.

        Args:
            tally: counts them.
            goes_on: whether the tests go on after one that fails.
        """
        self._tally = tally
        self._goes_on = goes_on

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        """An assert counts, but for those of nothing."""
        if asserts_nothing(node):
            return node
        return self._counted(node, awaited=not never_true(node.test))

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        """A call counts that asserts."""
        if not is_assertion(node.value):
            return self.generic_visit(node)
        return self._counted(node, awaited=not never_true(node.value))

    def visit_With(self, node: ast.With) -> ast.AST:
        """One that awaits an exception counts, with all that stands in it."""
        if any(is_assertion(item.context_expr) for item in node.items):
            return self._counted(node)
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """A test says that it is entered."""
        self.generic_visit(node)
        if node.name.startswith(CALLED):
            entered = ast.Expr(ast.Call(ast.Name(_ENTERED, ast.Load()), [], []))
            node.body.insert(0, ast.copy_location(entered, node))
        return node

    def _counted(self, node: ast.stmt, *, awaited: bool = True) -> ast.stmt:
        number = ast.Constant(self._tally.new(awaited=awaited))
        call = ast.Call(ast.Name(_COUNTED, ast.Load()), [number, ast.Constant(self._goes_on)], [])
        return ast.copy_location(ast.With([ast.withitem(call)], [node]), node)
