# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The programs that a system would run first, its init and what its own units start: are they there?

The services that the controller knows name their programs themselves (`store.check_programs`). Here are those that
only the text of a unit names.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Callable

from ..launcher import elf, targets
from .preflight_mounts import answers
from .store import StoreView
from .unit_settings import STARTS, UnitSettings

if TYPE_CHECKING:
    from ..launcher.contract import Specification
    from .facts import HostFacts

    Read = Callable[[str], bytes]
UNIT_LIMIT = 1 << 20  # bytes of a unit of the store
BEGINNING = 256  # bytes of a program that say what it is

SEARCHED = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin")
"""Where systemd looks for a program that a unit names without a directory."""

ABSENT = "which is not there: install it, or map it into the container"

KEPT = re.compile("(State|Cache|Logs|Configuration|Runtime)Directory")
"""Directives with which a unit brings a directory, and perhaps a program in it."""


class Programs:
    """The programs of a container, as far as they are known from the host.

    :param read: gives the content of a file of the system.
    :param boot: the text of the system's script `boot`, with what is run inside before all units.
    """

    def __init__(self, host: HostFacts, specification: Specification, read: Read, boot: str = "") -> None:
        self.boot = boot
        self.host = host
        self.specification = specification
        self.view = StoreView(specification, host.root)
        self.read = read
        self.texts = UnitSettings(specification, read, self._stored)

    def problems(self) -> list[str]:
        """Return one sentence per program that would not run; those that services name are `store`'s to look for."""
        return self.init() + self.units()

    def init(self) -> list[str]:
        """Return why the init cannot be executed, when it is not systemd, which is looked for with the store."""
        program = self.specification.init.argv[0]
        if self.specification.init.systemd or not self._is_known(program):
            return []
        if not self.view.is_program(program):
            there = "is no file that may be executed" if self.view.mode(program) else "is not there"
            return [f"init.argv[0]: {program} {there}: install it, map it into the container, or name another"]
        return [
            f"init.argv[0]: {program} needs the interpreter {needed}, which is not there: "
            "install that, map it into the container, or name another program"
            for needed in self._interpreters(program)
            if self._is_known(needed) and not self.view.is_program(needed)
        ]

    def _stored(self, path: str) -> bytes:
        """Return the text of a unit of the store."""
        return self.view.beginning(path, UNIT_LIMIT)

    def _by_name(self, unit: str, program: str) -> list[str]:
        """Return the name by which env(1) looks for a script's interpreter, in a list; none for another program."""
        words = _first_line(self._beginning(program))
        plain = len(words) > 1 and words[0].endswith(b"/env") and not set(b"-=/") & set(words[1])
        own_path = any("Environment" in key for _section, key, _value in self.texts.settings(unit, stored=True))
        return [os.fsdecode(words[1])] if plain and not own_path else []

    def _beginning(self, program: str) -> bytes:
        """Return the first bytes of a program; none when they cannot be known."""
        own = self.specification.files.get(program)
        if own is not None and own.link is None:
            return self.read(program)[:BEGINNING]
        return self.view.beginning(program, BEGINNING)

    def _interpreters(self, program: str) -> list[str]:
        """Return what the kernel runs or loads with a program; nothing when that cannot be known."""
        own = self.specification.files.get(program)
        if own is not None and own.link is None:
            return _script(self.read(program))
        descriptor = self.view.open_file(program)
        if descriptor is None:
            return []
        try:
            beginning = os.pread(descriptor, BEGINNING, 0)
            if elf.is_native(beginning):
                return [path for path in elf.interpreters(descriptor, beginning) if path.startswith("/")]
            return _script(beginning)
        finally:
            os.close(descriptor)

    def units(self) -> list[str]:
        """Return why the programs that units of the system itself would start cannot be run."""
        return self._of_units()[0]

    def warnings(self) -> list[str]:
        """Return one sentence per program that units would start, and that must be made inside before."""
        return self._of_units()[1]

    def _of_units(self) -> tuple[list[str], list[str]]:
        """Return what is said of programs without which units cannot run, and of those that may be made inside."""
        found: list[str] = []
        made: list[str] = []
        for name in self.texts.started():
            if self.texts.is_own(name) and self.texts.is_plain(name):
                for command in self.texts.commands(name):
                    said = "" if command.may_fail else self._look(name, command.program)
                    text = f"{self.texts.called(name, command.program, *STARTS)} starts {command.program}, {said}"
                    if said == ABSENT and self._may_be_made(name, command.program):
                        made.append(f"{text}, unless something inside makes it before")
                    elif said:
                        found.append(text)
        return list(dict.fromkeys(found)), list(dict.fromkeys(made))

    def _may_be_made(self, unit: str, program: str) -> bool:
        """Return whether something of the container runs before a unit starts a program, and can make that."""
        path = targets.plain_path(program)
        points = [targets.plain_path(mount.mount_point) for mount in self.specification.file_systems]
        if self._is_stored(program) or any(targets.is_below(path, point) for point in points if point != "/"):
            return False
        directory = path.rpartition("/")[0]
        named = path if directory.count("/") < 2 else directory  # the script itself makes what is above
        return self.texts.runs_before(unit, program) or bool(re.search(re.escape(named) + r"(?![\w.-])", self.boot))

    def said(self, commands: list[tuple[str, str]]) -> tuple[list[str], list[str]]:
        """Return one sentence per program that a unit lacks, and one warning per program of a unit that nothing starts.

        The container may have what systemd does not find on the host. systemd has looked at a template with an instance
        that nobody has declared.

        :param commands: units, each with a program that systemd does not find on the host.
        """
        missing, warnings = [], []
        started = self.texts.started()
        for name, program in commands:
            instances = [name] if name in started else self.texts.instances(name, started)
            if not self.texts.is_plain(name) or (instances and name not in instances):
                continue
            why = self._look(name, program)
            text = f"{self.texts.called(name, program, *STARTS)} starts {program}, {why}"
            if why == ABSENT and instances and self._may_be_made(name, program):
                warnings.append(f"{text}, unless something inside makes it before")
            elif why and instances:
                missing.append(text)
            elif why and program in self.texts.programs_of_any(name):
                warnings.append(f"nothing starts this unit, and it could not run: {text}")
        return missing, warnings

    def _look(self, unit: str, program: str) -> str:
        """Return why a unit cannot run a program, to follow its name; nothing when it can, or who knows."""
        if "/" not in program:
            return self._look_for(unit, program)
        brings = any(KEPT.fullmatch(key) for _section, key, _value in self.texts.settings(unit, stored=True))
        if not program.startswith("/") or not self._is_known(program) or (brings and not self._is_stored(program)):
            return ""
        if not self.view.is_program(program):
            if not self.view.mode(program):
                return ABSENT
            own = self.specification.files.get(program)
            remedy = f"its mode is {own.mode}, give it 0755" if own is not None else "make it executable on the host"
            return f"which is no file that may be executed: {remedy}"
        form = _no_form(self._beginning(program))
        if form:
            return form
        for needed in self._interpreters(program):
            if self._is_known(needed) and not self.view.is_program(needed):
                return f"whose interpreter {needed} is not there: install that, or map it into the container"
        for needed in self._by_name(unit, program):
            said = self._look_for(unit, needed)
            if said:
                return f"whose interpreter is {needed}, {said}"
        return ""

    def _look_for(self, unit: str, name: str) -> str:
        """Return why systemd does not find a program by its name alone."""
        given = [path for text in self.texts.values(unit, "ExecSearchPath") for path in text.split(":")]
        paths = [f"{directory}/{name}" for directory in given or SEARCHED]
        if any(self.view.is_program(path) or not self._is_known(path) for path in paths):
            return ""
        if not given and self.view.target != targets.STORE:
            return ""  # another store's systemd has another search path
        where = ", ".join(given or SEARCHED)
        return f"which is in none of {where}: install it, or name its whole path"

    def _is_stored(self, program: str) -> bool:
        path = targets.plain_path(program)
        merged = self.view.target == targets.STORE and path.split("/")[1] in targets.MERGED
        return merged or targets.is_below(path, self.view.target) or path in self.specification.files

    def _is_known(self, program: str) -> bool:
        """Return whether the host knows what is at a path. The container can change a place where it may write."""
        if "/" not in program:
            return True
        path = targets.plain_path(program)
        around = [
            mount
            for mount in self.specification.file_systems
            if targets.is_below(path, targets.plain_path(mount.mount_point))
        ]
        if not around:
            return not self.view.changed_inside
        nearest = max(around, key=lambda mount: len(mount.mount_point))
        rest = path[len(targets.plain_path(nearest.mount_point)) :]
        return nearest.is_bind and nearest.read_only and answers(self.host, nearest.source + rest)


def _script(beginning: bytes) -> list[str]:
    """Return the interpreter that the first line of a script names."""
    return [os.fsdecode(word) for word in _first_line(beginning)[:1] if word.startswith(b"/")]


def _no_form(beginning: bytes) -> str:
    """Return why the kernel executes no script that begins so, as a shell may do; nothing for another program."""
    line = beginning.split(b"\n")[0]
    words = line[2:].split() or [b""]
    if line.startswith(b"#!") and line.endswith(b"\r") and len(words) == 1 + words[0].endswith(b"/env"):
        return (
            "whose first line ends with a carriage return, so that no interpreter is found: use the line ends of Unix"
        )
    text = re.sub(rb"[\x80-\xff]", b"", beginning)
    if text and (not beginning.startswith(b"#!") or words == [b""]) and re.fullmatch(rb"[\t\n\r\x20-\x7e]+", text):
        return "whose first line names no interpreter, and systemd needs one: begin it with one, such as #!/bin/sh"
    return ""


def _first_line(beginning: bytes) -> list[bytes]:
    """Return the words of the first line of a script; none of another program."""
    return beginning[2:].split(b"\n")[0].split() if beginning.startswith(b"#!") else []
