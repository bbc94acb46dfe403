# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The mounts of a container, one after the other in a tree that is only thought of: which of them could not be made.

A link in a mapping is followed as the launcher follows it. What leads on by the links of the root itself is left to the
start, which follows them in the tree that is there then.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from typing import TYPE_CHECKING, NamedTuple

from ..launcher import linux, lookup, mapping_ids, mount_table, mounts, ownership, targets, unmapped
from ..launcher.declared_root import SKELETON
from ..launcher.errors import LauncherError
from ..launcher.excursion import in_child
from ..launcher.paths import STATE_DIRECTORY
from ..launcher.records import refusal_of_source
from . import id_maps
from .preflight_mounts import FIXED, answers
from .store import open_bind_source

if TYPE_CHECKING:
    from ..launcher.contract import Mount, Specification
    from .facts import HostFacts

DIRECTORY, FILE, BELOW_A_FILE, ABSENT, UNKNOWN = "directory", "file", "below a file", "nothing", "unknown"
OUT, DANGLING, LOOP, HIDING, BEYOND = "out", "dangling", "loop", "hiding", "fixed"

BY_LINKS = {
    OUT: lookup.LEADS_OUT,
    DANGLING: "a symbolic link on the way leads to nothing; remove it, or use another mount point",
    LOOP: "the symbolic links on the way lead in a circle; remove them, or use another mount point",
    HIDING: "a symbolic link on the way leads to the mapping that contains it, which would be hidden; remove it",
    BEYOND: "a symbolic link on the way leads to where this mount point is missing, in what is shared read-only: "
    "make it on the host, or use another mount point",
}
"""Reasons why nothing can be mounted behind links in a mapping, by where these lead."""

PLACED = ("/etc/machine-id", "/run/host/container-manager")
"""Files that the launcher makes in every root."""

LINK_SECONDS = 2.0


class _Mounted(NamedTuple):
    """A mount that is there: the path of the host that it shows, or none when it is new and empty, or not known."""

    point: str
    source: str
    known: bool
    read_only: bool = False


class PlannedRoot:
    """The root of a container as far as it is known from the host."""

    def __init__(self, host: HostFacts, specification: Specification) -> None:
        self.host = host
        self.specification = specification
        self.mounted: list[_Mounted] = []
        self._directories = {f"/{name}" for name in SKELETON}
        for path in (*specification.files, *PLACED):
            self._directories.update(targets.parents(targets.plain_path(path)))

    def kind(self, path: str) -> str:
        """Return what is at a path, plain and absolute."""
        mount = self._mount_at(path)
        if mount is not None:
            return self._kind_in(mount, path[len(mount.point) :].strip("/"))
        for above in (path, *targets.parents(path)):
            found = self._own(above)
            if found == FILE:
                return FILE if above == path else BELOW_A_FILE
            if found == UNKNOWN:
                return UNKNOWN
        return self._own(path)

    def _own(self, path: str) -> str:
        """Return what is at a path of the root itself."""
        entry = self.specification.files.get(path)
        if entry is not None:
            return UNKNOWN if entry.link is not None else FILE
        if path in PLACED:
            return FILE
        if self.specification.root.is_machine:
            return UNKNOWN  # what else is there its tree knows, or its layer
        if path[1:] in targets.MERGED or path[1:] in dict(targets.STANDARD_LINKS):
            return UNKNOWN
        if path in self.specification.host_files:
            return UNKNOWN
        return DIRECTORY if path in self._directories else ABSENT

    def _kind_in(self, mount: _Mounted, rest: str) -> str:
        if not mount.source:
            return UNKNOWN if not mount.known else ABSENT if rest else DIRECTORY
        if not answers(self.host, f"{mount.source}/{rest}"):
            return UNKNOWN
        try:
            source = self.host.open(mount.source)
        except OSError:
            return UNKNOWN
        try:
            if not rest:
                return _kind(os.fstat(source).st_mode)
            descriptor = linux.openat2(source, rest, os.O_PATH, FIXED)
        except OSError as error:
            if error.errno == errno.ELOOP:
                return self._behind_links(mount, source, rest)
            return {errno.ENOENT: ABSENT, errno.ENOTDIR: BELOW_A_FILE}.get(error.errno or 0, UNKNOWN)
        finally:
            os.close(source)
        try:
            return _kind(os.fstat(descriptor).st_mode)
        finally:
            os.close(descriptor)

    def _behind_links(self, mount: _Mounted, source: int, rest: str) -> str:
        """Return what is at a path in a mount by way of links. The launcher lets none of them lead out of the mount.

        :param source: a descriptor of the mount's source.
        """
        waiting, place, mode = rest.split("/")[::-1], [""], 0  # where the look-up has come to, from the mount on
        followed, asked = 0, len(waiting) + 1  # how many of the last names are not those that a link says
        while waiting:
            name = waiting.pop()
            if name in ("", "."):
                continue
            text = ""
            if name == ".." and len(place) > 1:
                place.pop()
                continue
            if name == "..":
                text = posixpath.dirname(mount.point)
            else:
                path = "/".join([*place, name])
                if self._mount_at(mount.point + path) is not mount:
                    return OUT
                found = self._look_at(mount, source, path)
                if isinstance(found, str):
                    missing = DANGLING if len(waiting) >= asked else BEYOND if mount.read_only else ABSENT
                    return missing if found == ABSENT else found
                mode, text = found
                if not text:
                    place.append(name)
                    continue
                followed, asked = followed + 1, min(asked, len(waiting))
            if followed > lookup.LINKS_LIMIT:
                return LOOP
            if text.startswith("/"):
                text = posixpath.normpath("/".join([text, *waiting[::-1]]))
                if not targets.is_below(text, mount.point):
                    return self._elsewhere(text)
                text, waiting, place = text[len(mount.point) :], [], [""]
            waiting += text.split("/")[::-1]
        return _kind(mode) if len(place) > 1 else HIDING

    def _mount_at(self, path: str) -> _Mounted | None:
        return next((mount for mount in reversed(self.mounted) if targets.is_below(path, mount.point)), None)

    def _look_at(self, mount: _Mounted, source: int, path: str) -> str | tuple[int, str]:
        """Return the mode of what is at a path in a mount, and a link's text; or what is known without looking."""
        if not answers(self.host, mount.source + path):
            return UNKNOWN
        try:
            descriptor = linux.openat2(source, path[1:], os.O_PATH | os.O_NOFOLLOW, FIXED)
        except OSError as error:
            return {errno.ENOENT: ABSENT, errno.ENOTDIR: BELOW_A_FILE}.get(error.errno or 0, UNKNOWN)
        try:
            mode = os.fstat(descriptor).st_mode
            return mode, os.readlink("", dir_fd=descriptor) if stat.S_ISLNK(mode) else ""
        finally:
            os.close(descriptor)

    def _elsewhere(self, path: str) -> str:
        """Return what is at a path outside the mount that a link is in: the root's own links may lead back there."""
        return UNKNOWN if any(self._own(above) == UNKNOWN for above in (path, *targets.parents(path))) else OUT


def _kind(mode: int) -> str:
    return DIRECTORY if stat.S_ISDIR(mode) else FILE


def problems(host: HostFacts, specification: Specification) -> list[str]:
    """Return what keeps the launcher from mounting what it is to mount, and from making directories there."""
    tree = PlannedRoot(host, specification)
    found = []
    for mount in specification.file_systems:
        point = targets.plain_path(mount.mount_point)
        said, source = _look(tree, mount, point)
        if said and not mount.mount_may_fail:
            found.append(said)
        if not said and source is not None and point != targets.RUN:  # that is there before any file
            tree.mounted.append(source)
    return found + _directories(tree)


def _look(tree: PlannedRoot, mount: Mount, point: str) -> tuple[str, _Mounted | None]:
    """Return why a mount cannot be made, or nothing; and what is there then, unless it is left out."""
    if not mount.is_bind:
        in_memory = mount.type in targets.IN_MEMORY
        said = "" if in_memory or not mount.source.startswith("/") else _device(tree.host, mount)
        return said or _over(tree, point, True, mount.source), _Mounted(point, "", in_memory)
    if not answers(tree.host, mount.source):
        return "", _Mounted(point, "", False)  # it is looked at when the container starts, within a time limit
    try:
        source = _open(tree.host, mount.source)
    except FileNotFoundError:
        if mount.is_own:
            return _over(tree, point, True, mount.source), _Mounted(point, "", True)  # made, and empty then
        return "", None  # left out, unless it is required
    except LauncherError as error:
        return f"the mapping to {point}: {error}", None
    except OSError as error:
        return f"the mapping to {point}: {mount.source}: {error.strerror}", None
    try:
        return _bind(tree, mount, point, source), _Mounted(point, mount.source, True, mount.read_only)
    finally:
        os.close(source)


def _open(host: HostFacts, path: str) -> int:
    """Open the source of a bind mount as the launcher does: a link on the way is an error."""
    if path in targets.NETWORK_FILES:
        return host.open(path)
    try:
        return open_bind_source(host.root, path)
    except NotADirectoryError as error:
        raise FileNotFoundError(path) from error
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        if targets.is_below(path, STATE_DIRECTORY):
            return host.open(path)
        real = _real(host, path)
        raise LauncherError(f"{path} passes through a symbolic link: name the directory itself{real}") from error


def _real(host: HostFacts, path: str) -> str:
    """Return where a path leads, to follow a message; nothing when a server would have to say."""
    try:
        real = in_child(lambda: os.path.realpath(host.path(path)), LINK_SECONDS, keep=())
    except (TimeoutError, LauncherError):
        return ""
    root = str(host.root).rstrip("/")
    return f": {real[len(root) :] or '/'}" if targets.is_below(real, root or "/") else f": {real}"


def _bind(tree: PlannedRoot, mount: Mount, point: str, source: int) -> str:
    mode = os.fstat(source).st_mode
    reason = refusal_of_source(mode)
    if reason:
        return f"the mapping to {point}: {mount.source} {reason}"
    said = _over(tree, point, stat.S_ISDIR(mode), mount.source)
    if said or mount.is_own:
        return said
    if mapping_ids.has_owner(mount):
        return _owned(tree, mount, source)
    own_ids = tree.specification.private_users != "identity"
    if mount.read_only or not own_ids or mount.source in targets.NETWORK_FILES:
        return ""
    if tree.host.root != tree.host.root.parent or id_maps.can_map(source, mount.source):
        return ""
    return _unmapped(tree, mount, source)


def _owned(tree: PlannedRoot, mount: Mount, source: int) -> str:
    """Return why a mapping cannot belong inside to whom it says."""
    status = os.fstat(source)
    said = mapping_ids.refusal(mount, (status.st_uid, status.st_gid))
    if said and not ownership.is_roots_and_empty(source, status):
        return f"the mapping to {mount.mount_point}: {said}"
    if tree.host.root != tree.host.root.parent or id_maps.can_map(source, mount.source, own=True):
        return ""
    first = tree.specification.private_users
    if status.st_uid >= id_maps.OWN_RANGES and first == "auto":
        return ""  # perhaps the container's; the start knows
    if first != "auto" and unmapped.is_as_declared(mount, status, 0 if first == "identity" else int(first)):
        return ""
    return f"the mapping to {mount.mount_point}: {mapping_ids.CANNOT_MAP % mount.source}"


def _unmapped(tree: PlannedRoot, mount: Mount, source: int) -> str:
    """Return why a share whose ids cannot be mapped is refused, unless it belongs to the ids that were asked for."""
    first = tree.specification.private_users
    if isinstance(first, int) and first <= os.fstat(source).st_uid < first + 65536:
        return ""
    if first == "auto" and os.fstat(source).st_uid >= id_maps.OWN_RANGES:
        return ""  # perhaps the container's; the start knows
    kinds = {entry.kind for entry in mount_table.read() if targets.is_below(entry.point, mount.source)}
    foreign = sorted(kinds - set(mounts.OWN)) or sorted(kinds)
    also = f", with what is mounted below it ({', '.join(foreign)})," if foreign else ""
    return (
        f"the mapping to {mount.mount_point}: the file system of {mount.source}{also} cannot map ids, so nobody inside "
        "could write to it: share it read-only, or put it on ext4, xfs or btrfs"
    )


def _over(tree: PlannedRoot, point: str, directory: bool, source: str) -> str:
    """Return why something cannot be mounted at a point by what is there; nothing where it can, or who knows."""
    there = tree.kind(point)
    if there in BY_LINKS:
        return f"nothing can be mounted at {point}: {BY_LINKS[there]}"
    if there == BELOW_A_FILE:
        return f"nothing can be mounted at {point}: it lies below a file; use another mount point"
    if directory and there == FILE:
        return (
            f"the directory {source} cannot be mounted at {point}, which is a file: map a file, or use another target"
        )
    if not directory and there == DIRECTORY:
        name = posixpath.basename(source)
        return f"the file {source} cannot be mounted at {point}, which is a directory: use the target {point}/{name}"
    return ""


def _device(host: HostFacts, mount: Mount) -> str:
    """Return why what a file system lies on is of no use."""
    path = mount.source
    kernels = host.read("/proc/filesystems").split("\n")
    if f"\t{mount.type}" not in kernels or not answers(host, path):
        return ""  # of a server or in a process, or by a module that is not loaded yet
    try:
        mode = host.status(path).st_mode
    except FileNotFoundError:
        return f"the file system at {mount.mount_point}: {path} does not exist on this host"
    except OSError as error:
        return f"the file system at {mount.mount_point}: {path}: {error.strerror}"
    if stat.S_ISBLK(mode):
        return ""
    return (
        f"the file system at {mount.mount_point}: {path} is no block device: name one, "
        "or mount it on the host and use a mapping"
    )


def _directories(tree: PlannedRoot) -> list[str]:
    """Return which directories of the system cannot be made for a file that is in their place."""
    found = []
    for directory in tree.specification.directories:
        path = targets.plain_path(directory.path)
        there = tree.kind(path)
        if there in (FILE, BELOW_A_FILE):
            what = "is a file" if there == FILE else "lies below a file"
            found.append(f"the directory {path} cannot be made, for it {what}: map a directory, or use another target")
    return found
