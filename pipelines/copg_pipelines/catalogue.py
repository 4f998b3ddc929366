"""The components for DAGs of other people, in the form of kubeflow/pipelines-components.

``components/CATEGORY/copg_STAGE/`` with ``component.yaml``, which kfp's ``load_component_from_file`` reads,
``metadata.yaml`` with the fields that repository asks for, in its order, and a ``README.md`` of inputs,
outputs and every setting. Its OWNERS name members of Kubeflow: whoever hands a component in adds them.
"""

import argparse
import ast
import inspect
from collections.abc import Iterator
from dataclasses import MISSING, fields
from datetime import UTC, datetime
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler, dsl

from copg.run.recipe import config_class
from copg.stages.table import EVERY, TABLE

CATEGORIES = {
    "validate": "data_processing",
    "reward": "training",
    "sample": "data_processing",
    "score": "evaluation",
    "reference": "data_processing",
    "train": "training",
    "evaluate": "evaluation",
    "report": "evaluation",
    "promote": "deployment",
}
TAGS = ("alignment", "language_models", "offline_reinforcement_learning")
BY_HAND = """Outside of a DAG of `copg`, `plan` is `{"config": {...}}` with the settings below, and such
a task always works. `run_dir` is a folder on a volume that every task mounts."""


def write_catalogue(output: Path, image: str, verified: datetime) -> list[Path]:
    """A folder for each stage.

    Args:
        output: where ``components/`` goes.
        image: of the tasks, with its digest.
        verified: when somebody last saw the components work.
    """
    written = []
    for stage in EVERY:
        folder = output / "components" / CATEGORIES[stage] / f"copg_{stage}"
        folder.mkdir(parents=True, exist_ok=True)
        component = getattr(import_module(f"copg_components.{stage}"), stage)
        path = folder / "component.yaml"
        compiler.Compiler().compile(_alone(component, stage, image), str(path))
        (folder / "metadata.yaml").write_text(_metadata(stage, verified))
        (folder / "README.md").write_text(_readme(component, stage))
        written.append(path)
    return written


def _alone(component: Any, stage: str, image: str) -> Any:
    """The component under the name of the catalogue, in an image that can be pulled."""
    made = dsl.component(base_image=image, install_kfp_package=False)(component.python_func)
    container, its = (each.component_spec.implementation.container for each in (made, component))
    container.command, container.args = its.command, its.args
    made.component_spec.name = f"copg-{stage}"
    return made


def _metadata(stage: str, verified: datetime) -> str:
    said = {
        "name": f"copg_{stage}",
        "stability": "beta",
        "dependencies": {"kubeflow": [{"name": "Pipelines", "version": ">=2.17.0"}]},
        "tags": [*TAGS, CATEGORIES[stage]],
        "lastVerified": verified.astimezone(UTC).replace(microsecond=0),
    }
    text = yaml.safe_dump(said, sort_keys=False, explicit_start=True)
    return text.replace(str(said["lastVerified"]), f"{verified.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}")


def _readme(component: Any, stage: str) -> str:
    spec = component.component_spec
    title = next(row.title for row in TABLE if row.stage == stage)
    parts = [f"# copg_{stage}: {title[0].lower()}{title[1:]}", spec.description, BY_HAND]
    for kind, ports in (("Inputs", spec.inputs), ("Outputs", spec.outputs)):
        rows = [(f"`{name}`", each.type.partition("@")[0], each.description) for name, each in ports.items()]
        parts += [f"## {kind}", _table(("Name", "Type", "What it is"), rows)]
    parts += ["## Settings", _table(("Name", "Default", "What it is"), _settings(config_class(stage)))]
    return "\n\n".join(parts) + "\n"


def _settings(config: Any) -> Iterator[tuple[str, str, str]]:
    """Name, default and documentation of each field, as they stand in the source."""
    told = _documented(config)
    for each in fields(config):
        required = each.default is MISSING and each.default_factory is MISSING
        default = "required" if required else f"`{_plain(each)}`"
        yield f"`{each.name}`", default, told.get(each.name, "")


def _plain(field: Any) -> Any:
    if field.default is not MISSING:
        return field.default
    made = field.default_factory()
    return made if isinstance(made, list | dict) else f"{type(made).__name__}()"


def _documented(config: Any) -> dict[str, str]:
    """The text under each field of a class."""
    body = ast.parse(inspect.getsource(config)).body[0].body  # type: ignore[attr-defined]
    return {
        field.target.id: " ".join(str(text.value.value).split())
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }


def _table(head: tuple[str, ...], rows: Any) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines)


def main() -> None:
    """``python -m copg_pipelines.catalogue OUTPUT --image IMAGE``."""
    parser = argparse.ArgumentParser(description=write_catalogue.__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--image", required=True, help="Of the tasks, with its digest.")
    given = parser.parse_args()
    for path in write_catalogue(given.output, given.image, datetime.now(UTC)):
        print(path)


if __name__ == "__main__":
    main()
