"""Options that several commands share, and the connection that those for a server are given."""

import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

TOKEN, COOKIE = "KF_PIPELINES_TOKEN", "KF_PIPELINES_COOKIE"
"""Environment variables: a secret on a command line is seen by every user of the machine."""
IN_A_POD = "KUBERNETES_SERVICE_HOST"

RecipeFile = Annotated[Path, typer.Option("--recipe", "-r", help="Recipe in YAML.")]
OptionalRecipe = Annotated[Path | None, typer.Option("--recipe", "-r", help="Recipe in YAML.")]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="key=value laid over the recipe, dots for depth: train.epochs=2. May be repeated."
    ),
]
Image = Annotated[str, typer.Option(help="Image of the tasks, with its digest; else the placement's.")]
RunDir = Annotated[
    str, typer.Option(help="Stable directory of the runs, as the tasks see it; default /runs/NAME.")
]
Pipeline = Annotated[str, typer.Option(help="Name of the pipeline on the server; default: the DAG's.")]
Revision = Annotated[
    str, typer.Option(help="Revision of the source, where it is not a git repository: the image's label.")
]
Version = Annotated[
    str, typer.Option("--version", help="A version that is on the server, instead of --recipe.")
]
Account = Annotated[str, typer.Option(help="Service account of the tasks, such as copg-runner.")]
Root = Annotated[str, typer.Option(help="Where artifacts go, such as s3://bucket/copg; else the server's.")]
Timeout = Annotated[float, typer.Option(help="Minutes to wait for the end; 0: for ever.")]
Poll = Annotated[float, typer.Option(help="Seconds between two looks at the run.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Start it and leave.")]
Webhook = Annotated[
    str,
    typer.Option(
        envvar="COPG_WEBHOOK_URL",
        show_envvar=True,
        help="Address that is told, by a POST of JSON, of a run that failed (on a cluster: or was cancelled) "
        "or, here, promoted nothing; on a cluster the run's exit handler tells of that.",
    ),
]

HOST = Annotated[
    str,
    typer.Option(
        "--host",
        envvar="KF_PIPELINES_ENDPOINT",
        show_envvar=True,
        help="Address of the KFP API, such as http://localhost:8888; in a pod: the cluster's own.",
    ),
]
CONNECTION: dict[str, tuple[Any, Any]] = {
    "host": (HOST, ""),
    "namespace": (
        Annotated[str, typer.Option("--namespace", "-n", help="Yours, on a server with many users.")],
        "",
    ),
    "token_file": (
        Annotated[
            Path | None,
            typer.Option(
                envvar="KF_PIPELINES_SA_TOKEN_PATH",
                show_envvar=True,
                help=f"File with the token; else ${TOKEN}, else the pod's. For a login page: ${COOKIE}.",
            ),
        ],
        None,
    ),
    "ca_cert": (
        Annotated[Path | None, typer.Option(help="Certificates to trust, PEM; else the public ones.")],
        None,
    ),
    "ui": (Annotated[str, typer.Option(help="Address of the pages for people; else --host.")], ""),
    "request_timeout": (Annotated[float, typer.Option(help="Seconds that one request may take.")], 30.0),
    "patience": (
        Annotated[float, typer.Option(help="Seconds for which a request that fails is repeated.")],
        60.0,
    ),
}


def connected(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a connection; it gets ``connect``, which returns a ``Client``."""

    @functools.wraps(command)
    def run(**options: Any) -> Any:
        connection = {name: options.pop(name) for name in CONNECTION}
        return command(**options, connect=lambda: _connect(**connection))

    hints = get_type_hints(command, include_extras=True)
    kept = {n: p for n, p in inspect.signature(command).parameters.items() if n != "connect"}
    parameters = [p.replace(annotation=hints[n]) for n, p in kept.items()]
    for name, (hint, default) in CONNECTION.items():
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(name, kind, default=default, annotation=hint))
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    del run.__wrapped__  # else typer would read the command's own
    return run


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
