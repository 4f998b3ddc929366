import contextlib
import json
import math
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
import sqlalchemy

from copg.data.parents import describe_process
from copg.errors import DiskError, TrackingError
from copg.progress import noting_warnings
from copg.tracking.mlflow import (
    _make_whole,
    connect,
    exclusive,
    is_half_made,
    one_line_errors,
    sqlite_path,
)
from copg.tracking.pointer import POINTER
from copg.tracking.registry import CHALLENGER, CHAMPION, PREVIOUS, PROMOTED, Registry, champion
from copg.tracking.runs import PROCESS, TRAINING, Tracker
from tests.serving import JsonHandler, serving


@pytest.fixture(scope="module")
def uri(tmp_path_factory) -> str:
    """One new file for the module: filling it takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('tracking') / 'mlflow.db'}"


def in_a_new_process(code: str, *arguments: str, environment: dict[str, str] | None = None) -> str:
    clean = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**clean, **(environment or {})},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def runs_of(uri: str, experiment: str) -> list:
    client = connect(uri)
    return client.search_runs([client.get_experiment_by_name(experiment).experiment_id])


def test_a_run_holds_its_parameters_its_metrics_by_step_and_its_end(uri) -> None:
    params = {"method": "copg", "beta": 0.05, "train": {"lr": 1e-3, "stages": ["a", "b"]}, "long": "x" * 9000}
    with Tracker(uri, experiment="finished", run_name="copg_0.05", params=params) as tracker:
        tracker.log({"loss/mean": 2.0, "reward/mean": 0.25}, step=1)
        tracker.log({"loss/mean": 1.0}, step=2)
    (run,) = runs_of(uri, "finished")
    assert (run.info.run_name, run.info.status) == ("copg_0.05", "FINISHED")
    assert run.data.params["train.lr"] == "0.001"
    assert run.data.params["train.stages"] == '["a", "b"]'
    assert len(run.data.params["long"]) == 6000
    history = connect(uri).get_metric_history(run.info.run_id, "loss/mean")
    assert [(m.step, m.value) for m in history] == [(1, 2.0), (2, 1.0)]
    tags = connect(uri).get_experiment(run.info.experiment_id).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"  # MLflow's page opens on the runs


def test_requests_to_a_server_are_given_up_within_half_a_minute(uri, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "7")
    connect(uri)
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "4"  # after 2, 4, 8 and 16 seconds
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "7"  # as the user has it


def test_more_parameters_than_one_request_takes_are_all_kept(uri) -> None:
    with Tracker(uri, experiment="many", run_name="a", params={f"key {i}!": i for i in range(230)}):
        pass
    (run,) = runs_of(uri, "many")
    assert len(run.data.params) == 230
    assert run.data.params["key 7_"] == "7"


def test_a_run_that_raises_is_marked_as_failed_and_a_loss_that_is_not_a_number_is_kept(uri) -> None:
    with pytest.raises(ZeroDivisionError):
        diverge(uri)
    (run,) = runs_of(uri, "failed")
    assert run.info.status == "FAILED"
    assert math.isnan(run.data.metrics["loss/mean"])


def diverge(uri: str) -> None:
    with Tracker(uri, experiment="failed", run_name="a", params={}) as tracker:
        tracker.log({"loss/mean": math.nan}, step=1)
        raise ZeroDivisionError


def test_runs_of_what_was_killed_are_closed_and_others_go_on(uri) -> None:
    gone = {"pid": os.getpid(), "started": 1, "where": describe_process()["where"]}
    client = connect(uri)
    experiment = client.create_experiment("killed")

    def left(process: dict, training: str) -> str:
        tags = {PROCESS: json.dumps(process), TRAINING: training}
        return client.create_run(experiment, tags=tags).info.run_id

    killed, alive = left(gone, "a"), left(describe_process(), "b")
    elsewhere, same = left({**gone, "where": "a pod"}, "c"), left({**gone, "where": "a pod"}, "d")
    by_hand = client.create_run(experiment).info.run_id
    with pytest.raises(SystemExit), Tracker(uri, experiment="killed", run_name="r", params={}, training="d"):
        raise SystemExit(143)
    found = {run.info.run_id: run.info.status for run in runs_of(uri, "killed")}
    assert [found.pop(each) for each in (killed, same)] == ["KILLED"] * 2
    assert [found.pop(each) for each in (alive, elsewhere, by_hand)] == ["RUNNING"] * 3
    assert list(found.values()) == ["KILLED"]  # asked to stop, it goes on in another


def test_without_an_address_nothing_is_tracked_and_mlflow_is_not_loaded() -> None:
    code = """
import sys
from copg.tracking.registry import champion
from copg.tracking.runs import Tracker
with Tracker(None, experiment="e", run_name="r", params={"a": 1}) as tracker:
    tracker.log({"loss/mean": 1.0}, step=1)
assert champion("sqlite:////nowhere/mlflow.db", "model") is None
print(sorted({"mlflow", "torch", "sqlalchemy"} & set(sys.modules)))
"""
    assert in_a_new_process(code).strip() == "[]"


TRIAL = """
import sys, time
from copg.tracking.runs import Tracker
while time.time() < float(sys.argv[3]):
    time.sleep(0.005)
with Tracker(sys.argv[1], experiment="sweep", run_name=sys.argv[2], params={"trial": sys.argv[2]}) as tracker:
    for step in range(60):
        tracker.log({f"metric/{i}": float(step) for i in range(12)}, step=step)
"""


@pytest.mark.nightly
def test_two_trials_that_start_at_once_on_a_new_file_both_keep_every_step(tmp_path) -> None:
    uri = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    start = str(time.time() + 1.0)
    trials = [
        subprocess.Popen(
            [sys.executable, "-c", TRIAL, uri, name, start],
            stderr=subprocess.PIPE,
            text=True,
            # another temporary folder each, as in two containers: a lock there would not be shared
            env={**os.environ, "TMPDIR": str(_folder(tmp_path / name))},
        )
        for name in ("a", "b")
    ]
    told = [trial.communicate(timeout=120)[1] for trial in trials]
    assert [trial.returncode for trial in trials] == [0, 0], told
    assert told == ["", ""]
    runs = {run.info.run_name: run for run in runs_of(uri, "sweep")}
    assert sorted(runs) == ["a", "b"]
    for run in runs.values():
        assert run.info.status == "FINISHED"
        history = connect(uri).get_metric_history(run.info.run_id, "metric/7")
        assert [m.step for m in history] == list(range(60))


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


PHONE = """
import socket, sys
called = []
for name in ("connect", "connect_ex"):
    setattr(socket.socket, name, lambda self, address: called.append(address) or 1)
socket.getaddrinfo = lambda *a, **k: called.append(a) or []
from copg.tracking.registry import Registry
from copg.tracking.runs import Tracker
if "telemetry on" in sys.argv:
    import copg.tracking.mlflow as store
    store._keep_quiet = lambda: None
with Tracker(sys.argv[1], experiment="quiet", run_name="r", params={}) as tracker:
    tracker.log({"loss/mean": 1.0}, step=1)
registry = Registry(sys.argv[1], "quiet")
registry.make_champion(registry.register_version("/policy", digest="d", tags={}, description=""))
from mlflow.telemetry import get_telemetry_client
client = get_telemetry_client()
if client is not None:
    client.flush()
print("calls", len(called), "client", client is not None, "torch", "torch" in sys.modules)
"""


def test_mlflow_never_phones_home_never_loads_torch_and_says_nothing(uri) -> None:
    assert in_a_new_process(PHONE, uri).splitlines() == ["calls 0 client False torch False"]


@pytest.mark.nightly
def test_the_test_above_would_see_telemetry_that_is_on(uri) -> None:
    assert "client True" in in_a_new_process(PHONE, uri, "telemetry on")


def test_nothing_is_left_in_the_working_directory(uri, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Tracker(uri, experiment="tidy", run_name="r", params={}):
        pass
    assert list(tmp_path.iterdir()) == []
    location = connect(uri).get_experiment_by_name("tidy").artifact_location
    assert location.startswith(sqlite_path(uri).parent.as_uri())


def test_a_first_version_becomes_champion(uri) -> None:
    assert champion(uri, "first") is None
    registry = Registry(uri, "first")
    version = registry.register_version(
        "s3://b/policy", digest="d1", tags={"data": "abc"}, description="# Card"
    )
    assert registry.get(CHAMPION) is None  # registered is not promoted
    registry.make_champion(version)
    found = champion(uri, "first")
    assert (found.version, found.policy_uri, found.digest) == (version, "s3://b/policy", "d1")
    assert found.tags["data"] == "abc"
    assert registry.get(PREVIOUS) is None
    assert connect(uri).get_model_version("first", version).description == "# Card"


def test_the_one_who_was_champion_stays_findable_and_a_second_crowning_changes_nothing(uri) -> None:
    registry = Registry(uri, "twice")
    one = registry.register_version("/one", digest="d1", tags={}, description="")
    two = registry.register_version("/two", digest="d2", tags={}, description="")
    registry.make_champion(one)
    registry.make_challenger(two)
    for _ in range(2):
        registry.make_champion(two)
        assert registry.get(CHAMPION).version == two
        assert registry.get(PREVIOUS).version == one
        assert registry.get(CHALLENGER) is None  # it won
    assert [v.version for v in registry.versions()] == [two, one]


def test_the_same_weights_registered_twice_are_one_version(uri) -> None:
    registry = Registry(uri, "same")
    first = registry.register_version("/a", digest="d1", tags={}, description="")
    assert registry.register_version("/elsewhere", digest="d1", tags={}, description="") == first
    assert registry.register_version("/b", digest="d2", tags={}, description="") != first
    assert len(registry.versions()) == 2


def bid(registry: Registry, digest: str, replaces: str = "") -> str:
    return registry.bid(f"/{digest}", digest=digest, tags={}, description="", replaces=replaces)


@pytest.mark.parametrize("first_decided", [0, 1])
def test_of_two_promotions_the_first_registered_wins_whoever_is_decided_first(uri, first_decided) -> None:
    registry = Registry(uri, f"two {first_decided}")
    bids = [bid(registry, "d1"), bid(registry, "d2")]
    order = bids if first_decided == 0 else bids[::-1]
    faster = {version: registry.award(version) for version in order}
    assert faster[bids[0]] is None
    assert faster[bids[1]].version == bids[0]
    assert registry.get(CHAMPION).version == bids[0]
    assert [registry.award(version) is None for version in bids] == [True, False], "and it stays so"


def test_who_was_measured_against_a_champion_of_the_past_loses(uri) -> None:
    registry = Registry(uri, "late")
    one = bid(registry, "d1")
    registry.award(one)
    two, late = bid(registry, "d2", one), bid(registry, "d3", one)
    assert registry.award(two) is None
    assert registry.award(late).version == two
    never = bid(registry, "d4")  # as if there were no champion
    assert registry.award(never).version == two
    assert [version.version for version in registry.champions()] == [two, one]


def test_a_promotion_cut_short_blocks_nobody_and_is_finished_by_the_next_run(uri) -> None:
    registry = Registry(uri, "cut short")
    cut = bid(registry, "d1")  # and the process is killed
    assert champion(uri, "cut short").version == cut
    again = bid(registry, "d2", cut)
    assert registry.award(again) is None
    assert champion(uri, "cut short").version == again


def test_a_retried_promotion_is_the_same_bid_and_a_later_one_is_not(uri) -> None:
    registry = Registry(uri, "retried")
    one = bid(registry, "d1")
    assert bid(registry, "d1") == one
    registry.award(one)
    two = bid(registry, "d2", one)
    registry.award(two)
    back = bid(registry, "d1", two)  # the weights of the first again, better on new prompts
    assert (back, registry.award(back)) == ("3", None)


def test_after_a_rollback_the_place_can_be_taken_again(uri) -> None:
    registry = Registry(uri, "rolled back")
    one = bid(registry, "d1")
    registry.award(one)
    two = bid(registry, "d2", one)
    registry.award(two)
    registry.make_champion(one)
    assert [version.version for version in registry.champions()] == [one, two]
    three = bid(registry, "d3", one)
    assert registry.award(three) is None
    assert champion(uri, "rolled back").version == three


def promoted(uri: str, model: str) -> tuple[Registry, str, str]:
    """A registry with a champion, and one before it."""
    registry = Registry(uri, model)
    one = bid(registry, "d1")
    registry.award(one)
    two = bid(registry, "d2", one)
    registry.award(two)
    assert champion(uri, model).version == two
    return registry, one, two


def test_a_champion_that_is_not_the_one_that_was_made_is_no_ones(uri) -> None:
    registry, one, two = promoted(uri, "pointed")
    client, model = registry._client, "pointed"
    client.set_registered_model_alias(model, CHAMPION, one)
    with pytest.raises(
        TrackingError, match=f"at version {one}, and version {two} was made it.*rollback VERSION"
    ):
        champion(uri, model)
    client.delete_registered_model_alias(model, CHAMPION)
    with pytest.raises(TrackingError, match=f"no version has the alias 'champion', and version {two} was"):
        champion(uri, model)
    client.set_registered_model_alias(model, CHAMPION, two)
    for tag, value in (("policy_digest", "d3"), ("replaces", "none"), ("champion_before", "null")):
        before = registry.get(CHAMPION).tags.get(tag)
        client.set_model_version_tag(model, two, tag, value)
        assert registry.find_doubt() == f"version {two} is not what it was when it was made champion"
        client.delete_model_version_tag(model, two, tag)
        if before is not None:
            client.set_model_version_tag(model, two, tag, before)
    client.set_model_version_tag(model, two, "approved by", "Ada")  # a tag of theirs decides nothing
    assert champion(uri, model).version == two
    pointer = client.get_registered_model(model).tags[POINTER]
    for place in range(0, len(pointer), 9):
        changed = pointer[:place] + chr(ord(pointer[place]) ^ 1) + pointer[place + 1 :]
        client.set_registered_model_tag(model, POINTER, changed)
        assert registry.find_doubt()
    registry.make_champion(one)  # as copg champion rollback does
    assert champion(uri, model).version == one


def test_a_registry_of_0_1_0_has_no_pointer_and_is_believed(uri) -> None:
    registry, _, two = promoted(uri, "old")
    registry._client.delete_registered_model_tag("old", POINTER)
    assert champion(uri, "old").version == two


def test_a_promotion_that_was_cut_short_after_the_alias_is_finished(uri) -> None:
    registry, _, two = promoted(uri, "cut")
    registry._client.delete_model_version_tag("cut", two, PROMOTED)
    assert registry.get(CHAMPION).undecided
    assert not champion(uri, "cut").undecided


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ([], True),
        (["CREATE TABLE experiments (a)"], True),
        (["CREATE TABLE alembic_version (version_num)"], True),
        (["CREATE TABLE alembic_version (version_num)", "INSERT INTO alembic_version VALUES ('old')"], True),
        (["CREATE TABLE runs (a)", "INSERT INTO runs VALUES (1)"], False),
        (["CREATE TABLE registered_models (a)", "INSERT INTO registered_models VALUES (1)"], False),
    ],
)
def test_a_database_is_half_made_where_it_is_not_whole_and_holds_nothing(tables, expected, tmp_path) -> None:
    path = tmp_path / "mlflow.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        for statement in tables:
            database.execute(statement)
        database.commit()
    path.touch()
    assert is_half_made(path) is expected


def test_a_half_made_database_is_told_and_replaced(uri, tmp_path, capsys, monkeypatch) -> None:
    whole = sqlite_path(uri)
    connect(uri)
    path = tmp_path / "mlflow.db"
    path.touch()
    fill = lambda tracking_uri, registry_uri: shutil.copyfile(whole, sqlite_path(tracking_uri))  # noqa: E731
    monkeypatch.setattr("mlflow.MlflowClient", fill)
    _make_whole(path)
    assert not is_half_made(path)
    assert capsys.readouterr().err.startswith(f"warning: {path}: was left half made by a process that")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["mlflow.db", "mlflow.db.half-made"]


KILLED = """
import sys
from copg.tracking.mlflow import connect
print("filling", flush=True)
connect(sys.argv[1])
print("filled", flush=True)
"""


@pytest.mark.nightly
@pytest.mark.timeout(1200)
def test_whenever_a_process_is_killed_that_fills_a_database_the_next_one_has_a_whole_one(tmp_path) -> None:
    for number in range(5):
        path = tmp_path / f"{number}" / "mlflow.db"
        filling = subprocess.Popen(
            [sys.executable, "-c", KILLED, f"sqlite:///{path}"], stdout=subprocess.PIPE
        )
        assert filling.stdout.readline() == b"filling\n"
        while not list(path.parent.glob(".mlflow.db.*.part")):
            assert filling.poll() is None
            time.sleep(0.01)
        time.sleep(0.7 * number)
        filling.kill()
        filling.wait()
        with Tracker(f"sqlite:///{path}", experiment="e", run_name="r", params={}):
            pass
        assert not is_half_made(path)


RACE = """
import sys, time
from copg.tracking.registry import Registry
registry = Registry(sys.argv[1], "processes")
print("ready", flush=True)
sys.stdin.readline()
bid = registry.bid("/" + sys.argv[2], digest=sys.argv[2], tags={}, description="", replaces="")
faster = registry.award(bid)
print("won" if faster is None else f"lost to {faster.version}")
"""


@pytest.mark.nightly
def test_of_two_processes_at_once_exactly_one_promotes(uri) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, uri, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "b")
    ]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    told = sorted(racer.communicate(timeout=60)[0].strip() for racer in racers)
    assert told == ["lost to 1", "won"]


def test_more_versions_than_a_page_holds_are_all_found(uri, monkeypatch) -> None:
    registry = Registry(uri, "pages")
    for i in range(5):
        registry.register_version(f"/{i}", digest=f"d{i}", tags={}, description="")
    search = registry._client.search_model_versions
    monkeypatch.setattr(
        registry._client,
        "search_model_versions",
        lambda query, page_token: search(query, 2, None, page_token),
    )
    assert [v.version for v in registry.versions()] == ["5", "4", "3", "2", "1"]


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "x' or name = 'y"])
def test_a_name_that_no_registry_takes_is_refused(uri, name) -> None:
    with pytest.raises(TrackingError, match="model_name="):
        Registry(uri, name)


def test_a_file_that_is_no_database_is_one_clear_line(tmp_path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database, but long enough to be read as a header " * 40)
    with pytest.raises(
        TrackingError, match=r"mlflow.db: cannot be read as a database .*not a database.; move it"
    ) as caught:
        connect_and_enter(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrackingError, match="cannot be opened"):
        connect_and_enter(f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}")


def connect_and_enter(uri: str) -> None:
    with Tracker(uri, experiment="e", run_name="r", params={}):
        pass


def test_a_lock_is_held_by_one_process_at_a_time(tmp_path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    code = "import sys; from copg.tracking.mlflow import exclusive\nwith exclusive(sys.argv[1]): print('in')"
    with exclusive(uri):
        waiting = subprocess.Popen([sys.executable, "-c", code, uri], stdout=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(timeout=1.0)
    assert waiting.communicate(timeout=30)[0] == "in\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A real MLflow server on a free port."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/m.db",
        "--default-artifact-root",
        f"{folder}/files",
    ]
    own = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment = {**os.environ, **own}  # as the Deployment has it
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, env=environment, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(f"{address}/health", process, folder / "log")
        yield address, process
    finally:
        _stop(process)


def _wait(address: str, process: subprocess.Popen, log: Path) -> None:
    for _ in range(1800):
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(address, timeout=1)
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(log.read_text())


def _stop(process: subprocess.Popen) -> None:
    if process.poll() is None:
        os.killpg(process.pid, 15)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait(timeout=20)


def test_a_server_keeps_the_same_runs_and_versions_as_a_file(server) -> None:
    address, _ = server
    with Tracker(address, experiment="served", run_name="a", params={"beta": 0.1}) as tracker:
        tracker.log({"loss/mean": 1.0}, step=1)
    (run,) = runs_of(address, "served")
    assert (run.data.params, run.data.metrics, run.info.status) == (
        {"beta": "0.1"},
        {"loss/mean": 1.0},
        "FINISHED",
    )
    assert champion(address, "served") is None
    registry = Registry(address, "served")
    version = registry.register_version("s3://b/policy", digest="d", tags={"data": "x"}, description="# Card")
    assert registry.register_version("s3://b/policy", digest="d", tags={}, description="") == version
    registry.make_champion(version)
    assert champion(address, "served").policy_uri == "s3://b/policy"


def test_a_server_takes_the_path_of_a_volume_and_a_run_reads_it_as_one(server) -> None:
    registry = Registry(server[0], "local")
    version = registry.register_version("/runs/champions/local/abc", digest="d", tags={}, description="")
    assert (
        connect(server[0]).get_model_version("local", version).source == "local:///runs/champions/local/abc"
    )
    assert registry.versions()[0].policy_uri == "/runs/champions/local/abc"


def test_of_promotions_at_once_on_a_server_exactly_one_wins(server) -> None:
    address, names = server[0], [f"d{number}" for number in range(4)]
    outcomes = {}

    def promote(digest: str) -> None:
        registry = Registry(address, "race")
        together.wait()
        version = registry.bid(f"/{digest}", digest=digest, tags={}, description="", replaces="")
        outcomes[version] = registry.award(version)

    together = threading.Barrier(len(names))
    threads = [threading.Thread(target=promote, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    won = [version for version, faster in outcomes.items() if faster is None]
    assert (len(outcomes), won) == (4, ["1"])
    assert {faster.version for faster in outcomes.values() if faster is not None} == {"1"}
    assert champion(address, "race").version == "1"


def test_a_server_lost_in_the_middle_stops_the_tracking_and_not_the_training(
    server, capsys, monkeypatch
) -> None:
    address, process = server
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with Tracker(address, experiment="lost", run_name="a", params={}) as tracker:
        tracker.log({"loss/mean": 1.0}, step=1)
        _stop(process)
        tracker.log({"loss/mean": 1.0}, step=2)
        tracker.log({"loss/mean": 1.0}, step=3)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert told[0].startswith(f"warning: tracking at {address} failed: ")
    assert told[0].endswith("; step 2 and later are not tracked")
    began = time.monotonic()
    with pytest.raises(TrackingError, match=r"cannot be opened: nothing answers at 127\.0\.0\.1:"):
        connect_and_enter(address)  # but a server that is not there at the start is an error
    assert time.monotonic() - began < 20.0  # seconds, where MLflow's own attempts go on for minutes


def test_a_server_that_hangs_in_the_middle_is_told_once_and_left_alone(capsys, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    with socket.create_server(("127.0.0.1", 0)) as mute:  # the kernel takes requests, and nobody reads them
        address = f"http://127.0.0.1:{mute.getsockname()[1]}"
        hung = f"tracking at {address} did not answer within 0.2 s"

        def tracker() -> Tracker:
            client = MlflowClient(tracking_uri=address, registry_uri=address)
            given = {"experiment": "x", "run_name": "a", "params": {}, "answer_s": 0.2}
            return Tracker(address, **given, _client=client, _run="r")

        began, logging, ending = time.monotonic(), tracker(), tracker()
        with noting_warnings() as warned:
            for step in (7, 8):
                logging.log({"loss/mean": 1.0}, step=step)
            logging.__exit__(None, None, None)
            ending.__exit__(None, None, None)
        assert time.monotonic() - began < 20.0  # MLflow's own five attempts take 30 s each
    told = [f"{hung}; step 7 and later are not tracked", f"{hung}; the run stays open there"]
    assert warned == told
    assert capsys.readouterr().err.splitlines() == [f"warning: {line}" for line in told]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_takes_connections_and_answers_none_is_told_within_seconds(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:  # the kernel takes them, and nobody reads
        address = f"{scheme}://127.0.0.1:{mute.getsockname()[1]}"
        began = time.monotonic()
        message = (
            rf"tracking at {address} cannot be opened: 127\.0\.0\.1:\d+ accepts connections, and answers"
        )
        with pytest.raises(TrackingError, match=message), one_line_errors(address):
            connect(address, answer_s=0.1)
        assert time.monotonic() - began < 20.0  # two attempts, a second apart, after MLflow is loaded


def test_a_server_that_refuses_to_say_how_it_is_has_answered() -> None:
    asked = []

    class Refusing(JsonHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.say(403, {})

    with serving(Refusing) as address:
        connect(f"{address}/mlflow/")
    assert asked == ["/mlflow/health"]


def test_a_database_whose_disk_is_full_says_what_any_full_disk_does(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with sqlalchemy.create_engine(uri).connect() as small:
        small.execute(sqlalchemy.text("CREATE TABLE rows (value)"))
        small.execute(sqlalchemy.text("PRAGMA max_page_count = 2"))
        with pytest.raises(DiskError, match="the disk is full; free some of it"), one_line_errors(uri):
            small.execute(sqlalchemy.text("CREATE TABLE more (value)"))
