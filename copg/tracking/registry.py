"""The registry of models in MLflow: the versions of a model, and who is champion."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from copg.errors import TrackingError
from copg.tracking.mlflow import connect, exclusive, none_where, one_line_errors, sqlite_path

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
"""Aliases: what serves, the best trial that was not promoted, and what served before."""
DIGEST_TAG = "policy_digest"


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """A version of a registered model."""

    version: str
    policy_uri: str
    """Of its directory."""
    digest: str
    """Of the policy's weights, as ``evaluate`` found it."""
    tags: dict[str, str] = field(default_factory=dict)


class Registry:
    """The versions of one registered model, and who is champion."""

    def __init__(self, uri: str, model_name: str) -> None:
        if not re.fullmatch(r"[\w .-]+", model_name):
            raise TrackingError(f"model_name={model_name!r} may hold letters, digits, spaces and _ - . only")
        self.uri = uri
        self.model_name = model_name
        with one_line_errors(uri):
            self._client = connect(uri)

    def get(self, alias: str) -> RegisteredVersion | None:
        """The version that carries an alias; None when none does."""
        with one_line_errors(self.uri):
            model = none_where("RESOURCE_DOES_NOT_EXIST", self._client.get_registered_model, self.model_name)
            if model is None or alias not in model.aliases:
                return None
            return _registered(self._client.get_model_version_by_alias(self.model_name, alias))

    def versions(self) -> list[RegisteredVersion]:
        """Every version, newest first."""
        found: list[RegisteredVersion] = []
        query, token = f"name = '{self.model_name}'", None
        with one_line_errors(self.uri):
            while True:
                page = self._client.search_model_versions(query, page_token=token)
                found += [_registered(version) for version in page]
                token = page.token
                if not token:
                    return sorted(found, key=lambda version: -int(version.version))

    def register_version(
        self, policy_uri: str, *, digest: str, tags: Mapping[str, str], description: str
    ) -> str:
        """Register a policy where it lies; weights that are registered already keep their version.

        Args:
            policy_uri: of its directory; nothing is copied.
            digest: of its weights.
            tags: digests of what it came from.
            description: the model card, Markdown.
        """
        with one_line_errors(self.uri), exclusive(self.uri):
            same = [version for version in self.versions() if version.digest == digest]
            if same:
                return same[0].version
            none_where("RESOURCE_ALREADY_EXISTS", self._client.create_registered_model, self.model_name)
            made = self._client.create_model_version(
                self.model_name,
                source=policy_uri,
                tags={**tags, DIGEST_TAG: digest},
                description=description,
            )
            return str(made.version)

    def make_champion(self, version: str) -> None:
        """Make a version the champion; the champion until now gets the alias ``previous``."""
        with one_line_errors(self.uri):
            old, challenger = self.get(CHAMPION), self.get(CHALLENGER)
            if old is not None and old.version != version:
                self._client.set_registered_model_alias(self.model_name, PREVIOUS, old.version)
            self._client.set_registered_model_alias(self.model_name, CHAMPION, version)
            if challenger is not None and challenger.version == version:
                self._client.delete_registered_model_alias(self.model_name, CHALLENGER)

    def make_challenger(self, version: str) -> None:
        """Give a version, that of the best trial of a run that promoted none, the alias ``challenger``."""
        with one_line_errors(self.uri):
            self._client.set_registered_model_alias(self.model_name, CHALLENGER, version)


def champion(uri: str, model_name: str) -> RegisteredVersion | None:
    """The version that serves now; None when there is none yet."""
    path = sqlite_path(uri)
    if path is not None and not path.exists():
        return None  # without making the file, and without loading MLflow
    return Registry(uri, model_name).get(CHAMPION)


def _registered(version: Any) -> RegisteredVersion:
    tags = dict(version.tags)
    return RegisteredVersion(str(version.version), version.source, tags.get(DIGEST_TAG, ""), tags)
