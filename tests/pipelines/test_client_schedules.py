"""``schedule``, ``unschedule`` and ``rollback`` against a server."""

import json
import re
from typing import Any

import kfp_server_api as api
from copg_pipelines.server.schedules import Schedule

from tests.pipelines.command import Command
from tests.pipelines.kfp_server import MODELS, KfpServer, parse, plain

WEEKLY = ("schedule", "align", "--cron", "0 3 * * 1", "--time-zone", "Asia/Tokyo")


def only(server: KfpServer) -> Any:
    (schedule,) = server.schedules.values()
    return schedule


def test_a_schedule_is_pinned_alone_and_catches_nothing_up(command: Command, server: KfpServer) -> None:
    name = command.create()
    made = command.with_recipe(*WEEKLY, "--service-account", "copg-runner")
    assert made.code == 0, made.error
    schedule, (version,) = only(server), server.versions.values()
    # Monday 3:00 in Tokyo is Sunday 18:00 UTC, where the scheduler's clock is; seconds first
    assert schedule.trigger.cron_schedule.cron == "0 0 18 * * 0"
    assert schedule.pipeline_version_reference.pipeline_version_id == version.pipeline_version_id
    assert (schedule.no_catchup, schedule.max_concurrency, schedule.mode) == (True, "1", "ENABLE")
    assert (schedule.display_name, schedule.service_account) == ("demo", "copg-runner")
    assert schedule.description == f"0 3 * * 1 Asia/Tokyo; version {name}"
    assert made.out.startswith(f"made: schedule demo  {schedule.recurring_run_id}\nversion: {name}\nnext: ")
    assert re.search(r"next: \d{4}-\d\d-\d\dT03:00:00\+09:00", made.out)
    listed = command("versions", "align")
    assert listed.out.rstrip().endswith("schedule demo")


def test_a_schedule_s_request_round_trips_through_the_models_of_the_api() -> None:
    version = api.V2beta1PipelineVersion(pipeline_id="p", pipeline_version_id="v", display_name="1-a-b")
    wanted = Schedule(name="demo", dag="align", cron="0 0 3 * * 1", says="0 3 * * 1 UTC", experiment_id="e")
    sent = json.loads(json.dumps(plain(wanted.request(version))))
    assert sent == {
        "display_name": "demo",
        "description": "0 3 * * 1 UTC; version 1-a-b",
        "pipeline_version_reference": {"pipeline_id": "p", "pipeline_version_id": "v"},
        "runtime_config": {"parameters": {}},
        "max_concurrency": "1",
        "trigger": {"cron_schedule": {"cron": "0 0 3 * * 1"}},
        "mode": "ENABLE",
        "no_catchup": True,
        "experiment_id": "e",
    }
    read = parse("V2beta1RecurringRun", sent)
    assert read == wanted.request(version)
    assert MODELS.sanitize_for_serialization(read) == sent


def test_the_same_schedule_again_changes_nothing(command: Command, server: KfpServer) -> None:
    command.with_recipe(*WEEKLY)
    before = dict(server.schedules)
    again = command.with_recipe(*WEEKLY)
    assert again.out.startswith("unchanged: schedule demo")
    assert server.schedules == before
    assert server.count("POST", "/recurringruns") == 1


def test_another_time_replaces_the_schedule_new_before_old(command: Command, server: KfpServer) -> None:
    command.with_recipe(*WEEKLY)
    old = only(server).recurring_run_id
    replaced = command.with_recipe("schedule", "align", "--cron", "@daily")
    assert replaced.out.startswith("replaced: schedule demo")
    assert only(server).recurring_run_id != old
    assert only(server).trigger.cron_schedule.cron == "0 0 0 * * *"
    calls = [a.split()[0] for a in server.asked if "recurringruns" in a and not a.startswith("GET")]
    assert calls == ["POST", "POST", "DELETE"]


def test_a_replacement_that_broke_half_way_is_finished_by_the_same_command(
    command: Command, server: KfpServer
) -> None:
    command.with_recipe(*WEEKLY)
    server.broken = [("DELETE", 500, False)] * 1000
    broken = command.with_recipe("schedule", "align", "--cron", "@daily")
    assert (broken.code, len(server.schedules)) == (1, 2)  # one too many rather than none
    server.broken = []
    finished = command.with_recipe("schedule", "align", "--cron", "@daily")
    assert (finished.code, finished.out.split(":")[0]) == (0, "replaced")
    assert only(server).trigger.cron_schedule.cron == "0 0 0 * * *"


def test_a_schedule_whose_answer_got_lost_is_not_made_twice(command: Command, server: KfpServer) -> None:
    server.broken = [("POST /apis/v2beta1/recurringruns", 504, True)]
    made = command.with_recipe(*WEEKLY)
    assert (made.code, len(server.schedules)) == (0, 1), made.error


def test_a_schedule_that_was_switched_off_is_switched_on_again(command: Command, server: KfpServer) -> None:
    command.with_recipe(*WEEKLY)
    only(server).status = "DISABLED"
    again = command.with_recipe(*WEEKLY)
    assert again.out.startswith("enabled: schedule demo")
    assert only(server).status == "ENABLED"


def test_a_time_that_the_scheduler_cannot_keep_is_refused_before_anything_is_sent(
    command: Command, server: KfpServer
) -> None:
    paris = ("schedule", "align", "--cron", "0 3 * * *", "--time-zone", "Europe/Paris")
    refused = command.with_recipe(*paris)
    assert "the two move apart with daylight saving" in refused.why
    assert "cron='0 3 * *' has 4 fields" in command.with_recipe("schedule", "align", "--cron", "0 3 * *").why
    assert server.asked == []
    made = command.with_recipe(*paris, "--server-time-zone", "Europe/Paris")
    assert (made.code, only(server).trigger.cron_schedule.cron) == (0, "0 0 3 * * *")


def test_rollback_points_a_schedule_at_the_version_before(command: Command, server: KfpServer) -> None:
    first, second = command.create(), command.create("train.epochs=2")
    command("schedule", "align", "--cron", "@daily", "--version", second)
    command.create("train.epochs=3", "name=another")  # of another recipe: not what one goes back to
    back = command("rollback", "align")
    assert (back.code, back.out.split(" runs ")[1].split()[0]) == (0, first), back.error
    names = {each.pipeline_version_id: each.display_name for each in server.versions.values()}
    assert names[only(server).pipeline_version_reference.pipeline_version_id] == first
    assert only(server).trigger.cron_schedule.cron == "0 0 0 * * *"
    assert "there is no version of the same recipe before" in command("rollback", "align").why
    forward = command("rollback", "align", "--to", second)
    assert f"replaced: schedule demo runs {second}" in forward.out
    assert command("rollback", "align", "--to", second).out.startswith("unchanged: ")


def test_rollback_leaves_a_schedule_off_that_was_off(command: Command, server: KfpServer) -> None:
    first, second = command.create(), command.create("train.epochs=2")
    command("schedule", "align", "--cron", "@daily", "--version", second)
    only(server).status = "DISABLED"
    assert command("rollback", "align", "--to", first).code == 0
    assert only(server).status == "DISABLED"


def test_several_schedules_are_touched_only_when_named_or_all_are_meant(
    command: Command, server: KfpServer
) -> None:
    first, second = command.create(), command.create("train.epochs=2")
    for name in ("nightly", "weekly", "monthly"):
        command("schedule", "align", "--cron", "@daily", "--version", second, "--name", name)
    for verb in ("rollback", "unschedule"):
        assert (
            "there are 3 schedules (monthly, nightly, weekly): name some with --name"
            in command(verb, "align").why
        )
    assert (
        "schedule='hourly' is unknown; there are: monthly, nightly, weekly"
        in command("unschedule", "align", "--name", "hourly").why
    )
    assert command("rollback", "align", "--name", "weekly", "--to", first).out.count("replaced") == 1
    assert command("unschedule", "align", "--name", "nightly").out.startswith("removed: schedule nightly")
    assert sorted(each.display_name for each in server.schedules.values()) == ["monthly", "weekly"]
    assert command("unschedule", "align", "--all").out.count("removed") == 2
    assert command("unschedule", "align").out == "there is no schedule\n"
    assert "has no schedule to point anywhere" in command("rollback", "align").why
