"""The tests' way to the program: stand-ins for its functions and objects.

What they return is plain data, so that every comparison happens in the tests' own process, where the program
has no say.
"""

import builtins
from collections.abc import Iterator
from typing import Any

from copg.rewards.sandbox.wire import Peer, WireError, decode, encode


class Gone(BaseException):
    """The program's process ended or talks nonsense; no test may catch it."""


class RecordProblem(Exception):
    """The tests themselves cannot be run."""


class Remote:
    """An object of the program that is no plain data: a function, a class, an instance, a generator.

    Two are equal only when they are one. Comparison, truth and conversion never ask the program.
    """

    __slots__ = ("_link", "_number")

    def __init__(self, link: "Link", number: int) -> None:
        object.__setattr__(self, "_link", link)
        object.__setattr__(self, "_number", number)

    def __call__(self, *given: Any, **named: Any) -> Any:
        """Call it there."""
        return self._link.call(self._number, given, named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._link.do("getattr", self._number, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._link.do("setattr", self._number, name, value)

    def __iter__(self) -> Iterator[Any]:
        made = self._link.do("iter", self._number)
        while True:
            try:
                yield self._link.do("next", made._number)
            except StopIteration:
                return

    def __next__(self) -> Any:
        return self._link.do("next", self._number)

    def __len__(self) -> int:
        return int(self._link.do("len", self._number))

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, key: Any) -> Any:
        return self._link.do("getitem", self._number, key)


class Link:
    """The way to the program."""

    def __init__(self, reading: int, writing: int) -> None:
        self._peer = Peer(reading, writing, self._answer)
        self._remotes: dict[int, Remote] = {}
        self._callbacks: list[Any] = []

    def load(self, code: str) -> None:
        """Run the program's top level; raises what it raises."""
        self._ask(["load", code])

    def name(self, name: str) -> Any:
        """What the program calls so."""
        try:
            return self._ask(["name", name])
        except KeyError:
            raise NameError(f"name {name!r} is not defined") from None

    def do(self, what: str, number: int, *given: Any) -> Any:
        """An operation on an object of the program."""
        return self._ask([what, number, *(self._encoded(value) for value in given)])

    def call(self, number: int, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Call a function of the program; what it changed in its arguments is changed here too."""
        positional = [self._encoded(value) for value in given]
        keywords = {name: self._encoded(value) for name, value in named.items()}
        return self._ask(["call", number, positional, keywords], given)

    def _ask(self, request: list[Any], given: tuple[Any, ...] = ()) -> Any:
        try:
            reply = self._peer.ask(request)
            raised = _exception(str(reply[1]), str(reply[2])) if reply[0] == "raised" else None
            value = None if raised else self._decoded(reply[1])
            for argument, pair in zip(given, () if raised else reply[2], strict=False):
                if pair is not None:
                    _become(argument, self._decoded(pair))
        except (WireError, LookupError, TypeError, ValueError) as error:
            raise Gone(str(error)) from None
        if raised:
            raise raised
        return value

    def _answer(self, request: list[Any]) -> list[Any]:
        """The program calls a function of the tests."""
        try:
            _, number, pairs = request
            found = self._callbacks[number](*(self._decoded(pair) for pair in pairs))
            return ["value", self._encoded(found)]
        except Exception as error:
            return ["raised", type(error).__name__, str(error)[:200]]

    def _encoded(self, value: Any) -> list[Any]:
        return encode(value, self._handle)

    def _handle(self, value: Any) -> list[Any]:
        if isinstance(value, Remote):
            return ["object", value._number]
        if not callable(value):
            raise RecordProblem(f"a {type(value).__name__} of the tests cannot be passed to the program")
        self._callbacks.append(value)
        return ["callback", len(self._callbacks) - 1]

    def _decoded(self, pair: Any) -> Any:
        return decode(pair, self._resolve)

    def _resolve(self, tag: str, content: Any) -> Any:
        if tag == "callback":
            return self._callbacks[content]
        if tag != "object":
            raise WireError("no value")
        return self._remotes.setdefault(int(content), Remote(self, int(content)))


def _exception(name: str, message: str) -> Exception:
    """What the program raised, when it is one of Python's own exceptions, else a RuntimeError."""
    found = getattr(builtins, name, None)
    if isinstance(found, type) and issubclass(found, Exception):
        try:
            return found(message)
        except TypeError:  # some need more than a message
            pass
    return RuntimeError(f"{name}: {message}")


def _become(argument: Any, now: Any) -> None:
    """Give a list, dict or set of the tests the contents the program left in its copy."""
    if isinstance(argument, list) and isinstance(now, list):
        argument[:] = now
    elif isinstance(argument, dict | set) and type(now) is type(argument):
        argument.clear()
        argument.update(now)
