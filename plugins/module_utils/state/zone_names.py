# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names that the containers of a zone know each other by (N6), written where `launcher/neighbours` reads them.

The lines of a zone are in one file, whatever the number of containers, so that the start or the end of one changes that
file alone. A container's own text stays the same as long as it runs.
"""

from __future__ import annotations

import os

from ..launcher import neighbours, network_files
from ..launcher.network_records import ZONE
from ..launcher.paths import make_directory, read_text, remove_file, write_atomically

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .network_record import NetworkRecord
WITHOUT_ADDRESS = "127.0.1.1"


def zones_of(record: NetworkRecord) -> list[str]:
    """Return the keys of a container's zones: their names are those of one network namespace of the host."""
    return [_key(record, interface.parent) for interface in record.interfaces if interface.kind == ZONE]


def _key(record: NetworkRecord, zone: str) -> str:
    return "%d.%s" % (record.namespace, zone)


def lines_of(record: NetworkRecord) -> list[tuple[str, str]]:
    """Return each line that tells a container's zones of it, with the zone before."""
    found = []
    for interface in record.interfaces:
        if interface.kind == ZONE:
            names = "%s %s.%s" % (record.container, record.container, interface.parent)
            key = _key(record, interface.parent)
            found += [(key, "%s %s\n" % (item, names)) for item in interface.plain_addresses()]
    return found


def own_text(record: NetworkRecord) -> str:
    """Return what a container is told beside the lines of its zones: what is declared, then its own names."""
    text = _declared(record.system)
    known = neighbours.names_in(text)
    for interface in record.interfaces:
        names = [record.host_name, record.host_name.partition(".")[0], record.container]
        if interface.kind == ZONE:
            names.append("%s.%s" % (record.container, interface.parent))
        names = [name for name in dict.fromkeys(names) if name.lower() not in known]
        text += "".join("%s %s\n" % (item, " ".join(names)) for item in interface.plain_addresses() if names)
    return text


def _declared(system: str) -> str:
    """Return what a system's declaration says of hosts; the loopback's names where it says nothing.

    The line that gives the container's own names to the loopback is for one without an address.
    """
    text = read_text(system + "/root" + network_files.HOSTS) or network_files.LOCAL.decode()
    return "".join(line + "\n" for line in text.split("\n") if line and line.split()[:1] != [WITHOUT_ADDRESS])


def _own_files(record: NetworkRecord) -> dict[str, str]:
    """Return what a container's runtime directory has of its names, by path."""
    own_lines = "".join([zone + "\n" for zone in zones_of(record)] + ["%s %s" % item for item in lines_of(record)])
    found = {network_files.OWN[network_files.HOSTS]: own_text(record), neighbours.OWN_LINES: own_lines}
    return {os.path.join(record.directory, name): text for name, text in found.items()}


def _zone_files(zones: list[str], records: list[NetworkRecord]) -> dict[str, str]:
    """Return what the files of some zones are to have, by path; nothing where a zone has no container."""
    texts = dict.fromkeys(zones, "")
    for record in sorted(records, key=lambda item: item.container):
        for zone, line in lines_of(record):
            if zone in texts:
                texts[zone] += line
    return {os.path.join(neighbours.zone_directory(zone), neighbours.HOSTS): text for zone, text in texts.items()}


def is_told(record: NetworkRecord, records: list[NetworkRecord]) -> bool:
    """Return whether the files are right from which a container's names are made.

    Args:
        records: of all containers that run, or are being started.
    """
    wanted = {**_own_files(record), **_zone_files(zones_of(record), records)}
    return all(read_text(path) == text for path, text in wanted.items())


def write_own(record: NetworkRecord) -> None:
    """Write what a container's runtime directory has of its names."""
    for path, text in _own_files(record).items():
        if read_text(path) != text:
            write_atomically(path, text)


def write_zones(zones: list[str], records: list[NetworkRecord]) -> None:
    """Write the lines of some zones, where they are others. The caller holds the network's lock.

    Args:
        records: of all containers that run, or are being started.
    """
    for path, text in _zone_files(zones, records).items():
        if not text:
            _remove(os.path.dirname(path))
        elif read_text(path) != text:
            make_directory(os.path.dirname(path))
            write_atomically(path, text)


def untold(zones: list[str]) -> dict[str, str]:
    """Return those of some zones whose containers have not been told its lines, each with what is to be noted then."""
    found = {}
    for zone in dict.fromkeys(zones):
        directory = neighbours.zone_directory(zone)
        try:
            status = os.stat(os.path.join(directory, neighbours.HOSTS))
        except FileNotFoundError:
            continue
        identity = "%d %d" % (status.st_ino, status.st_mtime_ns)
        if read_text(os.path.join(directory, neighbours.TOLD)) != identity:
            found[zone] = identity
    return found


def note_told(zones: dict[str, str]) -> None:
    """Note that the containers of some zones have been told their lines, as `untold` has returned them."""
    for zone, identity in zones.items():
        try:
            path = os.path.join(neighbours.zone_directory(zone), neighbours.TOLD)
            write_atomically(path, identity, aside="%s.%d" % (path, os.getpid()))
        except FileNotFoundError:
            pass  # its last container has just ended


def _remove(directory: str) -> None:
    for name in (neighbours.HOSTS, neighbours.TOLD):
        remove_file(os.path.join(directory, name))
    try:
        os.rmdir(directory)
        os.rmdir(os.path.dirname(directory))
    except OSError:
        pass  # others are there, or something is noted at this moment
