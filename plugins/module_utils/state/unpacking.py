# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writing the members of an archive that somebody hostile may have made into directories that nobody else has yet.

The writer goes down by one name at a time, never through a link, and comes up by "..". It stays below the directory in
which it began: no member has a name that leads upward, and nobody moves anything meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import stat
from typing import Iterable, Iterator

from ..launcher.names import is_name
from .archive_streams import Damaged
from .file_writing import NEW_FILE, TWICE, SmallFile, fill, finish_file, write_files
from .helper import FILES_OF_PART, LEAST_OF_PART, PART_ROOM, Helper
from .increments import Base
from .packing import ARCHIVED_PATH_LIMIT, shown_path
from .plain_files import SMALL, is_kept_attribute
from .tar_members import Member, TarKind
from .target import TargetError

TARGET_LIMIT = 4095  # bytes, of Linux, which has names of at most 255
ID_LIMIT = (1 << 32) - 1
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ANY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
INHERITED = "system.posix_acl_default"
"""The attribute of a directory that new files in it take over."""

GATHERED = PART_ROOM // 4  # bytes of small files that are written together

MANY_NAMES = "%s: the file system of the volumes lets no file have as many names as this one: import it on another"
NOT_KEPT = "%s is to be a file of its base, and there is none"
_path = re.compile(rb"(?:(?!\.{1,2}/)[^/\0]{1,255}/)*(?!\.{1,2}\Z)[^/\0]{1,255}")
_usual_name = re.compile(rb"[^/\0.][^/\0]{0,254}")


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
    _check_numbers(member)
    for name in member.attributes:
        if not is_kept_attribute(os.fsdecode(name)):
            raise Damaged("%s has the attribute %a, which can be in no volume" % (shown_path(member.path), name))
    return parts


def _check_numbers(member: Member) -> None:
    if member.mode > 0o7777 or member.uid >= ID_LIMIT or member.gid >= ID_LIMIT or member.size >= 1 << 63:
        raise Damaged("%s has a mode, an owner or a size that no file can have" % shown_path(member.path))


def _parts(path: bytes) -> list[bytes]:
    if not _path.fullmatch(path):
        raise Damaged("%s is absolute, leads upward, or is no path" % shown_path(path))
    parts = path.split(b"/")
    if len(path) > ARCHIVED_PATH_LIMIT or not _is_volume(parts[0]):
        raise Damaged("%s lies in no volume" % shown_path(path))
    return parts


@functools.lru_cache(maxsize=16)
def _is_volume(name: bytes) -> bool:
    return is_name(os.fsdecode(name))


class Examiner:
    """Refuses the members that `Unpacker` would refuse, but for what lies on their way, and writes nothing.

    :param base: the files of the archive's base, if it has one.
    :ivar data: how many bytes the files of each volume take on a disk at least.
    """

    def __init__(self, base: Base | None) -> None:
        self._base = base
        self.data: dict[str, int] = {}

    def write(self, member: Member, _content: Iterable[memoryview]) -> int:
        """Return how many bytes the file of a member has.

        :raises Damaged: it cannot be there.
        """
        volume = os.fsdecode(checked(member)[0])
        file = member
        if member.kind == TarKind.KEPT:
            found = self._base.find(member.path) if self._base is not None else None
            if found is None:
                raise Damaged(NOT_KEPT % shown_path(member.path))
            file = found
        elif member.kind != TarKind.FILE:
            return 0
        data = file.size if file.extents is None else sum(length for _offset, length in file.extents)
        self.data[volume] = self.data.get(volume, 0) + data
        return file.size


class Way:
    """The way to a directory below another, by names and never through a link. Nobody else moves anything there.

    :param root: descriptor of the directory where it begins.
    :ivar here: descriptor of the directory to which it leads now.
    :ivar path: the names on it.
    """

    def __init__(self, root: int) -> None:
        self.here = os.dup(root)
        self.path: list[bytes] = []

    def close(self) -> None:
        """Close what is open."""
        os.close(self.here)

    def go(self, parts: list[bytes]) -> None:
        """Go to a directory. Raise OSError when it is none."""
        if parts == self.path:
            return
        same = 0
        while same < min(len(parts), len(self.path)) and parts[same] == self.path[same]:
            same += 1
        while len(self.path) > same:
            self.up()
        for part in parts[same:]:
            self.down(part)

    def down(self, name: bytes) -> None:
        """Go to a directory that is in this one."""
        inner = os.open(name, _DIRECTORY, dir_fd=self.here)
        os.close(self.here)
        self.here = inner
        self.path.append(name)

    def up(self) -> None:
        """Go to the directory that this one is in."""
        outer = os.open("..", _DIRECTORY, dir_fd=self.here)
        os.close(self.here)
        self.here = outer
        self.path.pop()


class _WayOfMembers(Way):
    """The way to where members are written. A directory gets what is its own when all that is in it is written."""

    def __init__(self, root: int, helper: Helper) -> None:
        super().__init__(root)
        self.members: list[Member | None] = []
        self._helper = helper

    def make(self, name: bytes, member: Member) -> None:
        os.mkdir(name, 0o700, dir_fd=self.here)
        self._enter(name, member)

    def down(self, name: bytes) -> None:
        """Go back to a directory, which is finished by now: files that are written to it are as it makes them."""
        self._helper.settle()
        self._enter(name, None)

    def _enter(self, name: bytes, member: Member | None) -> None:
        super().down(name)
        self.members.append(member)

    def up(self) -> None:
        member = self.members.pop()
        if member is not None:
            finished = member
            self._helper.then([os.dup(self.here)], lambda given: finish_file(given[0], finished))
        super().up()


class Unpacker:
    """Writes members below a directory. As a context, it finishes what was written.

    Small files of a directory that follow each other are gathered, and written together, some by a helper.

    :param root: path of the directory, in which is nothing that an archive could name, and which is the caller's own.
    :param helper: does `write_small`.
    :param base: path of a directory with what the archive's base has, on the same file system. What is kept of that is
        taken away from there.
    """

    def __init__(self, root: str, helper: Helper, base: str | None = None) -> None:
        self._helper = helper
        self._gathered: list[SmallFile] = []
        self._gathered_size = 0
        directory = os.open(root, _DIRECTORY)
        with contextlib.suppress(OSError):  # which says that it has none, or can have none
            os.removexattr(directory, INHERITED)  # a host's administrator may have given one to what is above
        try:
            self._way = _WayOfMembers(directory, helper)
            self._way_to_others = Way(directory)  # what hard links are made of
        finally:
            os.close(directory)
        self._above: bytes | None = None  # path of the directory to which the way leads, once it was checked
        self._base: Way | None = None
        if base is not None:
            directory = os.open(base, _DIRECTORY)
            self._base = Way(directory)
            os.close(directory)

    def __enter__(self) -> Unpacker:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        try:
            if kind is None:
                self._write_gathered()
                self._way.go([])
                self._helper.settle()
        finally:
            for way in (self._way, self._way_to_others, self._base):
                if way is not None:
                    way.close()

    def write(self, member: Member, content: Iterable[memoryview]) -> int:
        """Write a member. Return how many bytes the file has.

        :param content: of a file; of a sparse one its data alone.
        :raises TargetError: it cannot be there, or the file system does not keep all of it.
        :raises OSError: it cannot be written.
        """
        above, _slash, name = member.path.rpartition(b"/")
        try:
            if member.kind == TarKind.FILE and above == self._above and self._is_usual(member, name):
                if member.size <= SMALL and member.extents is None:
                    return self._gather(member, name, content)
                return self._file(member, name, content)
            *parts, name = checked(member)
            self._write_gathered()
            self._go(member, parts)
            self._above = above
            if member.kind == TarKind.FILE:
                return self._file(member, name, content)
            if member.kind in (TarKind.KEPT, TarKind.HARD_LINK):
                self._helper.settle()  # what these look at is to be there
            if member.kind == TarKind.KEPT:
                return self._keep(member, parts, name)
            self._other(member, name)
            return 0
        except FileExistsError:
            raise Damaged(TWICE % shown_path(member.path)) from None

    def _gather(self, member: Member, name: bytes, content: Iterable[memoryview]) -> int:
        """Have a small file be written with others of its directory."""
        self._gathered.append((name, member.mode, member.uid, member.gid, member.mtime, b"".join(content)))
        self._gathered_size += member.size
        if len(self._gathered) == FILES_OF_PART or self._gathered_size > GATHERED:
            self._write_gathered()
        return member.size

    def _write_gathered(self) -> None:
        files, self._gathered, self._gathered_size = self._gathered, [], 0
        if len(files) >= LEAST_OF_PART and self._helper.ready():
            above = self._above
            self._helper.give(
                [self._way.here], files, lambda answer, given: write_files(given[0], above, files[answer:])
            )
        elif files:
            write_files(self._way.here, self._above, files)

    @staticmethod
    def _is_usual(member: Member, name: bytes) -> bool:
        """Return whether `checked` need not look at a file in the directory of the last member."""
        if member.attributes or len(member.path) > ARCHIVED_PATH_LIMIT or not _usual_name.fullmatch(name):
            return False
        _check_numbers(member)
        return True

    def _go(self, member: Member, parts: list[bytes]) -> None:
        """Go to the directory of a member."""
        try:
            self._way.go(parts)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            raise Damaged("%s lies in what is no directory of it" % shown_path(member.path)) from None

    def _file(self, member: Member, name: bytes, content: Iterable[memoryview]) -> int:
        # To change the mode afterwards takes a file system longer.
        descriptor = os.open(name, NEW_FILE, member.mode & 0o777, dir_fd=self._way.here)
        try:
            fill(descriptor, member, content)
            finish_file(descriptor, member)
        finally:
            os.close(descriptor)
        return member.size

    def _keep(self, member: Member, parts: list[bytes], name: bytes) -> int:
        """Take a file from the base."""
        status = None
        if self._base is not None:
            try:
                self._base.go(parts)
                status = os.stat(name, dir_fd=self._base.here, follow_symlinks=False)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    raise
        if self._base is None or status is None or not stat.S_ISREG(status.st_mode):
            raise Damaged(NOT_KEPT % shown_path(member.path))
        try:
            os.stat(name, dir_fd=self._way.here, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(name, name, src_dir_fd=self._base.here, dst_dir_fd=self._way.here)
            return status.st_size
        raise FileExistsError

    def _other(self, member: Member, name: bytes) -> None:
        here = self._way.here
        if member.kind == TarKind.DIRECTORY:
            self._way.make(name, member)
            self._above = member.path
        elif member.kind == TarKind.HARD_LINK:
            self._link(member, name)
        elif member.kind == TarKind.LINK:
            os.symlink(member.target, name, dir_fd=here)
            os.chown(name, member.uid, member.gid, dir_fd=here, follow_symlinks=False)
            os.utime(name, ns=(member.mtime, member.mtime), dir_fd=here, follow_symlinks=False)
        else:
            kind = stat.S_IFIFO if member.kind == TarKind.FIFO else stat.S_IFCHR
            os.mknod(name, kind | 0o600, 0, dir_fd=here)
            descriptor = os.open(name, _ANY, dir_fd=here)
            try:
                os.chown(name, member.uid, member.gid, dir_fd=here, follow_symlinks=False)
                finish_file("/proc/self/fd/%d" % descriptor, member, owned=True)
            finally:
                os.close(descriptor)

    def _link(self, member: Member, name: bytes) -> None:
        *parts, other = member.target.split(b"/")
        way = self._way_to_others
        try:
            way.go(parts)
            os.link(other, name, src_dir_fd=way.here, dst_dir_fd=self._way.here, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno == errno.EMLINK:
                raise TargetError(MANY_NAMES % shown_path(member.path)) from None
            raise Damaged(
                "%s is a hard link to what it has not: %s" % (shown_path(member.path), error.strerror)
            ) from None


def nothing() -> Iterator[memoryview]:
    """Return the content of what has none."""
    return iter(())
