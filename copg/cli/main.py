"""The command ``copg``: one sub-command a stage. Libraries load when a stage runs, not for ``--help``."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from copg.cli.ending import run_app
from copg.cli.stores import store_app

app = typer.Typer(
    name="copg",
    help="Align a language model on any score of a whole completion, from logged data. One command a stage, "
    "in the order of the pipeline.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(store_app)

Config = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="Recipe in YAML: the stage reads its own section, and what all share."
    ),
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="key=value of this stage, dots for depth: rows.tokens_per_batch=4096. Repeatable."
    ),
]
RunDir = Annotated[
    Path, typer.Option(help="Directory of the runs: reference store, checkpoints, tracking database.")
]
Trial = Annotated[str, typer.Option(help="Name of a trial in the recipe, such as copg_0.05; else the first.")]


def _input(text: str) -> Any:
    return typer.Option(help=text, exists=True, file_okay=False)


def _output(text: str) -> Any:
    return typer.Option(help=f"{text}; new or empty.", file_okay=False)


@app.command()
def resolve(
    config: Annotated[Path, typer.Option("--config", "-c", help="Recipe in YAML.")],
    run_dir: RunDir = Path("runs"),
    sets: Sets = None,
) -> None:
    """Check a whole recipe, and print the digests of its data, model, rewards and code."""
    from copg.run.recipe import load_recipe
    from copg.run.resolve import ResolveConfig, resolve_recipe

    recipe = load_recipe(config, sets or [], here=Path.cwd())
    found = resolve_recipe(ResolveConfig(recipe=recipe, run_dir=str(run_dir.resolve()), tasks_at_once=1))
    keys = {name: plan["key"] for name, plan in found.plans.items()}
    print(json.dumps({"digests": found.digests, "baselines": found.baselines, "keys": keys}, indent=2))


@app.command()
def validate(
    records: Annotated[str, typer.Option(help="File, folder, pattern, or name of a data set.")],
    groups: Annotated[Path, _output("Where the groups go")],
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Check records, keep what is rejected with its reason, and split prompts into train, select and gate.

    Leaves one file of groups a split, rejected.jsonl, and docs/index.html.
    """
    from copg.stages.validate import validate_records

    _run(lambda settings: validate_records(settings, records, groups), "validate", config, sets)


@app.command()
def score(
    groups: Annotated[Path, _input("From validate.")],
    scored: Annotated[Path, _output("Where the scored groups go")],
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Fill the reward of every completion: given with the records, or a weighted sum of named rewards."""
    from copg.stages.score import score_groups

    _run(lambda settings: score_groups(settings, groups, scored), "score", config, sets)


@app.command()
def reference(
    scored: Annotated[Path, _input("From score.")],
    referenced: Annotated[Path, _output("Where the groups with reference log-probabilities go")],
    config: Config = None,
    sets: Sets = None,
    run_dir: RunDir = Path("runs"),
) -> None:
    """Tokenise once and add reference log-probabilities; only what the store lacks is computed."""
    from copg.stages.reference import reference_groups

    _run(lambda settings: reference_groups(settings, scored, referenced), "reference", config, sets, run_dir)


@app.command()
def train(
    referenced: Annotated[Path, _input("From reference.")],
    policy: Annotated[Path, _output("Where the policy goes")],
    training: Annotated[Path, _output("Where metrics and facts of the training go")],
    config: Config = None,
    trial: Trial = "",
    sets: Sets = None,
    run_dir: RunDir = Path("runs"),
) -> None:
    """Train one trial on whole groups; a killed run goes on from its latest checkpoint."""
    from copg.stages.train import train_policy

    def stage(settings: Any) -> dict[str, float]:
        return train_policy(settings, referenced, policy, training)

    _run(stage, "train", config, sets, run_dir, trial=trial)


@app.command()
def evaluate(
    groups: Annotated[Path, _input("From validate.")],
    evaluation: Annotated[Path, _output("Where the evaluation goes")],
    policy: Annotated[
        Path | None, _input("From train; without it the reference itself is evaluated.")
    ] = None,
    config: Config = None,
    sets: Sets = None,
    run_dir: RunDir = Path("runs"),
) -> None:
    """Measure reward, KL and length of a policy on held-out prompts, each with a 95 % interval."""
    from copg.stages.evaluate import evaluate_policy

    def stage(settings: Any) -> dict[str, float]:
        uri = "" if policy is None else str(policy.resolve())
        return evaluate_policy(settings, groups, evaluation, policy=policy, policy_uri=uri)

    _run(stage, "evaluate", config, sets, run_dir)


@app.command()
def report(
    groups: Annotated[Path, _input("From validate.")],
    reference: Annotated[Path, _input("Evaluation of the reference.")],
    evaluation: Annotated[list[Path], _input("Evaluation of a trial; repeat for each.")],
    training: Annotated[list[Path], _input("Training record of a trial; repeat for each.")],
    report: Annotated[Path, _output("Where the report goes")],
    champion: Annotated[Path | None, _input("Evaluation of the champion.")] = None,
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Write one HTML page, which needs no network, that shows every trial beside the reference."""
    from copg.stages.report import report_trials

    def stage(settings: Any) -> dict[str, float]:
        return report_trials(
            settings,
            groups=groups,
            reference=reference,
            champion=champion,
            evaluations=evaluation,
            trainings=training,
            report=report,
        )

    _run(stage, "report", config, sets)


@app.command()
def promote(
    groups: Annotated[Path, _input("From validate.")],
    reference: Annotated[Path, _input("Evaluation of the reference.")],
    evaluation: Annotated[list[Path], _input("Evaluation of a trial; repeat for each.")],
    registration: Annotated[Path, _output("Where the decision goes")],
    champion: Annotated[Path | None, _input("Evaluation of the champion.")] = None,
    config: Config = None,
    sets: Sets = None,
    run_dir: RunDir = Path("runs"),
) -> None:
    """Register the best trial when it passes the gate; a rejected run ends well and says why."""
    from copg.stages.promote import promote_best

    def stage(settings: Any) -> dict[str, float]:
        return promote_best(
            settings,
            groups=groups,
            reference=reference,
            champion=champion,
            evaluations=evaluation,
            registration=registration,
        )

    _run(stage, "promote", config, sets, run_dir)


@app.command("train-reward")
def reward(
    groups: Annotated[Path, _input("From validate; records with rewards or preferences.")],
    reward_model: Annotated[Path, _output("Where the reward model goes")],
    config: Config = None,
    sets: Sets = None,
) -> None:
    """Train a reward model on preferences, for those who have no other score; then name it in rewards."""
    from copg.stages.reward import train_reward

    _run(lambda settings: train_reward(settings, groups, reward_model), "reward", config, sets)


def _run(
    stage: Callable[[Any], Mapping[str, float]],
    name: str,
    config: Path | None,
    sets: list[str] | None,
    run_dir: Path = Path("runs"),
    *,
    trial: str | None = None,
) -> None:
    """Run a stage with its settings, and print its metrics."""
    from copg.config import parse_config
    from copg.run.recipe import config_class, stage_values

    values = stage_values(name, config, sets or [], run_dir=run_dir.resolve(), trial=trial)
    metrics = stage(parse_config(config_class(name), values, where=name))
    for metric, value in sorted(metrics.items()):
        print(f"{metric:<40} {value:.6g}")


def main() -> None:
    """Run ``copg``."""
    run_app(app)


if __name__ == "__main__":
    main()
