"""The policies of champions, kept where they outlast the runs that trained them."""

from copg.artifacts import WEIGHTS_DELETED
from copg.errors import ArtifactError
from copg.stores.addresses import copy_artifact, find_damage
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
    address = f"{folder.rstrip('/')}/{model_name}/{digest[:DIGITS]}"
    if not find_damage(address, digest=digest):
        return address
    copy_artifact(policy_uri, address)
    if damage := find_damage(address, digest=digest):
        raise ArtifactError(f"{policy_uri}: its copy at {address} is not the policy: {damage}")
    _forget_deletion(address)
    return address


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
