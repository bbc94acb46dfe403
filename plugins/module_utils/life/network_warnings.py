# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Warnings about a container's network: what it leaves without an address, and ports that lead nowhere."""

from __future__ import annotations

from ..host import firewall
from ..launcher.host_settings import setting
from ..launcher.network_records import FOR_DHCP, ZONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..launcher.contract import Specification
    from ..launcher.netlink import Netlink
    from ..state.network_record import NetworkRecord

WITHOUT_ADDRESS = (
    "network: %s: %s: nobody gives it an address: give it 'addresses', or declare a DHCP client, such as the service "
    "dhcp-client, and 'dhcp: true'"
)
NOBODYS = (
    "ports: %s: the host has no such address now, so that the port leads nowhere until it has: name one of the host's, "
    "or none for all of them"
)
WITHOUT_VERSION = (
    "ports: %s: the container has no address of IPv%d, so that the port leads nowhere: name an address of the other "
    "version, or none for all of the host's"
)
LOST = (
    "ports: %s: [::1] does not lead to the container here, for the host filters what its bridges forward "
    "(br_netfilter): use 127.0.0.1 or another of the host's addresses; or set net.bridge.bridge-nf-call-ip6tables to "
    "0, if nothing else on the host needs it"
)


def warnings_of_addresses(spec: Specification) -> list[str]:
    """Return a warning about each interface that the declaration leaves without an address.

    The tree of a machine may have a client of its own.
    """
    interfaces = spec.network.interfaces if spec.network is not None and not spec.root.is_machine else []
    bare = [item for item in interfaces if item.kind in FOR_DHCP and not item.addresses and not item.dhcp]
    return [WITHOUT_ADDRESS % (item.kind, item.name) for item in bare]


def warnings_of_ports(record: NetworkRecord, host: Netlink) -> list[str]:
    """Return a warning about each port of a container that leads nowhere here."""
    ports = record.ports
    there = {cidr.partition("/")[0] for _index, cidr in host.addresses()}
    far = [port for port in ports if port.address and not port.address.startswith("127.") and port.address != "::1"]
    found = [NOBODYS % port for port in far if port.address not in there]
    targets = firewall.targets_of(record)
    found += [WITHOUT_VERSION % (port, port.version) for port in ports if port.address and port.version not in targets]
    if setting("bridge/bridge-nf-call-ip6tables") == "1" and 6 in targets and targets[6].kind == ZONE:
        found += [LOST % port for port in ports if port.address in ("", "::1")][:1]
    return found
