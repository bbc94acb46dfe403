# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which way plain SSH takes into a container (N14)."""

from __future__ import annotations

import shlex
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.plugin_utils.ssh_ways import ssh_way

REMOTE = {"ansible_unshare_transport": "ssh", "ansible_host": "192.0.2.1"}
HERE = {"ansible_unshare_transport": "local"}
ZONE = {"kind": "zone", "addresses": ["10.80.0.2/24", "fd00::2/64"]}
ROUTED = {"kind": "routed", "addresses": ["198.51.100.5/32"]}
BRIDGE = {"kind": "bridge", "addresses": ["192.0.2.77/24"]}
DHCP = {"kind": "macvlan", "addresses": []}
THROUGH = "-o 'ProxyCommand=ssh -W [%h]:%p -- 192.0.2.1'"


def port(number: int, target: int = 22, protocol: str = "tcp", address: str = "") -> dict[str, t.Any]:
    return {"port": number, "target": target, "protocol": protocol, "address": address}


@pytest.mark.parametrize(
    ("host", "interfaces", "ports", "way"),
    [
        (REMOTE, [], [], None),
        (REMOTE, [DHCP], [], None),
        (REMOTE, [ZONE], [], ("10.80.0.2", None, THROUGH)),
        (REMOTE, [ROUTED], [], ("198.51.100.5", None, THROUGH)),
        (REMOTE, [ZONE, BRIDGE], [], ("192.0.2.77", None, None)),
        (REMOTE, [DHCP, ZONE], [], ("10.80.0.2", None, THROUGH)),
        (HERE, [ZONE], [], ("10.80.0.2", None, None)),
        (REMOTE, [ZONE], [port(80, 80), port(2222)], ("192.0.2.1", 2222, None)),
        (REMOTE, [ZONE], [port(2222, address="198.51.100.1")], ("198.51.100.1", 2222, None)),
        (REMOTE, [ZONE], [port(2222, address="127.0.0.1")], ("10.80.0.2", None, THROUGH)),
        (REMOTE, [ZONE], [port(2222, protocol="udp")], ("10.80.0.2", None, THROUGH)),
        (HERE, [ZONE], [port(2222, address="::1")], ("::1", 2222, None)),
        (HERE, [ZONE], [port(2222)], ("127.0.0.1", 2222, None)),
        ({**HERE, "ansible_host": "192.0.2.1"}, [ZONE], [port(2222)], ("127.0.0.1", 2222, None)),
        (
            {"ansible_unshare_transport": "ssh", "ansible_ssh_host": "192.0.2.9"},
            [ZONE],
            [port(22)],
            ("192.0.2.9", 22, None),
        ),
    ],
)
def test_n14_the_way(host: t.Any, interfaces: list[t.Any], ports: list[t.Any], way: t.Any) -> None:
    found = ssh_way(host, {"interfaces": interfaces, "ports": ports})
    if way is None:
        assert found is None
        return
    expected = dict(zip(("ansible_host", "ansible_port", "ansible_ssh_common_args"), way, strict=True))
    told = {key: value for key, value in expected.items() if value is not None}
    assert found == {"ansible_connection": "ansible.builtin.ssh", **told}


def test_the_hosts_own_variables_lead_through_it() -> None:
    host = {
        **REMOTE,
        "ansible_port": 2222,
        "ansible_user": "admin user",
        "ansible_ssh_private_key_file": "/keys/50%",
        "ansible_ssh_common_args": "-o ProxyJump=bastion -o ControlPath=%C",
    }
    found = ssh_way(host, {"interfaces": [ZONE], "ports": []})
    assert found is not None
    option, value = shlex.split(found["ansible_ssh_common_args"])
    assert option == "-o"
    words = shlex.split(value.removeprefix("ProxyCommand="))
    assert words == [
        *("ssh", "-W", "[%h]:%p", "-p", "2222", "-l", "admin user", "-i", "/keys/50%%"),
        *("-o", "ProxyJump=bastion", "-o", "ControlPath=%%C", "--", "192.0.2.1"),
    ]


@pytest.mark.parametrize("facts", [{}, {"interfaces": None, "ports": None}])
def test_one_that_does_not_run_has_no_way(facts: dict[str, t.Any]) -> None:
    assert ssh_way(REMOTE, facts) is None


def test_what_a_host_says_is_an_address_or_an_error() -> None:
    template = {"kind": "bridge", "addresses": ["{{ lookup('pipe', 'id') }}/24"]}
    with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 address"):
        ssh_way(REMOTE, {"interfaces": [template], "ports": []})
