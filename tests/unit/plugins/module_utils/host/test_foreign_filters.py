# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Packet filters of others that drop what they do not know, and what their owners are told (N8)."""

from __future__ import annotations

import struct

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import foreign_filters
from ansible_collections.unshare.container.plugins.module_utils.host.foreign_filters import Chain
from ansible_collections.unshare.container.plugins.module_utils.launcher import netlink_socket


def listed(family: str, table: str, chain: str, hook: str = "forward", policy: str = "drop") -> str:
    return (
        f"table {family} {table} {{\n\tset some {{\n\t}}\n\tchain plain {{\n\t}}\n"
        f"\tchain {chain} {{\n\t\ttype filter hook {hook} priority filter; policy {policy};\n\t}}\n}}\n"
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (listed("ip", "filter", "FORWARD"), ["chain FORWARD of table ip filter"]),
        (listed("ip6", "filter", "FORWARD"), ["chain FORWARD of table ip6 filter"]),
        (listed("inet", "mine", "keep"), ["chain keep of table inet mine"]),
        (
            listed("inet", "firewalld", "filter_FORWARD", policy="accept"),
            ["chain filter_FORWARD of table inet firewalld"],
        ),
        (listed("inet", "mine", "keep", policy="accept"), []),
        (listed("inet", "mine", "keep", hook="input"), []),
        (listed("inet", "firewalld", "filter_INPUT", hook="input", policy="accept"), []),
        (listed("bridge", "mine", "keep"), []),
        (listed("arp", "mine", "keep"), []),
        (listed("inet", "unshare", "between"), []),
        ("", []),
        (listed("ip", "filter", "FORWARD") * 3, ["chain FORWARD of table ip filter"]),
        (
            listed("ip", "filter", "FORWARD") + listed("inet", "unshare", "between") + listed("ip6", "filter", "F"),
            ["chain FORWARD of table ip filter", "chain F of table ip6 filter"],
        ),
    ],
)
def test_who_drops_what_is_forwarded_is_found(text: str, found: list[str]) -> None:
    assert [str(chain) for chain in foreign_filters.dropping(text)] == found


@pytest.mark.parametrize(
    ("chain", "bridges", "who", "commands"),
    [
        (
            Chain("inet", "firewalld", "filter_FORWARD"),
            ["u1", "u2"],
            "chain filter_FORWARD of table inet firewalld",
            [
                "firewall-cmd --permanent --zone=trusted --add-interface=u1",
                "firewall-cmd --permanent --zone=trusted --add-interface=u2",
                "firewall-cmd --reload",
            ],
        ),
        (
            Chain("ip", "filter", "FORWARD"),
            ["u1", "u2"],
            "chain FORWARD of table ip filter",
            [
                "iptables -I FORWARD -i u1 -j ACCEPT",
                "iptables -I FORWARD -o u1 -j ACCEPT",
                "iptables -I FORWARD -i u2 -j ACCEPT",
                "iptables -I FORWARD -o u2 -j ACCEPT",
            ],
        ),
        (
            Chain("ip6", "filter", "FORWARD"),
            ["u1"],
            "chain FORWARD of table ip6 filter",
            ["ip6tables -I FORWARD -i u1 -j ACCEPT", "ip6tables -I FORWARD -o u1 -j ACCEPT"],
        ),
        (
            Chain("inet", "mine", "keep"),
            ["u1", "u2"],
            "chain keep of table inet mine",
            [
                'nft insert rule inet mine keep iifname { "u1", "u2" } accept',
                'nft insert rule inet mine keep oifname { "u1", "u2" } accept',
            ],
        ),
    ],
)
def test_its_owner_is_told_in_the_words_of_the_tool(
    chain: Chain, bridges: list[str], who: str, commands: list[str]
) -> None:
    assert foreign_filters.advice(chain, bridges) == (
        f"network: the host's own packet filter ({who}) drops what it does not know, and so what the host forwards for "
        f"containers: tell it, for instance by: {'; '.join(commands)}"
    )


def test_what_nft_is_asked() -> None:
    assert foreign_filters.QUESTION == "list chains"
    assert Chain("ip", "filter", "FORWARD").question == "list table ip filter"


@pytest.mark.parametrize(
    ("tables", "there"), [([], False), (["unshare", "unshare"], False), (["unshare", "filter"], True), (None, True)]
)
def test_tables_of_others_are_there(monkeypatch: pytest.MonkeyPatch, tables: list[str] | None, there: bool) -> None:
    def dump(_self: netlink_socket.NetlinkSocket, kind: int, _body: bytes) -> list[bytes]:
        assert kind == 0xA01
        if tables is None:
            raise PermissionError
        names = [name.encode() + b"\0" for name in tables]
        return [bytes(4) + struct.pack("=HH", len(name) + 4, 1) + name for name in names]

    monkeypatch.setattr(netlink_socket.NetlinkSocket, "dump", dump)
    assert foreign_filters.are_there() is there
