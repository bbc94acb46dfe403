# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one judgement of a running container's units: whether it does what was declared.

What is to run follows from the specification, which is the host's (`state/declared_units`); of each such unit systemd
is asked what became of it. Its answers are the container's own word: they are bounded, and one that is missing counts
as one that is bad.
"""

from __future__ import annotations

import os
import re
import time

from ..launcher import kernel
from ..launcher.errors import LauncherError
from ..launcher.specification import read_outline
from ..state.declared_units import DeclaredUnits
from .questions import capture
from .unit_log import EARLY_LIMIT, UNIT_NAME_LIMIT, UnitLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict

    from ..state.record import RecordedContainer

    Properties = Dict[str, str]

EARLY_LOG_PATH = "/dev/" + kernel.EARLY_LOG  # where PID 1 writes what it says before the journal runs
RUNNING = ("running", "degraded")  # what SystemState is when all has been started
GOING_DOWN = "stopping"

PROPERTIES = (
    "Id",
    "LoadState",
    "LoadError",
    "ActiveState",
    "SubState",
    "Result",
    "Type",
    "Restart",
    "ConditionTimestampMonotonic",
    "ConditionResult",
    "AssertResult",
    "InactiveExitTimestampMonotonic",
    "ActiveEnterTimestampMonotonic",
    "ActiveExitTimestampMonotonic",
    "RestartUSec",
    "ExecMainStatus",
    "NRestarts",
    "Job",
)
# The state of the whole, then that of the units in the arguments, then that of all that have failed, then the log.
_SCRIPT = r"""
set -f
systemctl show --property=SystemState --property=UserspaceTimestampMonotonic || exit
others=$(systemctl list-units --state=failed,auto-restart --plain --no-legend --full |
    while read -r name rest; do printf '%%s\n' "$name"; done)
echo
systemctl show --property=%s -- "$@" $others
echo ----
tail -c %d %s 2>/dev/null
""" % (",".join(PROPERTIES), EARLY_LIMIT, EARLY_LOG_PATH)

# A unit that systemd has started again must live this often as long as it did on average, and no longer than that
# many seconds, to count as one that does not end again and again.
LIVES = 2
PROBATION = (2.0, 10.0)
# Seconds that a service must live at a time which ends well and is started again (Restart=always).
LIFE = PROBATION[0]
LEAST = 0.1  # seconds that a question to the journal must be left
_UNITS_OF_TIME = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
# Messages by which systemd says that a unit has failed, how its program ended, and that the unit ended well
# (systemd.journal-fields(7), MESSAGE_ID).
_FAILED = "MESSAGE_ID=d9b373ed55a64feb8242e02dbe79a49c"
_EXITED = "MESSAGE_ID=98e322203f7a4ed290d09fe03c09fe15"
_ENDED_WELL = "MESSAGE_ID=7ad2d189f7e94e70a38c781354912448"
REASONS = 3  # lines of systemd's log that stand in a reason
REASON_LIMIT = 600  # characters of one
SHOWN = 8  # problems that are told of
OTHERS = 100  # problems of units that are not declared: root inside can make any number
WAITS = "waits to be started"
TO_END = "one that is to end is of Type=oneshot"
AND_BEGIN = "and begins again by a timer"


class UnitProblem:
    """A unit that does not do what was declared.

    Attributes:
        unit: its name, up to `UNIT_NAME_LIMIT`.
        reason: why, in words that follow the name, up to `REASON_LIMIT`.
        passing: whether systemd is about to change that by itself.
    """

    def __init__(self, unit: str, reason: str, passing: bool = False) -> None:
        self.unit = unit[:UNIT_NAME_LIMIT]
        self.reason = reason[:REASON_LIMIT]
        self.passing = passing

    def __str__(self) -> str:
        return "%s %s" % (self.unit, self.reason)

    def add(self, text: str) -> None:
        """Add a text to the reason."""
        self.reason = (self.reason + text)[:REASON_LIMIT]


class Judgement:
    """The findings about one container.

    Attributes:
        state: what systemd says of all (`systemctl is-system-running`).
        problems: the units that do not do what was declared.
        lives: seconds for which all the declared services have run by now; None where there is none.
        left_out: how many further units are not well, of those that are not declared.
    """

    def __init__(self, state: str, problems: list[UnitProblem], lives: float | None = None, left_out: int = 0) -> None:
        self.state = state[:UNIT_NAME_LIMIT]
        self.problems = problems
        self.lives = lives
        self.left_out = left_out

    @property
    def units(self) -> list[str]:
        """Return the names of the units that do not do what was declared."""
        return [problem.unit for problem in self.problems]

    @property
    def final(self) -> bool:
        """Return whether waiting will not mend what is wrong."""
        return any(not problem.passing for problem in self.problems)

    def texts(self) -> list[str]:
        """Return all that is wrong with the units, a text for each, and one that says how many are left out."""
        return [str(problem) for problem in self.problems] + (["and %d more" % self.left_out] if self.left_out else [])

    def summary(self) -> str:
        """Return all that is wrong with the units, bounded; nothing when all is well.

        Of units that wait for others only these are named.
        """
        found = [problem for problem in self.problems if problem.reason != WAITS] or self.problems
        more = max(len(found) - SHOWN, 0) + self.left_out
        said = [str(problem)[:REASON_LIMIT] for problem in found[:SHOWN]]
        return "; ".join(said + (["and %d more" % more] if more > 0 else []))


def judge(container: RecordedContainer, timeout: float = 10.0) -> Judgement:
    """Judge a container whose init is systemd, within so many seconds.

    Raises:
        LauncherError: it does not run, or its systemd does not answer.
    """
    deadline = time.monotonic() + timeout
    declared = _declared(str((container.record() or {}).get("system")))
    names = declared.names()
    answer = capture(container, ["sh", "-c", _SCRIPT, "sh"] + names, timeout)
    said, _line, log = answer.partition("\n----\n")
    # Of the units that are not declared there may be any number: what is beyond is counted, and not read.
    texts = said.split("\n\n", 1 + len(names) + OTHERS)
    beyond = texts.pop().count("\n\n") + 1 if len(texts) > 1 + len(names) + OTHERS else 0
    manager, *blocks = [_properties(text) for text in texts]
    state = manager.get("SystemState", "")
    if not state or len(blocks) < len(names):
        raise LauncherError("container %s: its systemd does not say what became of its units" % container.name)
    early = UnitLog(log)
    units = dict(zip(names, blocks))
    now = time.monotonic()
    wanted = declared.wanted(lambda name: units.get(name, {}).get("ActiveState") == "active")
    left_out = declared.left_out(wanted)
    named = early.naming(units)
    problems = []
    for name in names:
        reason = _reason(
            units[name], name in wanted, declared.is_own(name), early.ignored(name), named.get(name, []), name
        )
        passing = _is_passing(units[name])
        if reason is None and name in wanted:
            reason = _ends_again(container, name, units[name], manager, now, deadline)
            passing = True
        if reason is None and name in left_out and units[name].get("ActiveState") == "inactive":
            reason = "is started by %s alone, which nothing starts" % " and ".join(left_out[name])
            passing = state not in RUNNING
        if reason is not None:
            problems.append(UnitProblem(name, reason, passing))
    for problem in problems[:SHOWN]:
        problem.add(_how_it_ended(container, problem.unit, units.get(problem.unit, {}), deadline))
    others = [UnitProblem(name, _has_values(early.ignored(name))) for name in early.others_with_ignored(names)]
    for block in blocks[len(names) :]:
        if block.get("Id") not in units and block.get("Result") != "success":
            others.append(UnitProblem(block.get("Id", ""), _failure(block), _is_passing(block)))
    beyond += max(len(others) - OTHERS, 0)
    problems += others[:OTHERS]
    services = [units[name] for name in wanted.intersection(declared.own) if name.endswith(".service")]
    begun = [_number(unit, "ActiveEnterTimestampMonotonic") for unit in services if unit.get("SubState") == "running"]
    return Judgement(state, problems, now - max(begun) / 1e6 if begun else None, beyond)


def _declared(system: str) -> DeclaredUnits:
    """Return the units of a system, by its directory."""

    def read(path: str) -> bytes:
        try:
            with open(os.path.join(system, "root", path[1:]), "rb") as file:
                return file.read()
        except OSError:
            return b""  # damaged, which is the business of others

    return DeclaredUnits(read_outline(system).files, read)


def _has_values(lines: list[str]) -> str:
    return "has values that systemd ignores: %s" % "; ".join(lines[:REASONS])


def _properties(block: str) -> Properties:
    """Return the properties in a block of what `systemctl show` prints."""
    return {name: value for name, _sign, value in (line.partition("=") for line in block.strip("\n").split("\n"))}


def _number(unit: Properties, name: str) -> int:
    text = unit.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def _is_passing(unit: Properties) -> bool:
    """Return whether systemd is about to change the state of a unit by itself."""
    if unit.get("LoadState") != "loaded":
        return False
    return bool(unit.get("Job")) or unit.get("ActiveState") in ("activating", "deactivating", "reloading")


def _reason(unit: Properties, wanted: bool, own: bool, ignored: list[str], named: list[str], name: str) -> str | None:
    """Return why a unit does not do what was declared, or None when it does."""
    loaded = unit.get("LoadState")
    if loaded != "loaded":
        if not wanted and not (own and loaded != "masked"):
            return None
        return "is not loaded (%s)%s" % (loaded, _words(named) or _quoted(unit.get("LoadError", "")))
    if ignored:
        return _has_values(ignored)
    if unit.get("ActiveState") == "failed":
        return _failure(unit)
    if not wanted:
        return None
    return _inactive(unit, named, name) if unit.get("ActiveState") == "inactive" else _on_the_way(unit)


def _failure(unit: Properties) -> str:
    status = unit.get("ExecMainStatus", "0")
    with_status = ", status %s" % status if status not in ("", "0") else ""
    tried = ", and is tried again" if unit.get("SubState") == "auto-restart" else ""
    return "has failed (%s%s)%s" % (unit.get("Result"), with_status, tried)


def _on_the_way(unit: Properties) -> str | None:
    """Return what is wrong with a unit that is neither inactive nor failed."""
    state, detail = unit.get("ActiveState"), unit.get("SubState")
    if state in ("active", "reloading", "refreshing"):
        return None
    if detail in ("auto-restart", "auto-restart-queued"):
        return _failure(unit) if unit.get("Result") != "success" else _ended(unit)
    return "is %s (%s)" % (state, detail)


def _ended(unit: Properties) -> str | None:
    """Return what is wrong with a service that ended well and is about to be started again."""
    begun, ended = (_number(unit, "Active%sTimestampMonotonic" % name) / 1e6 for name in ("Enter", "Exit"))
    if unit.get("Type") == "oneshot" or ended - begun >= LIFE:
        return None
    form = "has ended after %.1f s, without a failure, and is started again; %s, %s"
    return form % (max(ended - begun, 0.0), TO_END, AND_BEGIN)


def _inactive(unit: Properties, named: list[str], name: str) -> str | None:
    """Return what is wrong with a unit that is to be active and is not."""
    begun = _number(unit, "InactiveExitTimestampMonotonic")
    looked_at = _number(unit, "ConditionTimestampMonotonic")
    if unit.get("Job"):
        return WAITS
    if looked_at >= begun and looked_at:  # the last time that it was to be started, it was not
        if unit.get("ConditionResult") == "no":
            return None
        if unit.get("AssertResult") == "no":
            return "was not started: what it asserts is not so"
    if not begun:
        return "was never started%s" % _words(named)
    if unit.get("Result") == "exec-condition":
        return None  # its own command says that it is to be skipped (ExecCondition= in systemd.service(5))
    if unit.get("Type") == "oneshot" or name.endswith(".timer"):
        return None if unit.get("Result") == "success" else _failure(unit)
    if unit.get("Result") == "success":
        return "has ended, without a failure; %s" % TO_END
    return _failure(unit)


def _ends_again(
    container: RecordedContainer, name: str, unit: Properties, manager: Properties, now: float, deadline: float
) -> str | None:
    """Return what is wrong with a unit that ends and is started again, over and over."""
    restarts = _number(unit, "NRestarts")
    lives = now - _number(unit, "ActiveEnterTimestampMonotonic") / 1e6
    if not restarts or unit.get("ActiveState") != "active":
        return None
    average = (now - lives - _number(manager, "UserspaceTimestampMonotonic") / 1e6) / restarts
    probation = min(max(LIVES * average, PROBATION[0]), PROBATION[1])
    if lives >= probation:
        return None
    ends_well = unit.get("Restart") in ("always", "on-success")
    short = lives < LIFE and average - _seconds(unit.get("RestartUSec", "")) < LIFE
    if ends_well and not short and not _has_failed(container, name, deadline):
        return None
    form = "has been started again %d times, the last time %.1f s ago"
    return form % (restarts, max(lives, 0.0))


def _seconds(text: str) -> float:
    """Return a span of time as systemd prints it (`1min 30s`)."""
    found = re.findall(r"([0-9.]{1,12})(us|ms|s|min|h|d|w)(?![a-z])", text[:80])
    return sum(
        float(number) * _UNITS_OF_TIME[kind] for number, kind in found if number.count(".") < 2 and number != "."
    )


def _has_failed(container: RecordedContainer, name: str, deadline: float) -> bool:
    """Return whether a unit has failed lately, rather than ended well.

    The log must say so: much output pushes out of it what systemd has said, of a failure as well. When the time is
    over, nothing is asked.
    """

    def is_said(message: str) -> bool:
        return bool(_said_lately(container, name, message, deadline))

    return is_said(_FAILED) or not is_said(_ENDED_WELL)


def _how_it_ended(container: RecordedContainer, name: str, unit: Properties, deadline: float) -> str:
    """Return how the program of a unit ended before systemd started it again, to follow a reason.

    While the next one begins, what systemd knows of the unit is about that alone.
    """
    begins = unit.get("ActiveState") == "active" or unit.get("SubState", "").startswith("start")
    if not begins or not _number(unit, "NRestarts"):
        return ""
    try:
        said = _said_lately(container, name, _EXITED, deadline)
    except LauncherError:
        return ""  # the reason is one without this
    return " (%s)" % said[len(name) + 2 :] if said.startswith(name + ": ") else ""


def _said_lately(container: RecordedContainer, name: str, message: str, deadline: float) -> str:
    """Return the last line by which systemd has said a message of a unit lately; nothing when the time is over."""
    since = "--since=-%ds" % (2 * PROBATION[1])
    words = ["--quiet", "--no-pager", "--output=cat", "--lines=1", since, "_PID=1", message, "UNIT=" + name]
    left = deadline - time.monotonic()
    return capture(container, ["journalctl", *words], left).strip()[:REASON_LIMIT] if left > LEAST else ""


def _words(named: list[str]) -> str:
    """Return what PID 1 has said of a unit, to follow a reason."""
    return ": " + "; ".join(named[:REASONS]) if named else ""


def _quoted(text: str) -> str:
    """Return the message of a D-Bus error as `systemctl show` prints it, to follow a reason."""
    said = text.partition(' "')[2].rstrip('"')
    return ": " + said if said else ""
