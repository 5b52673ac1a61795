# SPDX-FileCopyrightText: The lifeboat.postgres contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""When does a job run? From an operator's words to the times of crontab(5), and from them to moments. Pure.

"daily" says no hour, so hosts do not all come at once: minute, hour and day follow from a digest of the system, the host and
the job, and are the same in every run.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ansible_collections.lifeboat.postgres.plugins.module_utils.errors import ConfigurationError
from ansible_collections.lifeboat.postgres.plugins.module_utils.options import nearest

__all__ = ["NEVER", "Schedule", "parse_cron", "parse_schedule"]

NEVER = ("", "never")

_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of the month", 1, 31), ("month", 1, 12), ("day of the week", 0, 7))
_WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_NIGHT_HOURS = 6
"""What has no hour runs in the first hours of the day."""
_HORIZON_DAYS = 41 * 366
"""A 29th of February on a Sunday may be forty years away."""

_WORDS = ("hourly", "daily", "weekly", "monthly", "never")
_HINT = (
    "Take hourly, daily, weekly or monthly, as daily at 03:15 or weekly on sunday; every 15m or every 6h; five fields of crontab; never."
)


@dataclass(frozen=True)
class Schedule:
    """The times of one line of a crontab.

    `days_given` and `weekdays_given`: where both are, either of them is enough (crontab(5)). One that is not was a star, with a step.
    """

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    days_given: bool = False
    weekdays_given: bool = False
    days_step: int = 1
    weekdays_step: int = 1

    @property
    def cron(self) -> str:
        """The five fields, in numbers."""
        minutes, hours, months = _compact(self.minutes, 0, 59), _compact(self.hours, 0, 23), _compact(self.months, 1, 12)
        days = _compact(self.days) if self.days_given else _starred(self.days_step)
        # The second "day of the week" that is a Sunday, 7, is never written.
        weekdays = _compact(self.weekdays) if self.weekdays_given else _starred(self.weekdays_step)
        return f"{minutes} {hours} {days} {months} {weekdays}"

    @property
    def calendars(self) -> tuple[str, ...]:
        """The same for OnCalendar= of systemd.timer(5), in UTC. Two where either a day or a weekday is enough."""
        clock = f"{_listed(self.hours, 24)}:{_listed(self.minutes, 60)}:00 UTC"
        months = _listed(self.months, 12)
        weekdays = "" if len(self.weekdays) == 7 else ",".join(_WEEKDAYS[day][:3].capitalize() for day in self.weekdays) + " "
        days = _listed(self.days, 31)
        if self.days_given and self.weekdays_given:
            return f"*-{months}-{days} {clock}", f"{weekdays}*-{months}-* {clock}"
        return (f"{weekdays}*-{months}-{days} {clock}",)

    def after(self, moment: dt.datetime) -> dt.datetime:
        """The first time after `moment`, on the same clock; raises `ValueError` where there is none."""
        for day in self._dates(moment.date(), 1):
            for found in self._times(day):
                if found > moment.replace(tzinfo=None):
                    return found.replace(tzinfo=moment.tzinfo)
        raise ValueError("it never comes")

    def until(self, moment: dt.datetime) -> dt.datetime:
        """The last time that is not after `moment`; raises `ValueError` where there is none."""
        for day in self._dates(moment.date(), -1):
            for found in reversed(list(self._times(day))):
                if found <= moment.replace(tzinfo=None):
                    return found.replace(tzinfo=moment.tzinfo)
        raise ValueError("it never came")

    def _dates(self, first: dt.date, step: int) -> Iterator[dt.date]:
        for number in range(_HORIZON_DAYS):
            day = first + dt.timedelta(days=number * step)
            if day.month in self.months and self._is_day(day):
                yield day

    def _is_day(self, day: dt.date) -> bool:
        by_day, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_day or by_weekday if self.days_given and self.weekdays_given else by_day and by_weekday

    def _times(self, day: dt.date) -> Iterator[dt.datetime]:
        for hour in self.hours:
            for minute in self.minutes:
                yield dt.datetime(day.year, day.month, day.day, hour, minute)


def parse_schedule(text: str, where: str, seed: str) -> Schedule | None:
    """The schedule of "daily", "weekly on sunday at 02:30", "every 15m" or five fields of crontab; None for "never".

    `seed` is what staggers: another one gives another minute. Raises `ConfigurationError` in one sentence.
    """
    words = " ".join(str(text).split()).lower()
    if words in NEVER:
        return None
    if len(words.split()) == 5 and re.match(r"[0-9*]", words):
        return parse_cron(words, where)
    every = re.fullmatch(r"every ([0-9]{1,9}) ?(s|m|h|d|w|sec|min|seconds?|minutes?|hours?|days?|weeks?)", words)
    if every:
        return parse_cron(_every(int(every[1]) * _UNITS[every[2][0]], words, where, seed), where)
    named = re.fullmatch(r"(\S+)(?: on (\S+))?(?: at ([0-9]{1,2}):([0-9]{2}))?", words)
    if named and named[1] in _WORDS and named[1] != "never":
        return parse_cron(_named(named, words, where, seed), where)
    meant = nearest(words.split()[0], _WORDS)
    raise ConfigurationError(f"{text!r} is no schedule", where, f"Did you mean {meant!r}? {_HINT}" if meant else _HINT)


def parse_cron(text: str, where: str) -> Schedule:
    """The schedule of five fields of crontab(5); raises `ConfigurationError` for what is none, or never comes."""
    fields = text.lower().split()
    if len(fields) != len(_FIELDS):
        raise ConfigurationError(f"{text!r} has {len(fields)} fields and not five", where, _HINT)
    values = [_field(field, *facts, where) for field, facts in zip(fields, _FIELDS)]
    weekdays = tuple(sorted({day % 7 for day in values[4]}))
    # As Debian's cron and cronie do: a field that begins with a star narrows, but never widens.
    days_given, weekdays_given = not fields[2].startswith("*"), not fields[4].startswith("*")
    steps = [_step(fields[number], where) for number in (2, 4)]
    minutes, hours, days, months = (tuple(value) for value in values[:4])
    schedule = Schedule(minutes, hours, days, months, weekdays, days_given, weekdays_given, *steps)
    try:
        schedule.after(dt.datetime(2001, 1, 1))
    except ValueError:
        raise ConfigurationError(f"{text!r} never comes: no month of it has such a day", where, "Name a day that there is.") from None
    return schedule


def _step(field: str, where: str) -> int:
    """The step of a star; 1 for what is none."""
    if not field.startswith("*"):
        return 1
    if not re.fullmatch(r"\*(/[0-9]+)?", field):
        raise ConfigurationError(f"{field!r} begins with a star, and is more than a step", where, "Take a star alone, or numbers.")
    return int(field[2:] or 1)


def _field(field: str, name: str, low: int, high: int, where: str) -> list[int]:
    found: set[int] = set()
    for part in field.split(","):
        match = re.fullmatch(r"(\*|[0-9a-z]+)(?:-([0-9a-z]+))?(?:/([0-9]{1,4}))?", part)
        if match is None or (match[1] == "*" and match[2]):
            raise ConfigurationError(f"{part!r} is no {name}", where, "Take a number, a range as 1-5, a list as 1,3, or a step as */15.")
        first = low if match[1] == "*" else _number(match[1], name, low, high, where)
        last = first
        if match[2]:
            last = _number(match[2], name, low, high, where)
        elif match[1] == "*" or match[3]:
            last = high
        step = int(match[3] or 1)
        if step < 1 or first > last:
            raise ConfigurationError(
                f"{part!r} is no {name}: nothing is in it", where, "Give the smaller number first, and a step of 1 or more."
            )
        found.update(range(first, last + 1, step))
    return sorted(found)


def _number(text: str, name: str, low: int, high: int, where: str) -> int:
    names = {"month": (_MONTHS, 1), "day of the week": (tuple(day[:3] for day in _WEEKDAYS), 0)}.get(name)
    if names and text[:3] in names[0]:
        return names[0].index(text[:3]) + names[1]
    if not text.isdigit():
        raise ConfigurationError(f"{text!r} is no {name}", where, f"Take a number from {low} to {high}.")
    if not low <= int(text) <= high:
        raise ConfigurationError(f"{name} {text} is not between {low} and {high}", where)
    return int(text)


def _every(seconds: int, words: str, where: str, seed: str) -> str:
    minutes, odd = divmod(seconds, 60)
    if not seconds or odd:
        raise ConfigurationError(f"{words!r} is no schedule", where, "The least is every minute, in whole minutes.")
    if minutes < 60 and 60 % minutes == 0:
        return f"{_staggered(seed, 'minute', minutes)}-59/{minutes} * * * *" if minutes > 1 else "* * * * *"
    hours, odd = divmod(minutes, 60)
    if not odd and hours < 24 and 24 % hours == 0:
        hour = f"{_staggered(seed, 'hour', hours)}-23/{hours}" if hours > 1 else "*"
        return f"{_staggered(seed, 'minute', 60)} {hour} * * *"
    for days, word in ((1, "daily"), (7, "weekly"), (28, "monthly"), (30, "monthly"), (31, "monthly")):
        if seconds == days * 86400:
            return _named_times(word, None, None, seed)
    raise ConfigurationError(
        f"{words!r} fits into no clock", where, "Take minutes that divide an hour, hours that divide a day, or daily, weekly, monthly."
    )


def _named(named: re.Match[str], words: str, where: str, seed: str) -> str:
    word, on, hour, minute = named.groups()
    if word == "hourly" and (on or hour):
        raise ConfigurationError(f"{words!r} is no schedule", where, "hourly stands alone; five fields of crontab name the minute.")
    if word == "daily" and on:
        raise ConfigurationError(f"{words!r} is no schedule", where, "daily is on every day: take weekly on that day.")
    if word == "weekly" and on and not any(day.startswith(on) and len(on) >= 3 for day in _WEEKDAYS):
        meant = nearest(on, _WEEKDAYS)
        raise ConfigurationError(
            f"{on!r} is no day of the week", where, f"Did you mean {meant!r}?" if meant else "Take sunday to saturday."
        )
    if word == "monthly" and on and not (on.isdigit() and 1 <= int(on) <= 28):
        raise ConfigurationError(f"{on!r} is no day that every month has", where, "Take 1 to 28.")
    clock = None
    if hour is not None:
        if int(hour) > 23 or int(minute) > 59:
            raise ConfigurationError(f"{hour}:{minute} is no time of day", where, "Take 00:00 to 23:59.")
        clock = (int(hour), int(minute))
    return _named_times(word, on, clock, seed)


def _named_times(word: str, on: str | None, clock: tuple[int, int] | None, seed: str) -> str:
    hour, minute = clock or (_staggered(seed, "hour", _NIGHT_HOURS), _staggered(seed, "minute", 60))
    if word == "hourly":
        return f"{minute} * * * *"
    if word == "daily":
        return f"{minute} {hour} * * *"
    if word == "weekly":
        return f"{minute} {hour} * * {on[:3] if on else _staggered(seed, 'weekday', 7)}"
    return f"{minute} {hour} {on or 1 + _staggered(seed, 'day', 28)} * *"


def _staggered(seed: str, part: str, below: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{part}\0{seed}".encode()).digest()[:8], "big") % below


def _starred(step: int) -> str:
    return "*" if step == 1 else f"*/{step}"


def _compact(values: Sequence[int], low: int = 0, high: int = -1) -> str:
    """As numbers and ranges; as `*` where it is everything from `low` to `high`."""
    if len(values) == high - low + 1:
        return "*"
    parts: list[list[int]] = []
    for value in values:
        if parts and parts[-1][-1] == value - 1:
            parts[-1].append(value)
        else:
            parts.append([value])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def _listed(values: Sequence[int], whole: int) -> str:
    return "*" if len(values) == whole else ",".join(f"{value:02d}" for value in values)
