"""Runs in MLflow: what a training logs, in one SQLite file or at a server."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, TypeVar

from copg.data.parents import describe_process, is_gone
from copg.errors import TrackingError
from copg.progress import warn
from copg.tracking.mlflow import artifact_location, connect, none_where, one_line_errors, sqlite_path

T = TypeVar("T")

_VALUE_LENGTH = 6000
_PARAMS_PER_BATCH = 100
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""By which MLflow's pages open an experiment on its runs; one without is taken for a place of traces."""
PROCESS, TRAINING = "copg.process", "copg.trains"
"""Tags of a run: whose it is, and which training it is an attempt of."""


@dataclass
class Tracker:
    """One run in an experiment: parameters at its start, metrics at each step, its end.

    Metrics are kept elsewhere as well, so a server that goes away in the middle of training is told about
    once and then left alone; one that is not there at the start is an error.
    """

    uri: str | None
    """``sqlite:///FILE``, or a server's address; None tracks nothing."""
    experiment: str
    """Made where it is not there."""
    run_name: str
    """Of the trial."""
    params: Mapping[str, Any]
    """Plain values; nested ones become ``outer.inner``, long ones are cut."""
    training: str = ""
    """Name of a training whose attempts never run at the same time; empty: it has none."""
    answer_s: float = 60.0
    """Seconds in which a server must have answered; at one that hangs MLflow's own attempts take minutes."""
    _client: Any = None
    _run: str = ""

    def __enter__(self) -> "Tracker":
        if self.uri is not None:
            with one_line_errors(self.uri):
                client = connect(self.uri)
                self._run = self._ask(lambda: self._begin(client))
                self._client = client
        return self

    def _ask(self, call: Callable[[], T]) -> T:
        """What a call gives; of a server, within the seconds that it has.

        Raises:
            TrackingError: it has not answered by then.
        """
        if self.uri is None or sqlite_path(self.uri) is not None:
            return call()
        try:
            return within(self.answer_s, call)
        except TimeoutError:
            told = f"tracking at {self.uri} did not answer within {self.answer_s:g} s"
            raise TrackingError(told) from None

    def _begin(self, client: Any) -> str:
        """A new run with its parameters."""
        experiment = _experiment_id(client, str(self.uri), self.experiment)
        self._close_killed(client, experiment)
        tags = {PROCESS: json.dumps(describe_process()), TRAINING: self.training}
        run: str = client.create_run(experiment, run_name=self.run_name, tags=tags).info.run_id
        self._log_params(client, run)
        return run

    def _close_killed(self, client: Any, experiment: str) -> None:
        """End the runs that seem to go on though their process is gone, or has made room for this one."""
        for run in client.search_runs([experiment], "attributes.status = 'RUNNING'"):
            same = self.training and run.data.tags.get(TRAINING) == self.training
            try:
                process = json.loads(run.data.tags.get(PROCESS, "{}"))
            except ValueError:
                process = {}
            if same or is_gone(process):
                client.set_terminated(run.info.run_id, "KILLED")

    def _log_params(self, client: Any, run: str) -> None:
        from mlflow.entities import Param

        params = [Param(key, value[:_VALUE_LENGTH]) for key, value in _flatten(self.params)]
        for start in range(0, len(params), _PARAMS_PER_BATCH):
            client.log_batch(run, params=params[start : start + _PARAMS_PER_BATCH])

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Add the values of one step."""
        if self._client is None or self.uri is None:
            return
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        try:
            with one_line_errors(self.uri):
                values = [Metric(key, float(value), now, step) for key, value in metrics.items()]
                self._ask(lambda: self._client.log_batch(self._run, metrics=values))
        except TrackingError as error:
            warn(f"{error}; step {step} and later are not tracked")
            self._client = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is None or self.uri is None:
            return
        try:
            with one_line_errors(self.uri):
                self._ask(lambda: self._client.set_terminated(self._run, _status(kind)))
        except TrackingError as failure:
            warn(f"{failure}; the run stays open there")


def within(limit_s: float, call: Callable[[], T]) -> T:
    """What a call gives or raises; it goes on in a thread of its own if it takes longer, and nobody waits.

    Raises:
        TimeoutError: it has not ended after ``limit_s`` seconds.
    """
    ended: SimpleQueue[tuple[Any, Exception | None]] = SimpleQueue()

    def run() -> None:
        try:
            ended.put((call(), None))
        except Exception as error:  # raised where it is waited for
            ended.put((None, error))

    threading.Thread(target=run, name="tracking", daemon=True).start()
    try:
        value, error = ended.get(timeout=limit_s)
    except Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    found: T = value
    return found


def _status(kind: type[BaseException] | None) -> str:
    """How a run ended: one that was asked to stop goes on in another."""
    if kind is None:
        return "FINISHED"
    return "KILLED" if issubclass(kind, SystemExit | KeyboardInterrupt) else "FAILED"


def _experiment_id(client: Any, uri: str, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:  # another trial may make it at this moment
        make = partial(client.create_experiment, name, artifact_location(uri), tags=KIND)
        made = none_where("RESOURCE_ALREADY_EXISTS", make)
        found = client.get_experiment(made) if made else client.get_experiment_by_name(name)
    if found.lifecycle_stage != "active":
        raise TrackingError(f"experiment {name!r} is deleted at {uri}; restore it or choose another name")
    for tag, value in KIND.items():  # of an experiment that an earlier version, or somebody by hand, made
        if tag not in found.tags:
            client.set_experiment_tag(found.experiment_id, tag, value)
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
