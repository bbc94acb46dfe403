# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of resolv.conf(5) for a container with a network of its own (N7): of servers that work from inside."""

from __future__ import annotations

from .addresses import contains, network_of
from .kinds import ContractError

LOOPBACKS = ("127.0.0.0/8", "::1/128")
NONE = (
    "nameservers: the host asks only servers of its own loopback for names, which no container reaches: name others "
    "(nameservers)"
)


def with_servers(servers: list[str]) -> str:
    """Return the text with these servers alone."""
    return "".join("nameserver %s\n" % server for server in servers)


def has_servers(text: str) -> bool:
    """Return whether a text names a server."""
    return any(line.split()[:1] == ["nameserver"] for line in text.split("\n"))


def without_loopback(text: str) -> str:
    """Return the text without the servers that are on the host's own loopback, such as a stub of systemd-resolved."""
    return "".join(line + "\n" for line in text.split("\n") if line and not _is_of_loopback(line))


def _is_of_loopback(line: str) -> bool:
    words = line.split()
    if len(words) < 2 or words[0] != "nameserver":
        return False
    try:
        return any(contains(network_of(net), words[1].partition("%")[0]) for net in LOOPBACKS)
    except ContractError:
        return False
