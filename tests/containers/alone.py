"""One component as a DAG of its own, on artifacts that exist."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kfp import dsl

CLASSES = {each.schema_title: each for each in (dsl.Artifact, dsl.Dataset, dsl.Model)}


def build_alone(
    component: Any,
    place: Callable[[Any], Any],
    parameters: Mapping[str, Any],
    artifacts: Mapping[str, str | Sequence[str]],
) -> Any:
    """A DAG of one component.

    Args:
        component: one of ``copg_components``.
        place: called with its task.
        parameters: its parameters.
        artifacts: address of each artifact it takes; several for an input that takes a list.
    """
    inputs = component.component_spec.inputs
    many = {name: list(uri) for name, uri in artifacts.items() if not isinstance(uri, str)}

    @dsl.pipeline(name="alone")
    def alone() -> None:
        given: dict[str, Any] = {"addresses": many} if many else {}
        for name, uri in artifacts.items():
            if isinstance(uri, str):
                kind = CLASSES[inputs[name].type.partition("@")[0]]
                given[name] = dsl.importer(artifact_uri=uri, artifact_class=kind).output
        place(component(**parameters, **given))

    return alone
