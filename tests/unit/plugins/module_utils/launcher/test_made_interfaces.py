# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is noted of interfaces is enough to make them again, and another version's notes can be read."""

from __future__ import annotations

import os
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import network
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.kinds import ContractError
from ansible_collections.unshare.container.plugins.module_utils.launcher.made_interfaces import MadeInterface
from ansible_collections.unshare.container.plugins.module_utils.launcher.network import WIRES, wire_of
from ansible_collections.unshare.container.plugins.module_utils.launcher.network_records import Interface
from ansible_collections.unshare.container.plugins.module_utils.launcher.wires import gateway_of, link_local

DECIDED: dict[str, t.Any] = {
    "host_name": "u1",
    "other_name": "unshare.web.eth0",
    "host_mac": "02:00:00:00:00:02",
    "mac": "02:00:00:00:00:01",
    "addresses": ["10.80.0.2/24"],
    "gateways": ["10.80.0.1"],
    "device": "u2",
    "device_kind": "veth",
    "subnets": ["10.80.0.0/24"],
}


@pytest.mark.parametrize("kind", list(WIRES))
def test_an_interface_is_made_again_from_what_was_noted(kind: str) -> None:
    interface = Interface(kind=kind, name="lan0", parent="one", mtu=1400, dhcp=True)
    wire = WIRES[kind](interface, **DECIDED)
    noted = wire.describe().note()
    assert noted == {"kind": kind, "name": "lan0", "parent": "one", "mtu": 1400, "dhcp": True, **DECIDED}
    again = wire_of(MadeInterface.noted(noted))
    assert type(again) is type(wire)
    assert again.describe() == wire.describe()
    assert {name: getattr(again, name) for name in DECIDED} == DECIDED


def test_what_another_version_has_noted_can_be_read() -> None:
    noted = MadeInterface.noted({"kind": "routed", "name": "eth0", "later": {"field": 1}})
    assert noted.note()["addresses"] == []
    assert MadeInterface.noted(noted.note()) == noted


@pytest.mark.parametrize(
    ("noted", "said"),
    [
        (None, "is not of type dict"),
        ([], "is not of type dict"),
        ({"kind": "zone"}, "name: is missing"),
        ({"kind": "wire", "name": "eth0"}, "kind: is neither"),
        ({"kind": "zone", "name": "eth0", "addresses": "10.80.0.2/24"}, "addresses: is not of type list"),
        ({"kind": "zone", "name": "eth0", "mac": 1}, "mac: is no text"),
    ],
)
def test_what_is_damaged_is_no_interface(noted: object, said: str) -> None:
    with pytest.raises(ContractError, match=said):
        MadeInterface.noted(noted)


def test_addresses_without_their_prefixes() -> None:
    made = MadeInterface(kind="zone", name="eth0", addresses=["10.80.0.2/24", "fd00::2/64"])
    assert made.plain_addresses() == ["10.80.0.2", "fd00::2"]


def test_no_interface_is_made_for_a_process_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number may be another one's, and the network namespace that of the host."""

    class Ended:
        pid = os.getpid()

        def wait(self, timeout: float) -> bool:
            return timeout == 0

    monkeypatch.setattr(network.OnDevice, "connect", lambda *_arguments: pytest.fail("was made"))
    wire = WIRES["macvlan"](Interface(kind="macvlan", name="eth0", parent="eth1"))
    with pytest.raises(LauncherError, match="has ended"):
        wire.attach(Ended())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mac", "address"),
    [
        ("02:00:00:00:00:01", "fe80::ff:fe00:1"),
        ("00:16:3e:aa:bb:cc", "fe80::216:3eff:feaa:bbcc"),
        ("fe:dc:ba:98:76:54", "fe80::fcdc:baff:fe98:7654"),
    ],
)
def test_a_link_local_address_is_as_the_kernel_writes_it(mac: str, address: str) -> None:
    assert link_local(mac) == address


def test_the_host_has_the_first_address_of_a_zone() -> None:
    assert [gateway_of(net) for net in ("10.80.0.0/24", "fd00::/64")] == ["10.80.0.1/24", "fd00::1/64"]
