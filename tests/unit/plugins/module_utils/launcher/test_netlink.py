# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Answers of the kernel's about its network: errors, those of others, and what kernels do not have."""

from __future__ import annotations

import errno
import struct
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import host_settings, links, netlink
from ansible_collections.unshare.container.plugins.module_utils.launcher.netlink import Netlink

KERNEL, SOMEBODY = 0, 4711


def message(kind: int, body: bytes, number: int, flags: int = 0) -> bytes:
    return struct.pack("=IHHII", len(body) + 16, kind, flags, number, 0) + body


def acknowledgement(code: int, number: int, explanation: str = "") -> bytes:
    body = struct.pack("=i", -code) + bytes(16)
    flags = netlink.CAPPED
    if explanation:
        flags |= netlink.HAS_EXPLANATION
        body += netlink._attribute(netlink.EXPLANATION, explanation)
    return message(netlink.ERROR, body, number, flags)


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

    def close(self) -> None:
        """Have nothing to close."""


def answering(*answers: tuple[bytes, int]) -> t.Any:
    made: t.Any = Netlink()
    made.close()
    made.socket = Socket(*answers)
    return made


def test_an_error_says_what_was_done_and_why_it_is_refused() -> None:
    asked = answering((acknowledgement(errno.EPERM, 1, "no right"), KERNEL))
    with pytest.raises(OSError, match=r"Operation not permitted \(no right\)") as caught:
        asked.set_mtu(3, 1400)
    assert (caught.value.errno, caught.value.filename) == (errno.EPERM, "set mtu 1400")


def test_nobody_else_answers_for_the_kernel() -> None:
    """Root inside a container can send to a socket in its network namespace."""
    forged = acknowledgement(errno.EPERM, 1)
    asked = answering((forged, SOMEBODY), (acknowledgement(0, 1), KERNEL))
    asked.set_up(3)
    assert asked.socket.answers == []


def test_answers_to_former_requests_are_passed_over() -> None:
    asked = answering((acknowledgement(errno.EPERM, 7), KERNEL), (acknowledgement(0, 1), KERNEL))
    asked.set_up(3)


@pytest.mark.parametrize("code", [0, errno.EAFNOSUPPORT])
def test_a_link_without_ipv6_makes_no_address_of_it(code: int) -> None:
    answering((acknowledgement(code, 1), KERNEL)).make_no_address(3)
    with pytest.raises(PermissionError):
        answering((acknowledgement(errno.EPERM, 1), KERNEL)).make_no_address(3)


def test_a_link_that_is_not_there_is_no_error() -> None:
    assert answering((acknowledgement(errno.ENODEV, 1), KERNEL)).link("eth0") is None
    with pytest.raises(PermissionError):
        answering((acknowledgement(errno.EPERM, 1), KERNEL)).link("eth0")


def test_a_link_is_read_from_its_attributes() -> None:
    parts = [
        netlink._attribute(links.IFLA_NAME, "eth0"),
        netlink._attribute(links.IFLA_ADDRESS, bytes.fromhex("020000000001")),
        netlink._attribute(links.IFLA_PERMANENT, bytes.fromhex("020000000009")),
        netlink._attribute(links.IFLA_MASTER, 7),
        netlink._attribute(links.IFLA_MTU, 1400),
        netlink._nested(links.IFLA_INFO, netlink._attribute(links.INFO_KIND, "veth")),
        netlink._nested(links.IFLA_PROPERTIES, netlink._attribute(links.IFLA_OTHER_NAME, "unshare.web.eth0")),
    ]
    body = struct.pack("=BxHiII", 0, 1, 3, links.UP, 0) + b"".join(parts)
    link = answering((message(netlink.NEW_LINK, body, 1), KERNEL)).link("eth0")
    assert (link.index, link.name, link.mac, link.permanent) == (3, "eth0", "02:00:00:00:00:01", "02:00:00:00:00:09")
    assert (link.master, link.mtu, link.kind, link.others, link.up) == (7, 1400, "veth", ["unshare.web.eth0"], True)


def test_more_events_than_a_socket_keeps_are_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        code = errno.ENOBUFS

        def fileno(self) -> int:
            return 0

        def recv(self, _size: int) -> bytes:
            raise OSError(self.code, "")

    class Ready:
        def register(self, *_arguments: object) -> None:
            """Take any."""

        def poll(self, milliseconds: int) -> list[int]:
            return [1] if milliseconds else []

    monkeypatch.setattr(netlink.select, "poll", Ready)
    listening = answering()
    listening.socket = Full()
    assert listening.await_event(1)
    assert not listening.await_event(-1)
    listening.socket.code = errno.EBADF
    with pytest.raises(OSError, match="Errno 9"):
        listening.await_event(1)


def test_addresses_and_routes_as_the_kernel_lists_them() -> None:
    four = struct.pack("=BBBBi", 2, 24, 0, 0, 3) + netlink._attribute(1, bytes((10, 0, 0, 0)))
    local = struct.pack("=BBBBi", 2, 24, 0, 0, 3)
    local += netlink._attribute(1, bytes((10, 0, 0, 9))) + netlink._attribute(2, bytes((10, 0, 0, 2)))
    done = (message(netlink.DONE, bytes(4), 1), KERNEL)
    asked = answering((message(20, four, 1) + message(20, local, 1), KERNEL), done)
    assert asked.addresses() == [(3, "10.0.0.0/24"), (3, "10.0.0.2/24")]
    default = struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 0, 0, 1, 0)
    route = struct.pack("=BBBBBBBBI", 2, 16, 0, 0, 254, 0, 0, 1, 0)
    route += netlink._attribute(1, bytes((10, 9, 0, 0))) + netlink._attribute(4, 5)
    short = b"\2"
    asked = answering((message(24, default, 1) + message(24, route, 1) + message(24, short, 1), KERNEL), done)
    assert asked.routes() == [(5, (2, 10 << 24 | 9 << 16, 16))]


@pytest.mark.parametrize(("value", "has"), [("0\n", True), ("1\n", False), (None, False)])
def test_whether_a_device_has_ipv6(
    tmp_path: t.Any, monkeypatch: pytest.MonkeyPatch, value: str | None, has: bool
) -> None:
    monkeypatch.setattr(host_settings, "SETTINGS", str(tmp_path))
    assert not host_settings.kernel_has_ipv6()
    if value is not None:
        (tmp_path / "ipv6/conf/default").mkdir(parents=True)
        (tmp_path / "ipv6/conf/default/disable_ipv6").write_text(value)
        assert host_settings.kernel_has_ipv6()
    assert host_settings.has_ipv6() is has
    assert not host_settings.has_ipv6("eth0")
