# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways that the host opens for containers: it forwards, and its loopback leads to their ports (N5, N8, N9).

These are settings of its network (sysctl(8)), which others may set back at any time.
"""

from __future__ import annotations

import os

from ..launcher.host_settings import can_set, has_interface, has_ipv6, set_setting, setting
from ..launcher.network_records import ROUTED, ZONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..state.network_record import NetworkRecord

FORWARDING = {"IPv4": "ipv4/ip_forward", "IPv6": "ipv6/conf/all/forwarding"}
LOOPBACK = "ipv4/conf/%s/route_localnet"
CLOSED = (
    "network: this host forwards no packets of %s, and that cannot be changed here (%s): containers reach others of "
    "their zone, and nothing beyond"
)
SHUT = (
    "ports: 127.0.0.1 does not lead to containers by %s here, for its setting net.ipv4.conf.*.route_localnet cannot be "
    "changed: use another of the host's addresses"
)


def open_ways(records: list[NetworkRecord]) -> list[str]:
    """Have the host forward packets for zones and routed interfaces, and answer on its loopback. Return warnings."""
    warnings = []
    for version in _forwarded(records):
        name = FORWARDING[version]
        if not (_forward_ipv6() if version == "IPv6" else set_setting(name, "1")):
            warnings.append(CLOSED % (version, "net." + name.replace("/", ".")))
    return warnings + _open_loopback(takes_loopback(records))


def open_routed(record: NetworkRecord) -> list[str]:
    """Have the host's loopback lead to the routed interfaces of a container, which are made. Return warnings."""
    routed = [port.host_name for port in record.interfaces if port.kind == ROUTED]
    devices = takes_loopback([record])
    return _open_loopback({device: devices[device] for device in routed})


def closed_ways(record: NetworkRecord, records: list[NetworkRecord]) -> list[str]:
    """Return the settings for a container that somebody has set back, if they can be set, as sysctl(8) calls them.

    Args:
        records: of all containers; others have a part in a zone's bridge.
    """
    wanted = {FORWARDING[version]: "1" for version in _forwarded([record])}
    devices = takes_loopback(records)
    for device in takes_loopback([record]):
        wanted[LOOPBACK % device] = "1" if devices[device] else "0"
    return [
        "net." + name.replace("/", ".")
        for name, value in wanted.items()
        if setting(name) not in ("", value) and can_set(name)
    ]


def takes_loopback(records: list[NetworkRecord]) -> dict[str, bool]:
    """Return whether a port is published on the loopback of IPv4 for a container there, for each device of the host."""
    found: dict[str, bool] = {}
    for record in records:
        wanted = any(not port.address or port.address.startswith("127.") for port in record.ports)
        for port in record.interfaces:
            if port.kind in (ZONE, ROUTED):
                name = port.device if port.kind == ZONE else port.host_name
                found[name] = found.get(name, False) or wanted
    return found


def _forwarded(records: list[NetworkRecord]) -> list[str]:
    """Return the versions of the protocol that the host has to forward."""
    if not any(port.kind in (ZONE, ROUTED) for record in records for port in record.interfaces):
        return []
    return ["IPv4", "IPv6"] if has_ipv6() else ["IPv4"]


def _open_loopback(devices: dict[str, bool]) -> list[str]:
    """Have some devices take what is for the loopback, or not. Those that are not made yet are passed over."""
    refused = [
        device
        for device, takes in devices.items()
        if has_interface(device) and not set_setting(LOOPBACK % device, "1" if takes else "0") and takes
    ]
    return [SHUT % device for device in refused]


def _forward_ipv6() -> bool:
    """Have the host forward packets of IPv6. Return whether it does.

    The kernel then heeds no announcement of a router any more unless it is told to do so in any case (`accept_ra` 2):
    the host would lose its own default route.
    """
    if setting(FORWARDING["IPv6"]) == "1":
        return True
    for name in os.listdir("/proc/sys/net/ipv6/conf"):
        if name != "all" and setting("ipv6/conf/%s/accept_ra" % name) == "1":
            set_setting("ipv6/conf/%s/accept_ra" % name, "2")
    return set_setting(FORWARDING["IPv6"], "1")
