"""One stage of ``align`` on artifacts that exist, with the very parameters it has in the whole DAG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from copg_components.evaluate import evaluate
from copg_components.promote import promote
from copg_components.reference import reference
from copg_components.report import report
from copg_components.reward import reward
from copg_components.score import score
from copg_components.train import train
from copg_components.validate import validate
from kfp import dsl

from copg.artifacts import BASELINES, MANIFEST, evaluation_name
from copg.errors import ConfigError
from copg.run.recipe import Recipe
from copg.run.task_record import read_json, subject_name
from copg_pipelines.dags import Shape
from copg_pipelines.dags.resolved import build_resolved

COMPONENTS = {
    "validate": validate,
    "reward": reward,
    "score": score,
    "reference": reference,
    "train": train,
    "evaluate": evaluate,
    "report": report,
    "promote": promote,
}
INPUTS = {
    "validate": (),
    "reward": ("groups",),
    "score": ("groups",),
    "reference": ("scored",),
    "train": ("referenced",),
    "evaluate": ("scored", "policy"),
    "report": ("groups", "baselines", "evaluations", "trainings"),
    "promote": ("groups", "baselines", "evaluations"),
}
"""Artifacts that a stage takes, named after their schema, or after what report and promote do with them."""
MANY = ("baselines", "evaluations", "trainings")
"""Inputs of any number of artifacts."""
CLASSES = {"groups": dsl.Dataset, "scored": dsl.Dataset, "referenced": dsl.Dataset, "policy": dsl.Model}
REFERENCE = {"name": "reference"}


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
        return "baseline" if self.subject == REFERENCE else self.stage


def choose_single(recipe: Recipe, stage: str, given: Sequence[str], trial: str, *, here: bool) -> Single:
    """What to run.

    Args:
        recipe: for its trials.
        stage: its name.
        given: artifacts, as ``ADDRESS`` or ``NAME=ADDRESS``.
        trial: for train and evaluate; empty for the first, or for the reference where there is no policy.
        here: the artifacts lie on this machine, so that their manifests can be read.

    Raises:
        ConfigError: no such stage or trial, or an artifact is missing or none that the stage takes.
    """
    if stage not in COMPONENTS:
        raise ConfigError(f"only={stage!r}: use one of {list(COMPONENTS)}")
    if stage == "reward" and not recipe.trains_reward:
        raise ConfigError("only='reward': no entry of rewards stands for a model that the run trains")
    inputs: dict[str, list[str]] = {}
    for each in given:
        name, address = _named(stage, each, here)
        if name in inputs and name not in MANY:
            raise ConfigError(f"from: two artifacts are {name!r}: {inputs[name][0]} and {address}")
        inputs.setdefault(name, []).append(address)
    needed = set(INPUTS[stage]) - {"policy"}
    if missing := needed - set(inputs):
        raise ConfigError(f"{stage} takes {sorted(missing)}, which no --from gives")
    return Single(stage, inputs, _subject(recipe, stage, trial, "policy" in inputs))


def _named(stage: str, given: str, here: bool) -> tuple[str, str]:
    name, equals, address = given.partition("=")
    if not equals or "/" in name:
        name, address = "", given
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
    elif "://" not in address and not address.startswith("/"):
        raise ConfigError(f"from={address!r}: on a cluster an artifact has a URI, such as s3://bucket/scored")
    takes = INPUTS[stage]
    name = name or (takes[0] if len(takes) == 1 else "")
    if name not in takes:
        what = f"is {name}" if name else "has no name: say NAME=ADDRESS"
        raise ConfigError(f"from={address!r}: {what}; {stage} takes {list(takes) or 'no artifact'}")
    return name, address


def _subject(recipe: Recipe, stage: str, trial: str, has_policy: bool) -> dict[str, Any] | None:
    if stage not in ("train", "evaluate"):
        if trial:
            raise ConfigError(f"trial={trial!r}: {stage} runs once for all trials")
        return None
    if stage == "evaluate" and not has_policy:
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

    The stage is not cached: who asks for it wants it to run.

    Args:
        single: what to run.
        shape: where its tasks run.
    """
    place = shape.place
    more = {"train_job": shape.train_job} if shape.train_job and single.stage == "train" else {}

    def follow(plans: Mapping[str, Any], records: Any, run_dir: Any) -> None:
        inputs: dict[str, Any] = {}
        for name, uris in single.inputs.items():
            if name in MANY:
                with dsl.ParallelFor(uris, name=name) as uri:
                    one = dsl.importer(artifact_uri=uri, artifact_class=dsl.Artifact, reimport=False)
                inputs[name] = dsl.Collected(one.output)
            else:
                taken = dsl.importer(artifact_uri=uris[0], artifact_class=CLASSES[name], reimport=False)
                inputs[name] = taken.output
        if single.stage == "validate":
            inputs["records"] = records
        if single.subject is not None:
            inputs["trial" if single.stage == "train" else "subject"] = single.subject
        task = COMPONENTS[single.stage](plan=plans[single.plan], run_dir=run_dir, **inputs, **more)
        place(task).set_caching_options(enable_caching=False)

    about = f"Stage {single.stage} on artifacts that exist."
    return build_resolved(place, follow, name=f"only-{single.stage}", description=about)
