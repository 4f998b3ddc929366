"""The commands that read and write files alone: ``compile``, ``lint`` and ``resources``."""

from pathlib import Path
from typing import Annotated

import typer

from copg_pipelines.cli.options import Output, targeted
from copg_pipelines.target import Target


@targeted("recipe", "sets", "run_dir", "image", needs_recipe=True)
def compile_dag(target: Target, output: Output) -> None:
    """Compile a DAG with a recipe as its defaults; paths are taken as they stand in the recipe."""
    from copg_pipelines.dags.compiling import compile_dag as compile_to

    recipe = target.load()
    compile_to(target.dag, recipe, output, run_dir=target.runs_there(recipe), image=target.image)
    print(output)


def lint_dag(file: Annotated[Path, typer.Argument(help="A compiled DAG, .yaml.")]) -> None:
    """Read a compiled DAG for what goes wrong on a server, a line each; fails when there is any."""
    from copg_pipelines.dags.compiled import read_compiled
    from copg_pipelines.dags.idle import PATCHED_REQUEUE_S, UPSTREAM_REQUEUE_S, idle_seconds
    from copg_pipelines.dags.lint import lint
    from copg_pipelines.dags.weight import LIMIT, weigh

    findings = lint(file)
    for finding in findings:
        print(finding)
    if findings:
        raise typer.Exit(1)
    compiled = read_compiled(file)
    weight = weigh(*compiled)
    patched, plain = (idle_seconds(compiled[0], each) for each in (PATCHED_REQUEUE_S, UPSTREAM_REQUEUE_S))
    idle = f"about {patched:.0f} s of a run no pod works, {plain:.0f} without the controller's patch"
    told = [f"weighs {weight.num_bytes:,} of {LIMIT:,} bytes", weight.room, weight.condition, idle]
    print(f"{file}: nothing found; {'; '.join(filter(None, told))}")


def resources(
    compiled: Annotated[Path, typer.Argument(help="A compiled DAG, .yaml.")],
    output: Output,
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="KFP's own, or yours.")] = "kubeflow",
    pipeline: Annotated[str, typer.Option(help="Name of the pipeline; default: the DAG's.")] = "",
    revision: Annotated[str, typer.Option(help="Of the source; default: the repository's.")] = "",
) -> None:
    """Write a compiled DAG as Pipeline and PipelineVersion, to be applied or kept in Git."""
    from copg_pipelines.server.resources import write_resources

    print(write_resources(compiled, output, namespace=namespace, pipeline=pipeline, revision=revision))
