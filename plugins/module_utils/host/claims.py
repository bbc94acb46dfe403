# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Claims of others on what a container needs for itself: a directory that it writes to, a port of the host's network.

A port is wanted by who listens there, and by whom the host publishes it for.

Others are the containers of this host that run, or that its boot starts; of ports, everybody who listens. That is asked
before a container is started, and before the one of its name that runs is stopped for it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Callable, Iterable, NamedTuple

from ..launcher import network_options
from ..launcher.errors import LauncherError
from ..launcher.needs import Port
from ..launcher.paths import RUNTIME_UNIT_DIRECTORY, UNIT_DIRECTORY
from ..launcher.specification import Claims, read_claims
from ..state import mounted_sources, writers
from ..state.network_record import NetworkRecord, own_namespace
from ..state.record import RecordedContainer
from . import ports
from .systemd_units import WANTS, unit_of

if TYPE_CHECKING:
    from ..launcher.contract import Specification
    from ..launcher.network_records import Published
    from ..state.record import Status
    from ..state.target import Layout
    from .facts import HostFacts

    Recorded = Callable[[str], RecordedContainer]


class Other(NamedTuple):
    """Another container: what it has by its specification, and while it runs, itself and what it has mounted.

    `published`: the ports that the host publishes for it, in the form of those on which somebody listens.
    """

    name: str
    claims: Claims
    published: list[Port]
    runs: ports.Owner | None
    mounted: mounted_sources.Noted


def others(host: HostFacts, layout: Layout, name: str, recorded: Recorded) -> list[Other]:
    """Return the containers of this host that run or that its boot starts, but this one."""
    found = []
    for other in writers.names_beside(str(layout.containers), name):
        record = recorded(other)
        status = record.status()
        current = layout.current_system(other) if _starts_at_boot(host, other) else None
        system = status.system if status.state == "running" else current and str(current)
        if not system:
            continue
        try:
            read = read_claims(system)
        except LauncherError:
            continue  # damaged, which is for a run of its own to say
        owner = _owner(status)
        mounted = mounted_sources.mounted(mounted_sources.note(record.run_directory)) if owner else {}
        found.append(Other(other, read, _published(layout, other, read), owner, mounted))
    return found


def _published(layout: Layout, name: str, claims: Claims) -> list[Port]:
    """Return the ports that the host publishes for another container; none of one that runs on another host."""
    if claims.network is None or not claims.network.publishes:
        return []
    record = NetworkRecord.read(name)
    if record is not None and record.namespace != own_namespace():
        return []
    try:
        return as_ports(network_options.read(str(layout.container(name))).ports)
    except LauncherError:
        return []  # damaged, which is for a run of its own to say


def as_ports(published: Iterable[Published]) -> list[Port]:
    """Return ports that the host publishes in the form of those on which somebody listens."""
    return [
        Port(number=item.port, place=f"ports[{index}]", protocol=item.protocol, address=item.address)
        for index, item in enumerate(published)
    ]


def _owner(status: Status) -> ports.Owner | None:
    """Return a container of this status as an owner of sockets; None when it does not run."""
    if status.state != "running" or status.uid_base is None:
        return None
    return ports.Owner(range(status.uid_base, status.uid_base + status.uid_count), status.pid or 0)


def _starts_at_boot(host: HostFacts, name: str) -> bool:
    directories = (UNIT_DIRECTORY, RUNTIME_UNIT_DIRECTORY)
    return any(os.path.lexists(host.path(directory) / WANTS / unit_of(name)) for directory in directories)


def conflicts(
    host: HostFacts,
    layout: Layout,
    name: str,
    specification: Specification,
    without: Iterable[str] = (),
    published: Iterable[Published] = (),
    recorded: Recorded = RecordedContainer,
) -> list[str]:
    """Return what keeps a container from starting beside those that are there, one for each directory and port.

    :param without: containers that are to end in the same run, or to change.
    :param published: the ports that the host is to publish for it.
    """
    wanted = [*specification.ports, *as_ports(published)]
    looked = writers.SearchedHost(lambda path: str(host.path(path)))
    written = writers.writes(specification.file_systems, looked)
    if not written and not wanted:
        return []
    found = others(host, layout, name, recorded)
    staying = [other for other in found if other.name not in without]
    going = [_owner(recorded(name).status())] + [other.runs for other in found if other.name in without]
    return _directories(looked, written, staying) + _ports(host, wanted, staying, list(filter(None, going)))


def publishing_conflicts(
    host: HostFacts,
    layout: Layout,
    name: str,
    wanted: list[Port],
    without: Iterable[str] = (),
    recorded: Recorded = RecordedContainer,
) -> list[str]:
    """Return what keeps the host from publishing some ports for a container that goes on running, one for each."""
    staying = [other for other in others(host, layout, name, recorded) if other.name not in without] if wanted else []
    return _ports(host, wanted, staying, [])


def _directories(host: writers.SearchedHost, written: writers.Written, found: list[Other]) -> list[str]:
    theirs = [
        (
            other.name,
            "runs" if other.runs else "the host's boot starts",
            writers.by_words(other.claims.file_systems),
            other.mounted,
        )
        for other in (found if written else [])
    ]
    return writers.meetings(written, theirs, host)


def _ports(host: HostFacts, wanted: list[Port], found: list[Other], going: list[ports.Owner]) -> list[str]:
    said = []
    free = []
    for port in wanted:
        meeting = [
            (other, theirs)
            for other in found
            for theirs in [*other.claims.ports, *other.published]
            if ports.overlap(port, theirs)
        ]
        if meeting:
            other, theirs = meeting[0]
            said.append(
                f"{port.place}: port {port} of the host's network is that of container {other.name!r} "
                f"({theirs.place}): use another, or stop or remove that container first"
            )
        else:
            free.append(port)
    sockets = ports.listening(host) if free else []
    sockets = [socket for socket in sockets if ports.taken(free, [socket])]
    holders = ports.holders_of(host, sockets)
    sockets = [socket for socket in sockets if not any(who.has(host, socket, holders[socket]) for who in going)]
    for port, socket in ports.taken(free, sockets):
        having = [each.name for each in found if each.runs and each.runs.has(host, socket, holders[socket])]
        owner = f"container {having[0]!r}" if having else None
        whose = owner or ports.named(host, holders[socket]) or f"a program of the user {socket.uid}"
        said.append(
            f"{port.place}: port {port} of the host's network is taken by {whose}: use another, or end that first"
        )
    return said
