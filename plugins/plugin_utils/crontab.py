# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of cron(5), as cron reads them. It ignores a whole file of which one line is wrong, and says so in its log."""

from __future__ import annotations

import re
import typing as t

from . import checks
from .errors import DeclarationError, suggestion

NICKNAMES = ("@reboot", "@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
DIRECTORY = "/etc/cron.d"
_VARIABLE = re.compile(r"""("[^"]*"|'[^']*'|[^\s=]+)\s*=""")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_LONGEST = 998
"""The longest command in bytes that cron reads."""
_ITEM = re.compile(r"(?:(?P<all>\*)|(?P<first>[0-9A-Za-z]+)(?:-(?P<last>[0-9A-Za-z]+))?)(?:/(?P<step>[0-9]+))?")


class _Field(t.NamedTuple):
    """One of the five fields: its name, the lowest and the highest number, and the names of numbers from the lowest."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, 7, _DAYS),
)


def schedule(text: str, path: str) -> str:
    """Return a job's schedule. Refuse what cron does not read, and a date that never comes."""
    checks.line(text.replace("\t", " "), path)
    if text.startswith("@"):
        if text not in NICKNAMES:
            hint = suggestion(text, NICKNAMES)
            raise DeclarationError(
                path, f"{text!r} is no schedule of cron" + (hint or f"; known: {', '.join(NICKNAMES)}")
            )
        return text
    fields = text.split()
    if len(fields) != len(_FIELDS):
        raise DeclarationError(path, f"{text!r} must be five fields, or @hourly, @daily…")
    numbers = [
        _numbers(field, fields[index], f"{text!r}: the {field.name}", path) for index, field in enumerate(_FIELDS)
    ]
    days, months = numbers[2:4]
    if fields[4].startswith("*") and min(days) > max(_LONGEST_MONTHS[month - 1] for month in months):
        raise DeclarationError(path, f"{text!r} never comes: no such month has a day {min(days)}")
    return text


def _numbers(field: _Field, written: str, what: str, path: str) -> set[int]:
    """Return the numbers that a field stands for.

    :param written: the field's text.
    :param what: how messages call the field.
    :raises DeclarationError: cron does not read it.
    """
    found: set[int] = set()
    for item in written.split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            way = "a number, a range such as 1-5, or '*', each range with a step perhaps (*/5), separated by ','"
            raise DeclarationError(path, f"{what}, {item!r}, must be {way}")
        if match["step"] is not None:
            if match["all"] is None and match["last"] is None:
                way = f"write {item.partition('/')[0]}-{field.high}/{match['step']}"
                raise DeclarationError(path, f"{what}, {item!r}, has a step, but no range: {way}")
            if int(match["step"]) == 0:
                raise DeclarationError(path, f"{what}, {item!r}, has a step of 0: write 1 or more, such as */5")
        first, last = field.low, field.high
        if match["all"] is None:
            first = _number(field, match["first"], what, path)
            last = first if match["last"] is None else _number(field, match["last"], what, path)
        if first > last:
            rest = "" if field.high == 7 and last == 0 else f",{field.low}-{last}"  # Sunday is 0 and 7
            way = f"write {first}-{field.high}{rest}"
            raise DeclarationError(path, f"{what}, {item!r}, is a range that ends before it begins: {way}")
        found.update(range(first, last + 1, int(match["step"] or 1)))
    return found


def _number(field: _Field, word: str, what: str, path: str) -> int:
    if word.isdigit() and len(word) < 10 and field.low <= int(word) <= field.high:
        return int(word)
    if word.lower() in field.names:
        return field.low + field.names.index(word.lower())
    named = f", or {field.names[0]} to {field.names[-1]}" if field.names else ""
    raise DeclarationError(path, f"{what}, {word!r}, must be {field.low} to {field.high}{named}")


def command(text: str, path: str) -> str:
    """Return a command as cron reads it, with `%` for itself: cron would end the command there.

    A `%` with a backslash before it is one for cron already, and stays.
    """
    checks.line(text, path)
    if not text.strip():
        raise DeclarationError(path, "is empty: say what to run")
    escaped = re.sub(r"(\\*)%", lambda match: match[0] if len(match[1]) % 2 else match[1] + r"\%", text.strip(" "))
    if len(escaped.encode()) > _LONGEST:
        way = "put it into a script, and run that"
        raise DeclarationError(path, f"is longer than the {_LONGEST} bytes that cron reads: {way}")
    return escaped


def variable(name: str, text: str, path: str) -> str:
    """Return the line that gives a job's variable exactly this text."""
    checks.line(text, path)
    if text and text == text.strip() and text[0] not in "\"'":
        return f"{name}={text}"
    mark = next((mark for mark in "\"'" if mark not in text), None)
    if mark is None:
        way = "no line of cron can hold it: set it in the command"
        raise DeclarationError(path, f"begins or ends with a quote or a space, and holds both kinds of quotes: {way}")
    return f"{name}={mark}{text}{mark}"


def file_name(name: str, path: str) -> str:
    """Return the name of a file of jobs. Refuse one that cron does not look at."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise DeclarationError(path, f"{name!r} must be letters, digits, '_' and '-' (run-parts)")
    return name


def users(content: str, path: str) -> list[tuple[str, str]]:
    """Return the user of each job in the text of a file, with its place. Refuse what cron does not read."""
    if content and not content.endswith("\n"):
        raise DeclarationError(path, "does not end with a newline, and cron ignores it: add one")
    found = []
    for number, line in enumerate(content.split("\n"), 1):
        place = f"{path} (line {number})"
        written = line.strip()
        if not written or written.startswith("#") or _VARIABLE.match(written):
            continue
        count = 1 if written.startswith("@") else len(_FIELDS)
        words = written.split(None, count + 1)
        schedule(" ".join(words[:count]), place)
        if len(words) < count + 2:
            raise DeclarationError(place, f"{written!r} must be a schedule, a user and a command")
        found.append((words[count], place))
    return found
