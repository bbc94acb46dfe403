# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much one directory of the host may hold: what all kinds of quotas have in common, and a file system without any.

A directory that is to have a limit is *enlisted* first, with all that is in it, while nobody else writes there. From
then on its limit can change, or go, at any moment.
"""

from __future__ import annotations

from ..launcher import identity, mount_table, trees

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..launcher.mount_table import MountTableEntry

SIZE_UNITS = ((1 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K"))
NONE = "its file system, %s at %s, has no quotas of directories: put it on ext4, xfs or btrfs"
NESTED = "this host is itself a container, and has no right to set quotas"


class DirectoryQuota:
    """The quota of one directory.

    Args:
        descriptor: a readable one of it, or of one above where it is to be made.
        path: of that, without links.
    """

    def __init__(self, descriptor: int, path: str) -> None:
        self.descriptor = descriptor
        self.path = path

    def refusal(self) -> str | None:
        """Return why nothing here can have a limit, with the way out; None where it can."""
        if identity.available()[1]:
            return NESTED
        return self._lack()

    def _lack(self) -> str | None:
        """Return what the file system lacks."""
        mount = self._mount()
        return NONE % (mount.kind, mount.point)

    def needs_filter(self) -> bool:
        """Return whether root inside could leave a limit if no system-call filter kept it from that."""
        return False

    def counts_blocks(self) -> bool:
        """Return whether a file counts as what stat(2) says that it takes."""
        return True

    def is_enlisted(self) -> bool:
        """Return whether all that is in the directory counts."""
        return False

    def limit(self) -> int:
        """Return the limit in bytes; 0 without one."""
        return 0

    def used(self, settled: bool = False) -> int:
        """Return how many bytes it holds.

        Args:
            settled: whether the answer must have all that was written until now.
        """
        return trees.tree_size(self.descriptor, self.path)

    def set_limit(self, size: int) -> None:
        """Set the limit of an enlisted directory, in bytes; 0 lifts it. Raise OSError."""
        raise NotImplementedError

    def enlist(self, aside: str) -> None:
        """Have all that is in the directory count, and what will be. Whoever was killed here begins again.

        Args:
            aside: path of an empty directory of the same file system, which the caller removes with all in it.

        Raises:
            LauncherError: something is mounted in it.
            OSError: as the calls say. What was in the directory is in it still.
        """
        raise NotImplementedError

    def _mount(self) -> MountTableEntry:
        return mount_table.way(mount_table.read(), self.path)[-1]


def size_text(size: int) -> str:
    """Return a number of bytes for people: exactly where it is a multiple of a unit, else to a tenth."""
    for unit, letter in SIZE_UNITS:
        if size >= unit:
            return "%d%s" % (size // unit, letter) if size % unit == 0 else "%.1f%s" % (size / unit, letter)
    return "%d bytes" % size
