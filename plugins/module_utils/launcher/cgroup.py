# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control groups of a container in the unified hierarchy.

    unshare/<name>              the whole: has the limits, and accounts for the container
    unshare/<name>/payload      delegated to the container's root, and all that it sees of the hierarchy
    unshare/<name>/entered      of processes that enter, where root inside keeps them out of its own part

Root inside can make a group that it controls unfit for others: threaded, full, frozen, or removed in a moment. So it
does not control the whole, and cannot reach the last of these groups.

It does not matter where the host has mounted cgroup2; where it has not, a detached mount shows the hierarchy.

When a unit of systemd starts the container, the whole is the unit's own group, which systemd has delegated
(`Delegate=`); the host's processes of the start have a group in it. The runtime directory notes where the whole is.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time

from . import mount_table, mounts, trees
from .paths import RUN_DIRECTORY, read_text, write_atomically
from .process import KILL, Process, milliseconds, unified_group

PARENT = "unshare"
PAYLOAD, ENTERED = "payload", "entered"
ASIDE = "launcher"  # in a unit's group: the processes that start the container
ENTERED_INSIDE = "unshare.entered"  # in the payload: who enters, where an init can move them to groups of its own
DELEGATED = ("cgroup.procs", "cgroup.threads", "cgroup.subtree_control")
# Not for the payload: whom these controllers delay may hold locks of the kernel, and no signal ends the wait for them.
WITHHELD = ("io",)
# What a hostile root inside may pile up for the host to clear away.
BOUNDS = (("cgroup.max.depth", "32"), ("cgroup.max.descendants", "8192"))
UNMAPPED = 0x70000000 - 1  # an id of no container that shares the host root's
PINNED = 256  # processes that are pinned at a time


class ControlGroup:
    """The control groups of container `name`, opened on first use."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._unit: str | None = None
        self._made: str | None = None
        self._hierarchy: int | None = None

    @property
    def whole(self) -> str:
        """Return the path, from the root of the hierarchy on, of the group that holds all of the container's groups."""
        if self._made is not None:
            return self._made
        if self._unit is not None:
            return self._unit
        noted = read_text(self._note)
        return os.path.dirname(noted) if noted else PARENT + "/" + self.name

    @property
    def path(self) -> str:
        """Return the path of the payload, the group that is delegated to root inside.

        The launcher of an older system delegates the whole.
        """
        path = self.whole + "/" + PAYLOAD
        if self._made is None and not self.of_unit and not self._has(path):
            return self.whole
        return path

    @property
    def _note(self) -> str:
        return os.path.join(RUN_DIRECTORY, self.name, "cgroup")

    @property
    def of_unit(self) -> bool:
        """Return whether the whole is a unit's group, so that the limits are the unit's."""
        return self._unit is not None or os.path.exists(self._note)

    def move_below_unit(self, unit: str = "") -> bool:
        """Move this process below a unit's group, by default that of its own service. Return whether there is a unit.

        The process leaves the unit's group for one beside the container's: a group whose controllers are handed down
        has no processes of its own (cgroups(7), "no internal processes").
        """
        unit = unit or unified_group(read_text("/proc/self/cgroup"))
        if not unit.endswith((".service", ".scope")):
            return False
        aside = unit + "/" + ASIDE
        try:
            os.mkdir(aside, 0o755, dir_fd=self.hierarchy)
        except FileExistsError:
            pass
        self._write(aside + "/cgroup.procs", str(os.getpid()))
        self._unit = unit
        return True

    @property
    def hierarchy(self) -> int:
        """Return the descriptor of the unified hierarchy's root, as this process's cgroup namespace shows it."""
        if self._hierarchy is None:
            path = _mounted_hierarchy()
            if path is None:
                self._hierarchy = mounts.filesystem("cgroup2", [])
            else:
                self._hierarchy = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return self._hierarchy

    def close(self) -> None:
        self._made = None
        hierarchy, self._hierarchy = self._hierarchy, None  # first, for a signal may come at any moment
        if hierarchy is not None:
            os.close(hierarchy)

    def create(self, owner: int) -> int:
        """Make the groups, and delegate the payload to a uid (cgroups(7), "delegation"). Return its descriptor."""
        whole = self._made = self.whole
        path = self.path
        if self._unit is None:
            self._enable_controllers(".")
            self._make(whole)
            self._enable_controllers(PARENT)
        else:
            write_atomically(self._note, path, 0o644)
        self._enable_controllers(whole, WITHHELD)
        self._make_one(path)
        for file, bound in BOUNDS:
            self._write(path + "/" + file, bound)
        descriptor = self._open(path)
        for file in (".",) + DELEGATED:
            os.chown(file, owner, owner, dir_fd=descriptor)
        return descriptor

    def _make(self, whole: str) -> None:
        while True:
            try:
                self._make_one(PARENT)
                self._make_one(whole)
                return
            except FileNotFoundError:
                pass  # another container's end has just removed the parent that it left empty

    def _make_one(self, path: str) -> None:
        try:
            os.mkdir(path, 0o755, dir_fd=self.hierarchy)
        except FileExistsError:
            pass

    def _open(self, path: str) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(path, flags, dir_fd=self.hierarchy)

    def open_inside(self) -> int:
        """Open the group in the payload for a process that enters, and make it when it is missing. Return a descriptor.

        It is one of the container's own groups there, and an init can move the process to another: for a session of a
        user, or for the scope of `systemd-run --scope`.

        Raises:
            OSError: it cannot be made, was removed again, or belongs to root inside.
        """
        path = self.path + "/" + ENTERED_INSIDE
        self._make_one(path)
        descriptor = self._open(path)
        if os.fstat(descriptor).st_uid != os.geteuid():
            os.close(descriptor)
            raise PermissionError(errno.EPERM, "is not the host's", path)
        return descriptor

    def open_out_of_reach(self, owner: int) -> int:
        """Open the group beside the payload for a process that enters, and make it when missing. Return a descriptor.

        Args:
            owner: the host's id of root inside.
        """
        path = self.whole + "/" + ENTERED
        self._make_one(path)
        descriptor = self._open(path)
        if owner == 0:
            # A process in it can have it as the root of a new cgroup namespace, and so mount it.
            for file in [".", *os.listdir(descriptor)]:
                try:
                    os.chown(file, UNMAPPED, UNMAPPED, dir_fd=descriptor)
                except OSError as error:
                    if error.errno != errno.EINVAL:  # in a container whose ids are all given to this one
                        os.close(descriptor)
                        raise
        return descriptor

    def _enable_controllers(self, path: str, withheld: tuple[str, ...] = ()) -> None:
        """Enable all controllers but some for the groups below. The host may keep some, or all, in version 1."""
        enabled = self._read(path + "/cgroup.subtree_control").split()
        missing = set(self._read(path + "/cgroup.controllers").split()) - {*enabled, *withheld}
        changes = ["+" + name for name in sorted(missing)] + ["-" + name for name in withheld if name in enabled]
        if changes and not self._hand_down(path, " ".join(changes)):
            for change in changes:
                self._hand_down(path, change)

    def _hand_down(self, path: str, controllers: str) -> bool:
        try:
            self._write(path + "/cgroup.subtree_control", controllers)
        except OSError as error:
            # Inside a container its own root group may hold processes, or be another's to steer.
            if error.errno not in (errno.EBUSY, errno.EACCES, errno.EPERM, errno.ENOENT, errno.EOPNOTSUPP):
                raise
            return False
        return True

    def _read(self, path: str) -> str:
        return read_text(path, directory=self.hierarchy)

    def _write(self, path: str, text: str) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=self.hierarchy)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    def read(self, file: str) -> str:
        """Return the text of a file of the whole group, or "" when the host has no such controller."""
        return self._read(self.whole + "/" + file)

    def controllers(self) -> list[str]:
        """Return the controllers of the hierarchy on this host."""
        return self._read("cgroup.controllers").split()

    def has(self, file: str) -> bool:
        """Return whether the whole group has a file of this name."""
        return self._has(self.whole + "/" + file)

    def exists(self) -> bool:
        """Return whether there is the whole group."""
        return self._has(self.whole)

    def _has(self, path: str) -> bool:
        return os.access(path, os.F_OK, dir_fd=self.hierarchy)

    def is_marked(self) -> bool:
        """Return whether root inside has set the sticky bit of the payload's directory: a reboot (`life/again`).

        Of all that a container can leave in its control group, this alone outlives its systemd. systemd removes every
        group below when it ends.
        """
        try:
            return bool(os.stat(self.path, dir_fd=self.hierarchy, follow_symlinks=False).st_mode & stat.S_ISVTX)
        except FileNotFoundError:
            return False

    def write(self, file: str, text: str) -> None:
        """Write a limit into a file of the whole group.

        Without a unit it is written into the payload as well, so that programs inside can read it. A weight is not:
        there it would count against processes that enter.
        """
        whole, path = self.whole, self.path
        self._write(whole + "/" + file, text)
        if path != whole and not self.of_unit and not file.endswith(".weight") and self._has(path + "/" + file):
            self._write(path + "/" + file, text)

    @property
    def _populated_parts(self) -> list[str]:
        """Return the groups that hold the container's processes, in the order in which to kill them.

        Root inside with the host root's id may be able to move a process from the first into the second, never back.
        """
        return [self.whole + "/" + ENTERED, self.path]

    def kill(self, timeout: float) -> bool:
        """Kill all processes (`cgroup.kill`, Linux 5.14). Return whether none is left after `timeout` seconds.

        Before Linux 5.14 this kills nothing. `kill_each` kills what is left.
        """
        deadline = time.monotonic() + timeout
        left = [path for path in self._populated_parts if not self._kill(path, deadline)]
        return not left

    def _kill(self, path: str, deadline: float) -> bool:
        try:
            events = self._open_events(path)
        except FileNotFoundError:
            return True
        try:
            if not _populated(events):
                return True
            try:
                self._write(path + "/cgroup.kill", "1")
            except FileNotFoundError:
                return False
            return _wait_empty(events, deadline)
        finally:
            os.close(events)

    def kill_each(self) -> None:
        """Kill each process that is seen in the groups. Another may be forked meanwhile, so look again after this.

        `cgroup.kill` signals the first thread of a process. When that has ended, the others do not get the signal.
        """
        for path in self._populated_parts:
            if self._has(path):
                trees.walk(self.hierarchy, path, path, _kill_seen)

    def _open_events(self, path: str) -> int:
        return os.open(path + "/cgroup.events", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.hierarchy)

    def wait_empty(self, timeout: float) -> bool:
        """Wait until no process is left, for at most `timeout` seconds. Return whether none is."""
        deadline = time.monotonic() + timeout
        for path in self._populated_parts:
            try:
                events = self._open_events(path)
            except FileNotFoundError:
                continue
            try:
                if not _wait_empty(events, deadline):
                    return False
            finally:
                os.close(events)
        return True

    def remove(self) -> None:
        """Remove the empty groups, the groups that PID 1 made below its own, and the parent when it is empty."""
        whole, of_unit = self.whole, self.of_unit
        self._remove(whole + "/" + ENTERED)
        self._remove(whole + "/" + PAYLOAD)
        self._made = None
        if of_unit:
            return
        self._remove(whole)
        try:
            os.rmdir(PARENT, dir_fd=self.hierarchy)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EBUSY):
                raise

    def _remove(self, path: str) -> None:
        try:
            os.rmdir(path, dir_fd=self.hierarchy)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EBUSY):
                raise
            trees.walk(self.hierarchy, path, path, trees.directories, trees.remove_directory)


def _mounted_hierarchy() -> str | None:
    """Return where the whole unified hierarchy is mounted writable, or None."""
    for mount in mount_table.read_kind("cgroup2"):
        if mount.part == "/" and "rw" in mount.options:
            return mount.point
    return None


def _populated(events: int) -> bool:
    return b"populated 1" in os.pread(events, 4096, 0)


def _wait_empty(events: int, deadline: float) -> bool:
    """Wait until a group has no process, by polling its `cgroup.events`. Return whether that came true in time."""
    poll = select.poll()
    poll.register(events, select.POLLPRI)
    while _populated(events):
        if not poll.poll(milliseconds(deadline - time.monotonic())):
            return not _populated(events)
    return True


def processes(group: int) -> list[int]:
    """Return the processes of a group; those of a threaded one are in the group above it that has the whole of them."""
    text = b""
    descriptor = os.open("cgroup.procs", os.O_RDONLY | os.O_CLOEXEC, dir_fd=group)
    try:
        part = os.read(descriptor, mount_table.READ_SIZE)
        while part:  # the file comes a page at a time
            text += part
            part = os.read(descriptor, mount_table.READ_SIZE)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENODEV):  # a threaded group, or one that was just removed
            raise
    finally:
        os.close(descriptor)
    return [int(pid) for pid in text.split() if int(pid) > 0]  # 0 is a process that this pid namespace does not have


def _kill_seen(group: int) -> list[str]:
    """Kill the processes that are seen in a group; the names of the groups in it."""
    pids = processes(group)
    for first in range(0, len(pids), PINNED):
        pinned = [(pid, Process.pin(pid)) for pid in pids[first : first + PINNED]]
        # A number may have become that of a process elsewhere before that was pinned, but not since.
        here = set(processes(group))
        for pid, process in pinned:
            if process is not None:
                if pid in here:
                    process.signal(KILL)
                process.close()
    return trees.directories(group)
