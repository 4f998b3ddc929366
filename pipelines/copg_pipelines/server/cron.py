"""Schedules: the usual five cron fields in a named time zone, as the six fields that a KFP server takes.

KFP's scheduler reads every schedule in ONE time zone, its own, and its cron library knows no ``TZ=``: a time
in another zone is moved, which is exact while the two clocks stay equally far apart. Where daylight saving
moves them, the schedule is refused with what to set on the server.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError
from cronsim.cronsim import RANGES, Field

from copg.errors import CopgError

NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
NAMES = {
    Field.MINUTE: "minute",
    Field.HOUR: "hour",
    Field.DAY: "day of month",
    Field.MONTH: "month",
    Field.DOW: "day of week",
}
MINUTES_PER_DAY = 24 * 60
LOOK_AHEAD_DAYS = 2 * 366
"""Two zones are compared for so long: each change of clocks of the coming two years."""
SCHEDULER_HINT = (
    "kubectl -n kubeflow set env deployment/ml-pipeline-scheduledworkflow CRON_SCHEDULE_TIMEZONE={zone}"
)


class ScheduleError(CopgError):
    """A cron expression or a time zone cannot be used."""


@dataclass(frozen=True)
class Cron:
    """When something happens, by the clock of some time zone."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int] | None
    """Days of the month; None: every."""
    months: frozenset[int] | None
    weekdays: frozenset[int] | None
    """0 is Sunday; None: every."""

    def six_fields(self) -> str:
        """As KFP takes it: seconds first."""
        fields = [
            _text(self.minutes, range(60)),
            _text(self.hours, range(24)),
            *(_text(values, ()) for values in (self.days, self.months, self.weekdays)),
        ]
        return " ".join(["0", *fields])


def parse_cron(text: str) -> Cron:
    """A schedule of five fields (minute, hour, day of month, month, day of week), or ``@daily`` and its like.

    Raises:
        ScheduleError: names the field and what it may hold.
    """
    spec = NAMED.get(text.strip().lower(), text)
    if spec.startswith("@"):
        raise ScheduleError(f"cron={text!r} is unknown; use five fields, or one of {sorted(NAMED)}")
    parts = spec.split()
    if len(parts) != len(NAMES):
        names = ", ".join(NAMES.values())
        raise ScheduleError(f"cron={text!r} has {len(parts)} fields; give five: {names}")
    values = [_values(part, field, text) for part, field in zip(parts, NAMES, strict=True)]
    minutes, hours, days, months, weekdays = values
    if days and weekdays and (parts[2].startswith("*") or parts[4].startswith("*")):
        raise ScheduleError(
            f"cron={text!r}: with both day of month and day of week, one of them as */n, cron programs "
            "disagree; list the days"
        )
    return Cron(
        minutes=minutes if minutes is not None else frozenset(range(60)),
        hours=hours if hours is not None else frozenset(range(24)),
        days=days,
        months=months,
        weekdays=None if weekdays is None else frozenset(day % 7 for day in weekdays),
    )


def _values(part: str, field: Field, text: str) -> frozenset[int] | None:
    """The values of one field; None where it holds every one."""
    # cronsim's own reading differs from that of KFP's scheduler: its 5-5/2 goes on to the end, its L is a day
    low, *_, high = RANGES[field]

    def refuse(why: str) -> ScheduleError:
        allowed = f"{low}-{high}, *, lists, a-b, */n"
        return ScheduleError(f"cron={text!r}: {NAMES[field]} {part!r} {why}; it takes {allowed}")

    def number(word: str) -> int:
        try:
            return field.int(word.upper())
        except CronSimError:
            raise refuse(f"holds {word!r}") from None

    last_of_all = 6 if field is Field.DOW else high  # KFP counts weekdays from 0 to 6
    found: set[int] = set()
    for item in part.split(","):
        span, slash, step = item.partition("/")
        if slash and not (step.isascii() and step.isdigit() and int(step)):
            raise refuse(f"has the step {step!r}")
        first, dash, last = span.partition("-")
        if span in ("*", "?"):
            start, end = low, last_of_all
        else:
            start = number(first)
            end = number(last) if dash else max(start, last_of_all) if slash else start
        if start > end:
            raise refuse(f"runs backwards in {span!r}")
        found |= set(range(start, end + 1, int(step) if slash else 1))
    return None if part in ("*", "?") else frozenset(found)


def _text(values: frozenset[int] | None, every: range | tuple[()]) -> str:
    if values is None or (every and values == frozenset(every)):
        return "*"
    return ",".join(str(value) for value in sorted(values))


def zone_named(name: str) -> ZoneInfo:
    """A time zone of the IANA database, such as ``Europe/Paris``.

    Raises:
        ScheduleError: there is none of that name.
    """
    if name not in available_timezones():
        near = sorted(z for z in available_timezones() if name.lower().replace(" ", "_") in z.lower())[:3]
        hint = f"; did you mean {' or '.join(near)}" if name and near else "; use a name such as Europe/Paris"
        raise ScheduleError(f"time_zone={name!r} is unknown{hint}")
    return ZoneInfo(name)


def server_cron(text: str, zone: str, server_zone: str, *, now: datetime | None = None) -> str:
    """The six fields by which a server with its clock in ``server_zone`` does what ``text`` says in ``zone``.

    Args:
        text: five fields, or ``@daily`` and its like.
        zone: time zone of ``text``.
        server_zone: time zone of KFP's scheduler; UTC as it is installed.
        now: from when on the zones are compared.

    Raises:
        ScheduleError: the schedule is wrong, or cannot be moved to the server's time zone.
    """
    cron, here, there = parse_cron(text), zone_named(zone), zone_named(server_zone)
    start = now or datetime.now(UTC)
    found = {_moved(cron, apart) for apart in _minutes_apart(here, there, start)}
    if len(found) == 1 and (only := next(iter(found))) is not None:
        return only.six_fields()
    why = (
        "the two move apart with daylight saving"
        if len(found) > 1
        else "its days or hours, moved to that zone, are no cron schedule any more"
    )
    raise ScheduleError(
        f"cron={text!r} in {zone} cannot be told to a scheduler in {server_zone}: {why}; "
        f"run `{SCHEDULER_HINT.format(zone=zone)}` once and add --server-time-zone {zone}"
    )


def _minutes_apart(here: ZoneInfo, there: ZoneInfo, start: datetime) -> set[int]:
    """By how many minutes the clock ``here`` is ahead of the one ``there``, over the coming two years."""
    days = (start + timedelta(days=day) for day in range(LOOK_AHEAD_DAYS))
    return {int((_offset(here, day) - _offset(there, day)).total_seconds()) // 60 for day in days}


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def _moved(cron: Cron, ahead: int) -> Cron | None:
    """The same moments by a clock that is ``ahead`` minutes behind; None where no five fields say that."""
    times = {divmod(60 * h + m - ahead, MINUTES_PER_DAY) for h in cron.hours for m in cron.minutes}
    shifts = {shift for shift, _ in times}
    clock = {divmod(minute, 60) for _, minute in times}
    hours, minutes = frozenset(h for h, _ in clock), frozenset(m for _, m in clock)
    if len(clock) != len(hours) * len(minutes):
        return None
    weekdays = cron.weekdays
    if shifts != {0}:
        if cron.days is not None or cron.months is not None:
            return None
        if weekdays is not None:
            if len(shifts) > 1:
                return None
            weekdays = frozenset((day + next(iter(shifts))) % 7 for day in weekdays)
    return Cron(minutes, hours, cron.days, cron.months, weekdays)


def next_time(text: str, zone: str, *, now: datetime | None = None) -> datetime | None:
    """When ``text`` comes next by the clock of ``zone``; None when never.

    As KFP's scheduler has it, a time that the clock skips in spring is no time: with six fields ``CronSim``
    leaves it out too, with five it would take the next minute that there is.
    """
    cron, here = parse_cron(text), zone_named(zone)
    try:
        return next(CronSim(cron.six_fields(), (now or datetime.now(UTC)).astimezone(here)), None)
    except CronSimError:  # no month has such a day
        return None
