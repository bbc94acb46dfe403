# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Project quotas of ext4 and xfs: each file bears the number of a project, and what a project has is limited.

A directory hands its number down to what is made in it. In another user namespace than the host's own nobody can change
a file's number, or take what is handed down from a directory (ioctl_xfs_fsgetxattr(2)); no file is renamed or linked
into a directory of another project.
"""

from __future__ import annotations

import errno
import os
import stat
import zlib

from ..launcher import quota_calls, trees
from ..launcher.paths import read_text
from ..launcher.quota_calls import FileAttributes, QuotaBlock, QuotaState
from . import tree_copy
from .directory_quota import DirectoryQuota
from .locks import AllocationLock
from .tree_copy import give_name

FIRST_PROJECT, PROJECTS = 1_700_000_000, 1_000_000
"""The numbers of volumes: systemd's own are from 2147483648 on, and people choose small ones."""
NAMED_PROJECTS = ("/etc/projid", "/etc/projects")  # projid(5), projects(5)
LIFTED = 1 << 60  # bytes; a limit that no disk reaches tells an enlisted directory from one that was being enlisted
FILE_SIZE = 4096  # bytes; for each so many there may be one file, so that empty ones do not take all of the disk's
ENFORCED = 1 << 5  # FS_QUOTA_PDQ_ENFD of a quota's state
BOTH_LIMITS = 1 | 4  # QIF_BLIMITS, QIF_ILIMITS
KEPT_BY_KERNEL = (5, 13)  # before, root inside could keep an ext4 directory from handing its project down
OLD_KERNEL = "the kernel lets root inside leave a project: Linux %d.%d or newer is needed" % KEPT_BY_KERNEL
NO_CODE = "the kernel was built without quotas (%s)"
OPTIONS = "CONFIG_QUOTA for ext4, CONFIG_XFS_QUOTA for xfs"
CODE = {"ext4": "/proc/sys/fs/quota", "xfs": "/proc/fs/xfs/xqm"}
"""What the kernel shows where it has the code."""
REMEDIES = {
    "ext4": "unmount it, run `tune2fs -O project,quota %(source)s`, and mount it with the option prjquota (in "
    "/etc/fstab); the root file system from a rescue system, with rootflags=prjquota on the kernel's command line",
    "xfs": "mount it anew with the option prjquota (in /etc/fstab); the root file system with rootflags=prjquota on "
    "the kernel's command line",
}
OFF = "%(kind)s at %(point)s enforces no project quotas: %(remedy)s"


class ProjectQuota(DirectoryQuota):
    """The quota of a directory with a project of its own."""

    def _lack(self) -> str | None:
        mount = self._mount()
        kind = "xfs" if mount.kind == "xfs" else "ext4"
        state = QuotaState(version=1)
        try:
            quota_calls.quotactl(quota_calls.Q_XGETQSTAT, 0, state, self.descriptor)
        except OSError:
            state.flags = 0
        if not state.flags & ENFORCED:
            if not os.path.exists(CODE[kind]):
                return NO_CODE % OPTIONS
            remedy = REMEDIES[kind] % {"source": mount.source}
            return OFF % {"kind": mount.kind, "point": mount.point, "remedy": remedy}
        return OLD_KERNEL if kind == "ext4" and _kernel() < KEPT_BY_KERNEL else None

    def _project(self) -> int:
        """Return the number of the directory's project, where it is a volume's; else 0."""
        attributes = FileAttributes()
        try:
            quota_calls.call(self.descriptor, quota_calls.FS_IOC_FSGETXATTR, attributes)
        except OSError:
            return 0
        is_ours = FIRST_PROJECT <= attributes.project < FIRST_PROJECT + PROJECTS
        return int(attributes.project) if is_ours and attributes.flags & quota_calls.INHERITED else 0

    def _quota(self, project: int) -> QuotaBlock:
        block = QuotaBlock()
        try:
            quota_calls.quotactl(quota_calls.Q_GETQUOTA, project, block, self.descriptor)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESRCH, errno.ENOSYS, errno.EINVAL):
                raise
        return block

    def is_enlisted(self) -> bool:
        project = self._project()
        return bool(project and self._quota(project).hard_blocks)

    def limit(self) -> int:
        project = self._project()
        found = int(self._quota(project).hard_blocks) << 10 if project else 0
        return 0 if found >= LIFTED else found

    def used(self, settled: bool = False) -> int:
        return int(self._quota(self._project()).space) if self.is_enlisted() else super().used(settled)

    def set_limit(self, size: int) -> None:
        self._set_limit(self._project(), size or LIFTED)

    def _set_limit(self, project: int, size: int) -> None:
        files = max(1, size // FILE_SIZE) if size else 0
        block = QuotaBlock(hard_blocks=size >> 10, hard_files=files, valid=BOTH_LIMITS)
        quota_calls.quotactl(quota_calls.Q_SETQUOTA, project, block, self.descriptor)

    def enlist(self, aside: str) -> None:
        with AllocationLock():
            project = self._project() or self._free_project()
            self._set_limit(project, 0)
            _join(self.descriptor, project, directory=True)
        beside = os.open(aside, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _join(beside, project, directory=True)
            trees.walk(self.descriptor, ".", self.path, lambda directory: _join_all(directory, project, beside))
        finally:
            os.close(beside)
        self._set_limit(project, LIFTED)

    def _free_project(self) -> int:
        """Return the number of a project that nothing on this file system has. The caller holds the lock."""
        named = _named_projects()
        place = os.path.join(*self.path.split(os.sep)[-3:])
        first = zlib.crc32(place.encode())
        for step in range(PROJECTS):
            project = FIRST_PROJECT + (first + step) % PROJECTS
            if project not in named:
                block = self._quota(project)
                if not block.files and not block.space:
                    return project
        raise OSError(errno.ENOSPC, "no number of a project is free")


def _kernel() -> tuple[int, ...]:
    """Return the first two numbers of the kernel's version."""
    parts = os.uname().release.replace("-", ".").split(".")[:2]
    return tuple(int(part) if part.isdigit() else 0 for part in parts)


def _named_projects() -> set[int]:
    """Return the numbers that the host's administrator has given away."""
    words = [word for path in NAMED_PROJECTS for line in read_text(path).split("\n") for word in line.split(":")]
    return {int(word) for word in words if word.isascii() and word.isdigit()}


def _join(descriptor: int, project: int, directory: bool) -> None:
    """Have an open file be of a project."""
    attributes = FileAttributes()
    quota_calls.call(descriptor, quota_calls.FS_IOC_FSGETXATTR, attributes)
    flags = attributes.flags | quota_calls.INHERITED if directory else attributes.flags
    if (attributes.project, attributes.flags) != (project, flags):
        attributes.project, attributes.flags = project, flags
        quota_calls.call(descriptor, quota_calls.FS_IOC_FSSETXATTR, attributes)


def _join_all(directory: int, project: int, aside: int) -> list[str]:
    """Have a directory and the files in it be of a project. Return the names of the directories in it."""
    _join(directory, project, directory=True)
    found = []
    with os.scandir(directory) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                found.append(entry.name)
            elif stat.S_ISREG(status.st_mode):
                descriptor = os.open(entry.name, tree_copy.READ, dir_fd=directory)
                try:
                    _join(descriptor, project, directory=False)
                finally:
                    os.close(descriptor)
            else:
                _make_again(directory, entry.name, status, aside)
    return found


def _make_again(directory: int, name: str, status: os.stat_result, aside: int) -> None:
    """Replace a link, or what else cannot be opened, by its like, made in a directory of the project.

    With another project it could not be renamed any more. A socket is left: whoever listens makes it again.
    """
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFLNK:
        os.symlink(os.readlink(name, dir_fd=directory), name, dir_fd=aside)
    elif kind == stat.S_IFIFO or (kind == stat.S_IFCHR and status.st_rdev == 0):
        os.mknod(name, kind | 0o600, 0, dir_fd=aside)
    else:
        return
    give_name(directory, name, status, aside)
    os.rename(name, name, src_dir_fd=aside, dst_dir_fd=directory)
