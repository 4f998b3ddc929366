"""The command ``copg runs``: every run of some roots, on the terminal and as a page."""

from pathlib import Path
from typing import Annotated

import typer

from copg.cli.command import Command

app = typer.Typer()
PAGE = "runs.html"


@app.command("runs", cls=Command)
def show_runs(
    roots: Annotated[
        list[Path],
        typer.Argument(help="Directories of runs, or folders of them.", exists=True, file_okay=False),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help=f"Where the page goes; default: {PAGE} in ROOT, or here for several."
        ),
    ] = None,
) -> None:
    """Compare runs: a page, which needs no network, of reward, KL, J, champions and cost as time went on.

    copg runs runs/demo

    copg runs runs -o all.html
    """
    from copg.artifacts import replacing
    from copg.errors import ConfigError
    from copg.report.history.page import render_runs
    from copg.run.history import read_runs

    page = output or (roots[0] / PAGE if len(roots) == 1 else Path(PAGE))
    if page.is_dir() or not page.parent.is_dir():
        where = "is a folder" if page.is_dir() else f"there is no folder {page.parent}"
        raise ConfigError(f"--output={page}: {where}; name a file in a folder that is there")
    runs = read_runs(roots)
    with replacing(page) as part:
        part.write_text(render_runs(runs), encoding="utf-8")
    print(f"{'began, UTC':<18}{'name':<16}{'best trial':<20}{'reward':>8}{'KL, nats':>10}  outcome")
    for run in runs:
        reward, kl = (f"{each.mean:.3f}" if each else "-" for each in (run.reward, run.kl))
        outcome = (
            f"failed: {run.failed}"
            if run.failed
            else f"promoted, version {run.version}"
            if run.promoted
            else "not promoted"
        )
        print(f"{run.when:<18}{run.name:<16}{run.best or '-':<20}{reward:>8}{kl:>10}  {outcome}")
    print(f"page: {page}")
