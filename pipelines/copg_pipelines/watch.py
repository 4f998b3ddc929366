"""One line a task on the terminal, from the records that the tasks write; how far the run is beside it."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from copg_components.cluster.repeating import repeating

from copg.errors import DamageError
from copg.run.task_record import RECORDS, RUN, TOLD, TaskRecord, read_json, read_record
from copg_pipelines.time_left import Standing, Work, duration, read_line, standing

EVERY_S = 0.2


@contextmanager
def watching(
    run_dir: Path,
    out: TextIO,
    *,
    log: Path | None = None,
    at_once: int = 1,
    told_every_s: float = 30.0,
) -> Iterator[None]:
    """Write a line to ``out`` when a task ends, and while it runs how far it is.

    On a terminal that is one line, written over and over.

    Args:
        run_dir: directory of the runs.
        out: the terminal, a file or a pipe.
        log: to which the tasks print; None: how far a task is cannot be told.
        at_once: tasks of one loop that run together.
        told_every_s: seconds after which a file or pipe gets a line while nothing ends.
    """
    watch = _Watch(run_dir, out, log, at_once, told_every_s)
    try:
        with repeating(watch.look, EVERY_S, name="watch"):
            yield
    finally:
        watch.look()
        watch.clear()


class _Watch:
    def __init__(
        self, run_dir: Path, out: TextIO, log: Path | None, at_once: int, told_every_s: float
    ) -> None:
        self.folder = run_dir / RECORDS
        self.out, self.log, self.at_once, self.told_every_s = out, log, at_once, told_every_s
        self.live = out.isatty()
        self.seen = {path: path.stat().st_mtime_ns for path in self.folder.glob("*.json")}
        self.records = {path: record for path in self.seen if (record := read_record(path)) is not None}
        self.running: dict[str, float] = {}
        self.works: dict[str, Work] = {}
        self.tasks: list[dict[str, Any]] = []
        self.read_to = 0
        self.told = time.monotonic()

    def look(self) -> None:
        for path in sorted(self.folder.glob("*.json"), key=lambda p: p.stat().st_mtime_ns):
            changed = path.stat().st_mtime_ns
            if self.seen.get(path) == changed:
                continue
            self.seen[path] = changed
            record = read_record(path)
            if record is None:
                continue
            self.records[path] = record
            if record.state == "running":
                self.running.setdefault(record.task, time.monotonic())
            else:
                self._end(record)
        self._read_log()
        self._show_running()

    def _end(self, record: TaskRecord) -> None:
        self.running.pop(record.task, None)
        self.works.pop(record.task, None)
        warnings = self._resolved() if record.stage == "resolve" else []
        self.clear()
        self.out.write(line(record, self._standing()) + "\n")
        for warning in warnings:
            self.out.write(f"warning: {warning}\n")
        if told := record.facts.get(TOLD):
            self.out.write(f"{told}\n")
        self.out.flush()
        self.told = time.monotonic()

    def _resolved(self) -> list[str]:
        """Learn which tasks there will be; the warnings of ``resolve``."""
        try:
            run = read_json(self.folder.parent / RUN)
        except DamageError:  # the next task says so
            return []
        self.tasks = run.get("tasks", [])
        warnings: list[str] = run.get("warnings", [])
        return warnings

    def _standing(self) -> Standing:
        now = time.monotonic()
        return standing(
            self.tasks, self.records.values(), self.running, self.works, now=now, at_once=self.at_once
        )

    def _read_log(self) -> None:
        """What the running tasks said since the last look."""
        if self.log is None or not self.running or not self.log.is_file():
            return
        with self.log.open("rb") as file:
            file.seek(self.read_to)
            new = file.read()
        whole, _, _ = new.rpartition(b"\n")
        self.read_to += len(whole) + 1 if whole else 0
        for text in whole.decode(errors="replace").splitlines():
            if said := read_line(text, self.running, time.monotonic()):
                self.works[said[0]] = said[1]

    def _show_running(self) -> None:
        now = time.monotonic()
        if not self.running or not (self.live or now - self.told > self.told_every_s):
            return
        self.told = now
        tasks = ", ".join(self._how_far(task, now - since) for task, since in self.running.items())
        whole = str(self._standing())
        shown = f"... {tasks}{f'; {whole}' if whole else ''}"
        if self.live:
            self.out.write(f"\r\033[K{shown[: shutil.get_terminal_size().columns - 1]}")
        else:
            self.out.write(f"{shown}\n")
        self.out.flush()

    def _how_far(self, task: str, seconds: float) -> str:
        work = self.works.get(task)
        return f"{task} {f'{work.done} of {work.total}, ' if work else ''}{duration(seconds)}"

    def clear(self) -> None:
        if self.live:
            self.out.write("\r\033[K")
            self.out.flush()


def line(record: TaskRecord, now: Standing | None = None) -> str:
    """``train-copg_0.05     12.3 s   9 of 14 tasks, about 2 min left``, with the reason when it failed."""
    ended = f"{record.task:<28}{record.seconds:>8.1f} s"
    if record.state != "succeeded":
        return f"{ended}  {record.state}: {record.message}"
    return f"{ended}   {now}" if now and str(now) else ended
