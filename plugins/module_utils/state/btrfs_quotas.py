# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Quotas of btrfs: a subvolume has a group of its own, and what it refers to is limited.

A subvolume cannot be made of a directory. So one that is to have a limit, and has none yet, is copied into a new
subvolume, which shares the data of each file, and takes its place by one rename.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ..launcher import devices, linux, quota_calls
from ..launcher.paths import read_text, sync_directory
from ..launcher.quota_calls import GroupLimit, LookUpArguments, VolumeArguments
from .directory_quota import DirectoryQuota
from .renaming import put_in_place
from .tree_copy import TreeCopy, without_default_acl

ROOT = 256  # the inode of a subvolume's own directory
NO_LIMIT = (1 << 64) - 1
MOST_REFERENCED = 1  # BTRFS_QGROUP_LIMIT_MAX_RFER
OFF = "btrfs at %(point)s has no quotas: turn them on with `btrfs quota enable %(point)s`"
INCONSISTENT = "the quotas of btrfs at %(point)s are inconsistent: count them anew with `btrfs quota rescan %(point)s`"


class SubvolumeQuota(DirectoryQuota):
    """The quota of a directory that is a subvolume, or is to be one."""

    def _lack(self) -> str | None:
        groups = devices.btrfs_state(self.descriptor) + "/qgroups"
        if not os.path.isdir(groups) or read_text(groups + "/enabled").strip() == "0":
            return OFF % {"point": self._mount().point}
        if read_text(groups + "/inconsistent").strip() == "1":
            return INCONSISTENT % {"point": self._mount().point}
        return None

    def needs_filter(self) -> bool:
        return True

    def counts_blocks(self) -> bool:
        return not any(option.startswith("compress") for option in self._mount().settings.split(","))

    def is_enlisted(self) -> bool:
        return os.fstat(self.descriptor).st_ino == ROOT

    def limit(self) -> int:
        return self._number("max_referenced")

    def used(self, settled: bool = False) -> int:
        if not self.is_enlisted():
            return super().used(settled)
        if settled:
            linux.sync_file_system(self.descriptor)
        return self._number("referenced")

    def _number(self, name: str) -> int:
        """Return a number of the subvolume's group; 0 where it has none."""
        if not self.is_enlisted():
            return 0
        place = LookUpArguments(inode=ROOT)
        quota_calls.call(self.descriptor, quota_calls.BTRFS_INODE_LOOKUP, place)
        group = "%s/qgroups/0_%d/%s" % (devices.btrfs_state(self.descriptor), place.tree, name)
        text = read_text(group).strip()
        return int(text) if text.isdigit() else 0

    def set_limit(self, size: int) -> None:
        wanted = GroupLimit(flags=MOST_REFERENCED, most_referenced=size or NO_LIMIT)
        quota_calls.call(self.descriptor, quota_calls.BTRFS_GROUP_LIMIT, wanted)

    def enlist(self, aside: str) -> None:
        above, name = os.path.split(self.path)
        with contextlib.ExitStack() as opened:
            source, target = _open(above, opened), _open(aside, opened)
            without_default_acl(target)
            quota_calls.call(target, quota_calls.BTRFS_SUBVOLUME_CREATE, VolumeArguments(name=os.fsencode(name)))
            made = _open(os.path.join(aside, name), opened)
            os.fchmod(made, 0o700)
            # Names of one file are in one subvolume. Nobody has put this one there: it is new.
            links = ".links-" + os.urandom(16).hex()
            os.mkdir(links, 0o700, dir_fd=made)
            IntoSubvolume(source, target, _open(os.path.join(aside, name, links), opened), self.path).run(name)
            os.rmdir(links, dir_fd=made)
            status = os.fstat(self.descriptor)
            os.utime(made, ns=(status.st_atime_ns, status.st_mtime_ns))
            linux.sync_file_system(target)
        put_in_place(Path(aside, name), Path(self.path))
        sync_directory(above)


def _open(path: str, opened: contextlib.ExitStack) -> int:
    """Return a descriptor of a directory, which is closed with the stack."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    opened.callback(os.close, descriptor)
    return descriptor


class IntoSubvolume(TreeCopy):
    """A copy of a directory into a subvolume of its name, which is there already."""

    def _make(self, parent: int, name: str) -> None:
        if self.files:
            super()._make(parent, name)
