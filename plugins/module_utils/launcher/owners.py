# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ids that accounts have inside, where a machine's tree has given them others than the declaration."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .contract import Directory


class Owners:
    """The ids that are others than the declaration says; with a declared root there are none.

    Attributes:
        users, groups: by the declared id the one that it is in place of.
    """

    def __init__(self, users: dict[int, int] | None = None, groups: dict[int, int] | None = None) -> None:
        self.users = users or {}
        self.groups = groups or {}

    def user(self, uid: int) -> int:
        """Return the id of the user that the declaration gives this one."""
        return self.users.get(uid, uid)

    def group(self, gid: int) -> int:
        """Return the id of the group that the declaration gives this one."""
        return self.groups.get(gid, gid)

    def of_directory(self, entry: Directory) -> Directory:
        """Return a declared directory with the ids that its owners have."""
        uid, gid = self.user(entry.uid), self.group(entry.gid)
        return entry if (uid, gid) == (entry.uid, entry.gid) else entry.replacing(uid=uid, gid=gid)

    def text(self) -> str:
        """Return it as a text."""
        lines = ["u %d %d" % item for item in self.users.items()]
        return "\n".join(lines + ["g %d %d" % item for item in self.groups.items()])

    @classmethod
    def of_text(cls, text: str) -> Owners:
        """Return what a text of `text` says."""
        found = cls()
        for line in filter(None, text.split("\n")):
            kind, declared, own = line.split(" ")
            (found.users if kind == "u" else found.groups)[int(declared)] = int(own)
        return found
