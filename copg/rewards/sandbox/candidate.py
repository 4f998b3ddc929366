"""The process that holds the program: runs it, then does what the tests ask of what it defined.

It knows no test and no expected value. Whatever runs here may take this module apart; all it gains is to send
other values, which it could have returned anyway.
"""

import builtins
import operator
from collections.abc import Callable
from typing import Any

from copg.rewards.sandbox.wire import Peer, WireError, decode, encode

OPERATIONS: dict[str, Callable[..., Any]] = {
    "getattr": getattr,
    "setattr": setattr,
    "getitem": operator.getitem,
    "iter": iter,
    "next": next,
    "len": len,
}


class Candidate:
    """Objects of the program by number, and the requests on them."""

    def __init__(self, reading: int, writing: int) -> None:
        self._objects: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._names: dict[str, Any] = {"__name__": "completion", "__builtins__": builtins}
        self._peer = Peer(reading, writing, self._answer)

    def run(self) -> None:
        """Serve the tests until they are gone."""
        self._peer.serve()

    def _answer(self, request: list[Any]) -> list[Any]:
        """``["value", pair, changed arguments]`` or ``["raised", class, message]``."""
        try:
            return self._do(*request)
        except WireError:
            raise
        except BaseException as error:  # SystemExit too: the program may raise anything
            return ["raised", type(error).__name__, str(error)[:200]]

    def _do(self, what: str, *arguments: Any) -> list[Any]:
        if what == "load":
            exec(compile(arguments[0], "<completion>", "exec", dont_inherit=True), self._names)
            return ["value", ["none", None], []]
        if what == "name":
            return self._value(self._names[arguments[0]])
        target = self._objects[arguments[0]]
        if what == "call":
            return self._call(target, arguments[1], arguments[2])
        return self._value(OPERATIONS[what](target, *(self._decoded(pair) for pair in arguments[1:])))

    def _call(self, function: Any, positional: list[Any], named: dict[str, Any]) -> list[Any]:
        given = [self._decoded(pair) for pair in positional]
        found = function(*given, **{name: self._decoded(pair) for name, pair in named.items()})
        # a function may work in place: arguments that are no longer what was sent go back
        after = [self._encoded(value) if isinstance(value, list | dict | set) else None for value in given]
        changed = [None if now == sent else now for now, sent in zip(after, positional, strict=True)]
        return ["value", self._encoded(found), changed]

    def _value(self, value: Any) -> list[Any]:
        return ["value", self._encoded(value), []]

    def _encoded(self, value: Any) -> list[Any]:
        try:
            return encode(value, self._handle)
        except RecursionError:  # contains itself, or nests too deep
            return self._handle(value)

    def _decoded(self, pair: Any) -> Any:
        return decode(pair, self._resolve)

    def _handle(self, value: Any) -> list[Any]:
        if isinstance(value, Callback):
            return ["callback", value.number]
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self._objects)
            self._objects.append(value)
        return ["object", self._numbers[id(value)]]

    def _resolve(self, tag: str, content: Any) -> Any:
        return Callback(content, self) if tag == "callback" else self._objects[content]

    def call_back(self, number: int, given: tuple[Any, ...]) -> Any:
        """Call a function of the tests."""
        reply = self._peer.ask(["callback", number, [self._encoded(value) for value in given]])
        if reply[0] == "raised":
            raise getattr(builtins, reply[1], RuntimeError)(reply[2])
        return self._decoded(reply[1])


class Callback:
    """A function that the tests passed as an argument."""

    def __init__(self, number: int, owner: Candidate) -> None:
        self.number = number
        self._owner = owner

    def __call__(self, *given: Any) -> Any:
        """What it returns there."""
        return self._owner.call_back(self.number, given)


def main(reading: int, writing: int) -> None:
    """Wait for the program, run it, serve the tests."""
    Candidate(reading, writing).run()
