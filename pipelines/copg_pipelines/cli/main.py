"""``python -m pipelines``, also installed as ``copg-pipelines``: compile, run and schedule the DAGs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from copg.cli.ending import run_app
from copg.errors import ConfigError
from copg_pipelines.cli import commands, schedules
from copg_pipelines.cli.names import Name, Place
from copg_pipelines.cli.options import (
    Account,
    Image,
    NoWait,
    OptionalRecipe,
    Pipeline,
    Poll,
    RecipeFile,
    Revision,
    Root,
    RunDir,
    Sets,
    Timeout,
    Version,
    Webhook,
    connected,
)

app = typer.Typer(
    name="copg-pipelines",
    help="Compile, run and schedule the DAGs of copg, on this machine or on a KFP server.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command("compile")
def compile_dag(
    dag: Name,
    recipe: RecipeFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the compiled DAG goes, .yaml.")],
    image: Image = "",
    run_dir: RunDir = "",
    sets: Sets = None,
) -> None:
    """Compile a DAG with a recipe as its defaults; paths are taken as they stand in the recipe."""
    from copg.run.recipe import load_recipe
    from copg_pipelines.dags.compiling import compile_dag as compile_to

    loaded = load_recipe(recipe, sets or [])
    compile_to(dag, loaded, output, run_dir=run_dir or f"/runs/{loaded.name}", image=image)
    print(output)


@app.command()
@connected
def run(
    dag: Name,
    recipe: OptionalRecipe = None,
    on: Annotated[Place, typer.Option(help="Where to run.")] = Place.LOCAL,
    root: Annotated[
        Path | None,
        typer.Option(
            help="Here: directory of the runs; the same again reuses what has not changed.",
            show_default=False,
        ),
    ] = None,
    only: Annotated[str, typer.Option(help="One stage alone, on the artifacts that --from gives.")] = "",
    given: Annotated[
        list[str] | None,
        typer.Option("--from", help="For --only: an artifact, as ADDRESS or NAME=ADDRESS. May be repeated."),
    ] = None,
    trial: Annotated[str, typer.Option(help="For --only train or evaluate: which trial.")] = "",
    version: Version = "",
    image: Image = "",
    run_dir: RunDir = "",
    pipeline: Pipeline = "",
    revision: Revision = "",
    service_account: Account = "",
    pipeline_root: Root = "",
    timeout: Timeout = 0.0,
    poll: Poll = 5.0,
    no_wait: NoWait = False,
    webhook: Webhook = "",
    sets: Sets = None,
    *,
    connect: Any,
) -> None:
    """Run a DAG, or one stage of it, and wait for it.

    Here, relative paths in the recipe start from the recipe's own folder and those in --set from here; on a
    cluster they are the pods'. Fails when the run failed or was cancelled.
    """
    if on is Place.LOCAL:
        _run_here(dag, recipe, root, only, given or [], trial, webhook, sets)
        return
    client = connect()
    how = {
        "experiment": pipeline or dag,
        "service_account": service_account,
        "pipeline_root": pipeline_root,
    }
    if only:
        started = _stage_there(client, recipe, only, given or [], trial, image, run_dir, sets, how)
    else:
        from copg_pipelines.cli.running import run_there
        from copg_pipelines.server.publishing import chosen

        pinned = chosen(client, dag, recipe, version, image, run_dir, pipeline, revision, sets)
        print(f"version: {pinned.display_name}")
        started = run_there(client, pinned, **how)
    print(f"run: {client.connection.page('runs/details', started.run_id)}")
    if not no_wait:
        from copg_pipelines.server.following import wait_for

        wait_for(client, started.run_id, timeout_min=timeout, poll_s=poll, webhook=webhook)


def _run_here(
    dag: str,
    recipe: Path | None,
    root: Path | None,
    only: str,
    given: list[str],
    trial: str,
    webhook: str,
    sets: list[str] | None,
) -> None:
    if recipe is None or root is None:
        raise ConfigError(f"a run on this machine needs --{'recipe' if recipe is None else 'root'}")
    from copg_pipelines.cli.running import run_here, run_stage_here

    if not only:
        run_here(dag, recipe, root, sets, webhook)
        return
    from copg.run.recipe import load_recipe
    from copg_pipelines.dags.single import choose_single

    loaded = load_recipe(recipe, sets or [], here=Path.cwd())
    run_stage_here(loaded, root, choose_single(loaded, only, given, trial, here=True))


def _stage_there(
    client: Any,
    recipe: Path | None,
    only: str,
    given: list[str],
    trial: str,
    image: str,
    run_dir: str,
    sets: list[str] | None,
    how: dict[str, str],
) -> Any:
    if recipe is None:
        raise ConfigError("--only needs --recipe: a stage takes its settings from it")
    from copg.run.recipe import load_recipe
    from copg_pipelines.cli.running import run_stage_there
    from copg_pipelines.dags.single import choose_single

    loaded = load_recipe(recipe, sets or [])
    single = choose_single(loaded, only, given, trial, here=False)
    place = run_dir or f"/runs/{loaded.name}"
    return run_stage_there(client, loaded, single, image=image, run_dir=place, **how)


@app.command("lint")
def lint_dag(file: Annotated[Path, typer.Argument(help="A compiled DAG, .yaml.")]) -> None:
    """Read a compiled DAG for what goes wrong on a server, a line each; fails when there is any."""
    from copg_pipelines.dags.lint import lint

    findings = lint(file)
    for finding in findings:
        print(finding)
    if findings:
        raise typer.Exit(1)
    print(f"{file}: nothing found")


app.add_typer(commands.app)
app.add_typer(schedules.app)


def main() -> None:
    """Run ``copg-pipelines``."""
    run_app(app)


if __name__ == "__main__":
    main()
