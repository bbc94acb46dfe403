# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Answers of the kernel's to requests of netlink(7), made beforehand."""

from __future__ import annotations

import struct
import typing as t

from ansible_collections.unshare.container.plugins.module_utils.launcher import netlink, netlink_socket
from ansible_collections.unshare.container.plugins.module_utils.launcher.netlink import Netlink

KERNEL, SOMEBODY = 0, 4711


def message(kind: int, body: bytes, number: int, flags: int = 0) -> bytes:
    return struct.pack("=IHHII", len(body) + 16, kind, flags, number, 0) + body


def acknowledgement(code: int, number: int, explanation: str = "") -> bytes:
    body = struct.pack("=i", -code) + bytes(16)
    flags = netlink_socket.CAPPED
    if explanation:
        flags |= netlink_socket.HAS_EXPLANATION
        body += netlink._attribute(netlink_socket.EXPLANATION, explanation)
    return message(netlink_socket.ERROR, body, number, flags)


class Socket:
    """A socket whose answers are made beforehand, each with its sender."""

    def __init__(self, *answers: tuple[bytes, int]) -> None:
        self.answers = list(answers)
        self.sent: list[bytes] = []

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def recvfrom(self, _size: int) -> tuple[bytes, tuple[int, int]]:
        data, sender = self.answers.pop(0)
        return data, (sender, 0)

    def setsockopt(self, *_words: int) -> None:
        """Take any option."""

    def close(self) -> None:
        """Have nothing to close."""


def answering(*answers: tuple[bytes, int]) -> t.Any:
    made: t.Any = Netlink()
    made.close()
    made.socket = Socket(*answers)
    return made
