# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that set up the network (C3), and their substitute in a container (C5)."""

from __future__ import annotations

import typing as t

from ..debian import DEBIAN
from ..service_types import Context, ServiceType, always
from ..units import Unit
from ..validation import Spec

HOST_NETWORK = "the network is shared with the host, which sets it up"
OWN_NETWORK = "its addresses are those of the host's devices; the container's network is its own"
STATIC = "static-networking"
DUMMY = "dummy-networking"
CLIENTS = ("dhcp-client", "dhcpcd", "network-manager", "connman", "wicd")
"""The types that configure interfaces by themselves."""

# Its own directory for leases is not there; that of the unit is, and lasts where /var/lib is a mapping.
_DHCLIENT = "-d -lf /var/lib/dhcp-client/dhclient.leases -pf /run/dhclient.pid"
# Without a configuration it asks for none of these; its package's file is the host's.
_ASKED = "domain_name_servers,domain_name,domain_search,classless_static_routes,interface_mtu"
_DHCPCD = f"--nobackground --option={_ASKED}"

_DUMMY: Spec = {
    "provision": {"type": "list", "elements": "str", "default": ["loopback", "networking"]},
}


def clients(types: t.Iterable[str]) -> list[str]:
    """Return those of some types that configure interfaces by themselves."""
    return [name for name in types if name in CLIENTS]


def _of_connman(names: t.Sequence[str]) -> list[str]:
    """Return the arguments by which it takes these interfaces alone. Those that it has, it empties of addresses."""
    return ["-i", ",".join(names) or "lo"]


def _manager(
    name: str,
    program_name: str,
    arguments: str,
    *,
    bus: bool,
    selects: t.Callable[[t.Sequence[str]], t.Iterable[str]] | None = None,
) -> ServiceType:
    """Return a network daemon's type. The daemon starts if its program is there (and the bus, when it needs that).

    :param selects: gives the arguments that name the interfaces that it configures; without it, it looks for itself.
    """
    found = DEBIAN.of(name)
    program = found.programs[program_name]

    def unit(value: t.Any, context: Context) -> list[Unit]:
        conditions: dict[str, t.Any] = {
            "Description": f"{name} in the container's own network",
            "ConditionFileIsExecutable": program,
            "Wants": "network.target",
            "Before": "network.target",
        }
        if bus:
            conditions["ConditionPathExists"] = "/run/dbus/system_bus_socket"
            conditions["After"] = "dbus.service"
        words = " ".join([program, arguments, *(selects(context.for_clients) if selects else ())])
        service = {"ExecStart": words, "StateDirectory": name, "Restart": "on-failure"}
        return [Unit(f"{name}.service", {"Unit": conditions, "Service": service}, provision=(name, "networking"))]

    return ServiceType(
        name,
        f"{name}: dropped when the network is shared with the host.",
        extensions={"systemd": unit, **({"dbus": always(None)} if bus else {})},
        network=True,
        provision=(name, "networking"),
        software=found,
        programs=(program,),
    )


def _dummy_unit(value: t.Any, context: Context) -> list[Unit]:
    names = tuple(value["provision"])
    head = {"Description": "Networking that is there already", "Before": "network.target"}
    return [Unit("dummy-networking.target", {"Unit": head}, provision=names)]


TYPES = (
    ServiceType(
        STATIC,
        "Fixed addresses; dropped in every container.",
        network=True,
        provision=("static-networking", "loopback", "networking"),
        software=DEBIAN.of(STATIC),
    ),
    _manager("dhcp-client", "dhclient", _DHCLIENT, bus=False, selects=list),
    _manager("dhcpcd", "dhcpcd", _DHCPCD, bus=False, selects=list),
    _manager("network-manager", "NetworkManager", "--no-daemon", bus=True),
    _manager("connman", "connmand", "-n", bus=True, selects=_of_connman),
    _manager("wicd", "wicd", "-f", bus=True),
    ServiceType(
        DUMMY,
        "Provides loopback and networking without doing anything.",
        spec=_DUMMY,
        extensions={"systemd": _dummy_unit},
        provision=lambda value: tuple((value or {}).get("provision", ("loopback", "networking"))),
    ),
)
