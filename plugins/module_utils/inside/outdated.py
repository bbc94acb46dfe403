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

from ..launcher import trees
from ..launcher.cgroup import processes
from ..launcher.errors import LauncherError
from ..launcher.excursion import in_child
from ..launcher.paths import read_text
from ..launcher.process import Process
from ..launcher.specification import read_spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..state.record import RecordedContainer

PROCESSES = 4096  # of a container that are looked at
MAPS_SIZE = 1 << 20  # bytes of the list of what one has mapped
UNITS = 100  # that are told
NAME_SIZE = 255  # characters of a unit's name, as systemd has them
INIT = "init.scope"
UNNAMED = "-.slice"
SUFFIXES = (".service", ".scope", ".socket", ".mount", ".swap")
PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.@")
DELETED = b" (deleted)"


def outdated_units(container: RecordedContainer, timeout: float) -> list[str]:
    """Return the units whose processes have mapped files of the store that are no more, sorted; at most `UNITS`.

    Args:
        timeout: seconds for all of it.

    Raises:
        LauncherError: that cannot be learned, or not in time.
    """
    process = container.process()
    if process is None:
        return []
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
    return list(filter(None, said.split("\n")))


def _look(hierarchy: int, path: str, store: str) -> list[str]:
    """Return the names of the units, escaped, by the processes in a control group and in those below it."""
    seen: list[int] = []

    def enter(group: int) -> list[str]:
        seen.extend(processes(group)[: PROCESSES - len(seen)])
        return trees.directories(group) if len(seen) < PROCESSES else []

    trees.walk(hierarchy, path, path, enter)
    prefix = store.rstrip("/").encode() + b"/"
    found: set[str] = set()
    for pid in seen:
        process = Process.pin(pid)
        if process is None:
            continue
        unit = unit_in(read_text("/proc/%d/cgroup" % pid), path)
        # A number may have become that of a process elsewhere, which is in no group of the container.
        if unit is not None and unit not in found and maps_deleted(_read_maps(pid), prefix) and not process.wait(0):
            found.add(unit)
        process.close()
    return sorted(found)[:UNITS]


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


def maps_deleted(maps: bytes, prefix: bytes) -> bool:
    """Return whether a list of mappings (proc_pid_maps(5)) names a file that is no more below a directory.

    Args:
        prefix: the directory, with a slash at its end.
    """
    if DELETED not in maps:
        return False
    return any(line.endswith(DELETED) and line.split(None, 5)[-1].startswith(prefix) for line in maps.split(b"\n"))


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
    return escape(unit)


def escape(name: str) -> str:
    """Return a name that a control group has, in the characters of a unit's name, others as `\\\\xNN`."""
    data = name.encode("utf-8", "surrogateescape")
    text = "".join(chr(byte) if chr(byte) in PLAIN else "\\x%02x" % byte for byte in data)
    return text if len(text) <= NAME_SIZE else text[: NAME_SIZE - 3] + "..."
