"""The command ``copg store``: look after stored reference log-probabilities."""

import json
from typing import Annotated

import typer

from copg.errors import StoreError

store_app = typer.Typer(
    name="store", help="Look after a reference store: a folder or URL.", no_args_is_help=True
)
Store = Annotated[str, typer.Argument(help="Folder or URL of the store, such as runs/reference_store.")]


@store_app.command("stats")
def stats(store: Store) -> None:
    """Print what a store holds: of each reference and precision, completions, shards and bytes."""
    from copg.reference_store import open_all

    print(json.dumps([part.stats() for part in open_all(store)], indent=2))


@store_app.command("verify")
def verify(
    store: Store,
    tolerance: Annotated[float, typer.Option(help="Nats a token by which two writers may differ.")] = 0.02,
) -> None:
    """Read every value; exit with an error where one is not finite or contradicts another of its key."""
    from copg.reference_store import open_all

    for part in open_all(store):
        counts = part.verify(tolerance)
        print(json.dumps({"folder": part.path, **counts}))
        if counts["not_finite"] or counts["contradictions"]:
            raise StoreError(
                f"{part.path}: {counts['not_finite']} values are not finite and {counts['contradictions']} "
                "contradict another of the same key; remove that folder and they are computed again"
            )


@store_app.command("compact")
def compact(store: Store) -> None:
    """Rewrite the shards of each reference and precision as one, with one value a completion."""
    from copg.reference_store import open_all

    for part in open_all(store):
        print(json.dumps({"folder": part.path, **part.compact()}))
