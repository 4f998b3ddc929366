"""Units of an experiment that takes hours: each done once, its record kept, a failure among them."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from copg.artifacts import write_json
from copg.errors import CopgError
from experiments.bench import Bench, bench_of, bench_parser, finished

FAILURES = (CopgError, ArithmeticError, RuntimeError)
"""What a training or evaluation may end with that is a result; else the script itself is at fault."""


class Enough(Exception):
    """As many units were done as were asked for; says which comes next."""


@dataclass
class Units:
    """The records of an experiment, and how many more may be made in this call."""

    folder: Path
    most: int | None = None
    """Units to do in this call; None: all that there are."""
    retry: bool = False
    """Do again what failed."""
    done: list[str] = field(default_factory=list)
    """Names of those that this call did."""

    @property
    def read_only(self) -> "Units":
        """The same records, to which none is added."""
        return Units(self.folder, most=0)

    def __call__(self, name: str, work: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """The record of a unit, made where it is not there.

        Args:
            name: of the unit; slashes make folders.
            work: does it, and returns what to keep, in values of JSON.

        Returns:
            What ``work`` returned, with ``unit``, ``seconds``, and ``failed``: why it did, else empty.

        Raises:
            Enough: it is not there, and no more is to be done.
        """
        path = self.folder / f"{name}.json"
        if path.exists():
            record: dict[str, Any] = json.loads(path.read_text())
            if not (record["failed"] and self.retry and name not in self.done):
                return record
        began = self._begin(name)
        try:
            found = {"failed": "", **work()}
        except FAILURES as error:
            found = {"failed": f"{type(error).__name__}: {error}"}
        record = {"unit": name, "seconds": round(time.monotonic() - began, 1), **found}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, record)
        return record

    def make(self, artifact: Path, work: Callable[[], object]) -> None:
        """An artifact that all else needs, made where it is not there; what goes wrong is raised.

        Raises:
            Enough: as above.
        """
        if not finished(artifact):
            self._begin(artifact.name)
            work()

    def seconds(self) -> dict[str, float]:
        """Mean and longest time of the units of each folder."""
        times: dict[str, list[float]] = {}
        for path in sorted(self.folder.rglob("*.json")):
            times.setdefault(path.parent.name, []).append(json.loads(path.read_text())["seconds"])
        means = {f"{kind}/mean": sum(each) / len(each) for kind, each in times.items()}
        return means | {f"{kind}/max": max(each) for kind, each in times.items()}

    def _begin(self, name: str) -> float:
        if self.most is not None and len(self.done) >= self.most:
            raise Enough(name)
        self.done.append(name)
        print(f"{time.strftime('%H:%M:%S')} {name}", file=sys.stderr, flush=True)
        return time.monotonic()


def unit_parser(description: str | None) -> argparse.ArgumentParser:
    """The options of which ``bench_and_units`` makes both, for an experiment to add its own to."""
    parser = bench_parser(description)
    parser.add_argument("--units", type=int, help="trainings, evaluations and data to make in this call")
    parser.add_argument("--retry", action="store_true", help="do again what failed")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    return parser


def bench_and_units(args: argparse.Namespace) -> tuple[Bench, Units]:
    """What somebody asked for by ``unit_parser``."""
    bench = bench_of(args, device=args.device)
    return bench, Units(bench.out / "units", args.units, args.retry)
