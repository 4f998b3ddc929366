"""Options of the commands of pipelines; those that belong together reach a command as one value."""

import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from copg.cli.command import Refusal, with_options
from copg.cli.options import RecipeFile, option
from copg.errors import ConfigError
from copg_pipelines.cli.at_hand import KubeContext
from copg_pipelines.dags import DAGS
from copg_pipelines.target import Target, check_number

TOKEN, COOKIE = "KF_PIPELINES_TOKEN", "KF_PIPELINES_COOKIE"
"""Environment variables: a secret on a command line is seen by every user of the machine."""
IN_A_POD = "KUBERNETES_SERVICE_HOST"


class Place(StrEnum):
    """Where a DAG can run."""

    LOCAL = "local"
    CLUSTER = "cluster"


_wait = functools.partial(option, panel="Waiting for the end")


@dataclass(frozen=True, kw_only=True)
class Wait:
    """How a command waits for a run on a server."""

    timeout: Annotated[float, _wait("Minutes to wait for the end; 0: for ever.")] = 0.0
    poll: Annotated[float, _wait("Seconds between two looks at the run.")] = 5.0
    no_wait: Annotated[bool, _wait("Start it and leave.", "--no-wait")] = False
    webhook: Annotated[
        str,
        _wait(
            "Address that is told, by a POST of JSON, of a run that failed (on a cluster: or was cancelled) "
            "or, here, promoted nothing; on a cluster the run's exit handler tells of that.",
            env="COPG_WEBHOOK_URL",
        ),
    ] = ""

    def __post_init__(self) -> None:
        check_number("--timeout", self.timeout, "minutes")
        check_number("--poll", self.poll, "s", above=0.0)
        if self.webhook and not self.webhook.startswith(("http://", "https://")):
            raise ConfigError("the address of the webhook must start with http:// or https://")

    def wait(self, client: Any, run_id: str, dag: str = next(iter(DAGS)), context: str = "") -> None:
        """Follow a run to its end, if that is wanted; see ``wait_for``."""
        from copg_pipelines.server.following import wait_for

        if not self.no_wait:
            here = at_hand(client, context)
            wait_for(client, run_id, dag, self.timeout, self.poll, self.webhook, here)


def _id(run: str) -> str:
    if not run.strip():
        raise ConfigError(f"RUN={run!r}: name a run by its id, as copg status prints it")
    return run


RunId = Annotated[str, typer.Argument(help="Id of the run.", callback=_id)]


def at_hand(client: Any, context: str = "") -> KubeContext:
    """The cluster under a server.

    Raises:
        ClientError: a context is named and no namespace, of which the server has many: another than that of
            the runs knows none of their workflows, which would be taken for deleted.
    """
    namespace = client.namespace if context else client.connection.namespace
    return KubeContext(namespace or "kubeflow", context)


def _connection(kind: Any, default: Any, text: str, *spellings: str, env: str = "") -> tuple[Any, Any]:
    """Annotation and default of an option."""
    return Annotated[kind, option(text, *spellings, panel="Connection to a server", env=env)], default


Output = Annotated[Path, typer.Option("--output", "-o", help="Where it goes, .yaml.")]
ON_SERVER = tuple(each.name for each in fields(Target))[4:]
"""Options of a target that a run on this machine has no use for."""
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


def _options(cls: Any, names: Sequence[str]) -> dict[str, tuple[Any, Any]]:
    """Annotation and default of those fields of a dataclass."""
    hints = get_type_hints(cls, include_extras=True)
    chosen = [each for each in fields(cls) if each.name in names]
    return {f.name: (hints[f.name], ... if f.default is MISSING else f.default) for f in chosen}


def targeted(*names: str, needs_recipe: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command a DAG and those options of a target; it gets ``target``."""
    options = _options(Target, ("dag", *names))
    if needs_recipe:
        options["recipe"] = (RecipeFile, ...)
    return bundled("target", options, Target)


def waiting(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command those options of waiting; it gets ``wait``."""
    return bundled("wait", _options(Wait, names), Wait)


def connected(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a connection; it gets ``connect``, which returns a ``Client``."""
    return bundled("connect", CONNECTION, lambda **options: lambda: _connect(**options))(command)


def _connect(*, host: str, request_timeout: float, patience: float, **options: Any) -> Any:
    from copg_pipelines.server.client import Client
    from copg_pipelines.server.connection import IN_CLUSTER, ClientError, Connection

    if not host and IN_A_POD not in os.environ:
        raise ClientError("host is missing: name the KFP API with --host or KF_PIPELINES_ENDPOINT")
    return Client(
        Connection(
            host=host or IN_CLUSTER,
            token=os.environ.get(TOKEN, ""),
            cookie=os.environ.get(COOKIE, ""),
            timeout_s=request_timeout,
            patience_s=patience,
            **options,
        )
    )
