# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules of the host's packet filter, as text made of the records of containers."""

from __future__ import annotations

import re
import subprocess
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import firewall, firewall_change, nft
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.wires import link_local
from ansible_collections.unshare.container.plugins.module_utils.state.network_record import NetworkRecord

from ... import golden

MAC = "02:00:00:00:00:01"


def port(**fields: t.Any) -> dict[str, t.Any]:
    known = {
        "name": "eth0",
        "kind": "zone",
        "parent": "web",
        "device": "ubridge",
        "host_name": "uport",
        "mac": MAC,
        "host_mac": "02:00:00:00:00:ff",
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
    accepted = [rule for rule in rules if rule.endswith(("accept", "goto pieces"))]
    six = f"ip6 saddr {{ fd00::2, {link_local(MAC)} }}"
    assert accepted == [
        "ip saddr 10.80.0.2 ip protocol tcp accept",
        f"{six} meta l4proto tcp goto pieces",
        "arp operation request arp saddr ip 0.0.0.0 accept",
        "arp saddr ip 10.80.0.2 accept",
        "ip saddr 10.80.0.2 accept",
        "ip6 saddr :: icmpv6 type mld2-listener-report accept",
        f"{six} goto pieces",
    ]
    order = [index for index, rule in enumerate(rules) if "nd-neighbor-advert" in rule]
    assert order[0] < rules.index(accepted[-1])


def test_n11_what_comes_first_is_nothing_that_a_later_rule_would_drop() -> None:
    """These are about other protocols than TCP, or about frames that are looked at before."""
    text = firewall.ruleset([record()])
    rules = chain(text, "uport")
    assert [rule.rpartition(" ")[2] for rule in rules[:2]] == ["drop", "drop"]
    assert all(" tcp " in rule for rule in rules[2:4])
    assert rules[4] == "jump roles"
    protocols = ("icmp", "icmpv6", "igmp", "udp")
    assert all(
        rule.endswith(" drop") and any(f"{word} " in rule for word in protocols) for rule in chain(text, "roles")
    )
    assert chain(text, "pieces")[-1] == "drop"


def test_a_port_without_ipv4_lets_none_through() -> None:
    rules = chain(firewall.ruleset([record(port(addresses=["fd00::2/64"]))]), "uport")
    assert not [rule for rule in rules if "ip saddr" in rule or "arp saddr ip" in rule]


@pytest.mark.parametrize("fields", [{"dhcp": True}, {"addresses": []}])
def test_a_port_whose_addresses_nobody_knows_has_its_hardware_address(fields: dict[str, t.Any]) -> None:
    rules = chain(firewall.ruleset([record(port(kind="bridge", **fields))]), "uport")
    assert rules[0] == f"ether saddr != {MAC} drop"
    assert rules[1] == "ether type != { arp, ip, ip6 } drop"
    assert rules[2:] == [
        "jump roles",
        f"ether type arp arp saddr ether != {MAC} drop",
        "ether type ip6 goto pieces",
        "accept",
    ]


def test_a_bridge_of_the_administrators_has_no_rules_of_a_zone() -> None:
    text = firewall.ruleset([record(port(kind="bridge", device="br0"))])
    assert "table bridge unshare {" in text
    assert re.findall("chain (?!made_)(.*) {", text) == ["roles", "pieces", "uport", "from_ports", "early"]
    assert " ct " not in text  # by which the host would begin to keep track of all connections


@pytest.mark.parametrize("kind", ["zone", "bridge"])
def test_what_comes_to_the_host_by_a_port_itself_is_dropped(kind: str) -> None:
    rules = chain(firewall.ruleset([record(port(kind=kind))]), "early")
    assert rules[1] == "iifname vmap @ends"
    assert 'elements = { "uport" : drop }' in firewall.ruleset([record(port(kind=kind))])


def test_where_bridges_are_tracked_their_ports_have_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = [record(port(kind="bridge", device="br0", mac=mac)) for mac in (MAC, "02:00:00:00:00:02")]
    text = firewall.ruleset(ports, 7, bridged=True)
    for hook in ("input", "forward"):
        _head, rule = chain(text, f"counted_{hook}")
        assert rule.startswith(f'iifname "br0" ether saddr {{ {MAC}, 02:00:00:00:00:02 }} ct state new ')
        assert rule.endswith("add @stations { ether saddr ct count over 7 } drop")
    assert "stations" not in firewall.ruleset([record()], 7, bridged=True)
    for tables in ("iptables", "ip6tables", ""):
        monkeypatch.setattr(firewall, "setting", lambda name, on=tables: "1" if on and name.endswith(f"-{on}") else "0")
        assert firewall.tracks_bridges() == bool(tables)


def test_the_host_is_no_way_between_neighbours_but_by_a_published_port() -> None:
    rules = chain(firewall.ruleset([record()]), "between")
    both = 'iifname "ubridge" oifname "ubridge"'
    order = ["ct status dnat accept", f"{both} ether daddr 02:00:00:00:00:ff drop", f"{both} accept"]
    assert [rule for rule in rules if rule in order] == order


def test_a_port_of_the_loopback_is_published_for_the_host_alone() -> None:
    text = firewall.ruleset([record(ports=[{"port": 80, "target": 80, "address": "127.0.0.1"}])])
    assert chain(text, "leads_prerouting")[1:] == [
        "ip daddr 127.0.0.0/8 return",
        "ip6 daddr ::1 return",
        "fib daddr type local jump leads",
    ]
    assert chain(text, "leads_output")[1:] == ["fib daddr type local jump leads"]


def test_who_has_host_access_is_known_by_its_addresses() -> None:
    trusted = ["ip saddr { 10.80.0.2 } accept", "ip6 saddr { fd00::2 } accept"]
    for access in (False, True):
        rules = chain(firewall.ruleset([record(host_access=access)]), "from_container")
        assert [rule for rule in rules if rule in trusted] == (trusted if access else [])
        assert rules[-1] == firewall.REJECT


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


def test_n5_what_is_routed_reaches_its_own_published_port() -> None:
    rules = chain(firewall.ruleset([record(port(kind="routed", subnets=[]))]), "leaves")
    assert 'ip saddr { 10.80.0.2 } oifname "uport" ct status dnat masquerade' in rules
    assert 'ip6 saddr { fd00::2 } oifname "uport" ct status dnat masquerade' in rules
    assert len(rules) == 5  # a hook, and the loopback of both versions


def test_ports_lead_to_the_first_interface_with_an_address_of_the_version() -> None:
    six, both = port(kind="routed", addresses=["fd00:1::2/128"], host_name="usix"), port(host_name="uboth")
    targets = firewall.targets_of(record(port(kind="bridge"), six, both))
    assert {version: target.host_name for version, target in targets.items()} == {4: "uboth", 6: "usix"}
    assert firewall.targets_of(record(port(kind="bridge"))) == {}


def test_what_is_routed_has_its_own_addresses_alone() -> None:
    text = firewall.ruleset([record(port(kind="routed", addresses=["203.0.113.5/32"], subnets=[]))])
    rules = chain(text, "early")
    assert 'iifname "uport" ip saddr != { 203.0.113.5 } drop' in rules
    assert f'iifname "uport" ip6 saddr != {{ {link_local(MAC)}, :: }} drop' in rules


def test_equal_rules_have_equal_marks_and_others_have_others() -> None:
    one, same, other = (
        firewall_change.marks(firewall.ruleset(records))
        for records in ([record()], [record()], [record(host_access=True)])
    )
    assert one == same
    assert [*one] == ["bridge unshare", "inet unshare"]
    assert all(mark.startswith(firewall.MARK) for mark in one.values())
    assert not {*one.values()} & {*other.values()}
    assert firewall_change.marks(firewall.ruleset([])) == {}


def host_of_all_kinds() -> list[NetworkRecord]:
    """Return the records of a host whose containers have interfaces of every kind, and ports of every form."""
    web = port(mac="02:00:00:00:00:0a", host_name="uweb")
    two = {"parent": "two", "device": "ubridge2", "subnets": ["10.81.0.0/24"]}
    alone = port(host_name="ualone", mac="02:00:00:00:00:0b", addresses=["10.81.0.2/24"], **two)
    lan = port(kind="bridge", parent="br0", device="br0", subnets=[])
    lans = [
        {**lan, "host_name": "ulan", "mac": "02:00:00:00:00:0c", "addresses": ["192.0.2.30/24", "192.0.2.31/24"]},
        {**lan, "host_name": "uclient", "mac": "02:00:00:00:00:0d", "addresses": [], "dhcp": True},
    ]
    routed = port(
        kind="routed", parent="", device="", host_name="urouted", mac="02:00:00:00:00:0e", subnets=[],
        addresses=["203.0.113.5/32", "2001:db8:5::5/128"],
    )  # fmt: skip
    six = {**routed, "host_name": "usix", "mac": "02:00:00:00:00:0f", "addresses": ["2001:db8:5::6/128"]}
    device = port(kind="macvlan", parent="eth0", device="eth0", host_name="", subnets=[])
    published = [
        {"port": 80, "target": 8080},
        {"port": 53, "target": 53, "protocol": "udp", "address": "127.0.0.1"},
        {"port": 443, "target": 443, "address": "2001:db8::1"},
    ]
    return [
        NetworkRecord("web", {"interfaces": [web, lans[0]], "ports": published, "host_access": True}),
        NetworkRecord("alone", {"interfaces": [alone], "ports": [{"port": 81, "target": 80}]}),
        NetworkRecord("client", {"interfaces": [lans[1]], "ports": [{"port": 82, "target": 80}]}),
        NetworkRecord("routed", {"interfaces": [routed, device], "ports": [{"port": 83, "target": 80}]}),
        NetworkRecord("six", {"interfaces": [six], "host_access": True}),
    ]


def test_the_rules_of_a_host_with_containers_of_all_kinds() -> None:
    golden.check("ruleset.nft", firewall.ruleset(host_of_all_kinds(), 1000))


def test_nft_takes_the_rules() -> None:
    """As far as it reads them: the kernel is not asked, for that needs rights."""
    try:
        program = nft.nft_program()
    except LauncherError:
        pytest.skip("nft is missing here")
    command = [program, "--check", "--file", "-"]
    said = subprocess.run(
        command, input=firewall.ruleset(host_of_all_kinds()), capture_output=True, text=True, check=False
    )
    assert "syntax error" not in said.stderr


@pytest.mark.parametrize(
    ("setting", "flows"), [("", 4096), ("many", 4096), ("262144", 4096), ("65536", 4096), ("65520", 4095), ("160", 10)]
)
def test_a_container_has_a_part_of_the_connections_that_the_host_keeps(
    monkeypatch: pytest.MonkeyPatch, setting: str, flows: int
) -> None:
    monkeypatch.setattr(firewall, "setting", lambda name: setting if name == "netfilter/nf_conntrack_max" else "")
    assert firewall.flows_here() == flows
