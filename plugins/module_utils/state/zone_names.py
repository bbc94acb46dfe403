# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names that a container of a zone knows (N6): the text of its hosts(5).

It has what the declaration says, then the container itself, and each container of its zones as `NAME` and `NAME.ZONE`.
A name that the declaration has is the declaration's.
"""

from __future__ import annotations

from ..launcher import network_files
from ..launcher.network_records import ZONE
from ..launcher.paths import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..launcher.made_interfaces import MadeInterface
    from .network_record import NetworkRecord
WITHOUT_ADDRESS = "127.0.1.1"


def declared(system: str) -> str:
    """Return what a system's declaration says of hosts; the loopback's names where it says nothing.

    The line that gives the container's own names to the loopback is for one without an address.
    """
    text = read_text(system + "/root" + network_files.HOSTS) or network_files.LOCAL.decode()
    return "".join(line + "\n" for line in text.split("\n") if line and line.split()[:1] != [WITHOUT_ADDRESS])


class Neighbour:
    """What others of a zone know of one container there: its names, and its addresses."""

    def __init__(self, container: str, interface: MadeInterface) -> None:
        self.container = container
        self.zone: str = interface.parent
        self.names = [container, "%s.%s" % (container, self.zone)]
        self.addresses = interface.plain_addresses()
        self.folded = {name.lower() for name in self.names}
        self.whole = self._lines(self.names)

    def text(self, known: set[str]) -> str:
        """Return the lines for a container that knows some names, in lower case, already."""
        if known.isdisjoint(self.folded):
            return self.whole
        return self._lines([name for name in self.names if name.lower() not in known])

    def _lines(self, names: list[str]) -> str:
        return "".join("%s %s\n" % (address, " ".join(names)) for address in self.addresses if names)


class Neighbours:
    """What is known of the containers of this host in their zones: made once for the texts of all.

    Args:
        records: of the running containers.
    """

    def __init__(self, records: list[NetworkRecord]) -> None:
        self.entries: list[Neighbour] = []
        for record in sorted(records, key=lambda item: item.container):
            self.entries += [Neighbour(record.container, item) for item in record.interfaces if item.kind == ZONE]
        self._in_zone: dict[str, list[Neighbour]] = {}
        for entry in self.entries:
            self._in_zone.setdefault(entry.zone, []).append(entry)
        self._folded: set[str] = set().union(*(entry.folded for entry in self.entries))

    def lines_for(self, record: NetworkRecord, known: set[str]) -> list[str]:
        """Return the lines for a container that knows some names, in lower case, already."""
        zones = {interface.parent for interface in record.interfaces if interface.kind == ZONE}
        container = record.container
        if len(zones) == 1:
            entries = self._in_zone.get(next(iter(zones)), [])
        else:
            entries = [entry for entry in self.entries if entry.zone in zones]
        if known.isdisjoint(self._folded):  # a text for each of a thousand has a thousand lines
            return [entry.whole for entry in entries if entry.container != container]
        return [entry.text(known) for entry in entries if entry.container != container]


def hosts_of(record: NetworkRecord, neighbours: Neighbours) -> str:
    """Return the text for a container.

    Args:
        neighbours: the running containers of this host, itself included or not.
    """
    text = declared(record.system)
    known = _names_in(text)
    return text + "".join([*_own(record, known), *neighbours.lines_for(record, known)])


def _names_in(text: str) -> set[str]:
    found: set[str] = set()
    for line in text.split("\n"):
        found.update(word.lower() for word in line.partition("#")[0].split()[1:])
    return found


def _own(record: NetworkRecord, known: set[str]) -> list[str]:
    """Return the lines of a container's own names."""
    found = []
    for interface in record.interfaces:
        names = [record.host_name, record.host_name.partition(".")[0], record.container]
        if interface.kind == ZONE:
            names.append("%s.%s" % (record.container, interface.parent))
        names = [name for name in dict.fromkeys(names) if name.lower() not in known]
        for address in interface.plain_addresses() if names else []:
            found.append("%s %s\n" % (address, " ".join(names)))
    return found
