# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A user of a container, read from the container's own files. These may hold anything."""

from __future__ import annotations

import os
import stat

from ..launcher import lookup
from ..launcher.errors import LauncherError
from ..launcher.identity import COUNT

ROOT = ("root", "0")
FILE_LIMIT = 1 << 20  # bytes of an account file that are looked at
FIELD_LIMIT = 4096  # bytes of a field, of which some become variables of the environment: PATH_MAX
GROUPS_LIMIT = 65536  # of a process: NGROUPS_MAX


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
    def find(cls, root: int, user: str) -> Account:
        """Return the account of a name or number, from the files below the directory that `root` is a descriptor of.

        A file that cannot be read is an error except for root, who must be able to enter to mend it.
        """
        try:
            passwd, group = _read(root, "/etc/passwd"), _read(root, "/etc/group")
        except (OSError, LauncherError):
            if user not in ROOT:
                raise
            passwd = group = ""
        return cls.parse(user, passwd, group)

    @classmethod
    def parse(cls, user: str, passwd: str, group: str) -> Account:
        """Return the account of a name or number, from the text of passwd(5) and group(5).

        Ignore a line with which no program could be run, and a line that gives root another id.
        """
        account = cls("root", 0, 0, "/root", "/bin/sh") if user in ROOT else None
        for line in passwd.split("\n"):  # nothing else ends one for the C library
            fields = line.split(":")
            if len(fields) == 7 and user in (fields[0], fields[2]) and _is_usable(fields, user in ROOT):
                account = cls(fields[0], int(fields[2]), int(fields[3]), fields[5] or "/", fields[6] or "/bin/sh")
                break
        if account is None:
            raise LauncherError("user %s: is not in the container's /etc/passwd" % user)
        for line in group.split("\n"):
            fields = line.split(":")
            if len(fields) == 4 and _is_id(fields[2]) and account.name in fields[3].split(","):
                account.groups.append(int(fields[2]))
        del account.groups[GROUPS_LIMIT:]
        return account


def _read(root: int, path: str) -> str:
    """Return the text of a regular file of the container, up to a limit; "" when the file is missing."""
    try:
        descriptor = lookup.open_found(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        return ""
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise LauncherError("%s: is not a file in this container" % path)
        return os.read(descriptor, FILE_LIMIT).decode("utf-8", "replace")
    finally:
        os.close(descriptor)


def _is_usable(fields: list[str], is_root: bool) -> bool:
    """Return whether the fields of a line of passwd(5) are those of an account that can run a program."""
    if not (_is_id(fields[2]) and _is_id(fields[3])) or (is_root and int(fields[2]) != 0):
        return False
    return all("\0" not in field and len(field.encode()) < FIELD_LIMIT for field in fields)


def _is_id(text: str) -> bool:
    """Return whether a text is an id that a container can have. The kernel takes others as another id, or as none."""
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < COUNT
