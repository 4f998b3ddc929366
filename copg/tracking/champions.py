"""The policies of champions, kept where they outlast the runs that trained them."""

import tempfile
from pathlib import Path

from copg.artifacts import WEIGHTS_DELETED
from copg.errors import ArtifactError
from copg.stores.addresses import copy_artifact, find_damage
from copg.stores.scaled import scale_adapter
from copg.tracking.registry import CHALLENGER, CHAMPION, Registry
from copg.tracking.retention import NO_WEIGHTS, delete_weights

DIGITS = 12
"""Of a policy's digest, in the name of its folder."""


def keep_policy(policy_uri: str, *, digest: str, folder: str, model_name: str) -> str:
    """Copy a policy among the champions, and compare the copy; one that lies there already is left alone.

    Args:
        policy_uri: where it lies now.
        digest: of its manifest.
        folder: of the champions of every model, a path or a URL.
        model_name: of the registered model.

    Returns:
        Its address there.

    Raises:
        ArtifactError: it cannot be read or written, or the copy is not the policy.
    """
    address = _address(digest, folder, model_name)
    if not find_damage(address, digest=digest):
        return address
    _copy(policy_uri, address, digest=digest)
    return address


def keep_scaled(policy_uri: str, weight: float, *, digest: str, folder: str, model_name: str) -> str:
    """Write the scaled form of an adapter among the champions, as ``keep_policy`` does a policy.

    Args:
        policy_uri: where the adapter lies.
        weight: that it is scaled by.
        digest: of the scaled form, as it was evaluated.
        folder: of the champions of every model; empty: the form is written beside the adapter.
        model_name: of the registered model.

    Returns:
        Its address.

    Raises:
        ArtifactError: the adapter cannot be read, or what is written is not what was evaluated.
        ModelError: it has no exact scaled form.
    """
    beside = f"{policy_uri.rstrip('/')}-{weight:g}"
    address = _address(digest, folder, model_name) if folder else beside
    if not find_damage(address, digest=digest):
        return address
    with tempfile.TemporaryDirectory(prefix="copg-scaled-") as away:
        copy_artifact(policy_uri, f"{away}/policy")
        made = scale_adapter(Path(away, "policy"), weight, Path(away, "scaled"))
        if made.digest != digest:
            raise ArtifactError(
                f"{policy_uri}: scaled by {weight:g} it has digest {made.digest[:DIGITS]}, and "
                f"{digest[:DIGITS]} was evaluated"
            )
        _copy(f"{away}/scaled", address, digest=digest)
    return address


def _address(digest: str, folder: str, model_name: str) -> str:
    return f"{folder.rstrip('/')}/{model_name}/{digest[:DIGITS]}"


def _copy(source: str, address: str, *, digest: str) -> None:
    copy_artifact(source, address)
    if damage := find_damage(address, digest=digest):
        raise ArtifactError(f"{source}: its copy at {address} is not the policy: {damage}")
    _forget_deletion(address)


def _forget_deletion(address: str) -> None:
    """Take away the note of an earlier retirement: the weights are back."""
    import fsspec

    files, root = fsspec.url_to_fs(address)
    if files.isfile(f"{root}/{WEIGHTS_DELETED}"):
        files.rm_file(f"{root}/{WEIGHTS_DELETED}")


def retire_champions(registry: Registry, *, folder: str, keep: int) -> dict[str, str]:
    """Delete the copies of champions that are past; weights that lie elsewhere are not touched.

    Args:
        registry: of the model.
        folder: of the champions of every model.
        keep: how many before the present one stay, for a rollback.

    Returns:
        What became of each, by version; nothing of those deleted before.
    """
    standing = [registry.get(CHAMPION), registry.get(CHALLENGER), *registry.champions()[: keep + 1]]
    kept = {each.policy_uri for each in standing if each is not None}
    found = {}
    for past in registry.versions():
        ours = past.policy_uri.startswith(f"{folder.rstrip('/')}/{registry.model_name}/")
        if ours and past.policy_uri not in kept and not past.undecided:
            reason = f"version {past.version} of {registry.model_name!r} is past: keep_champions={keep}"
            deleted = delete_weights(past.policy_uri, digest=past.digest, reason=reason)
            if deleted.why_not != NO_WEIGHTS:
                found[past.version] = str(deleted)
    return found
