"""What the files of a model say of a recipe; where torch must be loaded for it, in a process with a limit."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from copg.data.parents import die_with_parent
from copg.errors import CopgError, one_line
from copg.lm.kinds import leaves_kind
from copg.lm.tokenizer import check_tokenizer, leaves_lengths, needs_auto
from copg.run.check import settings_of
from copg.run.footprint import estimate_needs, leaves_sizes, measure_model, shortfalls
from copg.run.hub import Source, has_weights
from copg.run.recipe import Recipe
from copg.run.sources import check_source
from copg.run.text_check import check_text

OK, NOTE, ERROR = "ok", "note", "error"
LIMIT_S = 30.0
"""Of a process that loads torch, which takes seconds, and minutes on a disk that is busy."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was looked at, and what was found."""

    kind: str
    """``ok``, ``note`` for what could not be looked at or may not be meant, ``error``."""
    text: str

    def __str__(self) -> str:
        """``ok    records: ...``."""
        return f"{self.kind:<6}{one_line(self.text)}"


def look_at_model(recipe: Recipe, run_dir: Path, found: Source, *, limit_s: float = LIMIT_S) -> list[Look]:
    """Everything that the model's files tell.

    Args:
        recipe: whose settings are right.
        run_dir: directory of the runs, which need not be there.
        found: where the model lies.
        limit_s: seconds for what only ``transformers`` with torch can tell.
    """
    try:
        check_source(recipe.model, found)
        why = _asks_torch(recipe.model, found)
    except CopgError as error:
        return [Look(ERROR, f"model: {error}")]
    if not why:
        return [*_looks(recipe, run_dir, found)]
    told = _looks_apart(recipe, run_dir, found, limit_s)
    if told is None:
        late = f"{why}, which took more than {limit_s:g} s here"
        return [Look(NOTE, f"model: not looked at: {late}; a run looks at it when it begins")]
    return told


def _asks_torch(model: str, found: Source) -> str:
    """Why torch must be loaded to look at a model; empty where its files tell all.

    Raises:
        ModelError: its files tell that it cannot be used.
    """
    check_tokenizer(model, found.revision)
    asked = {
        "its kind": leaves_kind(model, found.revision),
        "its tokeniser": needs_auto(model, found.revision),
        "its context": leaves_lengths(model, found.revision),
        "its sizes": has_weights(found.folder) and leaves_sizes(found.folder),
    }
    what = " and ".join(name for name, asks in asked.items() if asks)
    return f"only transformers with torch can tell {what}" if what else ""


def _looks(recipe: Recipe, run_dir: Path, found: Source) -> Iterator[Look]:
    impossible, doubtful = list[str](), list[str]()
    try:
        configs = settings_of(recipe, run_dir, revision=found.revision)
        ending, doubts = check_text(configs)
        told = "not on this machine yet"
        if has_weights(found.folder):
            size, train = measure_model(found.folder), asdict(configs["train"])
            told = f"{size.num_parameters / 1e6:,.1f} million parameters"
            needs = estimate_needs(size, train, num_trials=len(recipe.trials), at_once=1, records_bytes=0)
            impossible, doubtful = shortfalls(needs, run_dir.resolve())
    except CopgError as error:
        yield Look(ERROR, f"model: {error}")
        return
    yield Look(OK, f"model: {told}; {ending}")
    yield from (Look(ERROR, f"this machine: {line}") for line in impossible)
    yield from (Look(NOTE, line) for line in [*doubts, *doubtful])


def _looks_apart(recipe: Recipe, run_dir: Path, found: Source, limit_s: float) -> list[Look] | None:
    """The same from a process of its own; None where it takes too long."""
    folder = None if found.folder is None else str(found.folder)
    asked = {"recipe": asdict(recipe), "run_dir": str(run_dir), "folder": folder, "revision": found.revision}
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"])[-1]
        return [Look(NOTE, f"model: not looked at: {last}")]
    return [Look(**each) for each in json.loads(done.stdout.splitlines()[-1])]


def _answer(asked: dict[str, Any]) -> list[dict[str, str]]:
    folder = None if asked["folder"] is None else Path(asked["folder"])
    found = Source("", folder, asked["revision"])
    return [asdict(look) for look in _looks(Recipe(**asked["recipe"]), Path(asked["run_dir"]), found)]


if __name__ == "__main__":
    die_with_parent()
    print(json.dumps(_answer(json.load(sys.stdin))))
