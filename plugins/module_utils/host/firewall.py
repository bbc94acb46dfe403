# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's packet filter for containers with a network of their own (N4, N5, N8, N11).

All rules are in two tables of nftables, `inet unshare` and `bridge unshare`, and follow from the records of all running
containers. When one comes or goes they change in one transaction (`firewall_change`), or are all made anew. Nothing
else of the host's rules is touched. What belongs to one container or port has a chain of its own, found by a map.
"""

from __future__ import annotations

import functools

from ..launcher.addresses import parse_address
from ..launcher.host_settings import setting
from ..launcher.made_interfaces import MadeInterface
from ..launcher.network_records import BRIDGE, ROUTED, ZONE
from ..launcher.wires import link_local
from ..state.zones import digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Container

    from ..launcher.network_records import Published
    from ..state.network_record import NetworkRecord

MARK = "made_"  # begins the name of an empty chain, which tells what a table was made of
TABLES = ("inet unshare", "bridge unshare")
# Connections that the host keeps track of for one address of a container: one of so many parts of all, and not more
# than some, for the kernel goes through them when there is a new one.
SHARE_OF_FLOWS = 16
MOST_FLOWS = 4096
EARLY = "type filter hook prerouting priority -300"
# What is published on the loopback is for the host alone: a machine beside it can send packets there as well.
NOT_OF_LOOPBACK = ["ip daddr 127.0.0.0/8 return", "ip6 daddr ::1 return"]
REJECT = "reject with icmpx type admin-prohibited"  # versions of nft(8) before 1.0 need the word `type`
# What is said between neighbours of IPv6, and about groups (RFC 4861, RFC 3810).
NEIGHBOURS = (
    "{ nd-neighbor-solicit, nd-neighbor-advert, mld-listener-query, mld-listener-report, mld2-listener-report }"
)

# What all ports have in common. Nobody else is a router, or gives addresses: a client of DHCP takes what comes to its
# own port, whatever port that is from. Neighbours say nothing in fragments (RFC 6980).
ROLES = "roles"
ROLE_RULES = [
    "icmp type { redirect, router-advertisement } drop",
    "icmpv6 type { nd-router-advert, nd-redirect, mld-listener-query } drop",
    "ip protocol igmp @th,0,8 0x11 drop",
    "udp sport { 67, 547 } drop",
    "udp dport { 68, 546 } drop",
    "exthdr frag exists icmpv6 type 133-137 drop",
]
# Packets of IPv6 that can be looked at: in one piece; and in fragments, of which the first one has what the rules look
# for (RFC 7112). Otherwise it could be put together to what is dropped here.
PIECES = "pieces"
PIECE_RULES = ["exthdr frag missing accept", "frag frag-off != 0 accept", "@th,0,64 != 0 accept", "drop"]


def ruleset(
    records: list[NetworkRecord],
    flows: int = MOST_FLOWS,
    bridged: bool = False,
    known: Container[str] = (),
) -> str:
    """Return the commands for nft(8) that make the tables of these containers, and remove what was there before.

    Args:
        flows: how many connections an address of a container may have that the host keeps track of.
        bridged: whether it keeps track of those that only cross a bridge, too (`tracks_bridges`).
        known: names of ports whose chains are left out, such as those that a change (`firewall_change`) leaves alone.
    """
    lines = []
    for table in TABLES:
        lines += ["table %s" % table, "delete table %s" % table]
    ports = [port for record in records for port in record.interfaces if port.kind in (ZONE, BRIDGE)]
    chains = [line for port in ports if port.host_name not in known for line in _port_chain(port)]
    inet = _inet_table(records, flows, bridged)
    # What a port's chain has follows from these. To make the chains of all ports takes far longer.
    told = [_port_form(), *["%s %s %s %s" % (port.host_name, port.mac, port.addresses, port.dhcp) for port in ports]]
    mark = _chain(MARK + digest(*told, *_bridge_table(ports, []), *inet).hex(), [])
    for line in _bridge_table(ports, chains) + inet:
        lines += [line, *mark] if line.startswith("table ") else [line]
    return "\n".join(lines) + "\n"


def _set(items: list[str]) -> str:
    return "{ %s }" % ", ".join(items)


def _one_of(items: list[str]) -> str:
    """Return a set, or the only thing that is in it: with that the kernel compares, and looks nothing up."""
    return items[0] if len(items) == 1 else _set(items)


def _plain(port: MadeInterface, version: int) -> list[str]:
    """Return the addresses of an interface of one version of the protocol, without prefix lengths."""
    return [item for item in port.plain_addresses() if (":" in item) == (version == 6)]


# Between the ports of a bridge: nobody is another one.


def _bridge_table(ports: list[MadeInterface], chains: list[str]) -> list[str]:
    """Return the lines of the table for some ports, given those of their chains."""
    if not ports:
        return []
    lines = ["table bridge unshare {", *_chain(ROLES, ROLE_RULES), *_chain(PIECES, PIECE_RULES), *chains]
    lines += _map("ports", "ifname", ['"%s" : goto %s' % (port.host_name, port.host_name) for port in ports])
    lines += _chain("from_ports", [EARLY, "iifname vmap @ports"])
    return [*lines, "}"]


def _chain(name: str, rules: list[str]) -> list[str]:
    if rules and rules[0].startswith("type "):
        rules = [rules[0] + "; policy accept;", *rules[1:]]
    return ["  chain %s {" % name, *["    " + rule for rule in rules], "  }"]


def _map(name: str, kind: str, elements: list[str]) -> list[str]:
    """Return the lines of a map from a kind of keys to chains."""
    lines = ["type %s : verdict" % kind] + (["elements = " + _set(elements)] if elements else [])
    return ["  map %s {" % name, *["    " + line for line in lines], "  }"]


def _port_chain(port: MadeInterface) -> list[str]:
    return _chain(port.host_name, _port_rules(port))


@functools.lru_cache(maxsize=None)
def _port_form() -> str:
    """Return what stands for the rules that this version makes for ports: another one may make others."""
    four, six, mac = "192.0.2.2/24", "2001:db8::2/64", "02:00:00:00:00:01"
    settled = [
        MadeInterface(kind=ZONE, name="", mac=mac, addresses=list(some)) for some in ([four, six], [four], [six])
    ]
    ports = [*settled, MadeInterface(kind=ZONE, name="", mac=mac, dhcp=True)]
    return "\n".join(line for port in ports for line in _port_chain(port))


def _port_rules(port: MadeInterface) -> list[str]:
    """Return what is let through of what comes from a container: that it says who it is, and no more."""
    mac = port.mac
    four = _plain(port, 4)
    six = [*_plain(port, 6), link_local(mac)]
    numbers = ["0x%032x" % parse_address(item)[1] for item in six]
    settled = port.addresses and not port.dhcp
    # A frame with the tag of a virtual LAN is of none of these kinds.
    rules = ["ether saddr != %s drop" % mac, "ether type != { arp, ip, ip6 } drop"]
    # Most of all that comes, which the other rules say nothing of.
    if settled:
        rules += ["ip saddr %s ip protocol tcp accept" % _one_of(four)] if four else []
        rules.append("ip6 saddr %s meta l4proto tcp goto %s" % (_set(six), PIECES))
    rules += ["jump %s" % ROLES, "ether type arp arp saddr ether != %s drop" % mac]
    if not settled:
        return [*rules, "ether type ip6 goto %s" % PIECES, "accept"]
    if four:
        # A sender of 0.0.0.0 asks whether an address is free, and nobody learns anything of it (RFC 5227).
        rules += ["arp operation request arp saddr ip 0.0.0.0 accept", "arp saddr ip %s accept" % _one_of(four)]
        rules += ["ip saddr %s accept" % _one_of(four)]
    return [
        *rules,
        "icmpv6 type nd-neighbor-advert @th,64,128 != %s drop" % _set(numbers),
        "ip6 saddr :: icmpv6 type mld2-listener-report accept",
        "ip6 saddr %s goto %s" % (_set(six), PIECES),
        "drop",
    ]


# Between a zone and all else.


def _zones(records: list[NetworkRecord]) -> dict[str, list[str]]:
    """Return the bridges of the zones that have containers, each with its subnets."""
    found: dict[str, list[str]] = {}
    for record in records:
        for port in record.interfaces:
            if port.kind == ZONE:
                found.setdefault(port.device, port.subnets)
    return found


def _quoted(names: list[str]) -> str:
    return _one_of(['"%s"' % name for name in names])


def _inet_table(records: list[NetworkRecord], flows: int, bridged: bool) -> list[str]:
    zones = _zones(records)
    interfaces = [port for record in records for port in record.interfaces]
    alone = [port for port in interfaces if port.kind == ROUTED]
    routed = [port.host_name for port in alone]
    inner = [*zones, *routed]
    lines = _stations([port for port in interfaces if port.kind == BRIDGE], flows) if bridged else []
    # A frame for bridges themselves comes to the host by the port, where no rule of the bridge is asked.
    ports = [port.host_name for port in interfaces if port.kind in (ZONE, BRIDGE)]
    by_port = ["iifname vmap @ends"] if ports else []
    lines += _map("ends", "ifname", ['"%s" : drop' % name for name in ports]) if ports else []
    if not inner:
        lines += _chain("early", [EARLY, *by_port]) if ports else []
        return ["table inet unshare {", *lines, "}"] if lines else []
    ours = _quoted(inner)
    stations = {port.device: port.host_mac for port in interfaces if port.kind == ZONE}
    for version in (4, 6):
        lines.append("  set flows%d { type ipv%d_addr; flags dynamic; size 65535; }" % (version, version))
    counted = "ct state new add @flows%d { %s saddr ct count over %d } drop"
    lines += _chain("counted", [counted % (4, "ip", flows), counted % (6, "ip6", flows)])
    # A bridge takes 127.0.0.1 when a port is published there: only in answers, of which the host knows (CVE-2020-8558).
    lines += _chain(
        "early",
        [
            EARLY,
            *by_port,
            "iifname != %s accept" % ours,
            "ip daddr 127.0.0.0/8 drop",
            "ip saddr 127.0.0.0/8 drop",
            "ip6 daddr ::1 drop",
            "ip6 saddr ::1 drop",
            *[rule for port in alone for rule in _own(port)],
        ],
    )
    lines += _chain("to_host", ["type filter hook input priority 0", "iifname %s jump from_container" % ours])
    lines += _chain("from_container", _host_rules(records))
    lines += _chain("between", _forward_rules(zones, routed, ours, stations))
    lines += _published(records)
    for hook, first in (("prerouting", NOT_OF_LOOPBACK), ("output", [])):
        head = "type nat hook %s priority -100" % hook
        lines += _chain("leads_" + hook, [head, *first, "fib daddr type local jump leads"])
    lines += _chain("leaves", ["type nat hook postrouting priority 100", *_masquerade(zones, alone)])
    return ["table inet unshare {", *lines, "}"]


def _stations(ports: list[MadeInterface], flows: int) -> list[str]:
    """Return the rules by which the host keeps track of no more than its part of what crosses a bridge of its own."""
    if not ports:
        return []
    counted = "iifname %s ether saddr %s ct state new add @stations { ether saddr ct count over %d } drop"
    bridges = _quoted([*dict.fromkeys(port.device for port in ports)])
    rule = counted % (bridges, _set([port.mac for port in ports]), flows)
    lines = ["  set stations { type ether_addr; flags dynamic; size 65535; }"]
    for hook in ("input", "forward"):
        lines += _chain("counted_" + hook, ["type filter hook %s priority 0" % hook, rule])
    return lines


def _own(port: MadeInterface) -> list[str]:
    """Return the rules by which nothing comes by a routed interface that is not its own."""
    six = [*_plain(port, 6), link_local(port.mac)]
    rules = ["icmp type { redirect, router-advertisement } drop", "icmpv6 type { nd-router-advert, nd-redirect } drop"]
    rules.append("ip6 saddr != %s drop" % _set([*six, "::"]))
    rules.append("ip saddr != %s drop" % _set(_plain(port, 4) or ["0.0.0.0"]))
    return ['iifname "%s" %s' % (port.host_name, rule) for rule in rules]


def _host_rules(records: list[NetworkRecord]) -> list[str]:
    rules = ["ct state established,related accept", "jump counted"]
    for version, word in ((4, "ip"), (6, "ip6")):
        trusted = [item for record in records if record.host_access for item in _all(record, version)]
        if trusted:
            rules.append("%s saddr %s accept" % (word, _set(trusted)))
    return [
        *rules,
        "icmp type echo-request accept",
        "icmpv6 type %s accept" % NEIGHBOURS,
        "icmpv6 type echo-request accept",
        "meta l4proto tcp reject with tcp reset",
        REJECT,
    ]


def _all(record: NetworkRecord, version: int) -> list[str]:
    return [item for port in record.interfaces if port.kind in (ZONE, ROUTED) for item in _plain(port, version)]


def _forward_rules(zones: dict[str, list[str]], routed: list[str], ours: str, stations: dict[str, str]) -> list[str]:
    rules = ["type filter hook forward priority 0", "ct state established,related accept"]
    rules += ["iifname %s jump counted" % ours, "ct status dnat accept"]
    for bridge in zones:
        # Neighbours reach each other without the host. It would look for each of a subnet's addresses, and its table of
        # neighbours, which is one for all its interfaces, has room for few.
        both = 'iifname "%s" oifname "%s"' % (bridge, bridge)
        rules.append("%s ether daddr %s drop" % (both, stations[bridge]))
        rules.append("%s accept" % both)  # where br_netfilter is on, what stays in a bridge comes by here
    if zones:
        bridges = _quoted([*zones])
        rules.append("iifname %s oifname %s %s" % (bridges, _quoted([*zones, *routed]), REJECT))
        rules.append("oifname %s %s" % (bridges, REJECT))
    return rules


def targets_of(record: NetworkRecord) -> dict[int, MadeInterface]:
    """Return the interface to which the ports of a container lead, for each version of the protocol that one has."""
    ports = [port for port in record.interfaces if port.kind in (ZONE, ROUTED)]
    found = {version: [port for port in ports if _plain(port, version)] for version in (4, 6)}
    return {version: having[0] for version, having in found.items() if having}


def _published(records: list[NetworkRecord]) -> list[str]:
    """Return the lines of the chain `leads`, and of one for each port of the host that is published."""
    chains: dict[str, list[str]] = {}
    elements: dict[str, list[str]] = {"tcp": [], "udp": []}
    for record in records:
        for version, interface in targets_of(record).items() if record.ports else ():
            target = _plain(interface, version)[0]
            for port in record.ports:
                rule = _lead(port, version, target)
                name = "%s_%d" % (port.protocol, port.port)
                if rule and name not in chains:
                    elements[port.protocol].append("%d : goto %s" % (port.port, name))
                if rule:
                    chains.setdefault(name, []).append(rule)
    lines = [line for name, rules in chains.items() for line in _chain(name, rules)]
    for protocol in elements:
        lines += _map(protocol + "_ports", "inet_service", elements[protocol])
    return lines + _chain("leads", ["%s dport vmap @%s_ports" % (protocol, protocol) for protocol in elements])


def _lead(port: Published, version: int, target: str) -> str | None:
    word = "ip" if version == 4 else "ip6"
    place = "meta nfproto ipv%d" % version
    if port.address:
        if port.version != version:
            return None
        place = "%s daddr %s" % (word, port.address)
    where = "[%s]:%d" % (target, port.target) if version == 6 else "%s:%d" % (target, port.target)
    return "%s %s dport %d dnat %s to %s" % (place, port.protocol, port.port, word, where)


def _masquerade(zones: dict[str, list[str]], routed: list[MadeInterface]) -> list[str]:
    rules = []
    for device, subnets in [*zones.items(), *[(port.host_name, []) for port in routed]]:
        # The loopback's addresses mean something else inside.
        rules.append('oifname "%s" ip saddr 127.0.0.0/8 masquerade' % device)
        rules.append('oifname "%s" ip6 saddr ::1 masquerade' % device)
        for subnet in subnets:
            word = "ip6" if ":" in subnet else "ip"
            rules.append('%s saddr %s oifname != "%s" masquerade' % (word, subnet, device))
            # A container that reaches another one of its zone by a published port: the answer has to come back by here.
            rules.append('%s saddr %s oifname "%s" ct status dnat masquerade' % (word, subnet, device))
    for port in routed:
        for version, word in ((4, "ip"), (6, "ip6")):
            own = _plain(port, version)  # as above, for one that reaches itself so
            form = '%s saddr %s oifname "%s" ct status dnat masquerade'
            rules += [form % (word, _set(own), port.host_name)] if own else []
    return rules


def flows_here() -> int:
    """Return how many connections an address of a container may have that the host keeps track of."""
    most = setting("netfilter/nf_conntrack_max")
    return min(MOST_FLOWS, int(most) // SHARE_OF_FLOWS) if most.isdigit() else MOST_FLOWS


def tracks_bridges() -> bool:
    """Return whether the host keeps track of connections that only cross one of its bridges (br_netfilter)."""
    return "1" in [setting("bridge/bridge-nf-call-" + tables) for tables in ("iptables", "ip6tables")]
