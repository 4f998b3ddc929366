"""The champion as a run finds it: whether its trials are measured against it, and if not, why."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from copg.errors import without_secrets
from copg.run.sources import DigestMemo
from copg.stores.addresses import find_damage, names_in, state_of
from copg.tracking.pointer import BEFORE, RUN_KEY, SAME
from copg.tracking.registry import NOBODY, REPLACES, RegisteredVersion, champion


@dataclass(frozen=True)
class Found:
    """The champion at the start of a run."""

    measured: dict[str, Any] | None = None
    """``{name, version, uri, digest}`` of whom the trials are measured against; None: nobody."""
    version: str = ""
    """Who is champion, measured against or not: a promotion takes the place of this version alone."""
    note: str = ""
    """Why it is not measured against, in one line."""
    lost: bool = False
    """Whether this very run made the champion, whose policy is gone."""


def find_champion(
    promote: Mapping[str, Any], run_key: str, digests: Mapping[str, str], memo: DigestMemo
) -> Found:
    """The champion that a run's trials are measured against.

    One that this very run made is passed over for the one it was measured against itself: else no run that
    promotes could ever be answered by the cache.

    Args:
        promote: settings of the stage.
        run_key: of the run, without its champion.
        digests: of the run; those of ``SAME`` are compared.
        memo: of what was read before: a champion is read once, then while it changes.

    Raises:
        TrackingError: the registry cannot be reached.
        ArtifactError: the store of the policy does not answer.
    """
    now = champion(promote["tracking_uri"], promote["model_name"])
    if now is None:
        return Found(note=_forgotten(promote))
    own = now.tags.get(RUN_KEY) == run_key
    measured = json.loads(now.tags[BEFORE]) if own else _named(now)
    version = _replaced(now, measured) if own else now.version
    told = f"version {now.version} of {promote['model_name']!r}"
    if own and (damage := _damage(_named(now), memo)):
        gone = f"which this run made, is gone from {now.policy_uri}: {damage}; it is made again"
        return Found(measured, version, f"champion: {told}, {gone}", lost=True)
    if measured is None:
        return Found(None, version)
    reason = ("" if own else _other(now, digests)) or _gone(measured, memo)
    if not reason:
        return Found(measured, version)
    told = f"version {measured['version']} of {promote['model_name']!r}"
    return Found(
        None, version, f"champion: {told} {reason}; the trials are measured against the reference alone"
    )


def _forgotten(promote: Mapping[str, Any]) -> str:
    """That a registry which names nobody once did: the policies of its champions are still there."""
    if not promote["champions"]:
        return ""
    name = promote["model_name"]
    folder = f"{promote['champions'].rstrip('/')}/{name}"
    kept = names_in(folder)
    if not kept:
        return ""
    return (
        f"champion: the registry at {without_secrets(promote['tracking_uri'])} names none of {name!r}, "
        f"though {folder} keeps {len(kept)} that it had: is it another registry, or damaged? The trials are "
        "measured against the reference alone"
    )


def unfit(now: RegisteredVersion, digests: Mapping[str, str], memo: DigestMemo) -> str:
    """Why a champion is none for a run, as in "was trained with another model"; empty where it is one.

    Args:
        now: the champion.
        digests: of the run; those of ``SAME`` are compared.
        memo: of what was read before.

    Raises:
        ArtifactError: the store of the policy does not answer.
    """
    return _other(now, digests) or _gone(_named(now), memo)


def _named(version: RegisteredVersion) -> dict[str, Any]:
    found = {"version": version.version, "uri": version.policy_uri, "digest": version.digest}
    return {"name": "champion", **found}


def _replaced(now: RegisteredVersion, measured: dict[str, Any] | None) -> str:
    """Whose place a version took; one of 0.1.0 says only what it was measured against."""
    told = now.tags.get(REPLACES, measured["version"] if measured else NOBODY)
    return "" if told == NOBODY else str(told)


def _other(now: RegisteredVersion, digests: Mapping[str, str]) -> str:
    """In what a champion is no policy of this run's kind; a version without a tag is taken for one."""
    differ = [what for tag, what in SAME.items() if tag in now.tags and now.tags[tag] != digests.get(tag)]
    return f"was trained with another {' and other '.join(differ)}" if differ else ""


def _gone(policy: Mapping[str, Any], memo: DigestMemo) -> str:
    damage = _damage(policy, memo)
    return f"is gone from {policy['uri']}: {damage}" if damage else ""


def _damage(policy: Mapping[str, Any], memo: DigestMemo) -> str:
    uri, digest = policy["uri"], policy["digest"]
    state = state_of(uri)
    if not state:
        return find_damage(uri, digest=digest)
    return memo.remembered(f"champion {uri}", [digest, state], lambda: find_damage(uri, digest=digest))
