"""The table of stages: a row a plan of ``resolve``. The graph of the stages stands here and nowhere else.

Keys of the cache, tasks of a run, ``explain-cache``, ``--only``, the sections of a recipe, placement and the
summary are read from it. It counts in no code digest: no stage imports it.
"""

from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Row:
    """A stage, or the part of its tasks that has a plan of its own."""

    name: str
    """Of the plan, which is one of the outputs of ``resolve``."""
    title: str
    """What its tasks do, for people who look at a DAG."""
    stage: str = ""
    """Function, component and section of the recipe; empty: as the plan."""
    once: Literal["run", "baseline", "trial"] = "run"
    """What there is one task for."""
    after: tuple[str, ...] = ()
    """Plans whose tasks leave what this one's depend on; one that the run does not have is passed over."""
    digests: tuple[str, ...] = ()
    """What else decides the outputs: digests that ``resolve`` finds."""
    inputs: tuple[str, ...] = ()
    """Artifacts that a task takes, one each."""
    collected: tuple[str, ...] = ()
    """Artifacts that a task takes from every task of a loop."""
    optional: bool = False
    """Whether only a recipe that asks for it gets the stage."""
    libraries: tuple[str, ...] = ()
    """Packages whose version decides the numbers."""
    derived: tuple[str, ...] = ()
    """Settings that ``resolve`` writes from the digests: no news beside them."""
    ignores: tuple[str, ...] = ()
    """Settings of the stage that are nothing to its tasks of this plan."""
    paths: tuple[str, ...] = ()
    """Settings that hold a path, or may hold one."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "stage", self.stage or self.name)


NUMERIC = ("torch", "transformers")

TABLE = (
    Row(
        name="validate",
        title="Check and split the records",
        digests=("data", "text"),
        derived=("records_digest",),
        libraries=("tokenizers", "transformers"),
        paths=("reader.model",),
    ),
    Row(
        name="reward",
        title="Train a reward model",
        after=("validate",),
        digests=("reward_base",),
        inputs=("groups",),
        optional=True,
        libraries=NUMERIC,
        derived=("model_digest",),
        paths=("model",),
    ),
    Row(
        name="sample",
        title="Draw the completions that are missing",
        after=("validate",),
        digests=("sampler",),
        inputs=("groups",),
        optional=True,
        libraries=NUMERIC,
        derived=("model_digest",),
        paths=("model", "store", "endpoint.key_file"),
    ),
    Row(
        name="score",
        title="Score the completions",
        after=("validate", "sample", "reward"),
        digests=("rewards/score",),
        inputs=("groups",),
        paths=("store",),
    ),
    Row(
        name="reference",
        title="Log-probabilities of the reference",
        after=("score",),
        digests=("model",),
        inputs=("scored",),
        libraries=NUMERIC,
        derived=("model_digest",),
        paths=("store",),
    ),
    Row(
        name="baseline",
        title="Evaluate reference and champion",
        stage="evaluate",
        once="baseline",
        ignores=("mixes",),
        after=("score",),
        digests=("model", "rewards/evaluate"),
        inputs=("scored",),
        libraries=NUMERIC,
        derived=("model_digest",),
    ),
    Row(
        name="train",
        title="Train the trial",
        once="trial",
        after=("reference",),
        digests=("rewards/train",),
        inputs=("referenced",),
        libraries=NUMERIC,
        derived=("model_digest",),
        paths=("start_from", "checkpoint.folder"),
    ),
    Row(
        name="evaluate",
        title="Evaluate the trial",
        once="trial",
        after=("baseline", "train"),
        digests=("model", "rewards/evaluate"),
        inputs=("scored", "policy"),
        libraries=NUMERIC,
        derived=("model_digest",),
    ),
    Row(
        name="report",
        title="Write the report",
        after=("evaluate",),
        inputs=("groups",),
        collected=("baselines", "evaluations", "trainings"),
        derived=("lineage",),
    ),
    Row(
        name="promote",
        title="Promote the best trial",
        after=("evaluate",),
        inputs=("groups",),
        collected=("baselines", "evaluations"),
        derived=("tags", "replaces"),
        paths=("champions",),
    ),
)
ROWS = {row.name: row for row in TABLE}
STAGES = tuple(row.stage for row in TABLE if not row.optional and row.once != "baseline")
"""Those of every run, in the order of the pipeline."""
OPTIONAL = tuple(row.stage for row in TABLE if row.optional)
EVERY = tuple(row.stage for row in TABLE if row.once != "baseline")


def rows(names: Container[str]) -> list[Row]:
    """Rows of the plans that ``names`` holds, in the order of the table."""
    return [row for row in TABLE if row.name in names]


def row_of(stage: str, once: str) -> Row:
    """Of a task: the row of its stage, for a run, a baseline or a trial."""
    return next(row for row in TABLE if (row.stage, row.once) == (stage, once))


def upstream(names: Iterable[str]) -> set[str]:
    """These plans and all that they depend on, directly or not."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += ROWS[name].after
    return found


def depends_on(row: Row, once: str) -> bool:
    """Whether a plan depends on the list of the trials, or on the baselines, through a task for each."""
    return row.once == "run" and any(ROWS[name].once == once for name in upstream((row.name,)))
