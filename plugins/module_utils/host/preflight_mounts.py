# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The checks of a container's mounts against the host, before anything is written on it."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..launcher import file_systems, guarded, linux, lookup, mount_calls, mounts, reachable, targets
from ..launcher.errors import LauncherError

if TYPE_CHECKING:
    from ..launcher.contract import Mount, Specification
    from .facts import HostFacts

_SIZE = r"[0-9]{1,18}[kKmMgGtTpPeE]?"
_NUMBER = "a number, perhaps with k, m or g"
_ID = r"[0-9]{1,5}"
# What the values of a tmpfs's options (tmpfs(5)) look like, as an expression and in words.
_OPTIONS = {
    "size": (_SIZE + "|[0-9]{1,9}%", _NUMBER + ", or a share of the memory such as 10%"),
    "nr_blocks": (_SIZE, _NUMBER),
    "nr_inodes": (_SIZE, _NUMBER),
    "mode": ("[0-7]{1,5}", "octal digits"),
    "uid": (_ID, "the id of a user"),
    "gid": (_ID, "the id of a group"),
    "huge": ("never|always|within_size|advise", "never, always, within_size or advise"),
    "mpol": (".+", "a policy"),
}
FIXED = lookup.RESOLVE | linux.RESOLVE_NO_SYMLINKS
_WORDS = ("inode32", "inode64", "noswap", "sync", "async", "dirsync", "mand", "nomand")


class Sources:
    """The sources of a specification's mounts, compared with what the host runs."""

    def __init__(self, host: HostFacts, specification: Specification) -> None:
        self.host = host
        self.store = specification.store.source
        self.records = specification.file_systems
        self.strictly = reachable.strictly_for(specification)
        self.runs: guarded.GuardedHost | None = None
        if not any(self._device(record) for record in self.records):
            return
        runs = {str(host.path(path)): what for path, what in guarded.RUNS.items()}
        if host.root == Path("/"):
            runs.update(guarded.interpreter(host.interpreter))
        self.runs = guarded.GuardedHost(runs, tuple(str(host.path(path)) for path in guarded.SECRET))

    def refusals(self) -> list[str]:
        """Return why the container cannot write where it is meant to, one reason for each mount."""
        return [said for record in self.records for said in self._look(record, True)]

    def warnings(self) -> list[str]:
        """Return what the container can read and should not, one warning for each mount."""
        return [said for record in self.records for said in self._look(record, False)]

    def _look(self, record: Mount, writable: bool) -> list[str]:
        device = self._device(record)
        bound = record.is_bind
        if self.runs is None or not device or (writable and record.read_only):
            return []
        written, read = ([device], []) if bound else file_systems.paths_of(record.type, device, record.options)
        if not all(answers(self.host, path) for path in written + read):
            return []  # the launcher asks at each start, within a time limit
        try:
            if bound:
                return self._look_at_bind(self.runs, record, device, writable)
            if writable:
                self.runs.refuse_writable_file_system(record, device)
                if self.strictly:
                    reachable.check_file_system(self.runs, record, device, self.strictly)
                return []
            return list(filter(None, [self.runs.warning_of_file_system(record, device)]))
        except LauncherError as error:
            return [str(error)]

    def _device(self, record: Mount) -> str:
        """Return the source of a mount, or "" when that is the store, the container's own, or new and empty."""
        shared = not record.is_own and (record.is_bind or record.type not in (*targets.IN_MEMORY, "mqueue"))
        return record.source if shared and record.source != self.store else ""

    def _look_at_bind(self, runs: guarded.GuardedHost, record: Mount, device: str, writable: bool) -> list[str]:
        try:
            source = self.host.open(device)
        except OSError:
            return []  # said elsewhere when it has to be there
        try:
            if writable:
                runs.refuse_writable(source, device)
                if self.strictly:
                    reachable.check_bind(runs, source, device, record.mount_point, self.strictly)
                return []
            return list(filter(None, [runs.warning(source, device)]))
        finally:
            os.close(source)


def answers(host: HostFacts, path: str) -> bool:
    """Return whether a path can be looked at without waiting for a server (a network file system, FUSE)."""
    return mounts.answers_at_once(str(host.path(path)))


def mount_points(host: HostFacts, specification: Specification) -> list[str]:
    """Return the mount points that are missing in a read-only bind mount, such as the store.

    Nobody can make a mount point there, so each is a problem, with a remedy.
    """
    problems = []
    above: list[Mount] = []
    for mount in specification.file_systems:
        point = targets.plain_path(mount.mount_point)
        around = [other for other in above if targets.is_below(point, other.mount_point)]
        above.append(mount.replacing(mount_point=point))
        if not around or mount.mount_may_fail or not _is_there(host, mount):
            continue
        outer = max(around, key=lambda other: len(other.mount_point))
        if outer.is_bind and outer.read_only:
            rest = point[len(outer.mount_point) :]
            if is_missing(host, outer.source, rest):
                problems.append(
                    f"nothing can be mounted at {point}: {outer.source} is shared read-only, and has no {rest[1:]}: "
                    f"make {outer.source}{rest} on the host, or use another mount point"
                )
    return problems


def _is_there(host: HostFacts, mount: Mount) -> bool:
    """Return whether a mount's source exists, or is made, so that the mount is not left out."""
    return not mount.is_bind or mount.is_own or (answers(host, mount.source) and host.exists(mount.source))


def is_missing(host: HostFacts, directory: str, rest: str) -> bool:
    """Return whether a path below a directory does not exist. A link that leads inside a container is not followed."""
    try:
        source = host.open(directory)
    except OSError:
        return False
    try:
        os.close(linux.openat2(source, rest.strip("/"), os.O_PATH | os.O_NOFOLLOW, FIXED))
    except OSError as error:
        return error.errno in (errno.ENOENT, errno.ENOTDIR)
    finally:
        os.close(source)
    return False


def tmpfs_options(host: HostFacts, specification: Specification) -> list[str]:
    """Return what is wrong in the options of each tmpfs: the kernel would say so when the former container is gone."""
    problems = []
    for mount in specification.file_systems:
        options = (mount.options or "").split(",") if mount.is_tmpfs and not mount.mount_may_fail else []
        for option in filter(None, options):
            name, equals, value = option.partition("=")
            pattern, words = _OPTIONS.get(name, ("", "without a value"))
            if name not in _OPTIONS and name not in _WORDS:
                known = ", ".join((*_OPTIONS, *_WORDS))
                problems.append(f"{mount.mount_point}: {name!r} is no option of a tmpfs; known are {known}")
            elif not re.fullmatch(pattern, value) or (equals and name in _WORDS):
                problems.append(f"{mount.mount_point}: {name!r} of a tmpfs must be {words}, not {value!r}")
    return problems


def types(host: HostFacts, specification: Specification) -> list[str]:
    """Return which file systems are of a type that the kernel does not have, and of which there is no module."""
    loaded = [line.rpartition("\t")[2] for line in host.read("/proc/filesystems").split("\n")]
    found = []
    for mount in specification.file_systems:
        kind = mount.type
        if mount.is_bind or mount.mount_may_fail or kind in targets.IN_MEMORY:
            continue
        if re.fullmatch(r"fuse(blk|\..*)?", kind):
            found.append(
                f"the file system at {mount.mount_point}: {kind} is served by a program, which a start does not run: "
                "mount it on the host, and use a mapping"
            )
            continue
        if kind in loaded:
            continue
        if not _has_module(host, kind) and not _opens(host, kind):
            found.append(
                f"the file system at {mount.mount_point}: the kernel of this host has no type {kind!r}: "
                "correct the name, or install the kernel's module for it"
            )
    return found


def _has_module(host: HostFacts, kind: str) -> bool:
    """Return whether the kernel would load a module for a type of file systems."""
    directory = f"/lib/modules/{host.release}"
    pattern = r"^alias fs-%s " % re.escape(kind.partition(".")[0])
    return re.search(pattern, host.read(f"{directory}/modules.alias"), re.MULTILINE) is not None


def _opens(host: HostFacts, kind: str) -> bool:
    """Return whether the kernel knows a type of file systems, or cannot be asked. Nothing is mounted for that."""
    if host.root != host.root.parent:
        return False
    try:
        os.close(mount_calls.fsopen(kind))
    except OSError as error:
        return error.errno != errno.ENODEV
    return True
