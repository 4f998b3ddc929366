"""Who is champion, said a second time with a digest: an alias alone can come to mean another policy.

A tag of the registered model holds the champion's version and the digest of all that a run believes of it.
It is written before the alias moves; where both disagree, nobody's word is taken.
"""

from collections.abc import Mapping

from copg.digests import json_digest

POINTER = "copg.champion"
"""Tag of the registered model; a registry of 0.1.0 has none, and its alias is believed."""
RUN_KEY, BEFORE = "run_key", "champion_before"
"""Tags of a version: which run made it, and which champion that run was measured against."""
SAME = {"model": "base model, tokeniser or chat template", "purpose": "rewards"}
"""Digests of a run that its champion must share, by the tag that holds them."""


def pointer_of(
    model: str, version: str, policy_uri: str, tags: Mapping[str, str], deciding: tuple[str, ...]
) -> str:
    """The tag for a version.

    Args:
        model: name of the registered model.
        version: its number.
        policy_uri: where its policy lies.
        tags: of the version; those that people or servers add decide nothing.
        deciding: further tags that do.
    """
    believed = {name: tags.get(name) for name in (*deciding, RUN_KEY, BEFORE, *SAME)}
    return f"{version}:{json_digest([model, version, policy_uri, believed])}"


def disagreement(told: str, alias: str, version: str, expected: str) -> str:
    """What is wrong with a pointer, in a few words; empty when nothing is.

    Args:
        told: the tag; empty where there is none.
        alias: of the champion, for the message.
        version: the one that carries the alias; empty where none does.
        expected: the tag as it should be for that version.
    """
    named = told.partition(":")[0]
    if told in ("", expected):
        return ""
    if not version:
        return f"no version has the alias {alias!r}, and version {named} was made it"
    if named != version:
        return f"the alias {alias!r} is at version {version}, and version {named} was made it"
    return f"version {version} is not what it was when it was made {alias}"
