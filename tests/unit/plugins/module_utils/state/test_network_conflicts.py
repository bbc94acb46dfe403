# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What another container or the host has already is nobody else's."""

from __future__ import annotations

import types
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.network_records import Interface
from ansible_collections.unshare.container.plugins.module_utils.launcher.wires import Wire
from ansible_collections.unshare.container.plugins.module_utils.state.network_conflicts import refuse_taken
from ansible_collections.unshare.container.plugins.module_utils.state.network_record import NetworkRecord

MAC, OTHER = "02:00:00:00:00:01", "02:00:00:00:00:02"


class Host:
    """A host with a bridge, which has an address."""

    def link(self, name: str) -> t.Any:
        return types.SimpleNamespace(name=name, index=7, mac="02:00:00:00:00:ff") if name == "br0" else None

    def addresses(self) -> list[tuple[int, str]]:
        return [(7, "192.0.2.10/24"), (8, "198.51.100.1/24")]


def wire(kind: str, parent: str, *addresses: str, mac: str = MAC, subnets: t.Sequence[str] = ()) -> Wire:
    return Wire(
        Interface(kind=kind, name="eth0", parent=parent),
        mac=mac,
        addresses=list(addresses),
        device="u" + parent if kind == "zone" else parent,
        subnets=list(subnets),
    )


@pytest.mark.parametrize(
    ("wanted", "there", "said"),
    [
        (
            wire("routed", "", "198.51.100.5/32"),
            wire("routed", "", "198.51.100.5/32"),
            r"routed: the address 198\.51\.100\.5/32 is that of container other",
        ),
        (wire("routed", "", "2001:db8::5/128"), wire("zone", "a", "2001:db8::5/64"), r"^network: routed: .*other"),
        (wire("zone", "b", "10.0.0.5/24"), wire("routed", "", "10.0.0.5/32"), "^network: zone b: .*other"),
        (
            wire("bridge", "br0", "192.0.2.7/24"),
            wire("bridge", "br0", "192.0.2.7/16", mac=OTHER),
            "bridge br0: .*other",
        ),
        (wire("macvlan", "e", "192.0.2.7/24"), wire("macvlan", "e", "192.0.2.7/24", mac=OTHER), "macvlan e: .*other"),
        (wire("macvlan", "e"), wire("ipvlan", "e", mac=""), "macvlan e: container other has ipvlan there"),
        (
            wire("bridge", "br0", "192.0.2.8/24"),
            wire("bridge", "br0", "192.0.2.7/24"),
            rf"bridge br0: the hardware address {MAC} is that of container other: .*\(mac\)",
        ),
        (wire("bridge", "br0"), wire("macvlan", "br0"), "hardware address"),
        (wire("zone", "a", "10.0.0.3/24"), wire("zone", "a", "10.0.0.2/24"), "hardware address"),
        (
            wire("routed", "", "10.0.0.5/32"),
            wire("zone", "a", "10.0.0.2/24", subnets=["10.0.0.0/24"]),
            r"routed: the routed address 10\.0\.0\.5 is in 10\.0\.0\.0/24, the subnet of a zone \(container other\)",
        ),
        (
            wire("zone", "a", "10.0.0.2/24", subnets=["10.0.0.0/24"]),
            wire("routed", "", "10.0.0.5/32"),
            r"zone a: the routed address 10\.0\.0\.5 is in 10\.0\.0\.0/24",
        ),
        (
            wire("bridge", "br0", "192.0.2.10/24"),
            None,
            r"the address 192\.0\.2\.10/24 is that of the host's interface br0",
        ),
        (wire("bridge", "br0", mac="02:00:00:00:00:ff"), None, "02:00:00:00:00:ff is that of the host's interface br0"),
    ],
)
def test_what_is_taken_is_refused(wanted: Wire, there: Wire | None, said: str) -> None:
    records = [NetworkRecord("other", {"interfaces": [there.describe().note()]})] if there else []
    with pytest.raises(LauncherError, match=said):
        refuse_taken([wanted], records, Host())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        (wire("bridge", "br0", "192.0.2.7/24"), wire("bridge", "br1", "192.0.2.7/24")),
        (wire("bridge", "br0", "192.0.2.7/24"), wire("zone", "a", "192.0.2.7/24")),
        (wire("ipvlan", "e", "192.0.2.7/24", mac=""), wire("ipvlan", "e", "192.0.2.8/24", mac="")),
        (wire("routed", "", "10.0.1.5/32"), wire("zone", "a", "10.0.0.2/24", subnets=["10.0.0.0/24"])),
        (wire("routed", "", "fd00::5/128"), wire("zone", "a", "10.0.0.2/24", subnets=["10.0.0.0/24", "fd01::/64"])),
        (wire("bridge", "br0", "198.51.100.1/24"), wire("bridge", "br0", "192.0.2.11/24", mac=OTHER)),
        (wire("routed", "", "10.0.0.5/32"), wire("routed", "", "10.0.0.6/32")),
    ],
)
def test_what_is_in_another_network_is_not_taken(wanted: Wire, there: Wire) -> None:
    refuse_taken([wanted], [NetworkRecord("other", {"interfaces": [there.describe().note()]})], Host())  # type: ignore[arg-type]
