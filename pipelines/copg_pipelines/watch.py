"""One line a task on the terminal, from the records that the tasks write."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from copg_components.cluster.repeating import repeating

from copg.run.task_record import RECORDS, RUN, TaskRecord, read_json, read_record

EVERY_S = 0.2


@contextmanager
def watching(run_dir: Path, out: TextIO) -> Iterator[None]:
    """Write a line to ``out`` when a task ends; on a terminal also which ones run."""
    watch = _Watch(run_dir, out)
    try:
        with repeating(watch.look, EVERY_S, name="watch"):
            yield
    finally:
        watch.look()
        watch.clear()


class _Watch:
    def __init__(self, run_dir: Path, out: TextIO) -> None:
        self.folder = run_dir / RECORDS
        self.out = out
        self.live = out.isatty()
        self.seen = {path: path.stat().st_mtime_ns for path in self.folder.glob("*.json")}
        self.running: dict[str, float] = {}

    def look(self) -> None:
        for path in sorted(self.folder.glob("*.json"), key=lambda p: p.stat().st_mtime_ns):
            changed = path.stat().st_mtime_ns
            if self.seen.get(path) == changed:
                continue
            self.seen[path] = changed
            record = read_record(path)
            if record is None:
                continue
            if record.state == "running":
                self.running.setdefault(record.task, time.monotonic())
            else:
                self.running.pop(record.task, None)
                self.clear()
                self.out.write(line(record) + "\n")
                if record.stage == "resolve":
                    for warning in read_json(self.folder.parent / RUN).get("warnings", []):
                        self.out.write(f"warning: {warning}\n")
                self.out.flush()
        self._show_running()

    def _show_running(self) -> None:
        if self.live and self.running:
            now = time.monotonic()
            tasks = ", ".join(f"{task} {now - since:.0f} s" for task, since in self.running.items())
            self.out.write(f"\r\033[K... {tasks}")
            self.out.flush()

    def clear(self) -> None:
        if self.live:
            self.out.write("\r\033[K")
            self.out.flush()


def line(record: TaskRecord) -> str:
    """``train-copg_0.05     12.3 s``, with the reason when it failed."""
    state = "" if record.state == "succeeded" else f"  {record.state}: {record.message}"
    return f"{record.task:<28}{record.seconds:>8.1f} s{state}"
