"""What makes a function a component: the image runs it by its name, so that no DAG carries its source."""

from collections.abc import Callable
from typing import Any

from kfp import dsl

from copg_components import IMAGE

COMMAND = ("python3", "-m", "copg_components")


def component(function: Callable[..., Any]) -> Any:
    """Make a component whose task runs ``python3 -m copg_components NAME``.

    KFP's own would carry the function's text: 3 kB, in eight nodes of a server's workflow each time. In a
    task, where kfp has no compiler, the function stays one.
    """
    if not hasattr(dsl, "component"):
        return function
    made = dsl.component(base_image=IMAGE, install_kfp_package=False)(function)
    container = made.component_spec.implementation.container
    container.command, container.args = [*COMMAND, function.__name__], ["{{$}}"]
    return made
