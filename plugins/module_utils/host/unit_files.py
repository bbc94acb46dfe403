# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check of a system's units by systemd, before anything is stopped for them: it reads them as PID 1 will read them.

That takes the systemd which will run them, so only a system whose software is the host's own is looked at. Of any
other the running container's systemd is asked (`inside/units`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Collection

from ..state.declared_units import BOOT_TARGET, UNITS_DIRECTORY, DeclaredUnits, ignored_names, ignored_values
from ..state.system_content import SystemContent
from ..state.target import TargetError

SHARED_STORE = "/usr"
SYSTEMD_ANALYZE = SHARED_STORE + "/bin/systemd-analyze"
SECONDS = 20.0
"""In which systemd reads the units; a hundred of them take it a quarter of a second."""

SHOWN = 10
"""Lines of what it says that are told."""

SHARED = (
    "{names}, which each unit of the type reads, is the cause of what follows: declare it for those units that it is "
    "for, in NAME.{kind}.d, without what they cannot have"
)
_FATAL = re.compile(r": (?:.*\bRefusing\b|Unit configuration has fatal error)")
_BAD_PLACE = re.compile(r":\d+: (?:Neither a valid executable|Invalid|Unbalanced|Failed to|Executable )")
_LACKS = re.compile(r"\S+: [Ss]ervice \S+ not loaded, socket cannot be started\.")
_COMMAND = re.compile(r"(?P<unit>\S+): Command (?P<program>.+) is not executable: (?P<why>.+)")
_HARMLESS = re.compile(
    r"\b(?:obsolete|legacy|deprecated|no longer supported|will be removed soon|Cannot add dependency job, ignoring)\b"
    r"|Failed to create \S+/start: Unit \S+ not found|symlinks are not allowed"
    r"|is marked (?:executable|world-)|Special user \S+ configured"
)
"""Messages of systemd about units that it starts as they are meant all the same."""

_CYCLE = re.compile(r": (?:Found (?:ordering cycle|dependency) |Job .* deleted to break |Unable to break cycle)")
_NOT_LOADED = re.compile(
    r"^Unit (?P<unit>\S+) (?:has a bad unit file setting|failed to load properly|is masked|not found)\b"
)
_FOLLOWED = re.compile(r"Unknown (?:key|lvalue).* '?UpheldBy'?\b")
"""A complaint of an older systemd about `UpheldBy=`, for which this collection writes a file of its own."""

_NAME = re.compile(r"[^\s:/']+?\.(?:automount|mount|path|service|slice|socket|swap|target|timer)(?![\w-])")


class UnitFiles:
    """The units of a system, on a host whose own tree is below `root`.

    :ivar errors: what keeps systemd from starting one of them, or what of them it ignores because of a bad value.
    :ivar warnings: directives and sections that this systemd does not know, and what else it says.
    :ivar commands: units with a program each that is not to be executed on the host.
    """

    def __init__(self, content: SystemContent, root: Path = Path("/"), analyze: str = SYSTEMD_ANALYZE) -> None:
        self.content = content
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self.commands: list[tuple[str, str]] = []
        specification = content.specification
        self.declared = DeclaredUnits(specification.files, lambda path: content.files[path].content)
        own = root == Path("/") and specification.store.source == specification.store.target == SHARED_STORE
        if own and specification.init.systemd and os.access(analyze, os.X_OK):
            self._judge(self._said(analyze))
            self._blame(analyze)

    def check(self) -> None:
        """Refuse units that systemd would not start as they were declared.

        :raises TargetError: with systemd's own words.
        """
        if self.errors:
            shown = self.errors[:SHOWN] + ([f"and {len(self.errors) - SHOWN} more"] if self.errors[SHOWN:] else [])
            raise TargetError(
                "systemd does not take these units as they are declared; nothing was changed. " + "; ".join(shown)
            )

    def _blame(self, analyze: str) -> None:
        """Name the drop-ins for a whole type without which systemd says nothing of what is wrong with a unit."""
        lines, shared = self.errors, self.declared.shared_drop_ins()
        for without in [[path] for path in shared] + ([shared] if shared[1:] else []):
            left = self._said(analyze, without) if lines else None
            if not left:
                continue  # nothing is wrong, or it has not answered
            caused = [line for line in lines if line not in left and not line.startswith(tuple(shared))]
            if caused:
                kind = without[0][len(UNITS_DIRECTORY) :].partition(".d/")[0]
                cause = SHARED.format(names=" with ".join(without), kind=kind)
                self.errors.insert(self.errors.index(caused[0]), cause)
                lines = [line for line in lines if line not in caused]

    def _said(self, analyze: str, without: Collection[str] = ()) -> list[str]:
        """Return what systemd says of the units, with their paths inside; nothing when it does not answer in time.

        :param without: files that it does not get.
        """
        directory = tempfile.mkdtemp(prefix="unshare-units-", dir="/run" if os.access("/run", os.W_OK) else None)
        try:
            self._write(directory, without)
            units = self.declared.own + self.declared.templates
            environment = {
                "PATH": "/usr/sbin:/usr/bin",
                "LC_ALL": "C.UTF-8",
                "SYSTEMD_UNIT_PATH": directory,
                "SYSTEMD_LOG_TARGET": "console",
                "SYSTEMD_LOG_COLOR": "0",
                "SYSTEMD_LOG_LEVEL": "notice",
            }
            paths = [os.path.join(directory, name) for name in [BOOT_TARGET, *units]]
            done = subprocess.run(
                [analyze, "verify", "--man=no", "--generators=no", "--", *paths],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=SECONDS,
                check=False,
                cwd="/",
                env=environment,
            )
            text = done.stderr.decode("utf-8", "replace").replace(directory + "/", UNITS_DIRECTORY)
            return [line.rstrip() for line in text.split("\n") if line.strip()]
        except (OSError, subprocess.TimeoutExpired):
            return []  # then the container's own systemd has the word
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _write(self, directory: str, without: Collection[str]) -> None:
        for path, file in self.content.files.items():
            if path.startswith(UNITS_DIRECTORY) and path not in without:
                place = os.path.join(directory, path[len(UNITS_DIRECTORY) :])
                os.makedirs(os.path.dirname(place), exist_ok=True)
                if file.link is not None:
                    os.symlink(file.link, place)
                else:
                    Path(place).write_bytes(file.content)

    def _judge(self, lines: list[str]) -> None:
        secret = [path for path, file in self.content.files.items() if file.secret and path.startswith(UNITS_DIRECTORY)]
        self._judge_cycles(lines)
        lines = [_without_value(line, secret) for line in dict.fromkeys(lines) if not _FOLLOWED.search(line)]
        bad, unknown = set(ignored_values(lines)), ignored_names(lines)
        wrong: set[str] = set()
        others: list[str] = []
        for line in lines:
            names = self._own_units(line)
            command = _COMMAND.fullmatch(line) if names else None
            fatal = _FATAL.search(line) or _BAD_PLACE.search(line) or _LACKS.fullmatch(line)
            if line in bad or (names and fatal):
                wrong.update(names)
                self.errors.append(line)
            elif command is not None:
                self.commands.append((command["unit"], command["program"]))
            elif names and self._is_about_own(line) and line not in unknown:
                others.append(line)
        wanted = self.declared.wanted(lambda name: True)
        for line in lines:
            found = _NOT_LOADED.search(line)
            name = found["unit"] if found else ""
            may_be = line.endswith("masked.") and name not in wanted
            if self.declared.is_own(name) and name not in wrong and not may_be:
                self.errors.append(line)
        reasons = [line for line in unknown if wrong.intersection(self._own_units(line))]
        self.errors = reasons + self.errors
        ignored = [line for line in unknown if line not in reasons]
        self.warnings = [f"systemd of this host ignores a part of a unit: {line}" for line in ignored]
        self.warnings += [f"systemd of this host says of a unit: {line}" for line in others if line not in self.errors]

    def _judge_cycles(self, lines: list[str]) -> None:
        """Take the first circle of units, some of the system's own; which of them systemd drops is of no account."""
        circle: list[str] = []
        for line in [*lines, ""]:
            if _CYCLE.search(line) and not (circle and "Found ordering cycle" in line):
                circle.append(line)
                continue
            if any(self._own_units(each) for each in circle):
                self.errors += circle
                return
            circle = [line] if _CYCLE.search(line) else []

    def _is_about_own(self, line: str) -> bool:
        """Return whether a line is about a unit of the system's own, and no harmless one."""
        about = line.startswith(UNITS_DIRECTORY) or self.declared.is_own(line.partition(":")[0])
        return about and not _HARMLESS.search(line) and not _CYCLE.search(line)

    def _own_units(self, line: str) -> list[str]:
        """Return the units of the system's own that a line names; what is wrong with the store's is not the user's."""
        return [name for name in _NAME.findall(line) if self.declared.is_own(name)]


def _without_value(line: str, secret: list[str]) -> str:
    """Return a line of a file with a secret without what it quotes of it."""
    for path in secret:
        if line.startswith(path + ":"):
            return ":".join(line.split(":")[:2]) + ": a value that cannot be read, ignoring"
    return line
