# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Answers of the kernel's about its network: errors, those of others, and what kernels do not have."""

from __future__ import annotations

import errno
import struct
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import host_settings, links, netlink
from ansible_collections.unshare.container.plugins.module_utils.launcher.netlink_socket import DONE, DUMP_INTERRUPTED
from ansible_collections.unshare.container.tests.kernel_answers import KERNEL, acknowledgement, answering, message


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


def test_addresses_and_routes_as_the_kernel_lists_them() -> None:
    four = struct.pack("=BBBBi", 2, 24, 0, 0, 3) + netlink._attribute(1, bytes((10, 0, 0, 0)))
    local = struct.pack("=BBBBi", 2, 24, 0, 0, 3)
    local += netlink._attribute(1, bytes((10, 0, 0, 9))) + netlink._attribute(2, bytes((10, 0, 0, 2)))
    done = (message(DONE, bytes(4), 1), KERNEL)
    asked = answering((message(20, four, 1) + message(20, local, 1), KERNEL), done)
    assert asked.addresses() == [(3, "10.0.0.0/24"), (3, "10.0.0.2/24")]
    default = struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 0, 0, 1, 0)
    route = struct.pack("=BBBBBBBBI", 2, 16, 0, 0, 254, 0, 0, 1, 0)
    route += netlink._attribute(1, bytes((10, 9, 0, 0))) + netlink._attribute(4, 5)
    multicast = struct.pack("=BBBBBBBBI", 10, 8, 0, 0, 255, 0, 0, 5, 0)
    multicast += netlink._attribute(1, bytes((0xFF, *bytes(15)))) + netlink._attribute(4, 5)
    odd = struct.pack("=BBBBBBBBI", 2, 24, 0, 0, 254, 0, 0, 5, 0)  # an administrator may make one of any network
    odd += netlink._attribute(1, bytes((10, 8, 0, 0))) + netlink._attribute(4, 5)
    short = b"\2"
    said = b"".join(message(24, body, 1) for body in (default, route, multicast, odd, short))
    asked = answering((said, KERNEL), done)
    assert asked.routes() == [(5, (2, 10 << 24 | 9 << 16, 16)), (5, (2, 10 << 24 | 8 << 16, 24))]


def link_of(index: int, name: str) -> bytes:
    return struct.pack("=BxHiII", 0, 1, index, links.UP, 0) + netlink._attribute(links.IFLA_NAME, name)


def test_the_name_of_a_link_by_its_number() -> None:
    assert answering((message(netlink.NEW_LINK, link_of(3, "bridge"), 1), KERNEL)).name(3) == "bridge"
    assert answering((acknowledgement(errno.ENODEV, 1), KERNEL)).name(3) is None
    with pytest.raises(PermissionError, match="link 3"):
        answering((acknowledgement(errno.EPERM, 1), KERNEL)).name(3)


@pytest.mark.parametrize("where", ["object", "end"])
def test_a_listing_that_a_change_has_interrupted_is_made_again(where: str) -> None:
    """It may lack what was there all the time."""

    def listing(number: int, *names: str, interrupted: bool = False) -> tuple[bytes, int]:
        flags = DUMP_INTERRUPTED if interrupted else 0
        of_object, of_end = (flags, 0) if where == "object" else (0, flags)
        text = b"".join(message(netlink.NEW_LINK, link_of(1, name), number, of_object) for name in names)
        return text + message(DONE, bytes(4), number, of_end), KERNEL

    asked = answering(listing(1, "lo", interrupted=True), listing(2, "lo", "eth0"))
    assert [link.name for link in asked.links()] == ["lo", "eth0"]
    asked = answering(*(listing(number, "lo", interrupted=True) for number in range(1, 9)))
    assert [link.name for link in asked.links()] == ["lo"]
    assert len(asked.socket.answers) == 3, "who keeps changing it is not waited for without end"


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
