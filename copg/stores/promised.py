"""What was promised by its digest is what is read: compared before, and seen not to have changed after."""

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from copg.errors import CopgError, ModelError
from copg.stores.model_files import (
    ADAPTER,
    MODEL_FILES,
    adapter_base,
    policy_digest,
    text_digest,
    text_files,
)


@contextmanager
def as_promised(
    name: str,
    promised: str,
    *,
    files: Callable[[], Collection[Path]],
    digest: Callable[[], str],
    error: type[CopgError],
) -> Iterator[None]:
    """Around the reading of an input.

    Args:
        name: of the input, for the message.
        promised: digest under which all that is made of it is filed; empty: nothing was promised.
        files: lists what it consists of.
        digest: reads it.
        error: raised where it is another.

    Raises:
        CopgError: of the class given; the input is not, or does not stay, what it was when the run began.
    """
    if not promised:
        yield
        return
    before = state_of_files(files())
    if digest() != promised:
        raise error(
            f"{name}: changed since the run began; run again, and it is taken as it is then (if it says so "
            "again, its bytes changed but not its time: remove digests.json from the directory of the runs)"
        )
    yield
    if state_of_files(files()) != before:
        raise error(f"{name}: changed while it was read; run again when nobody writes it")


def weights_as_promised(model: str, promised: str) -> AbstractContextManager[None]:
    """The same around the loading of a model or a policy; a name of the hub is held by its commit."""
    folder = Path(model)
    local = folder.is_dir() and (not (folder / ADAPTER).is_file() or Path(adapter_base(folder)).is_dir())
    return as_promised(
        model,
        promised if local else "",
        files=lambda: {file for pattern in MODEL_FILES for file in folder.glob(pattern)},
        digest=lambda: policy_digest(model),
        error=ModelError,
    )


def text_as_promised(model: str, promised: str) -> AbstractContextManager[None]:
    """The same around the loading of a tokeniser, its template and the model's lengths, without weights."""
    folder = Path(model)
    return as_promised(
        model,
        promised if folder.is_dir() else "",
        files=lambda: text_files(folder),
        digest=lambda: text_digest(folder),
        error=ModelError,
    )


def state_of_files(files: Collection[Path]) -> tuple[tuple[str, int, int, int], ...]:
    """Name, size, time of change and number of each file: while they stay the same, so do the contents."""
    states = ((file, file.stat()) for file in sorted(files))
    return tuple((str(file), each.st_size, each.st_mtime_ns, each.st_ino) for file, each in states)
