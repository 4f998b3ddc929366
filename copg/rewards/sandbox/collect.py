"""Calls what tests define and do not call themselves, as pytest and unittest do."""

import inspect
import unittest
from collections.abc import Callable, Iterator
from functools import partial
from types import CodeType, FunctionType
from typing import Any

from copg.rewards.sandbox.link import RecordProblem
from copg.rewards.sandbox.reach import MODULE_NAME
from copg.rewards.sandbox.tally import Tally, counts


def call_tests(names: dict[str, Any], given: Callable[[], Any], tally: Tally) -> bool:
    """Call ``check``, functions ``test_..``, and classes of tests, in their order; whether all end.

    Args:
        names: what the tests define.
        given: the function under test, for ``check``.
        tally: counts their assertions, and each that has none in its text as one.

    Raises:
        RecordProblem: the record is at fault.
    """
    whole = True
    for name, found in list(names.items()):
        if getattr(found, "__module__", None) != MODULE_NAME or _code(found) in tally.entered:
            continue
        if isinstance(found, FunctionType) and name == "check":
            wanted = _num_wanted(found)
            whole &= wanted > 1 or _run(partial(_check, found, given if wanted else None), found, tally)
        elif isinstance(found, FunctionType) and name.startswith("test"):
            whole &= bool(_num_wanted(found)) or _run(found, found, tally)
        elif isinstance(found, type) and issubclass(found, unittest.TestCase):
            whole &= _run_case(found, tally)
        elif isinstance(found, type) and name.startswith("Test") and "__init__" not in vars(found):
            for body, method in _methods(found, tally):
                whole &= _run(body, method, tally)
    return whole


def _check(function: FunctionType, given: Callable[[], Any] | None) -> None:
    function(*([] if given is None else [given()]))


def _run(body: Callable[[], object], function: Any, tally: Tally) -> bool:
    """Run one test; one without an assertion in its text passes where it ends and nothing in it fails."""
    code = _code(function)
    if code is None or counts(code):
        return tally.ends(body)
    before, number = tally.num_failures, tally.new()
    ended = tally.ends(body)
    tally.judge(number, passed=tally.num_failures == before)
    return ended


def _methods(cls: type, tally: Tally) -> Iterator[tuple[Callable[[], object], Any]]:
    """Tests of a class for pytest, each on an object of its own, between its set-up and tear-down."""
    for name in dir(cls):
        method = getattr(cls, name)
        if name.startswith("test") and callable(method) and _code(method) not in tally.entered:
            yield partial(_between, cls, name), method


def _between(cls: type, name: str) -> None:
    instance = cls()
    for before in ("setup_class", "setup_method"):
        _call(getattr(instance, before, None), instance, name)
    try:
        getattr(instance, name)()
    finally:
        for after in ("teardown_method", "teardown_class"):
            _call(getattr(instance, after, None), instance, name)


def _call(hook: Callable[..., object] | None, instance: object, name: str) -> None:
    if hook is not None:
        hook(*[getattr(instance, name)] * _num_wanted(hook))


def _run_case(cls: type[unittest.TestCase], tally: Tally) -> bool:
    """Whether all methods of a class for unittest end."""
    names = unittest.defaultTestLoader.getTestCaseNames(cls)
    suite = unittest.TestSuite(cls(name) for name in names if _code(getattr(cls, name)) not in tally.entered)
    result = _Result(tally)
    suite.run(result)
    if result.problem is not None:
        raise result.problem
    return result.wasSuccessful()


class _Result(unittest.TestResult):
    """Tells a tally how the methods of a class fare."""

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self.problem: RecordProblem | None = None
        self._tally = tally
        self._before = 0
        self._skipped = False

    def startTest(self, test: unittest.TestCase) -> None:
        self._before, self._skipped = self._tally.num_failures, False
        super().startTest(test)

    def stopTest(self, test: unittest.TestCase) -> None:
        code = _code(getattr(test, test._testMethodName, None))
        if code is not None and not counts(code) and not self._skipped:
            self._tally.judge(self._tally.new(), passed=self._tally.num_failures == self._before)
        super().stopTest(test)

    def addError(self, test: Any, error: Any) -> None:
        self._failed(error)
        super().addError(test, error)

    def addFailure(self, test: Any, error: Any) -> None:
        self._failed(error)
        super().addFailure(test, error)

    def addSubTest(self, test: Any, subtest: Any, error: Any) -> None:
        if error is not None:
            self._failed(error)
        super().addSubTest(test, subtest, error)

    def addSkip(self, test: Any, reason: str) -> None:
        self._skipped = True
        self._tally.num_skipped += 1
        super().addSkip(test, reason)

    def addUnexpectedSuccess(self, test: Any) -> None:
        self._tally.fail(AssertionError("an expected failure did not come"))
        super().addUnexpectedSuccess(test)

    def _failed(self, error: Any) -> None:
        self._tally.fail(error[1])
        if isinstance(error[1], RecordProblem):
            self.problem = error[1]


def _code(found: Any) -> CodeType | None:
    """Of a function, also one that is wrapped."""
    return getattr(inspect.unwrap(found), "__code__", None) if callable(found) else None


def _num_wanted(function: Callable[..., object]) -> int:
    """Arguments it must be given."""
    parameters = inspect.signature(function, follow_wrapped=False).parameters.values()
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return sum(each.default is each.empty and each.kind not in several for each in parameters)
