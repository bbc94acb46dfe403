# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of an interface that was made for a container, as it is noted while the container runs (N14)."""

from __future__ import annotations

from . import kinds
from .kinds import ContractError, ContractRecord
from .network_records import Interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TEXTS = kinds.list_of(kinds.text)
DECLARED = ("kind", "name", "parent", "mtu", "dhcp")  # what the interface has by its declaration


class MadeInterface(ContractRecord):
    """An interface of a container, with what was decided for it on this host.

    Attributes:
        kind, name, parent, mtu, dhcp: as `Interface` has them.
        host_name: of the host's end; empty where there is none.
        other_name: the alternative name of that.
        host_mac, mac: the hardware addresses of the host's end and inside; empty for those of the device.
        addresses, gateways: inside.
        device: of the host, that it is attached to: a bridge, or a parent.
        device_kind: what the kernel calls the kind of that; empty where that does not matter, and for hardware.
        subnets: of its zone.
    """

    kind: str
    name: str
    parent: str = ""
    mtu: int = 0
    dhcp: bool = False
    host_name: str = ""
    other_name: str = ""
    host_mac: str = ""
    mac: str = ""
    addresses: list[str] = []
    gateways: list[str] = []
    device: str = ""
    device_kind: str = ""
    subnets: list[str] = []

    KINDS = {
        **{name: Interface.KINDS[name] for name in DECLARED},
        **dict.fromkeys(("host_name", "other_name", "host_mac", "mac", "device", "device_kind"), kinds.text_or_none),
        **dict.fromkeys(("addresses", "gateways", "subnets"), TEXTS),
    }

    @classmethod
    def noted(cls, value: object) -> MadeInterface:
        """Return the interface that was noted, perhaps by another version, whose further fields are left out.

        Raises:
            ContractError: a field is missing or wrong.
        """
        if not isinstance(value, dict):
            raise ContractError("is not of type dict")
        return cls.read({name: item for name, item in value.items() if name in cls.KINDS})

    def note(self) -> dict[str, Any]:
        """Return the plain mapping that is noted: all fields, for whoever looks."""
        return {name: getattr(self, name) for name in self.KINDS}

    def plain_addresses(self) -> list[str]:
        """Return its addresses without prefix lengths."""
        return [address.partition("/")[0] for address in self.addresses]
