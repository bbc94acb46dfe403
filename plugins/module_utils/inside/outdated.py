# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Units of a running container that go on with software which the host has replaced or removed since (P5).

A process keeps the files of the store that it has mapped into its memory: its program and libraries. When the host's
package manager puts others in their place, /proc/PID/maps calls them deleted.

All of that is read from outside, and is the container's word no less: names of control groups, and how many of them and
of processes there are, root inside chooses. So what is read is bounded, names are escaped, and a process that can be
given up does it, for the kernel may let nobody look at a process that waits for a file system of its own.
"""

from __future__ import annotations

import os
import re

from ..launcher import trees
from ..launcher.cgroup import processes
from ..launcher.errors import LauncherError
from ..launcher.excursion import in_child
from ..launcher.paths import read_text
from ..launcher.process import Process
from ..launcher.specification import read_spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Collection

    from ..state.record import RecordedContainer

PROCESSES = 4096  # of a container that are looked at
MAPS_SIZE = 1 << 20  # bytes of the list of what one has mapped
UNITS = 100  # that are told
FILES = 10  # of each that are told
NAME_SIZE = 255  # characters of a unit's name, as systemd has them
PATH_SIZE = 1024  # characters of a path
INIT = "init.scope"
UNNAMED = "-.slice"
GUARD = "_"  # stands before a unit's name that would be that of a file of a control group, or begins so itself
SUFFIXES = (".service", ".scope", ".socket", ".mount", ".swap")
PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.@")
IN_PATHS = PLAIN.union("/+,~=#% ")
DELETED = b" (deleted)"
FILE, PROGRAM = "file", "program"


class Outdated:
    """The software that a unit runs and that the host has replaced or removed: paths inside, escaped, sorted.

    Attributes:
        files: those that its processes have mapped, at most `FILES`.
        programs: those of them that its processes were executed from.
    """

    def __init__(self, files: list[str], programs: list[str]) -> None:
        self.files = files
        self.programs = programs


def outdated_units(container: RecordedContainer, timeout: float) -> dict[str, Outdated]:
    """Return the units whose processes have mapped files of the store that are no more, by name; at most `UNITS`.

    Args:
        timeout: seconds for all of it.

    Raises:
        LauncherError: that cannot be learned, or not in time.
    """
    process = container.process()
    if process is None:
        return {}
    process.close()
    store = read_spec(str((container.record() or {}).get("system"))).store.target
    cgroup = container.cgroup
    hierarchy, path = cgroup.hierarchy, cgroup.path
    try:
        said = in_child(lambda: "\n".join(_look(hierarchy, path, store)), timeout, keep=(hierarchy,))
    except TimeoutError:
        raise LauncherError(
            "container %s: cannot be asked for outdated software: a process in it has not been readable for %g s"
            % (container.name, timeout)
        ) from None
    except OSError as error:
        raise LauncherError(
            "container %s: cannot be asked for outdated software: %s" % (container.name, error)
        ) from error
    found: dict[str, Outdated] = {}
    for unit, kind, name in (line.split("\t") for line in said.split("\n") if line):
        outdated = found.setdefault(unit, Outdated([], []))
        (outdated.programs if kind == PROGRAM else outdated.files).append(name)
    return found


def _look(hierarchy: int, path: str, store: str) -> list[str]:
    """Return lines of a unit, FILE or PROGRAM, and a path, by the processes in a control group and in those below."""
    seen: list[int] = []

    def enter(group: int) -> list[str]:
        seen.extend(processes(group)[: PROCESSES - len(seen)])
        return trees.directories(group) if len(seen) < PROCESSES else []

    trees.walk(hierarchy, path, path, enter)
    prefix = store.rstrip("/").encode() + b"/"
    found: dict[str, dict[str, set[str]]] = {}
    for pid in seen:
        process = Process.pin(pid)
        if process is None:
            continue
        unit = unit_in(read_text("/proc/%d/cgroup" % pid), path)
        files = deleted_files(_read_maps(pid), prefix)
        programs = [file for file in files if file == _read_program(pid)]
        # A number may have become that of a process elsewhere, which is in no group of the container.
        if unit is not None and files and not process.wait(0):
            kinds = found.setdefault(unit, {FILE: set(), PROGRAM: set()})
            kinds[FILE].update(escape(file, IN_PATHS, PATH_SIZE) for file in files)
            kinds[PROGRAM].update(escape(file, IN_PATHS, PATH_SIZE) for file in programs)
        process.close()
    return [
        "%s\t%s\t%s" % (unit, kind, name)
        for unit in sorted(found)[:UNITS]
        for kind, names in found[unit].items()
        for name in sorted(names)[:FILES]
    ]


def _read_program(pid: int) -> bytes:
    """Return the file that a process was executed from, when that is no more."""
    try:
        target = os.readlink(b"/proc/%d/exe" % pid)
    except OSError:
        return b""
    return target[: -len(DELETED)] if target.endswith(DELETED) else b""


def _read_maps(pid: int) -> bytes:
    text = bytearray()
    try:
        descriptor = os.open("/proc/%d/maps" % pid, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""  # it has ended
    try:
        while len(text) < MAPS_SIZE:
            part = os.read(descriptor, 1 << 16)
            if not part:
                break
            text += part
    except OSError:
        pass
    finally:
        os.close(descriptor)
    return bytes(text)


def deleted_files(maps: bytes, prefix: bytes) -> list[bytes]:
    """Return the files that are no more below a directory, of a list of mappings (proc_pid_maps(5)), each once.

    Args:
        prefix: the directory, with a slash at its end.
    """
    if DELETED not in maps:
        return []
    named = [line.split(None, 5)[-1][: -len(DELETED)] for line in maps.split(b"\n") if line.endswith(DELETED)]
    return list(dict.fromkeys(name for name in named if name.startswith(prefix)))


def unit_in(groups: str, path: str) -> str | None:
    """Return the unit that a process is in, escaped, or None where it is in no group of the container.

    Args:
        groups: its /proc/PID/cgroup.
        path: the container's group in the unified hierarchy.
    """
    group = next((line[3:] for line in groups.split("\n") if line.startswith("0::")), "")
    _before, found, inside = (group + "/").partition("/" + path.strip("/") + "/")
    if not found:
        return None
    parts = [part for part in inside.split("/") if part]
    unit = next((part for part in parts if part.endswith(SUFFIXES)), parts[-1] if parts else UNNAMED)
    return escape(unit[1:] if unit.startswith(GUARD) and unit.endswith(SUFFIXES) else unit)


def name_of_escaped(name: str) -> str:
    """Return the name that `escape` was given, unless that was too long."""
    return re.sub(r"\\x([0-9a-f]{2})", lambda found: chr(int(found.group(1), 16)), name)


def escape(name: str | bytes, plain: Collection[str] = PLAIN, size: int = NAME_SIZE) -> str:
    """Return a name that a control group or a file has, with each byte that is not plain as `\\\\xNN`.

    Args:
        plain: characters that stay; by default those of a unit's name.
        size: characters of the result.
    """
    data = name.encode("utf-8", "surrogateescape") if isinstance(name, str) else name
    text = "".join(chr(byte) if chr(byte) in plain else "\\x%02x" % byte for byte in data)
    return text if len(text) <= size else text[: size - 3] + "..."
