# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting mappings into a running container, so that root inside can make none of them writable.

What is mounted in a container's own mount namespace belongs to the container: root inside can change its flags, and
with them the host's files. What comes there from a mount namespace of the host's root, by propagation, keeps its flags
(mount_namespaces(7)). So a process of the host's copies the container's mounts into a namespace of its own. The copies
are peers of the container's; what is mounted on them there is mounted in the container, too, and locked.

Root inside can take its mounts out of that, or unmount what came; then it lacks the mapping, and nothing else happens.
Whether a mapping has arrived is asked of the mount point itself. No list of mounts is read that has the container's:
root inside decides how long that is.
Mount points are found as a start finds them, below the container's root and past no link that leads out of a mapping.
All of that is done by a process that can be given up: a file system inside may never answer.
"""

from __future__ import annotations

import errno
import os
import time

from ..launcher import linux, lookup, mapped, mount_calls, mount_table, mounts
from ..launcher.errors import LauncherError, NotRunning
from ..launcher.excursion import in_child
from ..launcher.identity import Identity, available
from ..launcher.loading import load_nothing_more
from ..launcher.paths import STATE_DIRECTORY
from ..launcher.plan import Plan
from ..launcher.records import DIVIDER, Records
from ..launcher.specification import read_spec
from ..launcher.targets import NETWORK_FILES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, Tuple

    from ..launcher.contract import Mount
    from ..launcher.mapping_ids import Ids
    from ..launcher.process import Process
    from ..state.record import RecordedContainer

    Shown = Tuple[str, int]  # which file it is, and the flags of the mount through which it is seen
    Lacking = Tuple[Mount, Optional[Ids]]  # a record, and the owner on the host of the mapping that it is a part of

# Flags of a mount that statvfs(3) tells. Their numbers are those of mount_setattr(2).
FLAGS = os.ST_RDONLY | os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC
KEPT_OUT = "%s: cannot be mounted in the running container, which has taken its mounts out of propagation"
TOO_MANY = "the container has so many mounts that no mapping can be mounted in it (fs.mount-max)"


def put(container: RecordedContainer, records: list[Lacking], timeout: float) -> tuple[list[str], list[str]]:
    """Mount records in a running container, whose lock the caller holds.

    Args:
        timeout: seconds for all of it.

    Returns:
        What was found at the sources of those that were mounted, a line each (`mapped`), and why others were not.

    Raises:
        LauncherError: none could be mounted.
    """
    process = container.process()
    if process is None:
        raise NotRunning("container %s: does not run; start it first" % container.name)
    try:
        try:
            keep = (process.descriptor,)
            said = in_child(lambda: _Visitor(container, process, timeout).put(records), timeout, keep)
        except TimeoutError:
            message = (
                "container %s: its mappings could not be mended within %g s; a file system on the way may not answer"
            )
            raise LauncherError(message % (container.name, timeout)) from None
    finally:
        process.close()
    lines, _divider, warnings = said.partition(DIVIDER)
    return list(filter(None, lines.split("\n"))), list(filter(None, warnings.split("\n")))


class _Visitor:
    """The process that does it: the host's root in a mount namespace of its own, in which it ends."""

    def __init__(self, container: RecordedContainer, process: Process, timeout: float) -> None:
        record = container.record() or {}
        system = str(record.get("system"))
        base, count = int(record["uid_base"]), int(record["uid_count"])
        self.pid = process.pid
        self.deadline = time.monotonic() + timeout
        self.run_directory = container.run_directory
        self.host_mounts = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        spec, identity = read_spec(system), Identity(base, count, available()[1])
        self.plan = Plan(
            system, spec, identity, -1, self.run_directory, "", None, None, None, [], host_mounts=self.host_mounts
        )
        self.root = lookup.open_root("/proc/%d/root" % self.pid)
        self.mounts = self._open_namespace("mnt")
        self.id_map = self._open_namespace("user") if identity.maps_files else None
        if process.wait(0):  # what was opened by its number may be another's
            raise NotRunning("container %s: has ended meanwhile" % container.name)

    def _open_namespace(self, name: str) -> int:
        return os.open("/proc/%d/ns/%s" % (self.pid, name), os.O_RDONLY | os.O_CLOEXEC)

    def put(self, records: list[Lacking]) -> str:
        """Mount the records; what was noted, and what went wrong, as `Records` says it."""
        load_nothing_more()
        linux.unshare(linux.CLONE_NEWNS)
        mount_calls.make_private("/")
        host = mount_table.read()
        mounted = mount_table.Mounted(host)
        tree = self._open_tree()
        done: list[str] = []
        warnings: list[str] = []
        for record, disk in records:
            attempt = Records(tree, self.plan, -1, self.id_map, self.deadline, [], table=host)
            attempt.disk = disk
            try:
                source, owner = _source(record)
                if source is not None and self._has(record, source):
                    below = mapped.below(mounted, record.source)
                    done.append(mapped.Mapped(record, source[0], below, disk or owner).line())
                    continue
                attempt.mount(record)
                warnings += attempt.warnings
                found = [each for each in mapped.parse("\n".join(attempt.mapped)) if each.identity]
                if found and not self._has(record, source or (found[0].identity, 0)):
                    warnings.append(KEPT_OUT % record.mount_point)
                elif found:
                    done += attempt.mapped
            except (LauncherError, OSError) as error:
                warnings.append(str(error).replace("\n", " "))
        return "\n".join(done) + DIVIDER + "\n".join(warnings)

    def _open_tree(self) -> mounts.Tree:
        """Return the container's root as this process's own mount namespace has it."""
        os.umask(0)
        here = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        place = os.open(self.run_directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        linux.setns(self.mounts, linux.CLONE_NEWNS)  # the kernel copies nothing that lies in another one
        copy = mount_calls.open_tree(self.root, "", True)
        linux.setns(here, linux.CLONE_NEWNS, home=True)
        try:
            mount_calls.move_mount(copy, place)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise LauncherError(TOO_MANY) from error
        # What is made on the way belongs to the container's root, and is counted as its own.
        base = self.plan.identity.base
        linux.prctl(linux.PR_SET_SECUREBITS, linux.SECBIT_NO_SETUID_FIXUP)
        os.setresgid(-1, base, -1)
        os.setresuid(-1, base, -1)
        return mounts.Tree(copy)

    def _has(self, record: Mount, source: Shown) -> bool:
        """Return whether the container itself has the source of a record mounted at its place, as it is declared."""
        try:
            found = lookup.open_below(self.root, record.mount_point)
        except OSError:
            return False
        try:
            if not linux.is_root_of_mount(found):
                return False
            identity, flags = _shown(found)
        finally:
            os.close(found)
        wanted = source[1] | mounts.attributes(record.flags) & FLAGS
        return identity == source[0] and flags & wanted == wanted and not (flags ^ wanted) & os.ST_RDONLY


def _source(record: Mount) -> tuple[Shown | None, Ids]:
    """Return what the host has at the source of a record, or None, and its owner and group."""
    try:
        source = mounts.open_source(record.source, record.source in NETWORK_FILES, STATE_DIRECTORY)
    except FileNotFoundError:
        return None, (0, 0)
    try:
        status = os.fstat(source)
        return _shown(source), (status.st_uid, status.st_gid)
    finally:
        os.close(source)


def _shown(descriptor: int) -> Shown:
    return mapped.identity_of(os.fstat(descriptor)), os.fstatvfs(descriptor).f_flag & FLAGS
