# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A DHCP client of the declaration gets an address in the LAN, through a bridge of the host (N13)."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.plugin_utils.debian import DEBIAN

from . import network_hosts
from .conftest import Machine
from .network_guests import running_as_declared
from .network_hosts import HOST, OUTSIDE, ROUTER, World

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

NAME = "test-network-clients"
ADDRESSES = [f"192.0.2.{number}" for number in range(100, 111)]
NAMESERVER = "192.0.2.53"
RESOLVER = "/etc/resolv.conf"
SERVER = (
    "dnsmasq",
    "--keep-in-foreground",
    "--port=0",
    "--bind-interfaces",
    "--interface=eth0",
    "--log-facility=-",
    f"--dhcp-range={ADDRESSES[0]},{ADDRESSES[-1]},1h",
    f"--dhcp-option=option:router,{ROUTER}",
    f"--dhcp-option=option:dns-server,{NAMESERVER}",
    "--dhcp-authoritative",
    "--dhcp-leasefile=/dev/null",
    "--pid-file=",
    "--user=root",
    "--conf-file=/dev/null",
)
BRIDGED = (
    "link add br0 type bridge forward_delay 0",
    "link set br0 up",
    "addr flush dev eth0",
    "link set eth0 master br0",
    f"addr add {HOST}/24 dev br0",
    f"route add default via {ROUTER}",
)
"""What makes the wire of the host to its LAN a port of a bridge."""


@pytest.fixture
def world() -> t.Iterator[World]:
    with network_hosts.world("clients") as found:
        found.host.ip(*BRIDGED)
        yield found


@contextlib.contextmanager
def serving(world: World) -> t.Iterator[t.Callable[[], str]]:
    """Run a DHCP server on the machine of the LAN. Give what waits for it to give an address, and returns that."""
    command = world.machine.command(*SERVER)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = process.stderr

        def given() -> str:
            said = []
            for line in lines:
                said.append(line)
                if "DHCPACK" in line:
                    return line.split("DHCPACK(eth0)", 1)[1].split()[0]
            raise AssertionError("".join(said))

        try:
            yield given
        finally:
            process.kill()


def settled(machine: Machine) -> list[str]:
    """Return the addresses of the interface that is none of the client's."""
    (found,) = json.loads(machine.output("ip", "-j", "address", "show", "eth1"))
    return sorted(item["local"] for item in found["addr_info"] if item["scope"] == "global")


@pytest.mark.parametrize(
    ("client", "program", "servers"),
    [
        ("dhcp-client", "dhclient", [NAMESERVER]),
        ("dhcpcd", "dhcpcd", [NAMESERVER]),
        ("network-manager", "NetworkManager", [NAMESERVER]),
        ("connman", "connmand", ["127.0.0.1", "::1"]),  # which asks the LAN's itself
    ],
)
def test_n13_a_client_gets_an_address_in_the_lan(world: World, client: str, program: str, servers: list[str]) -> None:
    """And leaves the interface that it is not asked for as it is. Two of them bring the message bus that they need."""
    if not shutil.which(DEBIAN.of(client).programs[program]) or not shutil.which("dnsmasq"):
        pytest.skip(f"{program} or dnsmasq is not installed")
    # What comes by a wire has its checksum, and connman looks at it; a pair of interfaces leaves that out.
    world.machine.output("ethtool", "-K", "eth0", "tx", "off")
    options = {
        "operating_system": {"host_name": "desk", "services": [{"type": client}]},
        "network": [{"bridge": "br0", "dhcp": True}, {"zone": "desks"}],
    }
    with serving(world) as given, running_as_declared(NAME, world, options) as machine:
        before = settled(machine)
        address = given()
        assert address in ADDRESSES
        # It is configured after that; each second another echo is asked for.
        asked = world.machine.run("ping", "-n", "-c1", "-w20", address)
        assert asked.returncode == 0, (asked.stdout, machine.output("ip", "address"), machine.logs())
        assert machine.run("ping", "-n", "-c1", "-w20", OUTSIDE).returncode == 0, machine.output("ip", "route")
        (route,) = json.loads(machine.output("ip", "-j", "route", "show", "default"))
        assert (route["gateway"], route["dev"]) == (ROUTER, "eth0")
        assert machine.output("systemctl", "is-active", client).strip() == "active"
        assert settled(machine) == before
        machine.output("bash", "-c", f"grep -m1 ^nameserver <(exec timeout 20 tail -n +1 -F {RESOLVER})")
        said = machine.output("cat", RESOLVER)
        assert sorted(re.findall(r"^nameserver (\S+)$", said, re.MULTILINE)) == servers
