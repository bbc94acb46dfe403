# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of resolv.conf(5) for a container with a network of its own (N7): of servers that work from inside."""

from __future__ import annotations

from _socket import error, inet_aton, inet_ntoa

from .addresses import contains, network_of
from .kinds import ContractError

# Of the host's loopback, by whatever name of that; and link-local ones, which are of a network of the host's alone, and
# named with an interface of it.
OF_HOST = ("127.0.0.0/8", "0.0.0.0/8", "::/127", "::ffff:0.0.0.0/104", "::ffff:127.0.0.0/104", "fe80::/10")
NONE = (
    "nameservers: the host asks only servers of its own loopback, or by link-local addresses, for names, which no "
    "container reaches: name others (nameservers)"
)


def with_servers(servers: list[str]) -> str:
    """Return the text with these servers alone."""
    return "".join("nameserver %s\n" % server for server in servers)


def has_servers(text: str) -> bool:
    """Return whether a text names a server."""
    return any(line.split()[:1] == ["nameserver"] for line in text.split("\n"))


def reached_from_inside(text: str) -> str:
    """Return the text without the servers that the host alone reaches, such as a stub of systemd-resolved."""
    return "".join(line + "\n" for line in text.split("\n") if line and not _is_of_host(line))


def _is_of_host(line: str) -> bool:
    words = line.split()
    if len(words) < 2 or words[0] != "nameserver":
        return False
    address = words[1].partition("%")[0]
    try:
        if ":" not in address:
            address = inet_ntoa(inet_aton(address))  # the C library takes 127.1 and 0 as well
        return any(contains(network_of(net), address) for net in OF_HOST)
    except (ContractError, error):
        return False
