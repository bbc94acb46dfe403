# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The declared root: a new file system in memory, which has what the declaration says and nothing else.

Paths are relative to the root, which is the working directory of the process that builds it. Nobody else can write
there yet, so no look-up can be led astray.
"""

from __future__ import annotations

import os
import stat

from . import lookup, memory, mount_calls, mounts, own_directories
from .errors import LauncherError
from .owners import Owners
from .targets import MERGED, STANDARD_LINKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .contract import Directory
    from .plan import Plan
    from .source import Source

READ_SIZE = 1 << 16
SKELETON = ("dev", "etc", "home", "mnt", "opt", "proc", "root", "run", "srv", "sys", "tmp", "usr", "var")


class DeclaredRoot:
    """A root in memory. `machine_root.MachineRoot` has the same methods.

    Args:
        plan: what it is for.
        source: the store and its tree.
        noted: of no use here.

    Attributes:
        owners: the ids that are others than the declaration says: none.
    """

    def __init__(self, plan: Plan, source: Source, noted: int = -1) -> None:
        self.plan = plan
        self.source = source
        self.owners = Owners()
        self._made = set(SKELETON)
        self._links = [name for name, _target in STANDARD_LINKS] + list(MERGED)

    def attach(self, id_map: int | None) -> mounts.Tree:
        """Mount it at a directory of the host, visible in this mount namespace only. Return its tree."""
        options = self.plan.memory.options("/", memory.with_defaults([], memory.ROOT_OPTIONS))
        mount = mounts.filesystem("tmpfs", options)
        target = os.open(self.plan.staging, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        mount_calls.move_mount(mount, target)
        os.close(target)
        return mounts.Tree(mount)

    def lay_out(self) -> None:
        """Make the directories and links that every root has."""
        for name in SKELETON:
            os.mkdir(name, 0o700 if name == "root" else 0o755)
        for name, target in STANDARD_LINKS:
            os.symlink(target, name)

    def link_store(self) -> None:
        """Make `/bin`, `/lib64` and the like, as far as the store has them (merged /usr)."""
        target = self.plan.spec.store.target
        for name in MERGED:
            path = os.path.join(self.source.name, name)
            try:
                os.close(lookup.open_below(self.source.tree, path, os.O_PATH | os.O_DIRECTORY))
            except OSError:
                continue
            os.symlink(os.path.join(target.lstrip("/"), name), name)

    def is_made(self, path: str) -> bool:
        """Return whether a path is that of a directory which was made for another."""
        return path in self._made

    def place(self, path: str, mode: int, content: bytes, uid: int = 0, gid: int = 0) -> None:
        """Write a file."""
        self._make_parents(path)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        try:
            while content:
                content = content[os.write(descriptor, content) :]
            if uid or gid:
                base = self.plan.identity.base
                os.fchown(descriptor, base + uid, base + gid)
                os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)

    def link(self, path: str, target: str) -> None:
        """Make a link."""
        self._make_parents(path)
        os.symlink(target, path)

    def link_unless_there(self, path: str, target: str) -> None:
        """Make a link where nothing is yet."""
        try:
            self.link(path, target)
        except FileExistsError:
            pass

    def make_directories(self, entries: list[Directory]) -> None:
        """Make the directories that are in memory only, before anything of a container's own storage is mounted."""
        base = self.plan.identity.base
        for entry in entries:
            path = entry.path.strip("/")
            try:
                self._make_parents(path + "/")
                os.chown(path, base + entry.uid, base + entry.gid)
                os.chmod(path, int(entry.mode, 8))
            except OSError as error:
                raise LauncherError(own_directories.UNMADE % (entry.path, error)) from error

    def make_mount_point(self, path: str) -> None:
        """Make sure that a file can be mounted at a path, which nothing of this root prevents."""

    def close(self) -> None:
        """Close what the root was made with, which is nothing."""

    def _make_parents(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        if parent and parent not in self._made:
            self._make_parents(parent)
            try:
                os.mkdir(parent, 0o755)
            except FileExistsError:
                # An absolute link would lead out of the tree, which is not the root yet; those made here are relative.
                if not stat.S_ISDIR(os.lstat(parent).st_mode) and parent not in self._links:
                    raise LauncherError("/%s: is below /%s, which is no directory" % (path, parent)) from None
            self._made.add(parent)


def read_file(path: str) -> bytes:
    """Return the content of a regular file of the system."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        parts = []
        while True:
            part = os.read(descriptor, READ_SIZE)
            parts.append(part)
            if len(part) < READ_SIZE:
                return b"".join(parts)
    finally:
        os.close(descriptor)
