"""The command ``copg store``: look after stored log-probabilities, rewards and completions."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from copg.errors import StoreError

if TYPE_CHECKING:
    from copg.stores.values import ValueStore

store_app = typer.Typer(
    name="store",
    help="Look after a store of log-probabilities, rewards or completions: a folder or URL.",
    no_args_is_help=True,
)
Store = Annotated[str, typer.Argument(help="Folder or URL of the store, such as runs/NAME/store.")]


@store_app.command("stats")
def stats(store: Store) -> None:
    """Print what a store holds: of each reference and precision, or reward, its rows, shards and bytes."""
    print(json.dumps([part.stats() for part in _parts(store)], indent=2))


@store_app.command("verify")
def verify(
    store: Store,
    tolerance: Annotated[
        float, typer.Option(help="Nats a token by which two writers of a reference store may differ.")
    ] = 0.02,
) -> None:
    """Read every value; exit with an error where one is not finite or contradicts another of its key."""
    from copg.stores.reference_store import REFERENCES

    for part in _parts(store):
        counts = part.verify(tolerance if part.kind is REFERENCES else None)
        print(json.dumps({"folder": part.path, **counts}))
        if counts["not_finite"] or counts["contradictions"]:
            raise StoreError(
                f"{part.path}: {counts['not_finite']} values are not finite and {counts['contradictions']} "
                "contradict another of the same key; remove that folder and they are computed again"
            )


@store_app.command("compact")
def compact(store: Store) -> None:
    """Rewrite the shards of each reference and precision, or reward, as one, with one value a key."""
    for part in _parts(store):
        print(json.dumps({"folder": part.path, **part.compact()}))


def _parts(store: str) -> "list[ValueStore]":
    """What a store consists of.

    Raises:
        StoreError: it is none.
    """
    from copg.config import check_address
    from copg.run.spelling import check_spelling
    from copg.stores.completion_store import COMPLETIONS
    from copg.stores.reference_store import REFERENCES
    from copg.stores.reward_store import REWARDS
    from copg.stores.values import find_stores

    check_address(store, "the store")
    check_spelling(store, "the store")
    kinds = (REWARDS, REFERENCES, COMPLETIONS)
    found = [part for kind in kinds for part in find_stores(kind, store)]
    if not found:
        raise StoreError(f"{store}: holds neither reference log-probabilities nor rewards nor completions")
    return found
