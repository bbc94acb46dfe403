# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Addresses and networks, beside what Python's own module says of them."""

from __future__ import annotations

import ipaddress

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import addresses, wires
from ansible_collections.unshare.container.plugins.module_utils.launcher.kinds import ContractError
from hypothesis import given
from hypothesis import strategies as st

FOUR = st.tuples(st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address), st.integers(0, 32))
SIX = st.tuples(st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address), st.integers(0, 128))
ANY = st.one_of(FOUR, SIX).map(lambda pair: f"{pair[0]}/{pair[1]}")


@given(ANY)
def test_networks_are_those_that_python_knows(cidr: str) -> None:
    net = ipaddress.ip_interface(cidr).network
    found = addresses.network_of(cidr)
    assert ipaddress.ip_network(addresses.network_text(found)) == net
    assert addresses.contains(found, cidr.partition("/")[0])


@given(ANY, ANY)
def test_two_networks_meet_as_python_says(one: str, other: str) -> None:
    first, second = (ipaddress.ip_interface(text).network for text in (one, other))
    meet = first.version == second.version and first.overlaps(second)
    assert addresses.share_addresses(addresses.network_of(one), addresses.network_of(other)) == meet
    inside = first.version == second.version and second.network_address in first
    assert addresses.contains(addresses.network_of(one), str(second.network_address)) == inside


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        (None, "is missing"),
        (7, "is no text"),
        ("web", "'web' is no IPv4 or IPv6 address"),
        ("10.0.0.256", "is no IPv4 or IPv6 address"),
        ("10.0.1", "is no IPv4 or IPv6 address"),
        ("fe80::1%eth0", "is no IPv4 or IPv6 address"),
        ("1" * 300, "is no IPv4 or IPv6 address"),
        ("١٠.0.0.1", "is no IPv4 or IPv6 address"),
        ("0.0.0.0", "of which no machine has one"),
        ("::", "of which no machine has one"),
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "reserved"),
        ("::ffff:10.0.0.1", "reserved"),
    ],
)
def test_what_is_no_machines_address_is_refused(text: object, said: str) -> None:
    with pytest.raises(ContractError, match=said):
        addresses.address(text)


def test_addresses_are_written_in_one_way() -> None:
    assert addresses.address("FD00:0:0::0001") == "fd00::1"
    assert addresses.interface_address("FD00:0::0002/64") == "fd00::2/64"
    assert addresses.subnet("FD00:0::/64") == "fd00::/64"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10.0.0.2", r"has no prefix length: write 10\.0\.0\.2/32"),
        ("10.0.0.2/33", "from 0 to 32"),
        ("fd00::2/129", "from 0 to 128"),
        ("10.0.0.2/", "from 0 to 32"),
        ("10.0.0.2/-1", "from 0 to 32"),
        ("10.0.0.2/7", "less than 8"),
        ("10.0.0.0/24", "the network itself"),
        ("fd00::/64", "the network itself"),
        ("10.0.0.255/24", "broadcast"),
    ],
)
def test_what_no_interface_has_is_refused(text: str, said: str) -> None:
    with pytest.raises(ContractError, match=said):
        addresses.interface_address(text)


@pytest.mark.parametrize("text", ["10.0.0.0/31", "10.0.0.1/31", "10.0.0.1/32", "fd00::1/128", "fd00::ffff/112"])
def test_the_ends_of_small_networks_are_addresses(text: str) -> None:
    assert addresses.interface_address(text) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10.0.0.1/24", r"is no network: write 10\.0\.0\.0/24"),
        ("10.0.0.0/31", "no room for containers"),
        ("fd00::/127", "no room for containers"),
        ("127.0.0.0/24", "loopback"),
        ("224.0.0.0/8", "multicast"),
    ],
)
def test_what_no_zone_has_is_refused(text: str, said: str) -> None:
    with pytest.raises(ContractError, match=said):
        addresses.subnet(text)


def test_a_host_has_loopbacks() -> None:
    assert addresses.host_address("127.0.0.53") == "127.0.0.53"
    assert addresses.host_address("::1") == "::1"
    with pytest.raises(ContractError, match="multicast"):
        addresses.host_address("224.0.0.1")


def test_the_link_local_address_is_made_of_the_hardware_address() -> None:
    """The example of RFC 4291, appendix A."""
    assert ipaddress.ip_address(wires.link_local("34:56:78:9a:bc:de")) == ipaddress.ip_address(
        "fe80::3656:78ff:fe9a:bcde"
    )


def test_the_host_has_the_first_address() -> None:
    assert wires.gateway_of("10.0.0.0/24") == "10.0.0.1/24"
    assert wires.gateway_of("fd00::/64") == "fd00::1/64"
