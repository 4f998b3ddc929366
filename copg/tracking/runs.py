"""Runs and registered models in MLflow: one SQLite file, or a server."""

import json
import re
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from copg.errors import TrackingError
from copg.tracking.mlflow import artifact_location, connect, exclusive, sqlite_path, told

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
"""Aliases: what serves, the best trial that was not promoted, and what served before."""
DIGEST_TAG = "policy_digest"
_VALUE_LENGTH = 6000
_PARAMS_PER_BATCH = 100


@dataclass(frozen=True, slots=True)
class Registered:
    """A version of a registered model."""

    version: str
    source: str
    """URI of the policy's directory."""
    digest: str
    """Of the policy's weights, as ``evaluate`` found it."""
    tags: dict[str, str] = field(default_factory=dict)


class Tracker:
    """One run in an experiment: parameters at its start, metrics at each step, its end.

    Metrics are kept elsewhere as well, so a server that goes away in the middle of training is told about
    once and then left alone; one that is not there at the start is an error.
    """

    def __init__(self, uri: str | None, *, experiment: str, run_name: str, params: Mapping[str, Any]) -> None:
        """Nothing happens before ``with``.

        Args:
            uri: ``sqlite:///FILE``, or a server's address; None tracks nothing.
            experiment: made where it is not there.
            run_name: of the trial.
            params: plain values; nested ones become ``outer.inner``, long ones are cut.
        """
        self.uri = uri
        self.experiment = experiment
        self.run_name = run_name
        self.params = params
        self._client: Any = None
        self._run = ""

    def __enter__(self) -> "Tracker":
        if self.uri is not None:
            with told(self.uri):
                client = connect(self.uri)
                experiment = _experiment_id(client, self.uri, self.experiment)
                self._run = client.create_run(experiment, run_name=self.run_name).info.run_id
                self._client = client
                self._log_params()
        return self

    def _log_params(self) -> None:
        from mlflow.entities import Param

        params = [Param(key, value[:_VALUE_LENGTH]) for key, value in _flatten(self.params)]
        for start in range(0, len(params), _PARAMS_PER_BATCH):
            self._client.log_batch(self._run, params=params[start : start + _PARAMS_PER_BATCH])

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Add the values of one step."""
        if self._client is None or self.uri is None:
            return
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        try:
            with told(self.uri):
                values = [Metric(key, float(value), now, step) for key, value in metrics.items()]
                self._client.log_batch(self._run, metrics=values)
        except TrackingError as error:
            print(f"{error}; step {step} and later are not tracked", file=sys.stderr, flush=True)
            self._client = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is None or self.uri is None:
            return
        try:
            with told(self.uri):
                self._client.set_terminated(self._run, "FINISHED" if kind is None else "FAILED")
        except TrackingError as failure:
            print(f"{failure}; the run stays open there", file=sys.stderr, flush=True)


class Registry:
    """The versions of one registered model, and who is champion."""

    def __init__(self, uri: str, model_name: str) -> None:
        if not re.fullmatch(r"[\w .-]+", model_name):
            raise TrackingError(f"model_name={model_name!r} may hold letters, digits, spaces and _ - . only")
        self.uri = uri
        self.model_name = model_name
        with told(uri):
            self._client = connect(uri)

    def get(self, alias: str) -> Registered | None:
        """The version that carries an alias; None when none does."""
        with told(self.uri):
            model = _unless("RESOURCE_DOES_NOT_EXIST", self._client.get_registered_model, self.model_name)
            if model is None or alias not in model.aliases:
                return None
            return _registered(self._client.get_model_version_by_alias(self.model_name, alias))

    def versions(self) -> list[Registered]:
        """Every version, newest first."""
        found: list[Registered] = []
        query, token = f"name = '{self.model_name}'", None
        with told(self.uri):
            while True:
                page = self._client.search_model_versions(query, page_token=token)
                found += [_registered(version) for version in page]
                token = page.token
                if not token:
                    return sorted(found, key=lambda version: -int(version.version))

    def register_version(
        self, source_uri: str, *, digest: str, tags: Mapping[str, str], description: str
    ) -> str:
        """Register a policy where it lies; weights that are registered already keep their version.

        Args:
            source_uri: of the policy's directory; nothing is copied.
            digest: of its weights.
            tags: digests of what it came from.
            description: the model card, Markdown.
        """
        with told(self.uri), exclusive(self.uri):
            same = [version for version in self.versions() if version.digest == digest]
            if same:
                return same[0].version
            _unless("RESOURCE_ALREADY_EXISTS", self._client.create_registered_model, self.model_name)
            made = self._client.create_model_version(
                self.model_name,
                source=source_uri,
                tags={**tags, DIGEST_TAG: digest},
                description=description,
            )
            return str(made.version)

    def make_champion(self, version: str) -> None:
        """Make a version the champion; the champion until now gets the alias ``previous``."""
        with told(self.uri):
            old, challenger = self.get(CHAMPION), self.get(CHALLENGER)
            if old is not None and old.version != version:
                self._client.set_registered_model_alias(self.model_name, PREVIOUS, old.version)
            self._client.set_registered_model_alias(self.model_name, CHAMPION, version)
            if challenger is not None and challenger.version == version:
                self._client.delete_registered_model_alias(self.model_name, CHALLENGER)

    def make_challenger(self, version: str) -> None:
        """Give a version, that of the best trial of a run that promoted none, the alias ``challenger``."""
        with told(self.uri):
            self._client.set_registered_model_alias(self.model_name, CHALLENGER, version)


def champion(uri: str, model_name: str) -> Registered | None:
    """The version that serves now; None when there is none yet."""
    path = sqlite_path(uri)
    if path is not None and not path.exists():
        return None  # without making the file, and without loading MLflow
    return Registry(uri, model_name).get(CHAMPION)


def _registered(version: Any) -> Registered:
    tags = dict(version.tags)
    return Registered(str(version.version), version.source, tags.get(DIGEST_TAG, ""), tags)


def _unless(code: str, call: Any, *arguments: Any) -> Any:
    """What the call gives; None where MLflow answers with the error ``code``."""
    from mlflow.exceptions import MlflowException

    try:
        return call(*arguments)
    except MlflowException as error:
        if error.error_code != code:
            raise
        return None


def _experiment_id(client: Any, uri: str, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:  # another trial may make it at this moment
        made = _unless("RESOURCE_ALREADY_EXISTS", client.create_experiment, name, artifact_location(uri))
        found = client.get_experiment(made) if made else client.get_experiment_by_name(name)
    if found.lifecycle_stage != "active":
        raise TrackingError(f"experiment {name!r} is deleted at {uri}; restore it or choose another name")
    return str(found.experiment_id)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        name = prefix + re.sub(r"[^\w\-. :/]", "_", str(key))
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{name}.")
        elif isinstance(value, list | tuple):
            yield name, json.dumps(value, ensure_ascii=False, default=str)
        else:
            yield name, str(value)
