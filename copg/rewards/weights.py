"""What the name of a model in a reward's settings stands for."""

from pathlib import Path

from copg.digests import model_digest
from copg.errors import ModelError


def model_content(model: str, revision: str | None) -> dict[str, str]:
    """What a model's name stands for: the digest of its directory, or its commit on the hub.

    Raises:
        ModelError: a hub name without a commit, whose meaning may change from one day to the next.
    """
    if Path(model).is_dir():
        return {"model": model_digest(Path(model))}
    if revision is None or len(revision) != 40:
        raise ModelError(
            f"model={model!r} is no directory; for a model of the hub set revision to its commit "
            f"(40 hexadecimal digits), found {revision!r}"
        )
    return {"model": revision}
