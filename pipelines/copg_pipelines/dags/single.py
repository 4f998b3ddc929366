"""One stage of a DAG on artifacts that exist, with the very parameters it has in the whole DAG."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from kfp import dsl

from copg.artifacts import BASELINES, MANIFEST, evaluation_name
from copg.config import check_address
from copg.errors import ConfigError
from copg.run.recipe import Recipe
from copg.run.task_names import subject_name
from copg.run.task_record import read_json
from copg.run.trained_reward import STAGE as REWARD
from copg.stages.table import EVERY, ROWS, TABLE, Row, row_of, rows
from copg_pipelines.dags import Shape, plans_of
from copg_pipelines.dags.resolved import build_resolved

MANY = {name for row in TABLE for name in row.collected}
"""Inputs of any number of artifacts."""
CLASSES = {each.schema_title: each for each in (dsl.Artifact, dsl.Dataset, dsl.Model)}
REFERENCE = {"name": "reference"}
THERE = re.compile(r"(?:(?:s3|gs|minio)://[^/\s]+)?/[^/\s]\S*")
"""Where an artifact may lie on a cluster: in a bucket, or at a path that every pod has."""


@dataclass(frozen=True)
class Single:
    """A stage to run alone."""

    stage: str
    inputs: dict[str, list[str]]
    """Addresses of the artifacts it takes, by name."""
    subject: dict[str, Any] | None = None
    """The trial, or the reference; None for a stage that runs once."""

    @property
    def plan(self) -> str:
        """Which of resolve's plans it follows."""
        once = "baseline" if self.subject == REFERENCE else "trial" if self.subject else "run"
        return row_of(self.stage, once).name


def choose_single(
    recipe: Recipe, stage: str, given: Sequence[str], trial: str, *, here: bool, dag: str = "align"
) -> Single:
    """What to run.

    Args:
        recipe: for its trials.
        stage: its name.
        given: artifacts, as ``ADDRESS`` or ``NAME=ADDRESS``.
        trial: for train and evaluate; empty for the first, or for the reference where there is no policy.
        here: the artifacts lie on this machine, so that their manifests can be read.
        dag: the stage is one of its own.

    Raises:
        ConfigError: no such stage or trial, or an artifact is missing or none that the stage takes.
    """
    stages = [each for each in EVERY if any(row.stage == each for row in rows(plans_of(dag) or ROWS))]
    if stage not in stages:
        raise ConfigError(f"only={stage!r}: use one of {stages}")
    if stage == REWARD and not recipe.trains_reward:
        raise ConfigError("only='reward': no entry of rewards stands for a model that the run trains")
    if stage not in recipe.planned:
        raise ConfigError(f"only={stage!r}: the recipe has no section {stage!r}")
    inputs: dict[str, list[str]] = {}
    for each in given:
        name, address = _named(stage, each, here)
        if name in inputs and name not in MANY:
            raise ConfigError(f"from: two artifacts are {name!r}: {inputs[name][0]} and {address}")
        inputs.setdefault(name, []).append(address)
    needed = set.intersection(*({*row.inputs, *row.collected} for row in _rows(stage)))
    if missing := needed - set(inputs):
        raise ConfigError(f"{stage} takes {sorted(missing)}, which no --from gives")
    return Single(stage, inputs, _subject(recipe, stage, trial, "policy" in inputs))


def _rows(stage: str) -> list[Row]:
    return [row for row in TABLE if row.stage == stage]


def _named(stage: str, given: str, here: bool) -> tuple[str, str]:
    name, equals, address = given.partition("=")
    if not equals or "/" in name:
        name, address = "", given
    elif not name:
        raise ConfigError(f"from={given!r}: has no name before '='")
    if here:
        path = Path(address).expanduser().resolve()
        manifest = read_json(path / MANIFEST)
        if not manifest:
            raise ConfigError(f"from={address!r}: no finished artifact, {MANIFEST} is missing")
        address, found = str(path), str(manifest.get("schema"))
        if found == "evaluation":
            found = "baselines" if evaluation_name(path) in BASELINES else "evaluations"
        elif found == "training":
            found = "trainings"
        if name and name != found:
            raise ConfigError(f"from={given!r}: holds {found}")
        name = found
    else:
        check_address(address, "--from")
        if not THERE.fullmatch(address):
            raise ConfigError(
                f"from={given!r}: on a cluster an artifact has a URI, such as s3://bucket/scored, gs:// or "
                "minio://"
            )
    takes = list(dict.fromkeys(name for row in _rows(stage) for name in (*row.inputs, *row.collected)))
    name = name or (takes[0] if len(takes) == 1 else "")
    if name not in takes:
        what = f"is {name}" if name else "has no name: say NAME=ADDRESS"
        raise ConfigError(f"from={address!r}: {what}; {stage} takes {takes or 'no artifact'}")
    return name, address


def _subject(recipe: Recipe, stage: str, trial: str, has_policy: bool) -> dict[str, Any] | None:
    loops = {row.once for row in _rows(stage)}
    if loops == {"run"}:
        if trial:
            raise ConfigError(f"trial={trial!r}: {stage} runs once for all trials")
        return None
    if "baseline" in loops and not has_policy:
        if trial not in ("", "reference"):
            raise ConfigError(f"trial={trial!r}: give its policy with --from")
        return dict(REFERENCE)
    trials = {subject_name(each): each for each in recipe.trials}
    if trial and trial not in trials:
        raise ConfigError(f"trial={trial!r} is unknown; use one of {list(trials)}")
    if not trial and len(trials) > 1:
        raise ConfigError(f"{stage} runs once a trial: name one of {list(trials)} with --trial")
    return dict(trials[trial] if trial else recipe.trials[0])


def build_single(single: Single, shape: Shape) -> Any:
    """A DAG of resolve, whose plan the stage follows, and the stage, which takes what exists.

    Neither a cache nor an earlier record answers for it: who asks for it wants it to run.

    Args:
        single: what to run.
        shape: where its tasks run.
    """
    place = shape.place
    component = getattr(import_module(f"copg_components.{single.stage}"), single.stage)
    more = {"train_job": shape.train_job} if shape.train_job and single.stage == "train" else {}

    def follow(plans: Mapping[str, Any], records: Any, run_dir: Any) -> None:
        inputs: dict[str, Any] = {}
        if many := {name: uris for name, uris in single.inputs.items() if name in MANY}:
            inputs["addresses"] = many  # the task fetches them: no server collects what importers leave
        for name, uris in single.inputs.items():
            if name not in MANY:
                kind = component.component_spec.inputs[name].type.partition("@")[0]
                taken = dsl.importer(artifact_uri=uris[0], artifact_class=CLASSES[kind], reimport=False)
                inputs[name] = taken.output
        parameters = {"records": records, "trial": single.subject, "subject": single.subject}
        takes = component.component_spec.inputs
        inputs |= {name: value for name, value in parameters.items() if name in takes and value is not None}
        task = component(plan=plans[single.plan], run_dir=run_dir, **inputs, **more)
        place(task).set_caching_options(enable_caching=False).set_display_name(ROWS[single.plan].title)

    return build_resolved(
        place,
        follow,
        name=f"only-{single.stage}",
        title=f"{ROWS[single.plan].title}, alone",
        description=f"Stage {single.stage} on artifacts that exist.",
        again=True,
        pipeline_config=shape.pipeline_config,
    )
