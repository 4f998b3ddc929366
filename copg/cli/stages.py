"""The stages as commands, and ``resolve``. Libraries load when a stage runs, not for ``--help``."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from copg.cli.command import Command, Refusal, refuses
from copg.cli.options import OptionalRecipe, RecipeFile, RunDir, Sets, Trial, runs_here

app = typer.Typer()

WITHOUT_RECIPE = Refusal(
    ("run_dir", "trial"), lambda given: given["recipe"] is None, "without --recipe: say with --set what it is"
)


def stage(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function the command of the stage that it is called like."""
    names = tuple(name for name in WITHOUT_RECIPE.options if name in function.__annotations__)
    refusal = Refusal(names, WITHOUT_RECIPE.when, WITHOUT_RECIPE.why)
    return app.command(cls=Command)(refuses(refusal)(function))


def _input(text: str) -> Any:
    return typer.Option(help=text, exists=True, file_okay=False, rich_help_panel="Artifacts")


def _output(text: str) -> Any:
    return typer.Option(help=f"{text}; new or empty.", file_okay=False, rich_help_panel="Artifacts")


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


@stage
def validate(
    records: Annotated[
        str,
        typer.Option(help="File, folder, pattern, or name of a data set.", rich_help_panel="Artifacts"),
    ],
    groups: Annotated[Path, _output("Where the groups go")],
    recipe: OptionalRecipe = None,
    sets: Sets = None,
) -> None:
    """Check records, keep what is rejected with its reason, and split prompts into train, select and gate.

    Leaves one file of groups a split, rejected.jsonl, and docs/index.html.
    """
    from copg.stages.validate import validate_records

    _run(lambda config: validate_records(config, records, groups), "validate", recipe, sets)


@stage
def reward(
    groups: Annotated[Path, _input("From validate; records with rewards or preferences.")],
    reward_model: Annotated[Path, _output("Where the reward model goes")],
    recipe: OptionalRecipe = None,
    sets: Sets = None,
) -> None:
    """Train a reward model on preferences, for those who have no other score; then name it in rewards."""
    from copg.stages.reward import train_reward

    _run(lambda config: train_reward(config, groups, reward_model), "reward", recipe, sets)


@stage
def score(
    groups: Annotated[Path, _input("From validate.")],
    scored: Annotated[Path, _output("Where the scored groups go")],
    recipe: OptionalRecipe = None,
    sets: Sets = None,
    run_dir: RunDir = "",
) -> None:
    """Fill the reward of every completion: given with the records, or a weighted sum of named rewards."""
    from copg.stages.score import score_groups

    _run(lambda config: score_groups(config, groups, scored), "score", recipe, sets, run_dir)


@stage
def reference(
    scored: Annotated[Path, _input("From score.")],
    referenced: Annotated[Path, _output("Where the groups with reference log-probabilities go")],
    recipe: OptionalRecipe = None,
    sets: Sets = None,
    run_dir: RunDir = "",
) -> None:
    """Tokenise once and add reference log-probabilities; only what the store lacks is computed."""
    from copg.stages.reference import reference_groups

    _run(lambda config: reference_groups(config, scored, referenced), "reference", recipe, sets, run_dir)


@stage
def train(
    referenced: Annotated[Path, _input("From reference.")],
    policy: Annotated[Path, _output("Where the policy goes")],
    training: Annotated[Path, _output("Where metrics and facts of the training go")],
    recipe: OptionalRecipe = None,
    trial: Trial = "",
    sets: Sets = None,
    run_dir: RunDir = "",
) -> None:
    """Train one trial, else the first, on whole groups; a killed run goes on from its latest checkpoint."""
    from copg.stages.train import train_policy

    def call(config: Any) -> dict[str, float]:
        return train_policy(config, referenced, policy, training)

    _run(call, "train", recipe, sets, run_dir, trial)


@stage
def evaluate(
    groups: Annotated[Path, _input("From validate.")],
    evaluation: Annotated[Path, _output("Where the evaluation goes")],
    policy: Annotated[
        Path | None, _input("From train; without it the reference itself is evaluated.")
    ] = None,
    recipe: OptionalRecipe = None,
    sets: Sets = None,
) -> None:
    """Measure reward, KL and length of a policy on held-out prompts, each with a 95 % interval."""
    from copg.stages.evaluate import evaluate_policy

    def call(config: Any) -> dict[str, float]:
        uri = "" if policy is None else str(policy.resolve())
        return evaluate_policy(config, groups, evaluation, policy=policy, policy_uri=uri)

    _run(call, "evaluate", recipe, sets)


@stage
def report(
    groups: Annotated[Path, _input("From validate.")],
    reference: Annotated[Path, _input("Evaluation of the reference.")],
    evaluation: Annotated[list[Path], _input("Evaluation of a trial; repeat for each.")],
    training: Annotated[list[Path], _input("Training record of a trial; repeat for each.")],
    report: Annotated[Path, _output("Where the report goes")],
    champion: Annotated[Path | None, _input("Evaluation of the champion.")] = None,
    recipe: OptionalRecipe = None,
    sets: Sets = None,
) -> None:
    """Write one HTML page, which needs no network, that shows every trial beside the reference."""
    from copg.stages.report import report_trials

    def call(config: Any) -> dict[str, float]:
        return report_trials(
            config,
            groups=groups,
            reference=reference,
            champion=champion,
            evaluations=evaluation,
            trainings=training,
            report=report,
        )

    _run(call, "report", recipe, sets)


@stage
def promote(
    groups: Annotated[Path, _input("From validate.")],
    reference: Annotated[Path, _input("Evaluation of the reference.")],
    evaluation: Annotated[list[Path], _input("Evaluation of a trial; repeat for each.")],
    registration: Annotated[Path, _output("Where the decision goes")],
    champion: Annotated[Path | None, _input("Evaluation of the champion.")] = None,
    recipe: OptionalRecipe = None,
    sets: Sets = None,
    run_dir: RunDir = "",
) -> None:
    """Register the best trial when it passes the gate; a rejected run ends well and says why."""
    from copg.stages.promote import promote_best

    def call(config: Any) -> dict[str, float]:
        return promote_best(
            config,
            groups=groups,
            reference=reference,
            champion=champion,
            evaluations=evaluation,
            registration=registration,
        )

    _run(call, "promote", recipe, sets, run_dir)


def _run(
    call: Callable[[Any], Mapping[str, float]],
    name: str,
    recipe: Path | None,
    sets: list[str] | None,
    run_dir: str = "",
    trial: str = "",
) -> None:
    """Run a stage with its settings, and print its metrics."""
    from copg.cli.settings import stage_config

    metrics = call(stage_config(name, recipe, sets or [], run_dir=run_dir, trial=trial))
    for metric, value in sorted(metrics.items()):
        print(f"{metric:<40} {value:.6g}")
