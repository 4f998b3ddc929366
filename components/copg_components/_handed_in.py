"""Artifacts by their addresses, for a stage that runs alone: no DAG collects what did not run in it.

An importer in a loop would hand them in, but no server can collect what importers leave.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from copg.run.sources import fetch


@dataclass(frozen=True)
class HandedIn:
    """What of an artifact a stage uses."""

    uri: str
    path: str


@contextmanager
def handed_in(
    collected: Mapping[str, list[Any] | None], addresses: Mapping[str, list[str]]
) -> Iterator[dict[str, list[Any]]]:
    """The artifacts of each input: what a loop left, and what is fetched from the addresses.

    Args:
        collected: by input, what a loop of the DAG left; None where it has none.
        addresses: by input; copies of what is not on this machine last as long as the block.

    Raises:
        ModelError: an address cannot be read.
    """
    with tempfile.TemporaryDirectory() as away:
        fetched = {
            name: [
                HandedIn(uri, str(fetch(uri, Path(away) / name / str(number))))
                for number, uri in enumerate(uris)
            ]
            for name, uris in addresses.items()
        }
        yield {name: [*(loop or []), *fetched.get(name, [])] for name, loop in collected.items()}


@contextmanager
def at_hand(model: str) -> Iterator[str]:
    """A model as one on this machine: a champion in an object store is fetched for as long as the block.

    Raises:
        ModelError: its address cannot be read.
    """
    with tempfile.TemporaryDirectory() as away:
        yield str(fetch(model, Path(away))) if "://" in model else model
