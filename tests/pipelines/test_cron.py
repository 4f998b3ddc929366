"""Cron in a named time zone, as KFP's scheduler takes it."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from copg_pipelines.server.cron import ScheduleError, next_time, parse_cron, server_cron

NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("five", "six"),
    [
        ("0 3 * * 1", "0 0 3 * * 1"),
        ("*/15 * * * *", "0 0,15,30,45 * * * *"),
        ("30 4 1,15 * *", "0 30 4 1,15 * *"),
        ("0 0 * jan-mar mon-fri", "0 0 0 * 1,2,3 1,2,3,4,5"),
        ("5/20 3 * * *", "0 5,25,45 3 * * *"),
        ("0 6 * * 7", "0 0 6 * * 0"),  # Sunday is 0 and 7 in cron, only 0 in KFP
        ("0 6 * * 5-7", "0 0 6 * * 0,5,6"),
        ("@daily", "0 0 0 * * *"),
        ("@Weekly", "0 0 0 * * 0"),
        ("@monthly", "0 0 0 1 * *"),
    ],
)
def test_five_fields_become_six_with_the_seconds_first(five: str, six: str) -> None:
    assert server_cron(five, "UTC", "UTC", now=NOW) == six


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0 3 * *", "has 4 fields; give five: minute, hour, day of month, month, day of week"),
        ("0 0 3 * * ?", "has 6 fields; give five"),
        ("61 3 * * *", "minute '61' holds '61'; it takes 0-59"),
        ("0 24 * * *", "hour '24' holds '24'; it takes 0-23"),
        ("0 3 0 * *", "day of month '0' holds '0'; it takes 1-31"),
        ("0 3 * foo *", "month 'foo' holds 'foo'"),
        ("0 3 * * 8", "day of week '8' holds '8'"),
        ("*/0 3 * * *", "minute '*/0' has the step '0'"),
        ("0 20-4 * * *", "hour '20-4' runs backwards in '20-4'"),
        ("0 3 L * *", "day of month 'L' holds 'L'"),
        ("0 3 */2 * 1", "cron programs disagree; list the days"),
        ("@reboot", "'@reboot' is unknown"),
        ("", "has 0 fields"),
    ],
)
def test_a_mistake_names_the_field_and_what_it_takes(text: str, says: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        parse_cron(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_time_zone_is_refused_with_a_suggestion() -> None:
    with pytest.raises(ScheduleError, match="'Paris' is unknown; did you mean Europe/Paris"):
        server_cron("0 3 * * *", "Paris", "UTC")
    with pytest.raises(ScheduleError, match="time_zone='Mars/Base' is unknown"):
        server_cron("0 3 * * *", "UTC", "Mars/Base")


@pytest.mark.parametrize(
    ("zone", "five", "six"),
    [
        # Tokyo is nine hours ahead all year: Monday 3:00 there is Sunday 18:00 UTC
        ("Asia/Tokyo", "0 3 * * 1", "0 0 18 * * 0"),
        ("Asia/Tokyo", "0 12 1 * *", "0 0 3 1 * *"),
        # Kolkata is five hours and a half ahead: 9:15 there is 3:45 UTC
        ("Asia/Kolkata", "15 9 * * *", "0 45 3 * * *"),
        # a schedule of every hour is the same in every whole-hour zone, whatever daylight saving does
        ("Europe/Paris", "0 * * * *", "0 0 * * * *"),
        # 22:00 and 2:00 in Tokyo are 13:00 of the day and 17:00 of the day before: daily all the same
        ("Asia/Tokyo", "0 2,22 * * *", "0 0 13,17 * * *"),
    ],
)
def test_a_zone_without_daylight_saving_is_moved_to_the_scheduler_s(zone: str, five: str, six: str) -> None:
    assert server_cron(five, zone, "UTC", now=NOW) == six


def test_moved_schedules_fire_at_the_very_moments_that_were_meant() -> None:
    cases = [
        ("Asia/Kolkata", "15 9 * * 1,4"),
        ("Asia/Tokyo", "30 2 * * 6"),
        ("America/Phoenix", "0 20 * * 0"),
    ]
    for zone, five in cases:
        moved = server_cron(five, zone, "UTC", now=NOW).removeprefix("0 ")
        fired = moments(moved, "UTC", until=NOW + timedelta(days=8))
        assert fired
        assert fired == moments(five, zone, until=NOW + timedelta(days=8))


def moments(text: str, zone: str, *, until: datetime) -> list[datetime]:
    """When a schedule fires from ``NOW`` on."""
    found, moment = [], NOW
    while (moment := next_time(text, zone, now=moment) or until) < until:
        found.append(moment)
    return found


def test_daylight_saving_is_refused_with_what_to_set_on_the_server() -> None:
    with pytest.raises(ScheduleError) as caught:
        server_cron("0 3 * * *", "Europe/Paris", "UTC", now=NOW)
    assert "the two move apart with daylight saving" in str(caught.value)
    assert "CRON_SCHEDULE_TIMEZONE=Europe/Paris" in str(caught.value)
    assert "--server-time-zone Europe/Paris" in str(caught.value)
    # once the scheduler is in that zone nothing has to be moved
    assert server_cron("0 3 * * *", "Europe/Paris", "Europe/Paris", now=NOW) == "0 0 3 * * *"
    # two zones that change their clocks on the same days stay equally far apart
    assert server_cron("0 3 * * *", "Europe/Paris", "Europe/London", now=NOW) == "0 0 2 * * *"


def test_days_that_a_cron_schedule_cannot_say_are_refused() -> None:
    # the first of the month at 3:00 in Tokyo is the last of the month before in UTC
    with pytest.raises(ScheduleError, match="no cron schedule any more"):
        server_cron("0 3 1 * *", "Asia/Tokyo", "UTC", now=NOW)


def test_the_next_time_is_told_by_the_clock_that_was_asked_for() -> None:
    assert next_time("0 3 * * 1", "Europe/Paris", now=NOW) == datetime(
        2026, 1, 19, 3, 0, tzinfo=ZoneInfo("Europe/Paris")
    )
    assert next_time("0 0 29 2 *", "UTC", now=NOW) == datetime(2028, 2, 29, tzinfo=UTC)
    assert next_time("0 0 31 2 *", "UTC", now=NOW) is None
    # day of month and day of week are alternatives: Friday 16 January comes before the first of February
    assert next_time("0 0 1 * 5", "UTC", now=NOW) == datetime(2026, 1, 16, tzinfo=UTC)


def test_where_cron_programs_disagree_it_is_as_kfp_s_scheduler_has_it() -> None:
    # a step counts to Saturday, 6: Sunday is 0 and not 7 as well
    assert server_cron("0 3 * * 1/2", "UTC", "UTC", now=NOW) == "0 0 3 * * 1,3,5"
    # a step within a range stays in it, were it of one value
    assert server_cron("5-5/2 3 * * *", "UTC", "UTC", now=NOW) == "0 5 3 * * *"
    # on 29 March the clock of Paris goes from 2:00 to 3:00: nothing runs at 2:30 that day, nor later instead
    before = datetime(2026, 3, 28, 12, tzinfo=UTC)
    paris = ZoneInfo("Europe/Paris")
    assert next_time("30 2 * * *", "Europe/Paris", now=before) == datetime(2026, 3, 30, 2, 30, tzinfo=paris)
    # both days listed are alternatives, though one list holds every day
    assert next_time("0 3 1-31 * 1", "UTC", now=NOW) == datetime(2026, 1, 16, 3, tzinfo=UTC)
