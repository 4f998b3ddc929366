"""Options of the commands of pipelines; those that belong together reach a command as one value."""

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from copg.cli.command import Refusal, with_options
from copg.cli.options import OptionalRecipe, RecipeFile, RunDir, Sets
from copg.errors import ConfigError
from copg_pipelines.dags import DAGS
from copg_pipelines.target import Target

TOKEN, COOKIE = "KF_PIPELINES_TOKEN", "KF_PIPELINES_COOKIE"
"""Environment variables: a secret on a command line is seen by every user of the machine."""
IN_A_POD = "KUBERNETES_SERVICE_HOST"
SERVER, WAITING, CONNECTING = "On a server", "Waiting for the end", "Connection to a server"


class Place(StrEnum):
    """Where a DAG can run."""

    LOCAL = "local"
    CLUSTER = "cluster"


@dataclass(frozen=True, kw_only=True)
class Wait:
    """How a command waits for a run on a server."""

    timeout: float
    """Minutes; 0: for ever."""
    poll: float
    """Seconds between two looks."""
    no_wait: bool = False
    webhook: str = ""

    def wait(self, client: Any, run_id: str) -> None:
        """Follow a run to its end, if that is wanted; see ``wait_for``."""
        from copg_pipelines.server.following import wait_for

        if not self.no_wait:
            wait_for(client, run_id, timeout_min=self.timeout, poll_s=self.poll, webhook=self.webhook)


def _known(name: str) -> str:
    if name not in DAGS:
        raise ConfigError(f"dag={name!r} is unknown; use one of {list(DAGS)}")
    return name


def option(text: str, *spellings: str, panel: str, **more: Any) -> Any:
    """An option that stands under a panel of the help."""
    return typer.Option(*spellings, help=text, rich_help_panel=panel, **more)


def _entry(kind: Any, default: Any, text: str, *spellings: str, panel: str, env: str = "") -> tuple[Any, Any]:
    """Annotation and default of an option."""
    more = {"envvar": env, "show_envvar": True} if env else {}
    return Annotated[kind, option(text, *spellings, panel=panel, **more)], default


_there = functools.partial(_entry, str, "", panel=SERVER)
_wait = functools.partial(_entry, panel=WAITING)
_connection = functools.partial(_entry, panel=CONNECTING)

Output = Annotated[Path, typer.Option("--output", "-o", help="Where it goes, .yaml.")]
TARGET: dict[str, tuple[Any, Any]] = {
    "dag": (Annotated[str, typer.Argument(help=f"Which DAG: {', '.join(DAGS)}.", callback=_known)], ...),
    "recipe": (OptionalRecipe, None),
    "sets": (Sets, None),
    "run_dir": (RunDir, ""),
    "version": _there("A version that is there, instead of --recipe."),
    "image": _there("Image of the tasks, with its digest; else the placement's."),
    "pipeline": _there("Name of the pipeline on the server; default: the DAG's."),
    "revision": _there("Revision of the source, where it is not a git repository: the image's label."),
    "service_account": _there("Service account of the tasks, such as copg-runner."),
    "pipeline_root": _there("Where artifacts go, such as s3://bucket/copg; else the server's."),
}
"""Options of a target, in the order of its help."""
ON_SERVER = tuple(TARGET)[4:]
"""Those that a run on this machine has no use for."""
WAIT = {
    "timeout": _wait(float, 0.0, "Minutes to wait for the end; 0: for ever."),
    "poll": _wait(float, 5.0, "Seconds between two looks at the run."),
    "no_wait": _wait(bool, False, "Start it and leave.", "--no-wait"),
    "webhook": _wait(
        str,
        "",
        "Address that is told, by a POST of JSON, of a run that failed (on a cluster: or was cancelled) or, "
        "here, promoted nothing; on a cluster the run's exit handler tells of that.",
        env="COPG_WEBHOOK_URL",
    ),
}
CONNECTION = {
    "host": _connection(
        str,
        "",
        "Address of the KFP API, such as http://localhost:8888; in a pod: the cluster's own.",
        env="KF_PIPELINES_ENDPOINT",
    ),
    "namespace": _connection(str, "", "Yours, on a server with many users.", "--namespace", "-n"),
    "token_file": _connection(
        Path | None,
        None,
        f"File with the token; else ${TOKEN}, else the pod's. For a login page: ${COOKIE}.",
        env="KF_PIPELINES_SA_TOKEN_PATH",
    ),
    "ca_cert": _connection(Path | None, None, "Certificates to trust, PEM; else the public ones."),
    "ui": _connection(str, "", "Address of the pages for people; else --host."),
    "request_timeout": _connection(float, 30.0, "Seconds that one request may take."),
    "patience": _connection(float, 60.0, "Seconds for which a request that fails is repeated."),
}
HERE = "with --on local, where the tasks are processes of this machine"
NO_VERSION = Refusal(
    ("sets", "run_dir", "image", "revision"),
    lambda given: given["version"],
    "with --version, whose DAG is made already",
)
UNWATCHED = Refusal(
    ("timeout", "poll", "webhook"), lambda given: given["no_wait"], "with --no-wait, which does not wait"
)


def bundled(
    name: str, options: Mapping[str, tuple[Any, Any]], make: Callable[..., Any]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command options that reach it as one value.

    Args:
        name: of the command's parameter, in whose place the options stand.
        options: annotation and default of each; ``...`` for one that is required.
        make: called with the options; gives the value.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def run(**given: Any) -> Any:
            value = make(**{each: given.pop(each) for each in options})
            return command(**given, **{name: value})

        hints = get_type_hints(command, include_extras=True)
        shown: dict[str, tuple[Any, Any]] = {}
        for each in inspect.signature(command).parameters.values():
            default = ... if each.default is each.empty else each.default
            shown |= options if each.name == name else {each.name: (hints[each.name], default)}
        del run.__wrapped__  # else typer would read the command's own
        return with_options(run, shown)

    return decorate


def targeted(*names: str, needs_recipe: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command a DAG and those options of a target; it gets ``target``."""
    options = {name: each for name, each in TARGET.items() if name in ("dag", *names)}
    if needs_recipe:
        options["recipe"] = (RecipeFile, ...)
    return bundled("target", options, _target)


def waiting(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command those options of waiting; it gets ``wait``."""
    return bundled("wait", {name: WAIT[name] for name in names}, Wait)


def connected(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a connection; it gets ``connect``, which returns a ``Client``."""
    return bundled("connect", CONNECTION, lambda **options: lambda: _connect(**options))(command)


def _target(*, sets: list[str] | None = None, **options: Any) -> Target:
    return Target(sets=tuple(sets or ()), **options)


def _connect(
    *,
    host: str,
    namespace: str,
    token_file: Path | None,
    ca_cert: Path | None,
    ui: str,
    request_timeout: float,
    patience: float,
) -> Any:
    from copg_pipelines.server.client import Client
    from copg_pipelines.server.connection import IN_CLUSTER, ClientError, Connection

    if not host and IN_A_POD not in os.environ:
        raise ClientError("host is missing: name the KFP API with --host or KF_PIPELINES_ENDPOINT")
    return Client(
        Connection(
            host=host or IN_CLUSTER,
            namespace=namespace,
            token_file=token_file,
            token=os.environ.get(TOKEN, ""),
            cookie=os.environ.get(COOKIE, ""),
            ca_cert=ca_cert,
            ui=ui,
            timeout_s=request_timeout,
            patience_s=patience,
        )
    )
