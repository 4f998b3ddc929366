"""A KFP server that speaks v2beta1 over HTTP, for tests; it answers as a real one of 2.17 was recorded.

Every request is read into a model of ``kfp_server_api`` (an unknown field or a wrong value is answered 400),
and every answer is built from one. It keeps what it is told in memory, and can be made to refuse, to break or
to stay silent.
"""

import email
import json
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import kfp_server_api as api
import yaml
from copg_pipelines.dags.compiled import LOADER

from tests.pipelines.recorded import MODELS, model, nodes_of, pod_of, recorded
from tests.serving import JsonHandler, serving

NOBODY = "00000000-0000-4000-8000-000000000000"
"""Id of what was not there when answers were recorded."""
PAGE = 2
"""Things a page, whatever the client asks for: it has to turn pages."""


def parse(kind: str, value: Any) -> Any:
    """A model from plain JSON values; unknown fields are refused, as protocol buffers do."""
    _check_fields(getattr(api, kind), value)
    return model(kind, value)


def _check_fields(model: Any, value: Any) -> None:
    if not isinstance(value, dict) or not hasattr(model, "attribute_map"):
        return
    known = {json_name: attribute for attribute, json_name in model.attribute_map.items()}
    for name, item in value.items():
        if name not in known:
            raise ValueError(f"unknown field {name!r} of {model.__name__}")
        inner = model.openapi_types[known[name]]
        _check_fields(getattr(api, inner, None), item)


def plain(value: Any) -> Any:
    return MODELS.sanitize_for_serialization(value)


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    def body(self) -> dict[str, Any]:
        """As a server says it: in ``details`` once more, with what an internal error is hidden."""
        code = {400: 3, 401: 16, 403: 7, 404: 5, 409: 10}.get(self.status, 13)
        short = "Internal Server Error" if code == 13 else str(self).rpartition("Error: ")[2]
        detail = {"@type": "type.googleapis.com/google.rpc.Status", "code": code, "message": short}
        return {"code": code, "message": str(self), "details": [detail]}


Script = list[tuple[str, dict[str, str]]]


class Text(str):
    """An answer that is no JSON."""


def refusal(name: str, **known: str) -> Refused:
    """A recorded refusal, with the ids of this test in place of those of then."""
    found = recorded(name)
    message = found["body"]["message"]
    for then, now in known.items():
        message = message.replace(then, now)
    return Refused(found["status"], message)


def _stopped(tasks: dict[str, str]) -> str:
    """State of a run that was stopped: a success where nothing but its exit handler was left to do."""
    left = {task.rpartition(".")[2] for task, state in tasks.items() if state not in ("SUCCEEDED", "CACHED")}
    return "SUCCEEDED" if left == {"summary"} else "FAILED"


def _killed(state: str) -> str:
    return "FAILED" if state in ("RUNNING", "PENDING") else state


@dataclass
class KfpServer:
    """What the server holds, and how it misbehaves."""

    token: str = ""
    """The only one it lets in; empty: everybody."""
    forbidden: bool = False
    multi_user: bool = False
    version: str = ""
    """Told by the older API; empty: it has none."""
    behind_ui: bool = False
    """Whether the API is reached through KFP's UI, which tells of its health in words of its own."""
    broken: list[tuple[str, int, bool]] = field(default_factory=list)
    """``(part of the address, status, done all the same)`` of the next requests that fail; 0: silence."""
    silent_s: float = 0.6
    late: bool = False
    """Whether it does what it is silent about after the silence, not before."""
    scripts: dict[str, Script | Callable[[Any], Script]] = field(default_factory=dict)
    """States of run and tasks at each look at a run, by its display name's first word; "" for any."""
    logs: dict[str, str] = field(default_factory=dict)
    """By the id of a node, or the name of a pod; that of a task that a script says failed is written."""
    stopping: dict[str, int] = field(default_factory=dict)
    """Looks at a run since it was asked to stop."""
    deleted: set[str] = field(default_factory=set)
    """Runs whose workflow somebody deleted: they stay as they are, and cannot be stopped."""
    pipelines: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)
    runs: dict[str, Any] = field(default_factory=dict)
    schedules: dict[str, Any] = field(default_factory=dict)
    experiments: dict[str, Any] = field(default_factory=dict)
    looks: Counter[str] = field(default_factory=Counter)
    asked: list[str] = field(default_factory=list)
    """``METHOD /path`` of every request."""
    headers: list[dict[str, str]] = field(default_factory=list)
    before: Callable[[str], None] | None = None
    """Called with ``METHOD /path`` before a request is answered: another client's doing."""
    clock: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    url: str = ""

    def now(self) -> datetime:
        self.clock += timedelta(seconds=1)
        return self.clock

    def count(self, method: str, part: str) -> int:
        return sum(a.startswith(method) and part in a for a in self.asked)

    # --- what it does -------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        for pattern, verb, action in ROUTES:
            if verb == method and (match := re.fullmatch(pattern, path)):
                return action(self, query, body, *(unquote(g) for g in match.groups()))
        raise Refused(404, f"no such method: {method} {path}")

    def healthz(self, query: dict[str, str], body: Any) -> Any:
        return api.V2beta1GetHealthzResponse(multi_user=self.multi_user, pipeline_store="database")

    def healthz_before(self, query: dict[str, str], body: Any) -> Any:
        if not self.version:
            raise Refused(404, "no such method")
        name = "apiServerTagName" if self.behind_ui else "tag_name"
        return {name: self.version, "multi_user": self.multi_user}

    def create_pipeline(self, query: dict[str, str], body: Any) -> Any:
        wanted = parse("V2beta1Pipeline", body)
        if any(each.name == wanted.name for each in self.pipelines.values()):
            raise Refused(409, f"The name {wanted.name} already exist. Please specify a new name")
        wanted.pipeline_id, wanted.created_at = str(uuid.uuid4()), self.now()
        self.pipelines[wanted.pipeline_id] = wanted
        return wanted

    def pipeline_by_name(self, query: dict[str, str], body: Any, name: str) -> Any:
        found = next((each for each in self.pipelines.values() if each.name == name), None)
        if found is None or (found.namespace or "") != query.get("namespace", ""):
            raise refusal("pipeline-missing-by-name", nothing=name)
        return found

    def upload_version(self, query: dict[str, str], body: Any) -> Any:
        if query["pipelineid"] not in self.pipelines:
            raise Refused(400, "Failed to create a pipeline version")
        if any(v.name == query["name"] for v in self.versions.values()):
            raise Refused(409, "Failed to create a pipeline version")
        documents = list(yaml.load_all(body, LOADER))
        spec = documents[0]
        if len(documents) > 1:
            spec = {"pipeline_spec": documents[0], "platform_spec": documents[1]}
        version = api.V2beta1PipelineVersion(
            pipeline_id=query["pipelineid"],
            pipeline_version_id=str(uuid.uuid4()),
            name=query["name"],
            display_name=query.get("display_name") or query["name"],
            description=query.get("description"),
            created_at=self.now(),
            pipeline_spec=spec,
            tags=json.loads(query.get("tags", "{}")),
        )
        self.versions[version.pipeline_version_id] = version
        return version

    def upload_pipeline(self, query: dict[str, str], body: Any) -> Any:
        """A pipeline with its first version, which bears its name; the way of ``kfp pipeline create``."""
        made = self.create_pipeline({}, {"name": query["name"], "display_name": query["name"]})
        self.upload_version({"pipelineid": made.pipeline_id, "name": query["name"]}, body)
        return made

    def list_versions(self, query: dict[str, str], body: Any, pipeline: str) -> Any:
        held = [each for each in self.versions.values() if each.pipeline_id == pipeline]
        return self._page(api.V2beta1ListPipelineVersionsResponse, "pipeline_versions", held, query)

    def get_version(self, query: dict[str, str], body: Any, pipeline: str, version: str) -> Any:
        return self._one(self.versions, version)

    def list_experiments(self, query: dict[str, str], body: Any) -> Any:
        asked = json.loads(query.get("filter", "{}")).get("predicates", [])
        named = [each["stringValue"] for each in asked if each["key"] == "display_name"]
        held = [each for each in self.experiments.values() if not named or each.display_name in named]
        return self._page(api.V2beta1ListExperimentsResponse, "experiments", held, query)

    def create_experiment(self, query: dict[str, str], body: Any) -> Any:
        wanted = parse("V2beta1Experiment", body)
        if any(each.display_name == wanted.display_name for each in self.experiments.values()):
            raise Refused(409, "Experiment already exists")
        wanted.experiment_id, wanted.created_at = str(uuid.uuid4()), self.now()
        self.experiments[wanted.experiment_id] = wanted
        return wanted

    def create_run(self, query: dict[str, str], body: Any) -> Any:
        run = parse("V2beta1Run", body)
        if run.experiment_id not in self.experiments:
            raise Refused(400, "Run experiment not found")
        if run.pipeline_spec is None:
            self._one(self.versions, run.pipeline_version_reference.pipeline_version_id)
        run.run_id, run.created_at = str(uuid.uuid4()), self.now()
        run.storage_state, run.scheduled_at = "AVAILABLE", run.created_at
        self._enter(run, "PENDING")
        self.runs[run.run_id] = run
        return run

    def get_run(self, query: dict[str, str], body: Any, name: str) -> Any:
        run = self._one(self.runs, name, "run-missing")
        script = self.scripts.get(run.display_name.split()[0], self.scripts.get("", []))
        script = script(run) if callable(script) else script
        if script and name not in self.deleted:
            state, tasks = script[min(self.looks[name], len(script) - 1)]
            self.looks[name] += 1
            if name in self.stopping:
                state = _stopped(tasks) if self.stopping[name] else "CANCELING"
                self.stopping[name] += 1
                tasks = {
                    task: each if state == "CANCELING" else _killed(each) for task, each in tasks.items()
                }
            self._enter(run, state)
            run.run_details = api.V2beta1RunDetails(task_details=nodes_of(run, tasks))
            for task in (each for each, stands in tasks.items() if stands == "FAILED"):
                last = task.rpartition("/")[2]
                said = f"I1129 main.go:67] begins\nerror: {last}: no such file\n"
                self.logs.setdefault(pod_of(run, task), said)
        return run

    def _enter(self, run: Any, state: str) -> None:
        """Give a run a state, which its history keeps; a server has none for a run that was cancelled."""
        assert state != "CANCELED"
        history = run.state_history or []
        if not history or history[-1].state != state:
            history.append(api.V2beta1RuntimeStatus(update_time=self.now(), state=state))
        run.state, run.state_history = state, history

    def begin(self, pipeline: str) -> str:
        """A run of a pipeline that is made where there is none; its id."""
        found = next((each for each in self.pipelines.values() if each.name == pipeline), None)
        group = str(uuid.uuid5(uuid.NAMESPACE_DNS, pipeline))
        self.experiments.setdefault(group, api.V2beta1Experiment(experiment_id=group, created_at=self.now()))
        of = found or self.create_pipeline({}, {"name": pipeline, "display_name": pipeline})
        versions = [each for each in self.versions.values() if each.pipeline_id == of.pipeline_id]
        if not versions:
            versions = [self.upload_version({"pipelineid": of.pipeline_id, "name": str(uuid.uuid4())}, "{}")]
        version = versions[-1]
        ids = {"pipeline_id": of.pipeline_id, "pipeline_version_id": version.pipeline_version_id}
        wanted = {"display_name": "begun", "experiment_id": group, "pipeline_version_reference": ids}
        return str(self.create_run({}, wanted).run_id)

    def fire(self, schedule: Any) -> Any:
        """The run that a schedule starts at its time."""
        begun: Any = self.create_run(
            {},
            {
                "display_name": f"{schedule.display_name} {self.clock:%H:%M}",
                "experiment_id": schedule.experiment_id,
                "pipeline_version_reference": plain(schedule.pipeline_version_reference),
                "runtime_config": plain(schedule.runtime_config),
                "service_account": schedule.service_account,
            },
        )
        begun.recurring_run_id = schedule.recurring_run_id
        return begun

    def recall(self, name: str) -> str:
        """Hold a recorded run, and the version it ran; its id."""
        run, version = (
            model(kind, recorded(each)["body"])
            for kind, each in (("V2beta1Run", name), ("V2beta1PipelineVersion", "version"))
        )
        if run.pipeline_version_reference is not None:
            version.pipeline_version_id = run.pipeline_version_reference.pipeline_version_id
            self.versions[version.pipeline_version_id] = version
        self.runs[run.run_id] = run
        return str(run.run_id)

    def terminate_run(self, query: dict[str, str], body: Any, name: str) -> Any:
        run = self._one(self.runs, name, "run-missing")
        if run.state not in ("PENDING", "RUNNING", None):
            raise refusal("terminate-ended", **{recorded("run-succeeded")["body"]["run_id"]: name})
        run.state = "CANCELING"  # before the workflow is looked for
        self.stopping[name] = 0
        if name in self.deleted:
            why = f'workflows.argoproj.io "align-{name[:5]}" not found'
            raise Refused(500, f"Failed to terminate a run: InternalServerError: {why}")
        return {}

    def run_log(self, query: dict[str, str], body: Any, run: str, pod: str) -> Any:
        """A log; that there is none is said with the status of a good answer."""
        if pod in self.logs:
            return Text(self.logs[pod])
        return Text(json.dumps(recorded("log-of-a-missing-pod")["body"]))

    def list_runs(self, query: dict[str, str], body: Any) -> Any:
        wanted = query.get("experiment_id", "")
        held = [each for each in self.runs.values() if wanted in ("", each.experiment_id)]
        return self._page(api.V2beta1ListRunsResponse, "runs", held, query)

    def retry_run(self, query: dict[str, str], body: Any, name: str) -> Any:
        run = self._one(self.runs, name, "run-missing")
        if run.state != "FAILED":
            raise refusal("retry-succeeded", **{recorded("run-succeeded")["body"]["run_id"]: name})
        self._enter(run, "RUNNING")
        self.stopping.pop(name, None)
        return {}

    def create_schedule(self, query: dict[str, str], body: Any) -> Any:
        wanted = parse("V2beta1RecurringRun", body)
        cron = wanted.trigger.cron_schedule.cron
        if len(cron.split()) not in (5, 6):  # five are taken for minutes first, and run at another time
            raise refusal("recurring-create-bad-cron", **{"every day": cron})
        if not 1 <= int(wanted.max_concurrency) <= 10:
            raise Refused(400, "max_concurrency must be in range [1, 10]")
        pinned = wanted.pipeline_version_reference.pipeline_version_id
        if pinned not in self.versions:
            raise refusal("recurring-create-unknown-version", **{NOBODY: pinned})
        wanted.recurring_run_id, wanted.created_at = str(uuid.uuid4()), self.now()
        wanted.updated_at, wanted.namespace = wanted.created_at, wanted.namespace or "kubeflow"
        wanted.status = {"ENABLE": "ENABLED", "DISABLE": "DISABLED"}[wanted.mode]
        wanted.service_account = wanted.service_account or "pipeline-runner"
        if not wanted.runtime_config.parameters and not wanted.runtime_config.pipeline_root:
            wanted.runtime_config = None  # as it is told again
        self.schedules[wanted.recurring_run_id] = wanted
        return wanted

    def list_schedules(self, query: dict[str, str], body: Any) -> Any:
        held = list(self.schedules.values())
        return self._page(api.V2beta1ListRecurringRunsResponse, "recurring_runs", held, query)

    def enable_schedule(self, query: dict[str, str], body: Any, name: str) -> Any:
        self._one(self.schedules, name).status = "ENABLED"
        return {}

    def delete_schedule(self, query: dict[str, str], body: Any, name: str) -> Any:
        if name not in self.schedules:
            raise refusal("recurring-delete-missing", **{"89f7a688-c4d4-4108-b122-b2f80b140da2": name})
        if query.get("propagation_policy") != "ORPHAN":
            raise Refused(
                400, f"deleting {name} so would delete the workflows it started, the running one too"
            )
        del self.schedules[name]
        return {}

    def _one(self, things: dict[str, Any], name: str, missing: str = "") -> Any:
        if name not in things:
            if missing:
                raise refusal(missing, **{NOBODY: name})
            raise Refused(404, f"{name} not found")
        return things[name]

    def _page(self, answer: Any, name: str, held: list[Any], query: dict[str, str]) -> Any:
        held = sorted(held, key=lambda each: each.created_at, reverse="desc" in query.get("sort_by", ""))
        first = int(query.get("page_token") or 0)
        more = str(first + PAGE) if first + PAGE < len(held) else None
        shown = held[first : first + PAGE] or None  # nothing is told as nothing
        return answer(**{name: shown, "next_page_token": more, "total_size": len(held) or None})


V = "/apis/v2beta1"
ROUTES: list[tuple[str, str, Callable[..., Any]]] = [
    (f"{V}/healthz", "GET", KfpServer.healthz),
    ("/apis/v1beta1/healthz", "GET", KfpServer.healthz_before),
    (f"{V}/pipelines", "POST", KfpServer.create_pipeline),
    (f"{V}/pipelines/upload", "POST", KfpServer.upload_pipeline),
    (f"{V}/pipelines/names/([^/]+)", "GET", KfpServer.pipeline_by_name),
    (f"{V}/pipelines/upload_version", "POST", KfpServer.upload_version),
    (f"{V}/pipelines/([^/]+)/versions", "GET", KfpServer.list_versions),
    (f"{V}/pipelines/([^/]+)/versions/([^/]+)", "GET", KfpServer.get_version),
    (f"{V}/experiments", "GET", KfpServer.list_experiments),
    (f"{V}/experiments", "POST", KfpServer.create_experiment),
    (f"{V}/runs", "POST", KfpServer.create_run),
    (f"{V}/runs", "GET", KfpServer.list_runs),
    (f"{V}/runs/([^/:]+)", "GET", KfpServer.get_run),
    (f"{V}/runs/([^/:]+):retry", "POST", KfpServer.retry_run),
    (f"{V}/runs/([^/:]+):terminate", "POST", KfpServer.terminate_run),
    ("/apis/v1alpha1/runs/([^/]+)/nodes/([^/]+)/log", "GET", KfpServer.run_log),
    (f"{V}/recurringruns", "POST", KfpServer.create_schedule),
    (f"{V}/recurringruns", "GET", KfpServer.list_schedules),
    (f"{V}/recurringruns/([^/:]+):enable", "POST", KfpServer.enable_schedule),
    (f"{V}/recurringruns/([^/:]+)", "DELETE", KfpServer.delete_schedule),
]


def _handler(server: KfpServer) -> type[JsonHandler]:
    class Handler(JsonHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            called = f"{self.command} {url.path}"
            server.asked.append(called)
            server.headers.append(dict(self.headers))
            if server.before is not None:
                before, server.before = server.before, None
                before(called)
            broken = next((each for each in server.broken if each[0] in called), None)
            try:
                if broken is not None:
                    server.broken.remove(broken)
                    if broken[2] and not server.late:
                        self._act(url.path, query, data)
                    if broken[1] == 0:
                        time.sleep(server.silent_s)
                        if broken[2] and server.late:
                            self._act(url.path, query, data)
                        self.close_connection = True
                        return
                    raise Refused(broken[1], "upstream connect error\nor disconnect")
                said = self._act(url.path, query, data)
                if isinstance(said, Text):
                    self.write(200, said.encode(), "text/plain; charset=utf-8")
                else:
                    self.say(200, plain(said))
            except Refused as refused:
                self.say(refused.status, refused.body())
            except (ValueError, KeyError, TypeError) as error:
                self.say(400, {"code": 3, "message": f"{type(error).__name__}: {error}"})

        do_GET = do_POST = do_DELETE = _serve

        def _act(self, path: str, query: dict[str, str], data: bytes) -> Any:
            if server.token and self.headers.get("Authorization") != f"Bearer {server.token}":
                raise Refused(401, "Request header error: there is no user identity header.")
            if server.forbidden:
                raise Refused(403, "User is not authorized with reason: no role")
            return server.answer(self.command, path, query, self._body(data))

        def _body(self, data: bytes) -> Any:
            kind = self.headers.get("Content-Type", "")
            if kind.startswith("multipart/form-data"):
                whole = f"Content-Type: {kind}\r\n\r\n".encode() + data
                part = email.message_from_bytes(whole).get_payload()[0]
                assert part.get_param("name", header="content-disposition") == "uploadfile"
                return part.get_payload(decode=True).decode()
            return json.loads(data) if data else None

    return Handler


@contextmanager
def kfp_server() -> Iterator[KfpServer]:
    """A server without anything on it."""
    server = KfpServer()
    with serving(_handler(server)) as url:
        server.url = url
        yield server
