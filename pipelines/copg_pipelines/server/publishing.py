"""From a target to a version on a server."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from copg.errors import ConfigError
from copg_pipelines.target import Target


def put(client: Any, target: Target) -> tuple[Any, bool]:
    """The version that holds a recipe's DAG, and whether it was made just now."""
    from copg_pipelines.server.versions import ensure_version

    with compiled(target) as file:
        return ensure_version(client, target.pipeline_name, file)


def chosen(client: Any, target: Target) -> Any:
    """A version: the one that is named, else the one that holds the recipe's DAG.

    Raises:
        ConfigError: neither is named, or both.
    """
    from copg_pipelines.server.versions import get_pipeline, get_version

    if (target.recipe is None) == (not target.version):
        raise ConfigError("give either --recipe or --version")
    if target.version:
        pipeline = get_pipeline(client, target.pipeline_name)
        return get_version(client, pipeline.pipeline_id, target.version)
    return put(client, target)[0]


@contextlib.contextmanager
def compiled(target: Target) -> Iterator[Any]:
    """A recipe's DAG in a file of its own, checked for what goes wrong on servers."""
    from copg_pipelines.dags.compiling import compile_dag
    from copg_pipelines.dags.lint import lint
    from copg_pipelines.server import versions

    recipe = target.load()
    with tempfile.TemporaryDirectory(prefix="copg-dag-") as folder:
        path = Path(folder) / f"{target.dag}.yaml"
        compile_dag(target.dag, recipe, path, run_dir=target.runs_there(recipe), image=target.image)
        for finding in lint(path):
            print(f"warning: {finding}", file=sys.stderr)
        yield versions.Dag(path, recipe.name, target.revision or versions.source_revision())
