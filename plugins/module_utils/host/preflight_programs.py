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

if TYPE_CHECKING:
    from ..launcher.contract import Specification
    from .facts import HostFacts

    Read = Callable[[str], bytes]

UNITS = "/etc/systemd/system/"
STARTS = ("ExecStart", "ExecStartPre", "ExecStartPost")
OTHERWISE = re.compile(
    r"(Condition|Assert)\w+|Root(Directory|Image)|Bind(ReadOnly)?Paths|TemporaryFileSystem|(Mount|Extension)Images"
    r"|ExtensionDirectories|StateDirectory|ExecSearchPath"
)
"""Directives with which a unit may not run, or its program may be another file than the one that is seen here."""


class Programs:
    """The programs of a container, as far as they are known from the host.

    :param read: gives the content of a file of the system.
    """

    def __init__(self, host: HostFacts, specification: Specification, read: Read) -> None:
        self.host = host
        self.specification = specification
        self.view = StoreView(specification, host.root)
        self.read = read

    def problems(self) -> list[str]:
        """Return what would not run, the programs that services name themselves excepted."""
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

    def _interpreters(self, program: str) -> list[str]:
        """Return what the kernel runs or loads with a program; nothing when that cannot be known."""
        if program in self.specification.files:
            return _script(self.read(program))
        descriptor = self.view.open_file(program)
        if descriptor is None:
            return []
        try:
            beginning = os.pread(descriptor, 256, 0)
            if elf.is_native(beginning):
                return [path for path in elf.interpreters(descriptor, beginning) if path.startswith("/")]
            return _script(beginning)
        finally:
            os.close(descriptor)

    def units(self) -> list[str]:
        """Return the programs that units of the system itself would start, and that are not there."""
        found = []
        for path, entry in self.specification.files.items():
            name = path[len(UNITS) :]
            if not path.startswith(UNITS) or "/" in name or not name.endswith(".service") or "@" in name:
                continue
            if entry.link is not None or not self._is_started(name):
                continue
            for program in started(self.read(path).decode("utf-8", "replace")):
                if self._is_known(program) and not self.view.find(program):
                    remedy = "install it, or map it into the container"
                    found.append(f"the unit {name} starts {program}, which is not there: {remedy}")
        return found

    def _is_started(self, name: str) -> bool:
        """Return whether something is there that would start a unit: what wants it, or what it is activated by."""
        stem = name[: -len(".service")]
        files = self.specification.files
        return any(f"{UNITS}{stem}{kind}" in files for kind in (".timer", ".socket", ".path")) or any(
            path.startswith(UNITS) and path.endswith((f".wants/{name}", f".requires/{name}")) for path in files
        )

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
            return True
        nearest = max(around, key=lambda mount: len(mount.mount_point))
        rest = path[len(targets.plain_path(nearest.mount_point)) :]
        return nearest.is_bind and nearest.read_only and answers(self.host, nearest.source + rest)


def _script(beginning: bytes) -> list[str]:
    """Return the interpreter that the first line of a script names."""
    if not beginning.startswith(b"#!"):
        return []
    words = beginning[2:].split(b"\n")[0].split()
    return [os.fsdecode(words[0])] if words and words[0].startswith(b"/") else []


def started(text: str) -> list[str]:
    """Return the programs that must be there for the unit of this text to start, as far as it says so plainly."""
    programs: list[str] = []
    for line in text.replace("\\\n", " ").split("\n"):
        key, equals, value = line.strip().partition("=")
        if not equals or key[:1] in "#;":
            continue
        key = key.strip()
        if OTHERWISE.fullmatch(key):
            return []
        if key not in STARTS:
            continue
        words = value.split()
        if not words:
            programs = []
            continue
        program = words[0].lstrip("@:+!")
        if not program.startswith("-") and not set(program) & set("\"'%$\\") and program.count("/") != 0:
            programs.append(program)
    return [program for program in dict.fromkeys(programs) if program.startswith("/")]
