# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The root of a machine: a whole tree under a layer that takes what is written, and the declaration on top of both.

Whoever made the tree, and root inside who wrote a kept layer, may be hostile. So nothing here follows a path of the
host's: each is looked up below the overlay's own descriptor, where every link stays inside; the last part of a path is
replaced and never followed. Nobody is inside yet.

What the declaration writes to a kept layer is noted beside it, and taken away before the next start, while nothing is
mounted: what the declaration no longer has is then gone, and the tree's own is there again.
"""

from __future__ import annotations

import errno
import os
import stat

from . import declared_root, layers, linux, lookup, memory, merged_accounts, mounts
from .declared_root import read_file
from .errors import LauncherError
from .handshake import write_all
from .owners import Owners
from .paths import STATE_DIRECTORY
from .root_options import tree_of
from .targets import RUN, TEMPORARY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .contract import Directory, File
    from .plan import Plan
    from .source import Source

WRITTEN = "written"  # in a kept layer's directory: the paths that the declaration has written there, a NUL after each
# Of the machine's memory, for an ephemeral layer: packages are to find room in it.
LAYER_OPTIONS = {"mode": "0755", "size": "40%", "nr_inodes": "1m"}
ASIDE = ".unshare"  # behind the name of a file of accounts, where the new one is written
NEEDED = ("etc", "usr", "var")
POINTS = ("dev", "proc", "run", "sys", "tmp")
NOT_OF_LAYER = (RUN, TEMPORARY, "/dev")
SIZE_LIMIT, LINES_LIMIT = 1 << 22, 1 << 16  # bytes, and lines, of a file of accounts
NOTE_LIMIT = 1 << 24  # bytes of the list of what was written
WHERE = "%s of the machine's root, as its tree or its layer has it, "


class MachineRoot:
    """A tree with a layer over it; its methods are those of `declared_root.DeclaredRoot`.

    Args:
        plan, source: as there.
        noted: descriptor of a file in memory, for the first process: which ids of accounts are others than declared.

    Attributes:
        owners: the ids of accounts that are others than the declaration says; known when it is laid out.
    """

    def __init__(self, plan: Plan, source: Source, noted: int) -> None:
        self.plan = plan
        self.source = source
        self.noted = noted
        self.owners = Owners()
        self.root = -1
        self._written = -1
        self._parents: dict[str, int] = {}

    def attach(self, id_map: int | None) -> mounts.Tree:
        """Mount it at a directory of the host, visible in this mount namespace only. Return its tree."""
        target = os.open(self.plan.staging, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        name = tree_of(self.plan.spec.store.source)
        try:
            if self.plan.layer is None:
                options = self.plan.memory.options("/", memory.with_defaults([], LAYER_OPTIONS))
                layer = layers.memory_layer(options)
            else:
                layer = self._open_layer(self.plan.layer)
            try:
                made = layers.mount(self.source.tree, layer, id_map, target, name, self.plan.layer is None)
            finally:
                if self.plan.layer is not None:
                    os.close(layer)
        finally:
            os.close(target)
        self.root = made
        return mounts.Tree(made)

    def _open_layer(self, path: str) -> int:
        """Open the directory of a kept layer, from which what the last start wrote is taken away."""
        layer = mounts.open_source(path, False, STATE_DIRECTORY)
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._written = os.open(WRITTEN, flags, 0o600, dir_fd=layer)
            for written in os.pread(self._written, NOTE_LIMIT, 0).split(b"\0")[:-1]:
                _forget(layer, os.fsdecode(written))
            os.ftruncate(self._written, 0)
        except BaseException:
            os.close(layer)
            raise
        return layer

    def lay_out(self) -> None:
        """Make sure of the directories that every root has, and add the declaration's accounts."""
        for name in NEEDED:
            self._refuse_other(name)
        for name in POINTS:
            self._make_point(name)
        self._merge_accounts()

    def _refuse_other(self, name: str) -> None:
        try:
            os.close(os.open(name, lookup.DIRECTORY | os.O_NOFOLLOW, dir_fd=self.root))
        except OSError as error:
            message = WHERE + "is no directory (%s): a machine's root needs one there"
            raise LauncherError(message % ("/" + name, error.strerror)) from None

    def _make_point(self, name: str) -> None:
        """Make a directory for something to be mounted at, in place of whatever else is there."""
        try:
            os.close(os.open(name, lookup.DIRECTORY | os.O_NOFOLLOW, dir_fd=self.root))
            return
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            os.unlink(name, dir_fd=self.root)
        os.mkdir(name, 0o755, dir_fd=self.root)

    def _merge_accounts(self) -> None:
        files = self.plan.spec.files
        own = {path: self._read(path) for path in merged_accounts.FILES}
        declared = {
            path: read_file(os.path.join(self.plan.system, "root", path[1:])).decode("utf-8", "surrogateescape")
            for path in merged_accounts.FILES
            if path in files
        }
        spec = self.plan.spec.root
        texts, self.owners = merged_accounts.merge(own, declared, spec.users, spec.groups, self.plan.identity.count)
        write_all(self.noted, self.owners.text().encode())
        for path, text in texts.items():
            if path in files and text != own[path]:
                self._replace(path[1:], files[path], text.encode("utf-8", "surrogateescape"), not own[path])

    def _replace(self, path: str, entry: File, content: bytes, is_other: bool) -> None:
        """Write a file of accounts, the former one until it is there whole: a kept layer may have the only one.

        Args:
            is_other: whether nothing is there, or something that is no file of accounts.
        """
        aside = path + ASIDE
        self._note(aside)
        self._write(aside, int(entry.mode, 8), content, entry.uid, entry.gid, self._written >= 0)
        directory, name = self._clear(path) if is_other else self._find(path)
        os.rename(name + ASIDE, name, src_dir_fd=directory, dst_dir_fd=directory)

    def _read(self, path: str) -> str:
        """Return the text of a file of accounts; nothing of what is no regular file."""
        try:
            descriptor = linux.openat2(
                self.root, path[1:], os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW, lookup.RESOLVE
            )
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EACCES):
                return ""
            raise
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return ""
            content = bytearray()
            while len(content) <= SIZE_LIMIT:
                part = os.read(descriptor, 1 << 16)
                content += part
                if not part and content.count(b"\n") <= LINES_LIMIT:
                    return content.decode("utf-8", "surrogateescape")
                if not part:
                    break
        finally:
            os.close(descriptor)
        raise LauncherError((WHERE + "has more than %d bytes, or %d lines") % (path, SIZE_LIMIT, LINES_LIMIT))

    def link_store(self) -> None:
        """Make no link: the tree has its own."""

    def is_made(self, path: str) -> bool:
        """Return whether a path is that of a directory which was made for another."""
        return path in declared_root.SKELETON

    def place(self, path: str, mode: int, content: bytes, uid: int = 0, gid: int = 0) -> None:
        """Write a file, in place of whatever is there but a directory that is not empty."""
        if "/" + path in merged_accounts.FILES:
            return  # what they have is in the machine's already
        self._note(path)
        self._write(path, mode, content, uid, gid)

    def _write(self, path: str, mode: int, content: bytes, uid: int, gid: int, durable: bool = False) -> None:
        directory, name = self._clear(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, 0o600, dir_fd=directory)
        try:
            write_all(descriptor, content)
            base = self.plan.identity.base
            os.fchown(descriptor, base + self.owners.user(uid), base + self.owners.group(gid))
            os.fchmod(descriptor, mode)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def link(self, path: str, target: str) -> None:
        """Make a link, in place of whatever is there but a directory that is not empty."""
        self._note(path)
        directory, name = self._clear(path)
        os.symlink(target, name, dir_fd=directory)

    def link_unless_there(self, path: str, target: str) -> None:
        """Make a link where nothing is yet."""
        self._note(path)
        directory, name = self._find(path)
        try:
            os.symlink(target, name, dir_fd=directory)
        except FileExistsError:
            pass

    def make_directories(self, entries: list[Directory]) -> None:
        """Make none: the first process makes them all, as root inside."""

    def make_mount_point(self, path: str) -> None:
        """Make sure that a file can be mounted at a path: no link of the tree's leads elsewhere."""
        directory, name = self._find(path)
        try:
            if stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                return
        except FileNotFoundError:
            pass
        self.place(path, 0o644, b"")

    def close(self) -> None:
        """Close what the root was made with."""
        for descriptor in (*self._parents.values(), self._written):
            if descriptor >= 0:
                os.close(descriptor)

    def _note(self, path: str) -> None:
        """Note a path that is about to be written, where it lasts."""
        if self._written >= 0 and not any(("/" + path).startswith(above + "/") for above in NOT_OF_LAYER):
            write_all(self._written, os.fsencode(path) + b"\0")

    def _find(self, path: str) -> tuple[int, str]:
        """Return a descriptor of the directory that a path lies in, which is made if it is missing, and the name."""
        above, _slash, name = path.rpartition("/")
        if above not in self._parents:
            try:
                self._parents[above] = lookup.make_directory_below(self.root, above or ".", 0o755)
            except OSError as error:
                message = WHERE + "cannot hold '%s': %s; remove what is in its place"
                raise LauncherError(message % ("/" + above, name, error.strerror)) from error
        return self._parents[above], name

    def _clear(self, path: str) -> tuple[int, str]:
        """Return the same as `_find`, when nothing is left at the path."""
        directory, name = self._find(path)
        try:
            if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                os.rmdir(name, dir_fd=directory)
            else:
                os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            pass
        except OSError as error:
            message = WHERE + "is in the place of a file of the declaration: %s; remove it"
            raise LauncherError(message % ("/" + path, error.strerror)) from error
        return directory, name


def _forget(layer: int, path: str) -> None:
    """Remove what a former start wrote to a layer. What root inside has put on the way to it is followed nowhere."""
    above, _slash, name = path.rpartition("/")
    resolve = linux.RESOLVE_IN_ROOT | linux.RESOLVE_NO_SYMLINKS | linux.RESOLVE_NO_XDEV
    try:
        directory = linux.openat2(layer, "%s/%s" % (layers.UPPER, above), os.O_PATH | os.O_DIRECTORY, resolve)
    except OSError:
        return  # it is not there, or something else is
    try:
        mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
        if stat.S_ISREG(mode) or stat.S_ISLNK(mode):
            os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass
    finally:
        os.close(directory)
