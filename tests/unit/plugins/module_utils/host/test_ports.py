# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ports of the host's network: which a container cannot have, and who has them."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import ports
from ansible_collections.unshare.container.plugins.module_utils.host.facts import HostFacts
from ansible_collections.unshare.container.plugins.module_utils.launcher.needs import Port


def port(number: int, address: str = "", protocol: str = "tcp") -> Port:
    return Port(number=number, address=address, protocol=protocol, place=f"services[{number}]")


@pytest.mark.parametrize(
    ("start", "numbers", "low"),
    [
        ("1024\n", [80, 22, 1023, 1024, 8080], [80, 22, 1023]),
        ("80\n", [80, 79, 443], [79]),
        ("0\n", [1, 80], []),
        ("", [80], [80]),
    ],
)
def test_cases_02_low_ports(tmp_path: Path, start: str, numbers: list[int], low: list[int]) -> None:
    path = tmp_path / ports.START[1:]
    path.parent.mkdir(parents=True)
    path.write_text(start)
    said = ports.refused(HostFacts(tmp_path), [port(number) for number in numbers])
    assert len(said) == bool(low)
    for text in said:
        assert [f"services[{number}] (port {number})" in text for number in numbers] == [n in low for n in numbers]
        assert "'network: {zone: NAME}', and publish the port with 'ports'" in text
        assert f"net.ipv4.ip_unprivileged_port_start to {min(low)} or less" in text


MEETING = [
    ("", ""),
    ("", "127.0.0.1"),
    ("0.0.0.0", "10.0.0.1"),
    ("::", "::1"),
    ("localhost", "127.0.0.1"),
    ("::1", "0:0:0:0:0:0:0:1"),
    ("db", "db"),
]
APART = [("127.0.0.1", "127.0.0.2"), ("0.0.0.0", "::1"), ("0.0.0.0", "::"), ("::1", "127.0.0.1"), ("db", "web")]


@pytest.mark.parametrize(("one", "other"), MEETING + APART)
def test_addresses(one: str, other: str) -> None:
    met = (one, other) in MEETING
    assert ports.overlap(port(80, one), port(80, other)) is met
    assert ports.overlap(port(80, other), port(80, one)) is met
    assert not ports.overlap(port(80, one), port(81, other))
    assert not ports.overlap(port(80, one), port(80, other, "udp"))


@pytest.mark.parametrize(
    ("family", "kind", "address", "protocol"),
    [
        (socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1", "tcp"),
        (socket.AF_INET6, socket.SOCK_STREAM, "::1", "tcp"),
        (socket.AF_INET, socket.SOCK_DGRAM, "127.0.0.1", "udp"),
        (socket.AF_INET6, socket.SOCK_DGRAM, "::1", "udp"),
    ],
)
def test_who_listens_is_found(
    family: socket.AddressFamily, kind: socket.SocketKind, address: str, protocol: str
) -> None:
    host = HostFacts()
    with socket.socket(family, kind) as made:
        made.bind((address, 0))
        if protocol == "tcp":
            made.listen()
        number = made.getsockname()[1]
        ((wanted, found),) = ports.taken([port(number, address, protocol)], ports.listening(host))
        assert (wanted.number, found.address, found.uid) == (number, address, os.getuid())
        assert ports.holders_of(host, [found]) == {found: [os.getpid()]}
        assert (
            ports.named(host, ports.holders_of(host, [found])[found])
            == f"{host.read('/proc/self/comm').strip()} (PID {os.getpid()})"
        )
        other = "udp" if protocol == "tcp" else "tcp"
        assert ports.taken([port(number, address, other)], ports.listening(host)) == []
    assert ports.taken([port(number, address, protocol)], ports.listening(host)) == []


def test_a_connection_is_no_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert ports.taken([port(client.getsockname()[1], "127.0.0.1")], ports.listening(HostFacts())) == []


def test_a_table_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/tcp").write_text("head\nx\n 0: garbage 0:0 0A 0 0 0 0 0 0\n" + " ".join("abc") + "\n")
    assert ports.listening(HostFacts(tmp_path)) == []


def test_who_has_sockets_is_asked_once_and_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process with very many descriptors keeps nobody waiting; those of the host's own users come first."""
    host = HostFacts()
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        wanted = [port(made.getsockname()[1], "127.0.0.1") for made in (one, other)]
        found = [listener for _port, listener in ports.taken(wanted, ports.listening(host))]
        assert ports.holders_of(host, found) == {listener: [os.getpid()] for listener in found}
        assert ports.holders_of(host, found, 0) == {listener: [] for listener in found}
    assert ports.holders_of(host, []) == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="gives directories to other users")
def test_the_hosts_own_come_first(tmp_path: Path) -> None:
    for number, user in ((7, 10 * 65536), (8, 0), (30, 65535), (9, 65536)):
        (tmp_path / f"proc/{number}").mkdir(parents=True)
        os.chown(tmp_path / f"proc/{number}", user, 0)
    (tmp_path / "proc/self").mkdir()
    order = ports._processes(HostFacts(tmp_path), float("inf"))
    assert order == [8, 30, 7, 9]
    assert ports._processes(HostFacts(tmp_path), 0) == [7, 8, 9, 30]
