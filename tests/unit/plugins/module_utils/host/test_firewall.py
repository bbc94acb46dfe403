# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules of the host's packet filter, as text made of the records of containers; and others' filters as text."""

from __future__ import annotations

import re
import struct
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import firewall, foreign_filters
from ansible_collections.unshare.container.plugins.module_utils.launcher import netlink
from ansible_collections.unshare.container.plugins.module_utils.launcher.wires import link_local
from ansible_collections.unshare.container.plugins.module_utils.state.network_record import NetworkRecord

MAC = "02:00:00:00:00:01"


def port(**fields: t.Any) -> dict[str, t.Any]:
    known = {
        "name": "eth0",
        "kind": "zone",
        "parent": "web",
        "device": "ubridge",
        "host_name": "uport",
        "mac": MAC,
        "addresses": ["10.80.0.2/24", "fd00::2/64"],
        "subnets": ["10.80.0.0/24", "fd00::/64"],
        "dhcp": False,
    }
    return {**known, **fields}


def record(*interfaces: dict[str, t.Any], **fields: t.Any) -> NetworkRecord:
    return NetworkRecord("web", {"interfaces": list(interfaces) or [port()], **fields})


def chain(text: str, name: str) -> list[str]:
    """Return the rules of a chain."""
    found = re.search(rf"  chain {name} {{\n(.*?)\n  }}", text, re.DOTALL)
    assert found, text
    return [line.strip() for line in found[1].split("\n")]


def test_without_containers_both_tables_are_removed() -> None:
    assert firewall.ruleset([]).split("\n") == [
        "table inet unshare",
        "delete table inet unshare",
        "table bridge unshare",
        "delete table bridge unshare",
        "",
    ]


def test_a_port_lets_its_own_addresses_through_and_nothing_else() -> None:
    rules = chain(firewall.ruleset([record()]), "uport")
    assert rules[0] == f"ether saddr != {MAC} drop"
    assert rules[-1] == "drop"
    accepted = [rule for rule in rules if rule.endswith("accept")]
    assert accepted == [
        "arp operation request arp saddr ip 0.0.0.0 accept",
        "arp saddr ip { 10.80.0.2 } accept",
        "ip saddr { 10.80.0.2 } accept",
        "ip6 saddr :: icmpv6 type mld2-listener-report accept",
        f"ip6 saddr {{ fd00::2, {link_local(MAC)} }} accept",
    ]
    order = [index for index, rule in enumerate(rules) if "nd-neighbor-advert" in rule]
    assert order[0] < rules.index(accepted[-1])


def test_a_port_without_ipv4_lets_none_through() -> None:
    rules = chain(firewall.ruleset([record(port(addresses=["fd00::2/64"]))]), "uport")
    assert not [rule for rule in rules if "ip saddr" in rule or "arp saddr ip" in rule]


@pytest.mark.parametrize("fields", [{"dhcp": True}, {"addresses": []}])
def test_a_port_whose_addresses_nobody_knows_has_its_hardware_address(fields: dict[str, t.Any]) -> None:
    rules = chain(firewall.ruleset([record(port(kind="bridge", **fields))]), "uport")
    assert rules[0] == f"ether saddr != {MAC} drop"
    assert rules[-2:] == ["ether type { arp, ip, ip6 } accept", "drop"]
    assert any("nd-router-advert" in rule and rule.endswith("drop") for rule in rules)


def test_a_bridge_of_the_administrators_has_no_rules_of_a_zone() -> None:
    text = firewall.ruleset([record(port(kind="bridge", device="br0"))])
    assert "table bridge unshare {" in text
    assert "table inet unshare {" not in text


def test_who_has_host_access_is_known_by_its_addresses() -> None:
    trusted = ["ip saddr { 10.80.0.2 } accept", "ip6 saddr { fd00::2 } accept"]
    for access in (False, True):
        rules = chain(firewall.ruleset([record(host_access=access)]), "from_container")
        assert [rule for rule in rules if rule in trusted] == (trusted if access else [])
        assert rules[-1] == "reject with icmpx admin-prohibited"


@pytest.mark.parametrize(
    ("published", "rules"),
    [
        (
            {"port": 8080, "target": 80},
            [
                "meta nfproto ipv4 tcp dport 8080 dnat ip to 10.80.0.2:80",
                "meta nfproto ipv6 tcp dport 8080 dnat ip6 to [fd00::2]:80",
            ],
        ),
        (
            {"port": 53, "target": 5353, "protocol": "udp", "address": "127.0.0.1"},
            ["ip daddr 127.0.0.1 udp dport 53 dnat ip to 10.80.0.2:5353"],
        ),
        ({"port": 53, "target": 53, "address": "::1"}, ["ip6 daddr ::1 tcp dport 53 dnat ip6 to [fd00::2]:53"]),
    ],
)
def test_a_published_port_leads_to_the_container(published: dict[str, t.Any], rules: list[str]) -> None:
    text = firewall.ruleset([record(ports=[published])])
    name = "{}_{}".format(published.get("protocol", "tcp"), published["port"])
    assert chain(text, name) == rules
    assert f"    elements = {{ {published['port']} : goto {name} }}" in text


def test_a_container_without_a_zone_gets_no_port() -> None:
    text = firewall.ruleset([record(port(kind="bridge"), ports=[{"port": 80, "target": 80}]), record()])
    assert "dnat ip to" not in text


@pytest.mark.parametrize(
    ("ports", "taken"),
    [
        ([], False),
        ([{"port": 80, "target": 80}], True),
        ([{"port": 80, "target": 80, "address": "127.0.0.1"}], True),
        ([{"port": 80, "target": 80, "address": "192.0.2.1"}], False),
        ([{"port": 80, "target": 80, "address": "::1"}], False),
    ],
)
def test_a_bridge_takes_the_loopback_for_a_port_of_it_alone(ports: list[dict[str, t.Any]], taken: bool) -> None:
    records = [record(), record(ports=ports), record(port(device="other"))]
    assert firewall.takes_loopback(records) == {"ubridge": taken, "other": False}


def test_what_is_routed_has_its_own_addresses_alone() -> None:
    text = firewall.ruleset([record(port(kind="routed", addresses=["203.0.113.5/32"], subnets=[]))])
    rules = chain(text, "early")
    assert 'iifname "uport" ip saddr != { 203.0.113.5 } drop' in rules
    assert f'iifname "uport" ip6 saddr != {{ {link_local(MAC)}, :: }} drop' in rules


def test_equal_rules_have_equal_marks_and_others_have_others() -> None:
    one, same, other = (
        firewall.questions(firewall.ruleset(records))
        for records in ([record()], [record()], [record(host_access=True)])
    )
    assert one == same
    assert [question.rpartition("_")[0] for question in one] == [
        "list chain bridge unshare made",
        "list chain inet unshare made",
    ]
    assert not set(one) & set(other)
    assert firewall.questions(firewall.ruleset([])) == []


CHAINS = """
table ip filter {
	chain INPUT {
		type filter hook input priority filter; policy drop;
	}
	chain FORWARD {
		type filter hook forward priority filter; policy %s;
	}
	chain DOCKER {
	}
}
table %s unshare {
	chain between {
		type filter hook forward priority filter; policy drop;
	}
}
table bridge other {
	chain forward {
		type filter hook forward priority filter; policy drop;
	}
}
"""


def test_filters_of_others_that_drop_are_found() -> None:
    assert [str(chain) for chain in foreign_filters.dropping(CHAINS % ("drop", "inet"))] == [
        "chain FORWARD of table ip filter"
    ]
    assert foreign_filters.dropping(CHAINS % ("accept", "inet")) == []


def test_firewalld_is_told_in_its_own_words() -> None:
    text = (
        "table inet firewalld {\n\tchain filter_FORWARD {\n\t\ttype filter hook forward priority 10; policy accept;\n"
    )
    (found,) = foreign_filters.dropping(text)
    said = foreign_filters.advice(found, ["ubridge"])
    assert "firewall-cmd --permanent --zone=trusted --add-interface=ubridge; firewall-cmd --reload" in said


@pytest.mark.parametrize(
    ("tables", "there"), [([], False), (["unshare", "unshare"], False), (["unshare", "filter"], True), (None, True)]
)
def test_tables_of_others_are_there(monkeypatch: pytest.MonkeyPatch, tables: list[str] | None, there: bool) -> None:
    def dump(_self: netlink.Netlink, kind: int, _body: bytes) -> list[bytes]:
        assert kind == 0xA01
        if tables is None:
            raise PermissionError
        names = [name.encode() + b"\0" for name in tables]
        return [bytes(4) + struct.pack("=HH", len(name) + 4, 1) + name for name in names]

    monkeypatch.setattr(netlink.Netlink, "dump", dump)
    assert foreign_filters.are_there() is there
