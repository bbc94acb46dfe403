# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Quotas of btrfs: a subvolume has a group of its own, and what it refers to is limited.

A subvolume cannot be made of a directory. So one that is to have a limit, and has none yet, is copied into a new
subvolume, which shares the data of each file, and takes its place by one rename.
"""

from __future__ import annotations

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
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
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
        links = os.path.join(aside, ".links")
        os.mkdir(links, 0o700)
        opened = [os.open(path, DIRECTORY) for path in (above, aside, links)]
        try:
            without_default_acl(opened[1])
            IntoSubvolume(opened[0], opened[1], opened[2], self.path).run(name)
            linux.sync_file_system(opened[1])
        finally:
            for descriptor in opened:
                os.close(descriptor)
        put_in_place(Path(aside, name), Path(self.path))
        sync_directory(above)


class IntoSubvolume(TreeCopy):
    """A copy of a directory that is a subvolume."""

    def _make(self, parent: int, name: str) -> None:
        if self.files:
            super()._make(parent, name)
            return
        quota_calls.call(parent, quota_calls.BTRFS_SUBVOLUME_CREATE, VolumeArguments(name=os.fsencode(name)))
        descriptor = os.open(name, DIRECTORY, dir_fd=parent)
        try:
            os.fchmod(descriptor, 0o700)
        finally:
            os.close(descriptor)
