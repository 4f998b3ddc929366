"""From a recipe to a version on a server."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from copg.errors import ConfigError


def put(
    client: Any,
    dag: str,
    recipe: Path,
    image: str,
    run_dir: str,
    pipeline: str,
    revision: str,
    sets: list[str] | None,
) -> tuple[Any, bool]:
    """The version that holds a recipe's DAG, and whether it was made just now."""
    from copg_pipelines.server.versions import ensure_version

    with compiled(dag, recipe, image, run_dir, revision, sets) as file:
        return ensure_version(client, pipeline or dag, file)


def chosen(client: Any, dag: str, recipe: Path | None, version: str, *how: Any) -> Any:
    """A version: the one that is named, else the one that holds the recipe's DAG.

    Args:
        how: image, run_dir, pipeline, revision and sets, as of ``put``.
    """
    from copg_pipelines.server.versions import get_pipeline, get_version

    if (recipe is None) == (not version):
        raise ConfigError("give either --recipe or --version")
    if recipe is None:
        pipeline = how[2] or dag
        return get_version(client, get_pipeline(client, pipeline).pipeline_id, version)
    return put(client, dag, recipe, *how)[0]


@contextlib.contextmanager
def compiled(
    dag: str, recipe: Path, image: str, run_dir: str, revision: str, sets: list[str] | None
) -> Iterator[Any]:
    """A recipe's DAG in a file of its own, checked for what goes wrong on servers."""
    from copg.run.recipe import load_recipe
    from copg_pipelines.dags.compiling import compile_dag
    from copg_pipelines.dags.lint import lint
    from copg_pipelines.server import versions

    loaded = load_recipe(recipe, sets or [])
    with tempfile.TemporaryDirectory(prefix="copg-dag-") as folder:
        path = Path(folder) / f"{dag}.yaml"
        compile_dag(dag, loaded, path, run_dir=run_dir or f"/runs/{loaded.name}", image=image)
        for finding in lint(path):
            print(f"warning: {finding}", file=sys.stderr)
        yield versions.Dag(path, loaded.name, revision or versions.source_revision())
