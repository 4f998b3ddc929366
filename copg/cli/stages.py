"""The stages as commands, and ``resolve``. Libraries load when a stage runs, not for ``--help``."""

import json
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from copg.cli.command import Command, Refusal, refuses, with_options
from copg.cli.options import OptionalRecipe, RecipeFile, RunDir, Sets, Trial, option, runs_here
from copg.errors import ConfigError
from copg.run.spelling import address_meant

app = typer.Typer()

SETTINGS = {
    "recipe": (OptionalRecipe, None),
    "trial": (Trial, ""),
    "sets": (Sets, None),
    "run_dir": (RunDir, ""),
}
"""Annotation and default of what says how a stage works; not every one takes the trial or the directory."""
FOR_SOME = ("run_dir", "trial")


@app.command(cls=Command)
def resolve(recipe: RecipeFile, run_dir: RunDir = "", sets: Sets = None) -> None:
    """Check a whole recipe, and print the digests of its data, model, rewards and code."""
    from copg.run.recipe import load_recipe
    from copg.run.resolve import ResolveConfig, resolve_recipe

    loaded = load_recipe(recipe, sets or [], here=Path.cwd())
    runs = str(runs_here(loaded, run_dir))
    found = resolve_recipe(ResolveConfig(recipe=loaded, run_dir=runs, tasks_at_once=1))
    keys = {name: plan["key"] for name, plan in found.plans.items()}
    print(json.dumps({"digests": found.digests, "baselines": found.baselines, "keys": keys}, indent=2))


def _stage(name: str, work: str, text: str, *takes: str, **artifacts: tuple[Any, Any]) -> None:
    """Make a stage a command, which prints its metrics.

    Args:
        name: of the stage.
        work: its function, which gets the artifacts by name.
        text: of the help.
        takes: those of ``FOR_SOME`` that the stage has a use for.
        artifacts: annotation and default of each option.
    """

    def run(
        recipe: Path | None, sets: list[str] | None, run_dir: str = "", trial: str = "", **given: Any
    ) -> None:
        from copg.cli.settings import stage_config

        _check_folders(given)
        config = stage_config(name, recipe, sets or [], run_dir=run_dir, trial=trial)
        metrics = getattr(import_module(f"copg.stages.{name}"), work)(config, **given)
        for metric, value in sorted(metrics.items()):
            print(f"{metric:<40} {value:.6g}")

    run.__name__ = name
    settings = {key: each for key, each in SETTINGS.items() if key in takes or key not in FOR_SOME}
    command = with_options(run, {**artifacts, **settings})
    refusal = Refusal(
        takes, lambda given: given["recipe"] is None, "without --recipe: say with --set what it is"
    )
    app.command(name, cls=Command, help=text)(refuses(refusal)(command))


def _check_folders(artifacts: Mapping[str, Any]) -> None:
    """Refuse addresses, of which a path keeps one slash: they would be folders of that name."""
    for name, given in artifacts.items():
        for place in given if isinstance(given, list) else [given]:
            if isinstance(place, Path) and (meant := address_meant(str(place))):
                where = f"--{name.replace('_', '-')}={meant!r}"
                raise ConfigError(f"{where}: a stage alone takes and leaves folders of this machine")


_artifact = partial(option, panel="Artifacts")


def _taken(text: str, *spelling: str, kind: Any = Path, default: Any = ...) -> tuple[Any, Any]:
    return Annotated[kind, _artifact(text, *spelling, exists=True, file_okay=False)], default


def _left(text: str) -> tuple[Any, Any]:
    return Annotated[Path, _artifact(f"{text}; new or empty.", file_okay=False)], ...


VALIDATED = _taken("From validate.")
REFERENCE = _taken("Evaluation of the reference.")
EVALUATIONS = _taken("Evaluation of a trial; repeat for each.", "--evaluation", kind=list[Path])
CHAMPION = _taken("Evaluation of the champion.", kind=Path | None, default=None)

_stage(
    "validate",
    "validate_records",
    "Check records, keep what is rejected with its reason, and split prompts into train, select and gate.\n\n"
    "Leaves one file of groups a split, rejected.jsonl, and docs/index.html.",
    records=(Annotated[str, _artifact("File, folder, pattern, or name of a data set.")], ...),
    groups=_left("Where the groups go"),
)
_stage(
    "reward",
    "train_reward",
    "Train a reward model on preferences, for those who have no other score; then name it in rewards.",
    groups=_taken("From validate; records with rewards or preferences."),
    reward_model=_left("Where the reward model goes"),
)
_stage(
    "sample",
    "sample_groups",
    "Draw the completions that training prompts lack, each once: by the reference, a model, an endpoint.",
    "run_dir",
    groups=_taken("From validate, with min_completions=0 or a recipe's section sample."),
    sampled=_left("Where the groups go, with what was drawn"),
)
_stage(
    "score",
    "score_groups",
    "Fill the reward of every completion: given with the records, or a weighted sum of named rewards.",
    "run_dir",
    groups=VALIDATED,
    scored=_left("Where the scored groups go"),
)
_stage(
    "reference",
    "reference_groups",
    "Tokenise once and add reference log-probabilities; only what the store lacks is computed.",
    "run_dir",
    scored=_taken("From score."),
    referenced=_left("Where the groups with reference log-probabilities go"),
)
_stage(
    "train",
    "train_policy",
    "Train one trial, else the first, on whole groups; a killed run goes on from its latest checkpoint.",
    "run_dir",
    "trial",
    referenced=_taken("From reference."),
    policy=_left("Where the policy goes"),
    training=_left("Where metrics and facts of the training go"),
)
_stage(
    "evaluate",
    "evaluate_policy",
    "Measure reward, KL and length of a policy on held-out prompts, each with a 95 % interval.",
    groups=_taken("From score; from validate where no reward is standardised."),
    evaluation=_left("Where the evaluation goes"),
    policy=_taken(
        "From train; without it the reference itself is evaluated.", kind=Path | None, default=None
    ),
)
_stage(
    "report",
    "report_trials",
    "Write one HTML page, which needs no network, that shows every trial beside the reference.",
    groups=VALIDATED,
    reference=REFERENCE,
    evaluations=EVALUATIONS,
    trainings=_taken("Training record of a trial; repeat for each.", "--training", kind=list[Path]),
    report=_left("Where the report goes"),
    champion=CHAMPION,
)
_stage(
    "promote",
    "promote_best",
    "Register the best trial when it passes the gate; a rejected run ends well and says why.",
    "run_dir",
    groups=VALIDATED,
    reference=REFERENCE,
    evaluations=EVALUATIONS,
    registration=_left("Where the decision goes"),
    champion=CHAMPION,
)
