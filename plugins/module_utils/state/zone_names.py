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
    from .network_record import NetworkRecord
WITHOUT_ADDRESS = "127.0.1.1"


def declared(system: str) -> str:
    """Return what a system's declaration says of hosts; the loopback's names where it says nothing.

    The line that gives the container's own names to the loopback is for one without an address.
    """
    text = read_text(system + "/root" + network_files.HOSTS) or network_files.LOCAL.decode()
    return "".join(line + "\n" for line in text.split("\n") if line and line.split()[:1] != [WITHOUT_ADDRESS])


def hosts_of(record: NetworkRecord, others: list[NetworkRecord]) -> str:
    """Return the text for a container.

    Args:
        others: the running containers of this host, itself included or not.
    """
    text = declared(record.system)
    known = _names_in(text)
    lines = _lines(record, record, known, own=True)
    zones = {interface.parent for interface in record.interfaces if interface.kind == ZONE}
    for other in sorted(others, key=lambda item: item.container):
        if other.container != record.container:
            lines += _lines(record, other, known, zones=zones)
    return text + "".join(lines)


def _names_in(text: str) -> set[str]:
    found: set[str] = set()
    for line in text.split("\n"):
        found.update(word.lower() for word in line.partition("#")[0].split()[1:])
    return found


def _lines(
    record: NetworkRecord,
    other: NetworkRecord,
    known: set[str],
    own: bool = False,
    zones: set[str] | None = None,
) -> list[str]:
    found = []
    for interface in other.interfaces:
        in_zone = interface.kind == ZONE and (own or interface.parent in (zones or set()))
        if not in_zone and not own:
            continue
        names = [other.container]
        if own:
            names = [record.host_name, record.host_name.partition(".")[0], record.container]
        if in_zone:
            names.append("%s.%s" % (other.container, interface.parent))
        names = [name for name in dict.fromkeys(names) if name.lower() not in known]
        for address in interface.plain_addresses() if names else []:
            found.append("%s %s\n" % (address, " ".join(names)))
    return found
