# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control group of a container: `unshare/<name>` of the unified hierarchy, delegated to the container's root.

It does not matter where the host has mounted cgroup2, beside version 1 or not at all: in the last case the hierarchy is
reached through a detached mount of our own.

Started by a unit of systemd it is a group below the unit's own, which systemd has delegated (`Delegate=`); the host's
processes of the start have one beside it. Where it is, is noted in the container's runtime directory.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time

from . import mount_table, mounts, trees
from .paths import RUN_DIRECTORY, read_text, write_atomically
from .process import KILL, Process, milliseconds

PARENT = "unshare"
PAYLOAD, ASIDE = "payload", "launcher"  # below a unit's group: the container, and the processes that start it
DELEGATED = ("cgroup.procs", "cgroup.threads", "cgroup.subtree_control")
# What a hostile root inside may pile up for the host to clear away.
DESCENDANTS = ("cgroup.max.descendants", "8192")
BOUNDS = (("cgroup.max.depth", "32"), DESCENDANTS)
ROOM = 1024  # groups more, so that not all are taken again before the launcher has made its own


class ControlGroup:
    """The control group of container `name`, opened on first use."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._unit: str | None = None
        self._made: str | None = None
        self._hierarchy: int | None = None

    @property
    def path(self) -> str:
        """Where it is, from the root of the hierarchy on."""
        if self._made is not None:
            return self._made
        if self._unit is not None:
            return self._unit + "/" + PAYLOAD
        return read_text(self._note) or PARENT + "/" + self.name

    @property
    def _note(self) -> str:
        return os.path.join(RUN_DIRECTORY, self.name, "cgroup")

    @property
    def of_unit(self) -> bool:
        """Whether it is below a unit's group, so that limits are the unit's."""
        return self.path.endswith("/" + PAYLOAD)

    def move_below_unit(self) -> bool:
        """Be a group below that of the unit which this process is the main process of; whether there is such a unit.

        The process leaves the unit's group for one beside the container's: a group whose controllers are handed down
        has no processes of its own (cgroups(7), "no internal processes").
        """
        lines = read_text("/proc/self/cgroup").split("\n")
        unit = next((line[3:].strip("/") for line in lines if line.startswith("0::")), "")
        if not unit.endswith(".service"):
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
        """Descriptor of the root of the unified hierarchy, as this process's cgroup namespace has it."""
        if self._hierarchy is None:
            path = _mounted_hierarchy()
            if path is None:
                self._hierarchy = mounts.filesystem("cgroup2", [])
            else:
                self._hierarchy = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return self._hierarchy

    def close(self) -> None:
        self._made = None
        if self._hierarchy is not None:
            os.close(self._hierarchy)
            self._hierarchy = None

    def create(self, owner: int) -> int:
        """Make the group and delegate it to a uid (cgroups(7), "delegation"); its descriptor."""
        path = self._made = self.path
        parent = os.path.dirname(path)
        if self._unit is None:
            self._enable_controllers(".")
        else:
            write_atomically(self._note, path, 0o644)
        self._make(parent)
        self._enable_controllers(parent)
        for file, bound in BOUNDS:
            self._write(path + "/" + file, bound)
        descriptor = self.open()
        for file in (".",) + DELEGATED:
            os.chown(file, owner, owner, dir_fd=descriptor)
        return descriptor

    def _make(self, parent: str) -> None:
        while True:
            try:
                for path in (parent, self.path):
                    try:
                        os.mkdir(path, 0o755, dir_fd=self.hierarchy)
                    except FileExistsError:
                        pass
                return
            except FileNotFoundError:
                pass  # another container's end has just removed the parent that it left empty

    def make_below(self, group: int, name: str) -> None:
        """Make a group below the container's own, which a descriptor names, unless it is there.

        Where root inside has made as many as it may, its bound is raised for the moment that this takes.
        """
        try:
            os.mkdir(name, 0o755, dir_fd=group)
        except FileExistsError:
            pass
        except BlockingIOError:
            file, bound = DESCENDANTS
            self.write(file, str(int(bound) + ROOM))
            try:
                os.mkdir(name, 0o755, dir_fd=group)
            finally:
                self.write(file, bound)

    def open(self) -> int:
        return os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.hierarchy)

    def _enable_controllers(self, path: str) -> None:
        """Hand down what controllers there are; a host may keep some, or all, in version 1."""
        available = self._read(path + "/cgroup.controllers").split()
        enabled = self._read(path + "/cgroup.subtree_control").split()
        for controller in available:
            if controller not in enabled:
                try:
                    self._write(path + "/cgroup.subtree_control", "+" + controller)
                except OSError as error:
                    # Inside a container its own root group may hold processes, or be another's to steer.
                    if error.errno not in (errno.EBUSY, errno.EACCES, errno.EPERM, errno.ENOENT, errno.EOPNOTSUPP):
                        raise

    def _read(self, path: str) -> str:
        return read_text(path, directory=self.hierarchy)

    def _write(self, path: str, text: str) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=self.hierarchy)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    def read(self, file: str) -> str:
        """The text of one of the group's files; empty where the host has no such controller."""
        return self._read(self.path + "/" + file)

    def controllers(self) -> list[str]:
        """The controllers that the hierarchy has on this host."""
        return self._read("cgroup.controllers").split()

    def has(self, file: str) -> bool:
        """Whether the group has such a file."""
        return os.access(self.path + "/" + file, os.F_OK, dir_fd=self.hierarchy)

    def is_marked(self) -> bool:
        """Whether root inside has set the sticky bit of the group's directory: that means a reboot (`again`).

        Of all that a container can leave in its control group this alone outlives its systemd, which removes every
        group below on its way out.
        """
        try:
            return bool(os.stat(self.path, dir_fd=self.hierarchy, follow_symlinks=False).st_mode & stat.S_ISVTX)
        except FileNotFoundError:
            return False

    def write(self, file: str, text: str) -> None:
        """Write one of the group's files."""
        self._write(self.path + "/" + file, text)

    def kill(self, timeout: float) -> bool:
        """Kill all processes of the group (`cgroup.kill`, Linux 5.14); whether none is left after `timeout` seconds.

        Before Linux 5.14 nothing is killed. What is left then and otherwise, `kill_each` kills.
        """
        try:
            events = self._open_events()
        except FileNotFoundError:
            return True
        try:
            if not _populated(events):
                return True
            try:
                self.write("cgroup.kill", "1")
            except FileNotFoundError:
                return False
            return _wait_empty(events, timeout)
        finally:
            os.close(events)

    def kill_each(self) -> None:
        """Kill each process of the group that is seen there. Another may be forked meanwhile: look again.

        `cgroup.kill` signals the first thread of a process; where that has ended, the others do not hear of it.
        """
        path = self.path
        inside = "0::/" + path

        def kill(group: int) -> list[str]:
            for pid in _processes(group):
                process = Process.pin(pid)
                if process is None:
                    continue
                try:
                    # The number may be that of a process elsewhere by now, but not once it is pinned and here.
                    where = _group_of(pid)
                    if where == inside or where.startswith(inside + "/"):
                        process.signal(KILL)
                finally:
                    process.close()
            return trees.directories(group)

        trees.walk(self.hierarchy, path, path, kill)

    def _open_events(self) -> int:
        return os.open(self.path + "/cgroup.events", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.hierarchy)

    def wait_empty(self, timeout: float) -> bool:
        """Wait until no process is left, for at most `timeout` seconds."""
        try:
            events = self._open_events()
        except FileNotFoundError:
            return True
        try:
            return _wait_empty(events, timeout)
        finally:
            os.close(events)

    def remove(self) -> None:
        """Remove the empty group, what PID 1 made below it, and the parent when it was the last."""
        path = self.path
        try:
            os.rmdir(path, dir_fd=self.hierarchy)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EBUSY):
                raise
            trees.walk(self.hierarchy, path, path, trees.directories, trees.remove_directory)
        self._made = None
        try:
            os.rmdir(PARENT, dir_fd=self.hierarchy)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EBUSY):
                raise


def _mounted_hierarchy() -> str | None:
    """Where the whole unified hierarchy is mounted, writable."""
    for mount in mount_table.read():
        if mount.kind == "cgroup2" and mount.part == "/" and "rw" in mount.options:
            return mount.point
    return None


def _populated(events: int) -> bool:
    return b"populated 1" in os.pread(events, 4096, 0)


def _wait_empty(events: int, timeout: float) -> bool:
    """Wait until no process is left in a group (its `cgroup.events` is polled for changes); whether that came."""
    poll = select.poll()
    poll.register(events, select.POLLPRI)
    deadline = time.monotonic() + timeout
    while _populated(events):
        if not poll.poll(milliseconds(deadline - time.monotonic())):
            return not _populated(events)
    return True


def _processes(group: int) -> list[int]:
    """The processes of a group; those of a threaded one are in the group above it that has the whole of them."""
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


def _group_of(pid: int) -> str:
    """The line of proc_pid_cgroup(5) for the unified hierarchy; empty for a process that is gone."""
    try:
        lines = read_text("/proc/%d/cgroup" % pid).split("\n")
    except ProcessLookupError:
        return ""
    return next((line for line in lines if line.startswith("0::")), "")
