"""Who draws the completions of a run: the reference, another model, the champion of the day, an endpoint."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from copg.digests import json_digest
from copg.lm.kinds import check_kind
from copg.run.champion import unfit
from copg.run.sources import DigestMemo, find_model, find_policy
from copg.stages.sample import CHAMPION, SampleConfig
from copg.stores.model_files import ADAPTER
from copg.tracking.registry import champion


@dataclass(frozen=True, slots=True)
class FoundSampler:
    """Who draws, as of today."""

    config: SampleConfig
    """With the model's directory, commit and digest."""
    digest: str
    note: str = ""
    """What the user should know about it."""


def find_sampler(
    configs: Mapping[str, Any], digests: Mapping[str, str], memo: DigestMemo
) -> FoundSampler | None:
    """Who draws; None in a run that draws nothing.

    The reference draws in the place of a champion that is gone or damaged, or of another model, tokeniser or
    reward, and that is said.

    Args:
        configs: of every stage of the run.
        digests: of the run, with which a champion's are compared.
        memo: of files read before.

    Raises:
        ModelError: there is no such model, or it is none that draws.
        TrackingError: the registry of the champion cannot be reached.
        ArtifactError: the store of the champion does not answer.
    """
    config: SampleConfig | None = configs.get("sample")
    if config is None:
        return None
    if config.endpoint is not None:
        endpoint = config.endpoint
        return FoundSampler(config, json_digest([endpoint.url, endpoint.model, endpoint.body]))
    note = ""
    if config.model == CHAMPION:
        promote, reference = configs["promote"], configs["reference"]
        now = champion(promote.tracking_uri, promote.model_name)
        note = "nobody is champion yet" if now is None else unfit(now, digests, memo)
        if now is not None and note:
            note = f"version {now.version} of {promote.model_name!r}, the champion, {note}"
            now = None
        if now is not None and "://" in now.policy_uri.removeprefix("file://"):
            return FoundSampler(replace(config, model=now.policy_uri, model_digest=""), now.digest)
        where = reference.model if now is None else now.policy_uri.removeprefix("file://")
        config = replace(config, model=where, revision=reference.revision if now is None else None)
        note = f"sample: {note}: completions are drawn from the reference" if note else ""
    adapter = (Path(config.model) / ADAPTER).is_file()
    found = (find_policy if adapter else find_model)(config.model, config.revision, memo)
    if not adapter:
        check_kind(config.model, found.revision)
    config = replace(config, revision=found.revision, model_digest=found.digest)
    return FoundSampler(config, found.digest, note)
