# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A user of a container, read from the container's own files, which may hold anything."""

from __future__ import annotations

from .errors import LauncherError
from .paths import read_text

FILE_LIMIT = 1 << 20  # bytes of an account file that are looked at


class Account:
    """A user of the container, read from its `/etc/passwd` without any library of its own."""

    def __init__(self, name: str, uid: int, gid: int, home: str, shell: str) -> None:
        self.name = name
        self.uid = uid
        self.gid = gid
        self.home = home
        self.shell = shell
        self.groups = [gid]

    @classmethod
    def find(cls, user: str) -> Account:
        """The account of a name or number; to be called in the container's mount namespace."""
        return cls.parse(user, read_text("/etc/passwd", FILE_LIMIT), read_text("/etc/group", FILE_LIMIT))

    @classmethod
    def parse(cls, user: str, passwd: str, group: str) -> Account:
        """The account of a name or number in the text of passwd(5) and group(5)."""
        account = cls("root", 0, 0, "/root", "/bin/sh") if user in ("root", "0") else None
        for line in passwd.splitlines():
            fields = line.split(":")
            if len(fields) == 7 and user in (fields[0], fields[2]) and _is_id(fields[2]) and _is_id(fields[3]):
                account = cls(fields[0], int(fields[2]), int(fields[3]), fields[5] or "/", fields[6] or "/bin/sh")
                break
        if account is None:
            raise LauncherError("user %s: is not in the container's /etc/passwd" % user)
        for line in group.splitlines():
            fields = line.split(":")
            if len(fields) == 4 and _is_id(fields[2]) and account.name in fields[3].split(","):
                account.groups.append(int(fields[2]))
        return account


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10
