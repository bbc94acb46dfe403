# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ports of the host's network: which a container could not have, and who has them already."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import struct
import time
from typing import Iterable, NamedTuple

from ..launcher.needs import Port
from .facts import HostFacts

START = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
"""From which port on a socket needs no privilege of the network's owner; it holds for IPv6 as well."""

DEFAULT_START = 1024

HOSTS_IDS = 65536
"""Below this are the ids of the host's own users, which a container has whose ids are mapped to themselves."""

LOOK_SECONDS = 5.0
"""Time limit of the search for the processes that have some sockets, through the descriptors of all."""

GENERATIONS = 1000
"""The ancestors of a process that are looked at."""

TABLES = (("tcp", "tcp"), ("tcp6", "tcp"), ("udp", "udp"), ("udp6", "udp"))
STATES = {"tcp": "0A", "udp": "07"}
"""TCP_LISTEN; and TCP_CLOSE, in which a socket of UDP is that has no peer."""

LOW = (
    "{ports}: the root of a container has no privilege in the host's network, and cannot listen there below port "
    "{start}: give the container a network of its own, 'network: {{zone: NAME}}', and publish the port with 'ports'; "
    "or use a port from {start} on; or let everybody on this host have low ports: set its sysctl "
    "net.ipv4.ip_unprivileged_port_start to {least} or less"
)


class Listening(NamedTuple):
    """A socket of the host on which somebody listens; `uid` is whose it is, and `inode` its own number."""

    protocol: str
    address: str
    number: int
    uid: int
    inode: str


def overlap(one: Port, other: Port) -> bool:
    """Return whether two listeners would be in each other's way."""
    if (one.protocol, one.number) != (other.protocol, other.number):
        return False
    return _meet(one.address, other.address)


def _meet(one: str, other: str) -> bool:
    addresses = [_address(one), _address(other)]
    if "" in addresses or addresses[0] == addresses[1]:
        return True
    versions = [4 if "." in address else 6 for address in addresses]
    return versions[0] == versions[1] and any(address in ("0.0.0.0", "::") for address in addresses)


def is_of_host(address: str) -> bool:
    """Return whether nobody can listen on an address before the host has it: it is neither all nor the loopback's."""
    plain = _address(address)
    return plain not in ("", "0.0.0.0", "::", "::1") and not plain.startswith("127.")


def _address(text: str) -> str:
    """Return an address in its plain form; a name as it is, but for the one that is always known."""
    if text == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return text


def refused(host: HostFacts, ports: list[Port]) -> list[str]:
    """Return why a container cannot listen on some ports of the host's network, or nothing."""
    text = host.read(START).strip()
    start = int(text) if text.isdigit() else DEFAULT_START
    low = [port for port in ports if port.number < start]
    if not low:
        return []
    named = ", ".join(f"{port.place} (port {port.number})" for port in low)
    return [LOW.format(ports=named, start=start, least=min(port.number for port in low))]


def listening(host: HostFacts) -> list[Listening]:
    """Return who listens on the host's network."""
    found = []
    for table, protocol in TABLES:
        for line in host.read(f"/proc/net/{table}").splitlines()[1:]:
            fields = line.split()
            if (
                len(fields) < 10
                or fields[3] != STATES[protocol]
                or not re.fullmatch(r"[0-9A-F]+:[0-9A-F]{4}", fields[1])
            ):
                continue
            address, _colon, number = fields[1].partition(":")
            found.append(Listening(protocol, _decoded(address), int(number, 16), int(fields[7]), fields[9]))
    return found


def _decoded(text: str) -> str:
    """Return the address that the kernel shows as 32-bit numbers of its own byte order."""
    words = [int(text[index : index + 8], 16) for index in range(0, len(text), 8)]
    packed = struct.pack("=%dI" % len(words), *words)
    if len(words) == 1:
        return socket.inet_ntop(socket.AF_INET, packed)
    address = socket.inet_ntop(socket.AF_INET6, packed)
    # One that is open to all of IPv6 mostly takes what comes over IPv4, too; the table does not say.
    return "" if address == "::" else address


def holders_of(
    host: HostFacts, listeners: Iterable[Listening], seconds: float = LOOK_SECONDS
) -> dict[Listening, list[int]]:
    """Return the processes of the host that have each of some sockets; none where that is not to be seen.

    Those that have the ids of the host's own users come first, for a container may have very many descriptors.

    :param seconds: after which no further descriptor is looked at.
    """
    found: dict[Listening, list[int]] = {listener: [] for listener in listeners}
    wanted = {f"socket:[{listener.inode}]": holders for listener, holders in found.items()}
    deadline = time.monotonic() + seconds
    for pid in _processes(host, deadline) if found else []:
        try:
            with os.scandir(host.path(f"/proc/{pid}/fd")) as descriptors:
                for descriptor in descriptors:
                    if time.monotonic() > deadline:
                        return found
                    holders = wanted.get(_link(descriptor.path), [])
                    if pid not in holders:
                        holders.append(pid)
        except OSError:
            continue  # it has ended
    return found


def _processes(host: HostFacts, deadline: float) -> list[int]:
    """Return the processes of the host, those of its own users first; all are its own users' after the deadline."""

    def rank(pid: int) -> tuple[bool, int]:
        if time.monotonic() > deadline:
            return False, pid
        try:
            return os.stat(host.path(f"/proc/{pid}")).st_uid >= HOSTS_IDS, pid
        except OSError:
            return True, pid

    return sorted((int(name) for name in os.listdir(host.path("/proc")) if name.isdigit()), key=rank)


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""  # it was closed


def named(host: HostFacts, holders: list[int]) -> str | None:
    """Return the first of the processes that have a socket with its name; None where there is none."""
    return f"{host.read(f'/proc/{holders[0]}/comm').strip()} (PID {holders[0]})" if holders else None


class Owner(NamedTuple):
    """A running container as the owner of sockets: its ids on the host, and its first process."""

    ids: range
    pid: int

    def has(self, host: HostFacts, listener: Listening, holders: list[int]) -> bool:
        """Return whether a socket is one of the container's.

        Its ids are its own alone, unless they are those of the host as well: then only its processes tell.

        :param holders: the processes that have the socket.
        """
        if listener.uid not in self.ids:
            return False
        if self.ids.start >= HOSTS_IDS:
            return True
        return any(_is_descendant(host, pid, self.pid) for pid in holders)


def _is_descendant(host: HostFacts, pid: int, ancestor: int) -> bool:
    """Return whether a process is another one, or was made by that or by a child of it."""
    for _generation in range(GENERATIONS):
        if pid == ancestor:
            return True
        parent = re.search(r"^PPid:\t([0-9]+)$", host.read(f"/proc/{pid}/status"), re.MULTILINE)
        pid = int(parent.group(1)) if parent else 0
        if not pid:
            return False
    return False


def taken(ports: list[Port], sockets: list[Listening]) -> list[tuple[Port, Listening]]:
    """Return which ports somebody listens on already."""
    found = []
    for port in ports:
        for other in sockets:
            same = (other.protocol, other.number) == (port.protocol, port.number)
            if same and _meet(port.address, other.address):
                found.append((port, other))
                break
    return found
