# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packet filters of the host's own that keep containers from what is beyond their zone (N8).

What one chain accepts, another may drop: a base chain of somebody else's that drops what it does not know has to be
told of a zone's bridge, by its owner's means. Nothing of it is changed here.
"""

from __future__ import annotations

from . import loaded_rules

QUESTION = "list chains"
"""The command that asks nft(8) for the chains of all tables. `dropping` reads the answer."""

OURS = "unshare"
FIREWALLD = "firewalld"
FORM = (
    "network: the host's own packet filter (%s) drops what it does not know, and so what the host forwards for "
    "containers: tell it, for instance by: %s"
)


def are_there() -> bool:
    """Return whether there are tables of others in this network namespace; also where the kernel does not say."""
    try:
        return bool(loaded_rules.tables() - {OURS})
    except OSError:
        return True


class Chain:
    """A base chain at the hook `forward`: the family and name of its table, and its own name."""

    def __init__(self, family: str, table: str, name: str) -> None:
        self.family = family
        self.table = table
        self.name = name

    def __str__(self) -> str:
        return "chain %s of table %s %s" % (self.name, self.family, self.table)

    @property
    def question(self) -> str:
        """Return what is asked of nft(8) to see whether the chain knows of a bridge."""
        return "list table %s %s" % (self.family, self.table)


def dropping(chains: str) -> list[Chain]:
    """Return the base chains of others that drop what they do not know, from the answer to `QUESTION`.

    firewalld's has another policy, and ends with a rule that rejects all. While others change the rules, nft(8) may
    list a chain several times; it is returned once.
    """
    found: dict[str, Chain] = {}
    family = table = name = ""
    for line in chains.split("\n"):
        words = line.split()
        if words[:1] == ["table"] and len(words) > 2:
            family, table = words[1], words[2]
        elif words[:1] == ["chain"]:
            name = words[1]
        elif "hook forward" in line and table != OURS and family in ("ip", "ip6", "inet"):
            chain = Chain(family, table, name)
            found.update({str(chain): chain} if "policy drop" in line or table == FIREWALLD else {})
    return list(found.values())


def advice(chain: Chain, bridges: list[str]) -> str:
    """Return the warning about a chain that knows nothing of some bridges, with the commands for it."""
    names = ", ".join('"%s"' % bridge for bridge in bridges)
    if chain.table == FIREWALLD:
        commands = ["firewall-cmd --permanent --zone=trusted --add-interface=%s" % bridge for bridge in bridges]
        commands.append("firewall-cmd --reload")
    elif chain.name == "FORWARD":  # of iptables, ufw, or Docker
        tool = "ip6tables" if chain.family == "ip6" else "iptables"
        commands = ["%s -I FORWARD -%s %s -j ACCEPT" % (tool, way, bridge) for bridge in bridges for way in "io"]
    else:
        place = "nft insert rule %s %s %s" % (chain.family, chain.table, chain.name)
        commands = ["%s %s { %s } accept" % (place, way, names) for way in ("iifname", "oifname")]
    return FORM % (chain, "; ".join(commands))
