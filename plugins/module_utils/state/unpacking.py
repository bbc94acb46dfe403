# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writing the members of an archive that somebody hostile may have made into directories that nobody else has yet.

The writer goes down by one name at a time, never through a link, and comes up by "..". It stays below the directory in
which it began: no member has a name that leads upward, and nobody moves anything meanwhile.
"""

from __future__ import annotations

import errno
import os
from typing import Iterable, Iterator

from ..launcher.names import is_name
from .packing import ARCHIVED_PATH_LIMIT, shown_path
from .tar_members import Damaged, Member, TarKind
from .target import TargetError

ARCHIVED_NAME_LIMIT, TARGET_LIMIT = 255, 4095  # bytes, of Linux
ID_LIMIT = (1 << 32) - 1
KEPT_ATTRIBUTES_OF = (b"user.",)
KEPT_NAMES = (b"security.capability", b"system.posix_acl_access", b"system.posix_acl_default")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ANY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def checked(member: Member) -> list[bytes]:
    """Return the parts of a member's path: the volume's name, and those below.

    :raises Damaged: it would lie outside, or no file can be so.
    """
    parts = _parts(member.path)
    if member.kind == TarKind.HARD_LINK and _parts(member.target)[:1] != parts[:1]:
        raise Damaged("%s is a hard link to another volume" % shown_path(member.path))
    if (member.kind == TarKind.LINK and not 0 < len(member.target) <= TARGET_LIMIT) or b"\0" in member.target:
        raise Damaged("%s is a link to what is no path" % shown_path(member.path))
    if len(parts) == 1 and member.kind != TarKind.DIRECTORY:
        raise Damaged("the volume %s is no directory" % shown_path(member.path))
    if member.mode > 0o7777 or max(member.uid, member.gid) >= ID_LIMIT or member.size >= 1 << 63:
        raise Damaged("%s has a mode, an owner or a size that no file can have" % shown_path(member.path))
    for name in member.attributes:
        if not name.startswith(KEPT_ATTRIBUTES_OF) and name not in KEPT_NAMES:
            raise Damaged("%s has the attribute %a, which can be in no volume" % (shown_path(member.path), name))
    return parts


def _parts(path: bytes) -> list[bytes]:
    parts = path.split(b"/")
    for part in parts:
        if part in (b"", b".", b"..") or b"\0" in part or len(part) > ARCHIVED_NAME_LIMIT:
            raise Damaged("%s is absolute, leads upward, or is no path" % shown_path(path))
    if len(path) > ARCHIVED_PATH_LIMIT or not is_name(os.fsdecode(parts[0])):
        raise Damaged("%s lies in no volume" % shown_path(path))
    return parts


class Unpacker:
    """Writes members below a directory. As a context, it finishes what was written.

    :param root: path of the directory, which is empty and the caller's own.
    """

    def __init__(self, root: str) -> None:
        self.root = os.open(root, _DIRECTORY)
        self._here = os.dup(self.root)
        self._path: list[bytes] = []
        self._members: list[Member | None] = []  # of the directories on the way, which get their attributes last

    def __enter__(self) -> Unpacker:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        try:
            if kind is None:
                self._go([])
        finally:
            os.close(self._here)
            os.close(self.root)

    def write(self, member: Member, content: Iterable[bytes]) -> None:
        """Write a member.

        :param content: of a file; of a sparse one its data alone.
        :raises TargetError: it cannot be there, or the file system does not keep all of it.
        :raises OSError: it cannot be written.
        """
        parts = checked(member)
        self._go(parts[:-1])
        name = parts[-1]
        try:
            self._write(member, name, content)
        except FileExistsError:
            raise Damaged("%s is in it twice" % shown_path(member.path)) from None

    def _write(self, member: Member, name: bytes, content: Iterable[bytes]) -> None:
        if member.kind == TarKind.DIRECTORY:
            os.mkdir(name, 0o700, dir_fd=self._here)
            self._down(name, member)
            return
        if member.kind == TarKind.FILE:
            descriptor = os.open(name, _NEW_FILE, 0o600, dir_fd=self._here)
            try:
                _fill(descriptor, member, content)
                _finish(descriptor, member)
            finally:
                os.close(descriptor)
            return
        if member.kind == TarKind.HARD_LINK:
            self._link(member, name)
            return
        if member.kind == TarKind.LINK:
            os.symlink(member.target, name, dir_fd=self._here)
            os.chown(name, member.uid, member.gid, dir_fd=self._here, follow_symlinks=False)
            times = (member.mtime, member.mtime)
            os.utime(name, ns=times, dir_fd=self._here, follow_symlinks=False)
            return
        kind = 0o010000 if member.kind == TarKind.FIFO else 0o020000
        os.mknod(name, kind | 0o600, 0, dir_fd=self._here)
        descriptor = os.open(name, _ANY, dir_fd=self._here)
        try:
            os.chown(name, member.uid, member.gid, dir_fd=self._here, follow_symlinks=False)
            _finish("/proc/self/fd/%d" % descriptor, member, owned=True)
        finally:
            os.close(descriptor)

    def _link(self, member: Member, name: bytes) -> None:
        parts = member.target.split(b"/")
        source = os.dup(self.root)
        try:
            for part in parts[:-1]:
                inner = os.open(part, _DIRECTORY, dir_fd=source)
                os.close(source)
                source = inner
            os.link(parts[-1], name, src_dir_fd=source, dst_dir_fd=self._here, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError as error:
            raise Damaged(
                "%s is a hard link to what it has not: %s" % (shown_path(member.path), error.strerror)
            ) from None
        finally:
            os.close(source)

    def _go(self, parts: list[bytes]) -> None:
        """Go to a directory that was written before."""
        same = 0
        while same < min(len(parts), len(self._path)) and parts[same] == self._path[same]:
            same += 1
        while len(self._path) > same:
            self._up()
        for part in parts[same:]:
            try:
                self._down(part, None)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    raise
                raise Damaged("%s lies in what is no directory of it" % shown_path(b"/".join([*parts, b"*"]))) from None

    def _down(self, name: bytes, member: Member | None) -> None:
        inner = os.open(name, _DIRECTORY, dir_fd=self._here)
        os.close(self._here)
        self._here = inner
        self._path.append(name)
        self._members.append(member)

    def _up(self) -> None:
        member = self._members.pop()
        if member is not None:
            _finish(self._here, member)
        outer = os.open("..", _DIRECTORY, dir_fd=self._here)
        os.close(self._here)
        self._here = outer
        self._path.pop()


def _fill(descriptor: int, member: Member, content: Iterable[bytes]) -> None:
    """Write the content of a file; what is a hole in it takes no room on the disk."""
    extents = iter([(0, member.size)] if member.extents is None else member.extents)
    place, left = next(extents, (0, 0))
    for part in content:
        view = memoryview(part)
        while view:
            while not left:
                place, left = next(extents)
            written = os.pwrite(descriptor, view[:left], place)
            place, left, view = place + written, left - written, view[written:]
    os.ftruncate(descriptor, member.size)


def _finish(file: int | str, member: Member, owned: bool = False) -> None:
    """Give a file its owner, attributes, mode and time, in the order in which none takes another away."""
    if not owned:
        os.chown(file, member.uid, member.gid)
    os.chmod(file, member.mode)
    for name, value in member.attributes.items():
        try:
            os.setxattr(file, name, value)
        except OSError as error:
            said = "%s has the attribute %a, which the file system of /var/lib/unshare does not take: %s"
            raise TargetError(said % (shown_path(member.path), name, error.strerror)) from error
    try:
        os.utime(file, ns=(member.mtime, member.mtime))
    except (OSError, OverflowError):
        pass  # a time that no file can have here


def nothing() -> Iterator[bytes]:
    """Return the content of what has none."""
    return iter(())
