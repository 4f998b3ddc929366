"""Recipe in, compiled DAG out."""

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from copg_components import IMAGE

from copg.errors import ConfigError
from copg.run.check import check_recipe
from copg.run.form import unfolded
from copg.run.recipe import Recipe
from copg.run.task_names import subject_name
from copg_pipelines.dags import Shape, build_dag

DEFAULT_IN_COMMENT = re.compile(r"^(#.*?) \[Default: .*\]$", re.MULTILINE)


def arguments(recipe: Recipe, run_dir: str, *, tasks_at_once: int = 0) -> dict[str, Any]:
    """The parameters of a DAG for a recipe.

    Args:
        recipe: what to align.
        run_dir: stable directory of the runs, as the tasks see it.
        tasks_at_once: trials that share one machine; 0 when each task has its own.
    """
    return {**unfolded(recipe, tasks_at_once=tasks_at_once), "run_dir": run_dir}


def takes(
    parameters: Iterable[inspect.Parameter], doc: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a DAG's function, which takes a dictionary, these parameters, and the text that explains them."""
    signature = inspect.Signature(sorted(parameters, key=lambda each: each.default is not each.empty))

    def decorate(build: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(build)
        def stages(*channels: Any) -> None:
            build(dict(zip(signature.parameters, channels, strict=True)))

        stages.__signature__, stages.__doc__ = signature, doc  # type: ignore[attr-defined]
        return stages

    return decorate


def taken(pipeline: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Those of ``values`` that a pipeline has a parameter for."""
    return {name: value for name, value in values.items() if name in pipeline.component_spec.inputs}


def compile_dag(dag: str, recipe: Recipe, output: Path, *, run_dir: str, image: str = "") -> None:
    """Write a DAG as a file that ``kfp pipeline create`` takes, with the recipe as its defaults.

    Args:
        dag: its name.
        recipe: what to align, and under ``placement`` on what machines; its paths are those of the pods.
        output: ``.yaml`` file.
        run_dir: stable directory of the runs, as the tasks see it.
        image: of every task, with its digest; empty: the placement's.

    Raises:
        ConfigError: there is no such DAG, recipe or placement is wrong, a path is one that no pod can see, or
            the file cannot be written.
    """
    compile_to(output, functools.partial(build_dag, dag), recipe, run_dir=run_dir, image=image)


def compile_to(
    output: Path, build: Callable[[Shape], Any], recipe: Recipe, *, run_dir: str, image: str
) -> None:
    """Write what ``build`` makes of the shape that a recipe gives; see ``compile_dag``."""
    from copg_pipelines.placement.config import parse_placement
    from copg_pipelines.placement.paths import check_paths, placed

    config = parse_placement(recipe.placement)
    there = placed(recipe, config)
    check_paths(there, config, run_dir)
    check_recipe(there, Path(run_dir))
    _check_pilots(there, config.task("train").nodes)
    from kfp import compiler  # takes longer to load than all that came before

    from copg_pipelines.placement.placement import Placement

    placement = Placement(config, image or config.image.name or IMAGE)
    shape = Shape(
        place=placement.place,
        loops_at_once=config.trials_at_once or None,
        num_shards=config.shards,
        trains_reward=recipe.trains_reward,
        samples=recipe.samples,
        train_job=placement.train_job(),
        pipeline_config=placement.pipeline_config(),
    )
    if output.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"output={str(output)!r}: must end in .yaml")
    pipeline = build(shape)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.touch()
    except OSError as error:
        raise ConfigError(f"output={str(output)!r}: {error.strerror}") from None
    parameters = taken(pipeline, arguments(there, run_dir))
    _lighten(pipeline.pipeline_spec)
    compiler.Compiler().compile(pipeline, str(output), pipeline_parameters=parameters)
    # the compiler's comments show dictionaries in an order that changes from process to process
    output.write_text(DEFAULT_IN_COMMENT.sub(r"\1", output.read_text()))


def _check_pilots(recipe: Recipe, nodes: int) -> None:
    """Refuse to find a beta on several nodes, which the training itself would refuse, in its pods."""
    pilots = [subject_name(each) for each in recipe.trials if isinstance(each.get("beta"), Mapping)]
    if pilots and nodes > 1:
        raise ConfigError(
            f"trial {', '.join(pilots)}: a pilot, which finds beta for a KL, runs in one task, and placement."
            f"stages.train.nodes={nodes} is several: train it on one once, and give the beta that it found"
        )


def _lighten(spec: Any) -> None:
    """Take away what every pod of a server carries and nothing reads.

    Descriptions of the components' ports, which no page shows, and optional inputs that no task is given.
    """
    components = dict(spec.components)
    tasks = [task for each in (spec.root, *components.values()) for task in each.dag.tasks.values()]
    for name, component in components.items():
        if not component.executor_label:
            continue
        for way in (component.input_definitions, component.output_definitions):
            for port in (*way.parameters.values(), *way.artifacts.values()):
                port.ClearField("description")
        inputs = [task.inputs for task in tasks if task.component_ref.name == name]
        for kind in ("parameters", "artifacts"):
            given = {port for each in inputs for port in getattr(each, kind)}
            ports = getattr(component.input_definitions, kind)
            for port in [port for port, each in ports.items() if each.is_optional and port not in given]:
                del ports[port]
