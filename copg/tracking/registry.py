"""The registry of models in MLflow: the versions of a model, and who is champion.

MLflow moves an alias without looking at what it was, but hands out each version number once. So a promotion
is a version that says which champion it replaces (``bid``), and of those that replace the same one the lowest
number wins (``award``): whoever comes next can finish what a killed process left (``settle``).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from copg.errors import TrackingError
from copg.tracking.mlflow import connect, exclusive, none_where, one_line_errors, sqlite_path
from copg.tracking.pointer import POINTER, disagreement, pointer_of

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
"""Aliases: what serves, the best trial that was not promoted, and what served before."""
DIGEST_TAG = "policy_digest"
REPLACES, PROMOTED, LOST = "replaces", "promoted_at", "lost"
"""Tags: of a bid, the champion's version; when it won (UTC, ISO 8601); or that it did not."""
NOBODY = "none"
"""What a bid replaces where there is no champion."""
ON_DISK = "local://"
"""How a path is written for a server, which refuses any that looks like one of its own disk."""


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """A version of a registered model."""

    version: str
    policy_uri: str
    """Of its directory."""
    digest: str
    """Of the policy's weights, as ``evaluate`` found it."""
    tags: dict[str, str] = field(default_factory=dict)
    description: str = ""
    """Its model card, or what else was noted."""

    @property
    def undecided(self) -> bool:
        """Whether it is a bid that neither won nor lost so far."""
        return REPLACES in self.tags and PROMOTED not in self.tags and LOST not in self.tags


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

    def champions(self) -> list[RegisteredVersion]:
        """Those that ever were champion: who is it now, then who became it latest.

        Of a registry of 0.1.0, which kept no dates, the present one and the one before.
        """
        dated = [version for version in self.versions() if PROMOTED in version.tags]
        dated.sort(key=lambda version: version.tags[PROMOTED], reverse=True)
        found = [self.get(CHAMPION), *dated, self.get(PREVIOUS)]
        return list({version.version: version for version in found if version is not None}.values())

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
            return same[0].version if same else self._create(policy_uri, digest, tags, description)

    def bid(
        self, policy_uri: str, *, digest: str, tags: Mapping[str, str], description: str, replaces: str
    ) -> str:
        """Register a policy that is to be champion in place of another, which ``award`` then decides.

        Always a version of its own, but for the same bid made again: its number says who was first.

        Args:
            policy_uri: of its directory.
            digest: of its weights.
            tags: digests of what it came from.
            description: the model card, Markdown.
            replaces: version of the champion that it was measured against; empty where there is none.
        """
        tags = {**tags, REPLACES: replaces or NOBODY}
        with one_line_errors(self.uri), exclusive(self.uri):
            for version in self.versions():
                if (
                    version.digest == digest
                    and version.undecided
                    and version.tags[REPLACES] == tags[REPLACES]
                ):
                    return version.version
            return self._create(policy_uri, digest, tags, description)

    def _create(self, policy_uri: str, digest: str, tags: Mapping[str, str], description: str) -> str:
        at_server = sqlite_path(self.uri) is None and policy_uri.startswith("/")
        none_where("RESOURCE_ALREADY_EXISTS", self._client.create_registered_model, self.model_name)
        made = self._client.create_model_version(
            self.model_name,
            source=f"{ON_DISK}{policy_uri}" if at_server else policy_uri,
            tags={**tags, DIGEST_TAG: digest},
            description=description,
        )
        return str(made.version)

    def award(self, version: str) -> RegisteredVersion | None:
        """Make a bid the champion when it is the first of its kind and what it replaces is champion still.

        Returns:
            None when it is champion; else the version that was faster, or that holds the place by now.
        """
        with one_line_errors(self.uri), exclusive(self.uri):
            bids = {each.version: each for each in self.versions()}
            mine = bids[version]
            if PROMOTED in mine.tags:
                return None
            rivals = [b for b in bids.values() if b.undecided and b.tags[REPLACES] == mine.tags[REPLACES]]
            first = min(rivals, key=lambda bid: int(bid.version), default=mine)
            now = self.get(CHAMPION)  # after the bids: who is champion was set before its bid was decided
            place_is_there = (now.version if now else NOBODY) == mine.tags[REPLACES]
            if place_is_there and first.version == version:
                self.make_champion(version)
                return None
            if now is not None and now.version == version:
                self.make_champion(version)  # somebody else settled it, or was killed before the last tag
                return None
            self._client.set_model_version_tag(self.model_name, version, LOST, "true")
            return first if place_is_there or now is None else now

    def settle(self) -> None:
        """Decide the bids whose process was killed before it did."""
        for bid in sorted((v for v in self.versions() if v.undecided), key=lambda v: int(v.version)):
            self.award(bid.version)

    def make_champion(self, version: str) -> None:
        """Make a version the champion; the champion until now gets the alias ``previous``."""
        with one_line_errors(self.uri):
            old, challenger = self.get(CHAMPION), self.get(CHALLENGER)
            if old is not None and old.version != version:
                self._client.set_registered_model_alias(self.model_name, PREVIOUS, old.version)
            new = _registered(self._client.get_model_version(self.model_name, version))
            self._client.set_registered_model_tag(self.model_name, POINTER, self._pointer(new))
            self._client.set_registered_model_alias(self.model_name, CHAMPION, version)
            if challenger is not None and challenger.version == version:
                self._client.delete_registered_model_alias(self.model_name, CHALLENGER)
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            self._client.set_model_version_tag(self.model_name, version, PROMOTED, now)

    def _pointer(self, version: RegisteredVersion) -> str:
        where = (self.model_name, version.version, version.policy_uri)
        return pointer_of(*where, version.tags, (DIGEST_TAG, REPLACES))

    def find_doubt(self) -> str:
        """Why the alias of the champion cannot be believed, in one line; empty when it can."""
        with one_line_errors(self.uri):
            model = none_where("RESOURCE_DOES_NOT_EXIST", self._client.get_registered_model, self.model_name)
        told = dict(model.tags).get(POINTER, "") if model is not None else ""
        now = self.get(CHAMPION)
        number, expected = (now.version, self._pointer(now)) if now else ("", "")
        return disagreement(told, CHAMPION, number, expected)

    def check_champion(self) -> None:
        """Refuse a champion that is not the one that was promoted, or made champion again.

        Raises:
            TrackingError: the alias was moved by somebody else, or the database is damaged.
        """
        if doubt := self.find_doubt():
            raise TrackingError(
                f"{self.model_name!r} at {self.uri}: {doubt}: it was moved by hand, or is damaged; "
                "`copg champion rollback VERSION` says which one it shall be"
            )

    def describe(self, version: str, description: str) -> None:
        """Replace the model card of a version."""
        with one_line_errors(self.uri):
            self._client.update_model_version(self.model_name, version, description=description)

    def make_challenger(self, version: str) -> None:
        """Give a version, that of the best trial of a run that promoted none, the alias ``challenger``."""
        with one_line_errors(self.uri):
            self._client.set_registered_model_alias(self.model_name, CHALLENGER, version)


def champion(uri: str, model_name: str) -> RegisteredVersion | None:
    """The version that serves now; None when there is none yet. Promotions cut short are finished first.

    Raises:
        TrackingError: the registry cannot be reached, or its champion not be believed.
    """
    path = sqlite_path(uri)
    if path is not None and not path.exists():
        return None  # without making the file, and without loading MLflow
    registry = Registry(uri, model_name)
    registry.settle()
    registry.check_champion()
    return registry.get(CHAMPION)


def _registered(version: Any) -> RegisteredVersion:
    tags = dict(version.tags)
    address = version.source.removeprefix(ON_DISK)
    note = version.description or ""
    return RegisteredVersion(str(version.version), address, tags.get(DIGEST_TAG, ""), tags, note)
