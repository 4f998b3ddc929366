import json
from pathlib import Path
from typing import Any

from copg.run.summary import SUMMARY, summarise, write_summary
from copg.run.task_record import RUN, TaskRecord, read_json, write_record

TRIALS = [{"method": "copg", "beta": 0.1}, {"method": "ipo", "beta": 1.0}]


def task(stage: str, subject: dict[str, Any] | None = None) -> dict[str, Any]:
    name = {"copg": "copg_0.1", "ipo": "ipo_1"}.get(
        (subject or {}).get("method", ""), (subject or {}).get("name")
    )
    task = f"{stage}-{name}" if subject else stage
    return {"task": task, "stage": stage, "subject": subject, "key": f"key of {task}", "loop": None}


TASKS = [
    task("validate"),
    task("evaluate", {"name": "reference"}),
    *(task(stage, trial) for trial in TRIALS for stage in ("train", "evaluate")),
    task("report"),
    task("promote"),
]
RUN_FILE = {"run": "now", "name": "demo", "started": "2026-01-01T00:00:00+00:00", "tasks": TASKS}
GATE = {
    "reward": {"mean": 0.5, "low": 0.4, "high": 0.6},
    "kl": {"mean": 2.0, "low": 1.5, "high": 2.5},
    "length": {"mean": 20.0, "low": 19.0, "high": 21.0},
    "diverged": False,
}
DECISION = {"promoted": True, "trial": "ipo_1", "reasons": ["more reward"], "champion": {"version": "3"}}


def records(run: str = "now", **changes: dict[str, Any]) -> dict[str, TaskRecord]:
    found = {
        "resolve": TaskRecord(stage="resolve", task="resolve", key="always", run="now", state="succeeded")
    }
    for entry in TASKS:
        facts = {"evaluate": {"gate": GATE}, "promote": DECISION}.get(entry["stage"], {})
        outputs = {"page": "/somewhere/page"} if entry["stage"] == "report" else {}
        found[entry["task"]] = TaskRecord(
            stage=entry["stage"],
            task=entry["task"],
            key=entry["key"],
            subject=entry["subject"],
            run=run,
            state="succeeded",
            seconds=2.0,
            facts=facts,
            outputs=outputs,
        )
    for name, values in changes.items():
        for key, value in values.items():
            setattr(found[name.replace("__", "-").replace("ipo", "ipo_1")], key, value)
    return found


def test_a_good_run_tells_reward_and_kl_of_each_trial_and_who_was_promoted() -> None:
    summary = summarise(RUN_FILE, records(), succeeded=True)
    assert summary["state"] == "succeeded"
    first, second = summary["trials"]
    assert (first["name"], first["promoted"], second["name"], second["promoted"]) == (
        "copg_0.1",
        False,
        "ipo_1",
        True,
    )
    assert (second["reward"], second["reward_low"], second["reward_high"]) == (0.5, 0.4, 0.6)
    assert (second["kl"], second["kl_low"], second["kl_high"]) == (2.0, 1.5, 2.5)
    assert second["seconds"] == {"train": 2.0, "evaluate": 2.0}
    assert summary["reference"]["reward"] == 0.5
    assert summary["champion"] == {"version": "3"}
    assert summary["report"] == "/somewhere/page"
    assert summary["cached"] == []


def test_the_end_of_a_run_says_where_the_best_policy_lies() -> None:
    decision = {
        **DECISION,
        "model_name": "demo",
        "version": "3",
        "champion": {"version": "3", "source": "/champions/3"},
    }
    trained = {"outputs": {"policy": "/artifacts/ipo"}}

    def found(**changes: Any) -> tuple[Any, ...]:
        known = records(promote={"facts": {**decision, **changes}}, train__ipo=trained)
        summary = summarise(RUN_FILE, known, succeeded=True)
        return tuple(summary[name] for name in ("best", "model", "version", "policy"))

    assert found() == ("ipo_1", "demo", "3", "/champions/3")
    assert found(promoted=False) == ("ipo_1", "demo", "3", "/artifacts/ipo")
    assert found(promoted=False, trial=None, version=None) == (None, "demo", None, None)


def test_the_report_lies_beside_the_summary_under_a_name_that_browsers_show(tmp_path: Path) -> None:
    (tmp_path / RUN).write_text(json.dumps(RUN_FILE))
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact/report.html").write_text("<html>all of it</html>")
    outputs = {"report": str(tmp_path / "artifact"), "page": "/somewhere/page"}
    for record in records(report={"outputs": outputs}).values():
        write_record(tmp_path, record)
    summary = write_summary(tmp_path, succeeded=True)
    assert summary["report"] == read_json(tmp_path / SUMMARY)["report"] == str(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == "<html>all of it</html>"
    # one in an object store stays there
    write_record(tmp_path, records(report={"outputs": {**outputs, "report": "s3://b/report"}})["report"])
    assert write_summary(tmp_path, succeeded=True)["report"] == "/somewhere/page"


def test_what_the_report_says_of_a_trial_stands_beside_it() -> None:
    told = {"ipo_1": {"objective": {"beta": 0.1, "gain": {"mean": -0.2}}, "hints": ["worth less"]}}
    summary = summarise(RUN_FILE, records(report={"facts": {"policies": told}}), succeeded=True)
    first, second = summary["trials"]
    assert (first["objective"], first["hints"]) == (None, [])
    assert (second["objective"]["beta"], second["hints"]) == (0.1, ["worth less"])


def test_tasks_that_an_earlier_run_did_are_cached() -> None:
    summary = summarise(RUN_FILE, records(run="before"), succeeded=True)
    assert summary["cached"] == [entry["task"] for entry in TASKS]
    assert summary["executed"] == ["resolve"]
    assert summary["trials"][0]["seconds"]["train"] == 2.0, "what it took when it ran"


def test_a_failure_names_stage_trial_and_cause() -> None:
    broken = records(train__ipo={"state": "failed", "message": "no room"}, promote={"run": "before"})
    summary = summarise(RUN_FILE, broken, succeeded=False)
    assert summary["failure"] == {"stage": "train", "trial": "ipo_1", "cause": "no room"}
    assert (summary["state"], summary["promoted"], summary["report"]) == ("failed", None, None)
    assert not any(trial["promoted"] for trial in summary["trials"])


def test_a_task_that_still_says_running_was_killed() -> None:
    summary = summarise(RUN_FILE, records(train__ipo={"state": "running"}), succeeded=False)
    assert summary["failure"]["trial"] == "ipo_1"
    assert "killed while it ran" in summary["failure"]["cause"]


def test_a_failure_is_found_though_the_pipeline_says_success() -> None:
    summary = summarise(RUN_FILE, records(promote={"state": "failed", "message": "why"}), succeeded=True)
    assert summary["failure"] == {"stage": "promote", "trial": None, "cause": "why"}
    silent = records()
    del silent["promote"]
    summary = summarise(RUN_FILE, silent, succeeded=True)
    assert summary["failure"]["stage"] == "promote"
    assert "left no record" in summary["failure"]["cause"]


def test_a_pipeline_that_failed_outside_of_the_stages_is_no_success() -> None:
    assert summarise(RUN_FILE, records(), succeeded=False)["state"] == "failed"
    assert summarise({}, {}, succeeded=False)["failure"]["stage"] == "resolve"


def test_an_old_failure_of_a_task_that_was_not_reached_is_not_this_runs(tmp_path: Path) -> None:
    (tmp_path / RUN).write_text(json.dumps(RUN_FILE))
    changes = {
        "train__ipo": {"state": "failed", "message": "this time"},
        "promote": {"state": "failed", "message": "long ago", "run": "before"},
    }
    for record in records(**changes).values():
        write_record(tmp_path, record)
    summary = write_summary(tmp_path, succeeded=False)
    assert summary["failure"]["cause"] == "this time"
    assert "promote" not in summary["cached"]
    assert read_json(tmp_path / SUMMARY) == summary


def test_a_job_that_is_resumed_is_summed_up_by_its_records_alone(tmp_path: Path) -> None:
    (tmp_path / RUN).write_text(json.dumps(RUN_FILE))
    for record in records(train__ipo={"state": "failed", "message": "no room"}).values():
        write_record(tmp_path, record)
    assert write_summary(tmp_path, succeeded=False, job="align-1")["state"] == "failed"
    for record in records().values():
        write_record(tmp_path, record)
    # a server goes on saying what it said of the job before it was resumed
    assert write_summary(tmp_path, succeeded=False, job="align-1")["failure"] is None
    assert write_summary(tmp_path, succeeded=False, job="align-2")["failure"]["stage"] == "pipeline"


def test_a_trial_by_distance_is_told_with_the_beta_that_was_found_and_a_reward_model_beside_length() -> None:
    trial = {"method": "copg", "beta": {"kl": 2}}
    tasks = [
        task("reward"),
        *({**task(s), "task": f"{s}-copg_kl2", "subject": trial} for s in ("train", "evaluate")),
    ]
    found = {
        each["task"]: TaskRecord(stage=each["stage"], task=each["task"], key="", run="now", state="succeeded")
        for each in tasks
    }
    found["evaluate-copg_kl2"].facts = {"gate": {**GATE, "beta": 0.3}}
    metrics = {"accuracy/mean": 0.8, "length_accuracy/mean": 0.6, "over_length/low": 0.1}
    found["reward"].metrics = {**metrics, "steps/done": 9.0}
    summary = summarise({**RUN_FILE, "tasks": tasks}, found, succeeded=True)
    (told,) = summary["trials"]
    assert (told["name"], told["beta"], told["target_kl"], told["kl"]) == ("copg_kl2", 0.3, 2, 2.0)
    assert summary["reward_model"] == metrics
    plain = summarise(RUN_FILE, records(), succeeded=True)
    assert (plain["reward_model"], plain["trials"][0]["beta"], plain["trials"][0]["target_kl"]) == (
        None,
        0.1,
        None,
    )


def test_mixes_stand_beside_their_trial_and_one_may_be_promoted() -> None:
    mixes = [
        {"name": "ipo_1@0.5", "weight": 0.5, "policy_digest": "d", "gate": GATE},
        {"name": "ipo_1@1.5", "weight": 1.5, "policy_digest": "", "gate": {"diverged": True, "reward": None}},
    ]
    changes = {"evaluate__ipo": {"facts": {"gate": GATE, "mixes": mixes}}}
    changes["promote"] = {"facts": {**DECISION, "trial": "ipo_1@0.5"}}
    summary = summarise(RUN_FILE, records(**changes), succeeded=True)
    first, second = summary["trials"]
    assert (first["mixes"], second["promoted"]) == ([], False)
    half, beyond = second["mixes"]
    assert (half["name"], half["weight"], half["scaled"], half["promoted"]) == ("ipo_1@0.5", 0.5, True, True)
    assert (half["reward"], half["kl_high"], half["objective"]) == (0.5, 2.5, None)
    assert (beyond["scaled"], beyond["promoted"], beyond["reward"]) == (False, False, None)
