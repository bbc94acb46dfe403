# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What follows a host that boots while containers run: name servers, rules that others flush, its way down and up."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.tests.hosts.conftest import HOST
from ansible_collections.unshare.container.tests.hosts.fleet import Fleet, daemon, declared, unit
from ansible_collections.unshare.container.tests.hosts.machine import Machine
from ansible_collections.unshare.container.tests.hosts.test_example import KILLED

pytestmark = [pytest.mark.root, pytest.mark.on("debian12", "debian13")]

WATCH = "unshare-network@etc.path"
FILES = "find /etc/systemd/system /run/systemd/system -name 'unshare-*'"
TABLES = "nft list table inet unshare && nft list table bridge unshare"
SERVES = ("/usr/bin/python3", "-m", "http.server", "--bind", "::", "8080")
ASK = "curl --silent --show-error --fail --output /dev/null --max-time 10 http://127.0.0.1:8081/"
FORGET_SERVERS = "rm -f /run/servers; mv /etc/resolv.conf.former /etc/resolv.conf"

CHANGES = {
    "written": "echo 'nameserver {0}' > /etc/resolv.conf",
    "renamed": "echo 'nameserver {0}' > /etc/resolv.conf.new && mv /etc/resolv.conf.new /etc/resolv.conf",
    "linked": "echo 'nameserver {0}' > /run/servers && ln -s /run/servers /etc/l && mv -T /etc/l /etc/resolv.conf",
    "renamed behind a link": "echo 'nameserver {0}' > /run/new && mv /run/new /run/servers",
}
"""How the host's name servers change, in the order in which the test has them change."""


@pytest.fixture(scope="module")
def fleet(shared: Machine, nothing_left: None, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Fleet]:
    """Yield the host with a container in a zone, with a published port, and one that has the host's network.

    All tests here share them; the last one removes them.
    """
    if not shared.is_on:
        shared.start()
    fleet = Fleet(tmp_path_factory.mktemp("networks"), {HOST: shared})
    web = declared("web", daemon("serves", *SERVES), enabled=True)
    fleet.containers = {
        "web": {**web, "network": {"zone": "one"}, "ports": ["8081:8080"]},
        "shared": {**declared("shared", enabled=True), "network": "host"},
    }
    fleet.play()
    yield fleet
    fleet.remove()


def until(host: Machine, command: str) -> None:
    """Wait until a command succeeds."""
    host.succeed(f"until {command}; do :; done >/dev/null 2>&1")


def first_process(host: Machine, name: str) -> str:
    """Return the PID of a container's first process."""
    return host.succeed(f"systemctl show --property=MainPID --value {unit(name)}").strip()


@pytest.mark.shows("network")
def test_n8_networkd_leaves_the_interfaces_of_containers_alone(fleet: Fleet, host: Machine) -> None:
    """The host has a file for all interfaces, with its address."""
    assert "Type=ether" in host.succeed("cat /etc/systemd/network/10-ethernet.network")
    port = host.succeed("ip -brief link show unshare.web.eth0").split("@")[0]
    assert " master " in host.succeed(f"ip link show {port}")
    assert host.succeed(f"ip -4 -brief address show {port}") == ""
    assert " unmanaged" in host.succeed(f"networkctl --no-legend list {port}")
    assert host.succeed("ip -4 -brief address show eth0")


@pytest.mark.shows("network")
def test_n8_rules_come_back_when_the_hosts_packet_filter_begins_anew(fleet: Fleet, host: Machine) -> None:
    pids = [first_process(host, name) for name in fleet.containers]
    until(host, ASK)
    try:
        for deed in ("start", "restart", "reload", "try-restart"):
            host.succeed(f"systemctl {deed} nftables")
            until(host, TABLES)
            until(host, ASK)
        host.succeed("systemctl stop nftables && systemctl start nftables")
        until(host, TABLES)
    finally:
        host.execute("systemctl stop nftables")
    assert [first_process(host, name) for name in fleet.containers] == pids


@pytest.mark.shows("network")
def test_n7_name_servers_are_followed(fleet: Fleet, host: Machine) -> None:
    pids = [first_process(host, name) for name in fleet.containers]
    host.succeed("touch /etc/resolv.conf && cp -a /etc/resolv.conf /etc/resolv.conf.former")
    try:
        for number, change in enumerate(CHANGES.values()):
            address = f"192.0.2.{number}"
            host.succeed(change.format(address))
            for pid in pids:
                until(host, f"grep -qx 'nameserver {address}' /proc/{pid}/root/etc/resolv.conf")
    finally:
        host.succeed(FORGET_SERVERS)


@pytest.mark.shows("network")
def test_a_zone_across_a_reboot_and_a_power_off(fleet: Fleet, host: Machine) -> None:
    host.succeed("systemctl enable nftables")
    try:
        for off_and_on in (host.reboot, host.power_off):
            off_and_on()
            assert KILLED not in host.console
            if not host.is_on:
                host.start()
            for name in fleet.containers:
                host.wait_for_unit(unit(name))
            host.wait_for_unit(WATCH)
            host.wait_until_booted()
            until(host, TABLES)
            until(host, ASK)
    finally:
        host.succeed("systemctl disable nftables")


@pytest.mark.shows("network")
def test_the_units_go_with_the_last_container(fleet: Fleet, host: Machine) -> None:
    assert WATCH in host.succeed(FILES)
    for name in list(fleet.containers):
        del fleet.containers[name]
        fleet.play()
        assert bool(host.succeed(FILES)) == bool(fleet.containers)
    assert "unshare" not in host.succeed("systemctl list-units --all --plain --no-legend 'unshare-*'; nft list tables")
