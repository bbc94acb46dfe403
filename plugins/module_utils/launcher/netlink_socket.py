# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A socket of netlink(7): requests to the kernel, and what it answers.

It belongs to the network namespace in which it was opened, also after its process has left that. Every error is an
`OSError` whose text ends with the kernel's own explanation, if it gives one.
"""

from __future__ import annotations

import _socket
import errno
import os
import select
from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW
from struct import pack, unpack_from

from .links import attributes_of, text_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, TypeVar

    Self = TypeVar("Self", bound="NetlinkSocket")

NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK = 270, 10, 11
ERROR, DONE = 2, 3
REQUEST, ACKNOWLEDGE, DUMP = 1, 4, 0x300
CAPPED, HAS_EXPLANATION = 0x100, 0x200
DUMP_INTERRUPTED = 0x10
DUMPS = 5
"""The number of times that a dump is asked for, as long as others keep changing what it lists."""
EXPLANATION = 1
HEADER = "=IHHII"
BUFFER = 1 << 17
LINK_EVENTS = 1  # RTMGRP_LINK


class NetlinkSocket:
    """A socket of the network namespace in which it is made.

    Args:
        events: whether it hears of each change of a link, for `await_event`.
        family: of netlink(7), for `dump`.
    """

    def __init__(self, events: bool = False, family: int = NETLINK_ROUTE) -> None:
        self.socket = _socket.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, family)
        self.number = 0
        if events:
            self.socket.bind((0, LINK_EVENTS))
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK):
            try:
                self.socket.setsockopt(SOL_NETLINK, option, 1)
            except OSError:
                pass  # then errors have no explanation

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self.number += 1
        self.socket.send(pack(HEADER, len(body) + 16, kind, flags | REQUEST, self.number, 0) + body)

    def _messages(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield type, flags and body of the answers to the last request, without end."""
        while True:
            data, (sender, _groups) = self.socket.recvfrom(BUFFER)
            if sender:
                continue  # root inside a container can write to a socket there, as if it were the kernel
            start = 0
            while start + 16 <= len(data):
                size, kind, flags, number, _port = unpack_from(HEADER, data, start)
                if size < 16:
                    break
                if number == self.number:
                    yield kind, flags, data[start + 16 : start + size]
                start += size + 3 & ~3

    def await_event(self, seconds: float) -> bool:
        """Wait until a link has changed, perhaps. Return whether one has in time."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        if not poll.poll(max(0, int(seconds * 1000))):
            return False
        try:
            self.socket.recv(BUFFER)
        except OSError as failure:
            if failure.errno != errno.ENOBUFS:  # there was more than the socket keeps
                raise
        return True

    def request(self, what: str, kind: int, flags: int, *parts: bytes) -> None:
        """Send a request, and wait for its acknowledgement.

        Args:
            what: is being done, for the error.

        Raises:
            OSError: the kernel refuses it; its file name is `what`.
        """
        self._send(kind, flags | ACKNOWLEDGE, b"".join(parts))
        for answer, answer_flags, body in self._messages():
            if answer == ERROR:
                raise_error(what, answer_flags, body)
                return

    def ask(self, what: str, kind: int, body: bytes, missing: int) -> bytes | None:
        """Return the one object that a request names, or None where there is none.

        Args:
            what: it is, for the error.
            missing: the errno that the kernel says then.

        Raises:
            OSError: the kernel says another.
        """
        self._send(kind, 0, body)
        for answer, flags, message in self._messages():
            if answer != ERROR:
                return message
            try:
                raise_error(what, flags, message)
            except OSError as failure:
                if failure.errno != missing:
                    raise
            return None
        return None

    def dump(self, kind: int, body: bytes, most: int = 0) -> list[bytes]:
        """Return all objects of a kind. What comes or goes meanwhile may be there or not.

        A dump that a change has interrupted may lack objects that were there all the time, so it is made again.

        Args:
            most: end after so many, where somebody inside may have made very many; the socket is of no more use then.
        """
        for _attempt in range(DUMPS):
            found, is_whole = self._dumped(kind, body, most)
            if is_whole:
                break
        return found

    def _dumped(self, kind: int, body: bytes, most: int) -> tuple[list[bytes], bool]:
        """Return the objects of one dump, and whether nothing has interrupted it."""
        self._send(kind, DUMP, body)
        found: list[bytes] = []
        is_whole = True
        for answer, flags, message in self._messages():
            is_whole = is_whole and not flags & DUMP_INTERRUPTED
            if answer == DONE:
                break
            if answer == ERROR:
                raise_error("dump", flags, message)
            found.append(message)
            if len(found) == most:
                return found, True
        return found, is_whole


def raise_error(what: str, flags: int, body: bytes) -> None:
    """Raise the OSError of an acknowledgement, unless it is none."""
    (number,) = unpack_from("=i", body)
    if not number:
        return
    text = os.strerror(-number)
    if flags & HAS_EXPLANATION:
        size = unpack_from("=I", body, 4)[0] if not flags & CAPPED else 16
        for kind, value in attributes_of(body, 4 + (size + 3 & ~3)):
            if kind == EXPLANATION:
                text += " (%s)" % text_in(value)
    raise OSError(-number, text, what)
