# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host ids of a single command (E3).

A command of the host's root never runs as the host's root unless the task asks for that. It gets an id of a range that
no container takes, which owns nothing and runs nothing else. To hold ids is to lock a part of a file, whose bytes stand
for the ids. The kernel releases the lock when the processes that hold it end, however they end, and no two locks ever
overlap. Only root can open the file, so nobody else can keep a command from its ids. Without a pid namespace a process
may outlive its command; as long as there is one with an id, no other command gets that.

A command of an ordinary user runs as that user, the only id that the kernel lets them map.
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import struct

from ..launcher import identity
from ..launcher.errors import LauncherError
from ..launcher.paths import RUN_DIRECTORY, read_text
from ..state import id_ranges
from ..state.locks import READ_OR_WRITE, keep_from_containers
from .request import Request

# Ids that systemd's UIDS-GIDS leaves unused below 65536, for commands run inside a container, which has no others.
NESTED_FIRST, NESTED_COUNT = 60578, 606
TRIES = 256
HELD = RUN_DIRECTORY + ".ids"
F_OFD_SETLK = 37  # fcntl(2); Python has the name from 3.9 on
_SYS_ADMIN, _SETGID, _SETUID = 21, 6, 7


class Ids:
    """The ids of a command.

    Attributes:
        user: whether it has a user namespace of its own.
        privileged: whether who runs it may mount and map ids without one.
        host: the first id on the host, user and group.
        guest: the first id inside that is mapped, user and group.
        count: how many are mapped.
    """

    def __init__(self, user: bool, privileged: bool, host: tuple[int, int], guest: tuple[int, int], count: int) -> None:
        self.user = user
        self.privileged = privileged
        self.host = host
        self.guest = guest
        self.count = count
        self._held = -1

    def map_lines(self) -> tuple[str, str]:
        """Return the lines for `uid_map` and `gid_map` (user_namespaces(7))."""
        return (
            "%d %d %d\n" % (self.guest[0], self.host[0], self.count),
            "%d %d %d\n" % (self.guest[1], self.host[1], self.count),
        )

    def file_map_lines(self, owner: tuple[int, int]) -> tuple[str, str] | None:
        """Return the lines for an id-mapped mount in which the command owns the files of `owner`, or None.

        None means that no id map is needed.

        With more than one id, files inside look as they do on the host.
        """
        if not (self.user and self.privileged) or self.host == (0, 0):
            return None
        first = owner if self.count == 1 else (0, 0)
        return (
            "%d %d %d\n" % (first[0], self.host[0], self.count),
            "%d %d %d\n" % (first[1], self.host[1], self.count),
        )

    def owner(self, guest_uid: int, guest_gid: int) -> tuple[int, int]:
        """Return the command's user and group as ids of the host."""
        if not self.user:
            return guest_uid, guest_gid
        return self.host[0] + guest_uid - self.guest[0], self.host[1] + guest_gid - self.guest[1]

    def hold(self, first: int, count: int) -> bool:
        """Hold ids of the host for the life of this process. Return False when another command holds them."""
        try:
            held = os.open(HELD, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                keep_from_containers(held, READ_OR_WRITE)
                fcntl.fcntl(held, F_OFD_SETLK, _write_lock(first, count))
            except BaseException:
                os.close(held)
                raise
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise LauncherError("private_users: cannot hold ids of the host by %s: %s" % (HELD, error)) from error
        self._held = held
        return True

    def release(self) -> None:
        """Release the ids, so that other commands can have them."""
        if self._held >= 0:
            os.close(self._held)
            self._held = -1


def _write_lock(start: int, length: int) -> bytes:
    """Return the `struct flock` of fcntl(2) that locks these bytes of a file for writing."""
    return struct.pack("hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)


def _in_use() -> set[int]:
    """Return the user and group ids that the processes have which this one sees."""
    found: set[int] = set()
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            status = read_text("/proc/%s/status" % name)
        except OSError:
            continue  # it has ended
        for line in status.split("\n"):
            if line.startswith(("Uid:", "Gid:")):
                found.update(map(int, line.split()[1:]))
    return found


def is_privileged() -> bool:
    """Return whether this process may mount, and may map ids that are not its own."""
    for line in read_text("/proc/self/status").split("\n"):
        if line.startswith("CapEff:"):
            bits = int(line.split()[1], 16)
            return all(bits >> number & 1 for number in (_SYS_ADMIN, _SETGID, _SETUID))
    return False


def choose(request: Request) -> Ids:
    """Choose the ids of a command, and return them.

    Raises:
        LauncherError: those that were asked for cannot be had.
    """
    privileged = is_privileged()
    if not request.has("user"):
        if not privileged:
            raise LauncherError("namespaces: only root can leave out user")
        return Ids(False, True, (0, 0), (0, 0), 1)
    guest = (request.guest_uid, request.guest_gid) if request.ids == 1 else (0, 0)
    asked = request.private_users
    if not privileged:
        if request.ids != 1:
            raise LauncherError("ids: an ordinary user can map one, not %d; become root for more" % request.ids)
        if asked not in ("auto", "identity"):
            raise LauncherError("private_users: an ordinary user's command has that user's own id; leave it out")
        return Ids(True, False, (os.geteuid(), os.getegid()), guest, 1)
    if asked == "identity":
        return Ids(True, True, (0, 0) if request.ids > 1 else (os.geteuid(), os.getegid()), guest, request.ids)
    if asked != "auto":
        return _asked(asked, guest, request.ids)
    return _free(guest, request.ids)


def _asked(asked: str, guest: tuple[int, int], count: int) -> Ids:
    first = int(asked) if asked.isdigit() else -1
    if not 0 < first <= 0xFFFFFFFF - count:
        raise LauncherError("private_users: '%s' is neither auto, nor identity, nor an id of the host" % asked)
    return Ids(True, True, (first, first), guest, count)


def _free(guest: tuple[int, int], count: int) -> Ids:
    available, nested = identity.available()
    if nested and count > 1:
        return Ids(True, True, (0, 0), guest, min(count, available))
    # The first range holds single ids, the others are taken whole: what is held never overlaps.
    first, last, step = id_ranges.COMMANDS_FIRST, id_ranges.COMMANDS_FIRST + identity.COUNT - 1, 1
    if count > 1:
        first, last, step = first + identity.COUNT, id_ranges.COMMANDS_LAST, identity.COUNT
    if nested:
        first, last = NESTED_FIRST, NESTED_FIRST + NESTED_COUNT - 1
        if available <= last:
            raise LauncherError("private_users: this user namespace has no id to spare for a command; ask for identity")
    taken = id_ranges.taken("")
    for _try in range(TRIES):
        base = random.randrange(first, last + 1, step)
        ids = Ids(True, True, (base, base), guest, count)
        if any(base < other + size and other < base + count for other, size, _owner in taken):
            continue
        if ids.hold(base, count):
            # A command that ends leaves its processes before it gives back its ids: looked for after these are held.
            if not any(base <= used < base + count for used in _in_use()):
                return ids
            ids.release()
    raise LauncherError("private_users: no id of the host is free for a command; end some commands, or name an id")
