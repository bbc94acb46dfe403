# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container's network as an inventory has it (N1, N2), and the record that its target gets of it."""

from __future__ import annotations

import re
import typing as t

from ..module_utils.launcher.kinds import ContractError
from ..module_utils.launcher.network_records import FOR_DHCP, INTERFACES, ROUTED, ZONE, Interface, Network
from .errors import DeclarationError
from .validation import Spec, describe, plain, quoting, strict

NONE, HOST = "none", "host"

_INTERFACE: Spec = {
    "zone": {"type": "raw"},
    "bridge": {"type": "str"},
    "routed": {"type": "bool"},
    "macvlan": {"type": "str"},
    "ipvlan": {"type": "str"},
    "physical": {"type": "str"},
    "addresses": {"type": "list", "elements": "str"},
    "gateway": {"type": "raw"},
    "mac": {"type": "str"},
    "mtu": {"type": "int"},
    "name": {"type": "str"},
    "dhcp": {"type": "bool"},
}
_ZONE: Spec = {
    "name": {"type": "str", "required": True},
    "subnets": {"type": "list", "elements": "str"},
}
_NETWORK: Spec = {
    "interfaces": {"type": "list", "elements": "dict", "required": True},
    "host_access": {"type": "bool"},
}
_ONE: Spec = {**_INTERFACE, "host_access": _NETWORK["host_access"]}
_AS_GIVEN = ("mac", "mtu", "name", "dhcp", "addresses")
"""The keys of an interface that its record has as well."""

_PLACE = re.compile(r"interfaces\[([0-9]+)\](?:\.([a-z]+)((?:\[[0-9]+\])?))?")


class NetworkChoice(t.NamedTuple):
    """What a container has for a network.

    `shared`: whether it is the host's. `own`: the interfaces of its own, if it has more than a loopback. `places`:
    where each of these was written.
    """

    shared: bool = False
    own: Network | None = None
    places: tuple[str, ...] = ()

    @property
    def interfaces(self) -> list[Interface]:
        """Return the interfaces of its own, beside the loopback."""
        return [] if self.own is None else self.own.interfaces

    @property
    def is_up(self) -> bool:
        """Return whether more than a loopback is there before the container starts."""
        return self.shared or self.own is not None

    @property
    def publishes(self) -> bool:
        """Return whether the host can publish ports of it."""
        return self.own is not None and self.own.publishes

    @property
    def is_filtered(self) -> bool:
        """Return whether the host's packet filter has rules for an interface."""
        return self.own is not None and self.own.is_filtered

    @property
    def for_clients(self) -> tuple[str, ...]:
        """Return the names of the interfaces that are left to a DHCP client inside."""
        lan = [item for item in self.interfaces if item.kind in FOR_DHCP]
        return tuple(item.name for item in lan if item.dhcp or not item.addresses)

    def left_to_client(self) -> NetworkChoice:
        """Return the network of a declaration with a DHCP client, whose interfaces say themselves what is left to it.

        The target knows nothing of clients: one of them writes the list of name servers, for instance.
        """
        if self.own is None:
            return self
        names = self.for_clients
        interfaces = [item.replacing(dhcp=item.name in names) for item in self.interfaces]
        return self._replace(own=self.own.replacing(interfaces=interfaces))

    @property
    def place_of_dhcp(self) -> str | None:
        """Return where a DHCP client is asked for; None where nowhere."""
        found = [place for item, place in zip(self.interfaces, self.places, strict=True) if item.dhcp]
        return f"{found[0]}.dhcp" if found else None


def read_network(value: t.Any, shared_network: bool = False, place: str = "network") -> NetworkChoice:
    """Return what is said of a container's network: none, host, an interface, a list of them, or a mapping of that.

    :param shared_network: the other word for `host`.
    :param place: where the value was written.
    :raises DeclarationError: naming the place.
    """
    given = plain(value, place)
    if given is None or given == HOST:
        return NetworkChoice(shared=shared_network or given == HOST)
    if shared_network:
        raise DeclarationError(
            place, f"contradicts shared_network, which is true and means 'network: {HOST}': leave one of them out"
        )
    if given == NONE:
        return NetworkChoice()
    if isinstance(given, list):
        items, host_access = [(item, f"{place}[{index}]") for index, item in enumerate(given)], False
    elif isinstance(given, dict) and "interfaces" in given:
        checked = strict(given, _NETWORK, place)
        items = [(item, f"{place}.interfaces[{index}]") for index, item in enumerate(checked["interfaces"])]
        host_access = checked.get("host_access", False)
    elif isinstance(given, dict):
        checked = strict(given, {**_ONE, "interfaces": _NETWORK["interfaces"] | {"required": False}}, place)
        host_access = checked.pop("host_access", False)
        items = [(checked, place)]
    else:
        said = f"{given!r}" if isinstance(given, str) else describe(given)
        raise DeclarationError(
            place,
            f"{said} is neither '{NONE}' nor '{HOST}' nor a mapping such as {{zone: web}}{quoting(given)}",
        )
    if not items:
        raise DeclarationError(place, f"names no interface: say '{NONE}' for a container without any")
    places = tuple(where for _item, where in items)
    records = [_interface(item, where, index) for index, (item, where) in enumerate(items)]
    written = tuple(strict(item, _INTERFACE, where) for item, where in items)
    try:
        own = Network.read({"interfaces": records, "host_access": host_access})
    except ContractError as error:
        raise _in_declaration(error, place, places, written) from error
    return NetworkChoice(own=own, places=places)


def _interface(value: t.Any, place: str, index: int) -> dict[str, t.Any]:
    """Return the fields of an interface's record; what is in them is checked by that."""
    given = strict(value, _INTERFACE, place)
    kinds = [kind for kind in INTERFACES if given.get(kind, False) is not False]
    if len(kinds) != 1:
        known = ", ".join(INTERFACES)
        raise DeclarationError(
            place,
            f"has both {' and '.join(map(repr, kinds))}: an interface is one of them, and a list can hold several"
            if kinds
            else f"does not say to what the interface leads: it needs one of {known}",
        )
    (kind,) = kinds
    fields: dict[str, t.Any] = {"kind": kind, "name": f"eth{index}"}
    if kind == ZONE:
        fields.update(_zone(given[kind], f"{place}.{kind}"))
    elif kind != ROUTED:
        fields["parent"] = given[kind]
    if given.get("mtu") == 0:
        raise DeclarationError(f"{place}.mtu", "0 is no mtu: leave it out to have that of what the interface leads to")
    fields.update({key: given[key] for key in _AS_GIVEN if key in given})
    if "gateway" in given:
        fields["gateways"] = _gateways(given["gateway"], f"{place}.gateway")
    return fields


def _zone(value: t.Any, place: str) -> dict[str, t.Any]:
    """Return the fields of a zone: its name, and its subnets if they are given."""
    fields: dict[str, t.Any] = {}
    if isinstance(value, dict):
        checked = strict(value, _ZONE, place)
        value, place = checked["name"], f"{place}.name"
        fields = {"subnets": checked.get("subnets", [])}
    if not isinstance(value, str):
        raise DeclarationError(place, f"must be a zone's name, not {describe(value)}{quoting(value)}")
    return {"parent": value, **fields}


def _gateways(value: t.Any, place: str) -> list[str]:
    """Return one gateway, or one for each version of IP, as a list."""
    listed = value if isinstance(value, list) else [value]
    for index, item in enumerate(listed):
        if not isinstance(item, str):
            where = f"{place}[{index}]" if listed is value else place
            raise DeclarationError(where, f"must be an address, or a list of two, not {describe(item)}{quoting(item)}")
    return listed


def _in_declaration(
    error: ContractError, place: str, places: t.Sequence[str], written: t.Sequence[dict[str, t.Any]]
) -> DeclarationError:
    """Return the error with its place, and those in its message, as they were written.

    :param place: of the network. `places`: of its interfaces. `written`: these, as they were written.
    """

    def declared(found: re.Match[str]) -> str:
        where, given = places[int(found[1])], written[int(found[1])]
        field, item = found[2], found[3] or ""
        if field is None:
            return where
        kind = next(kind for kind in INTERFACES if given.get(kind, False) is not False)
        if field == "parent":
            return f"{where}.{kind}" + (".name" if isinstance(given[kind], dict) else "")
        if field == "subnets":
            return f"{where}.{kind}.subnets{item}"
        if field == "gateways":
            return f"{where}.gateway" + (item if isinstance(given.get("gateway"), list) else "")
        return f"{where}.{field}{item}"

    where = _PLACE.sub(declared, error.place) if _PLACE.match(error.place) else f"{place}.{error.place}"
    return DeclarationError(where, _PLACE.sub(declared, error.message))
