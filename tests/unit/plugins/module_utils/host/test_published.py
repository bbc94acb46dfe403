# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Published ports and name servers: what is read of each spelling (N5, N7). Golden outputs have what is refused."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host.published import parse_nameservers, parse_ports
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import OptionError
from ansible_collections.unshare.container.plugins.module_utils.launcher.network_options import NetworkOptions


@pytest.mark.parametrize(
    ("declared", "record", "shown"),
    [
        ("8080:80", {"port": 8080, "target": 80}, "8080/tcp"),
        ("*:8080:80/tcp", {"port": 8080, "target": 80}, "8080/tcp"),
        (
            "127.0.0.1:5353:53/udp",
            {"port": 5353, "target": 53, "protocol": "udp", "address": "127.0.0.1"},
            "127.0.0.1:5353/udp",
        ),
        ("[::1]:443:8443", {"port": 443, "target": 8443, "address": "::1"}, "[::1]:443/tcp"),
        ("[FD00::0:5]:443:8443", {"port": 443, "target": 8443, "address": "fd00::5"}, "[fd00::5]:443/tcp"),
        ({"listen": 8080, "target": 80}, {"port": 8080, "target": 80}, "8080/tcp"),
        ({"listen": "8080", "target": "80", "protocol": None}, {"port": 8080, "target": 80}, "8080/tcp"),
        (
            {"listen": "192.0.2.5:53", "target": 53, "protocol": "udp"},
            {"port": 53, "target": 53, "protocol": "udp", "address": "192.0.2.5"},
            "192.0.2.5:53/udp",
        ),
        ({"listen": "[::1]:53", "target": 53}, {"port": 53, "target": 53, "address": "::1"}, "[::1]:53/tcp"),
    ],
)
def test_n5_a_port(declared: t.Any, record: dict[str, t.Any], shown: str) -> None:
    (found,) = parse_ports([declared])
    assert found.write() == record
    assert str(found) == shown
    assert NetworkOptions.read({"ports": [record]}).ports == [found]


def test_ports_that_do_not_meet() -> None:
    together = ["80:80", "80:80/udp", "127.0.0.1:81:80", "127.0.0.2:81:80", "[::1]:81:80"]
    assert len(parse_ports(together)) == 5
    assert parse_ports([]) == []


def test_n7_name_servers() -> None:
    assert parse_nameservers(["192.0.2.53", "FD00:0::53", "127.0.0.1"]) == ["192.0.2.53", "fd00::53", "127.0.0.1"]
    assert parse_nameservers([]) == []


@pytest.mark.parametrize("parse", [parse_ports, parse_nameservers])
@pytest.mark.parametrize("declared", [None, "8080:80", {}, 5])
def test_what_is_no_list(parse: t.Callable[[t.Any, str], t.Any], declared: t.Any) -> None:
    with pytest.raises(OptionError, match=r"^its\.place: must be a list, not "):
        parse(declared, "its.place")
