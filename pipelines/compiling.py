"""Recipe in, compiled DAG out."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from components import IMAGE
from copg.recipe import Recipe


def arguments(recipe: Recipe, run_dir: str, *, tasks_at_once: int = 0) -> dict[str, Any]:
    """The parameters of ``align`` for a recipe.

    Args:
        recipe: what to align.
        run_dir: stable directory of the runs, as the tasks see it.
        tasks_at_once: trials that share one machine; 0 when each task has its own.
    """
    values = asdict(recipe)
    return {
        "name": recipe.name,
        "records": recipe.records,
        "model": recipe.model,
        "revision": recipe.revision or "",
        "rewards": values["rewards"],
        "trials": values["trials"],
        "settings": values["stages"],
        "tracking": recipe.tracking,
        "run_dir": run_dir,
        "tasks_at_once": tasks_at_once,
    }


def compile_align(recipe: Recipe, output: Path, *, run_dir: str, image: str = IMAGE) -> None:
    """Write the DAG as a file that ``kfp pipeline create`` takes, with the recipe as its defaults.

    Args:
        recipe: what to align; its paths are those of the place where the tasks run.
        output: ``.yaml`` file.
        run_dir: stable directory of the runs, as the tasks see it.
        image: of every task, best with its digest.
    """
    from kfp import compiler

    from pipelines.align import build_align

    pipeline = build_align(lambda task: task.set_container_image(image))
    output.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(pipeline, str(output), pipeline_parameters=arguments(recipe, run_dir))
