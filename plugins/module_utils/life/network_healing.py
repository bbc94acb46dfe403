# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mending of what a running container has lost of the host's network (N8, N9).

Others may have flushed the host's rules, set back that it forwards, or deleted a zone's bridge or the host's end of an
interface.
"""

from __future__ import annotations

from ..launcher import linux
from ..launcher.errors import LauncherError
from ..launcher.excursion import in_child
from ..launcher.netlink import Netlink
from ..launcher.network import wire_of
from ..launcher.wires import Wire
from ..state import zone_names
from ..state.locks import NetworkLock
from ..state.network_record import NetworkRecord, own_namespace
from ..state.record import RecordedContainer
from . import host_ways, network_rules, networking

RULES = "network: the host's packet filter has lost the rules of containers"
WAYS = "network: somebody has changed what the host needs for containers: %s"
NAMES = "network: the names of containers in its zones are not up to date"
SECONDS = 5.0  # in which an interface is configured inside


def mend(container: RecordedContainer) -> None:
    """Mend what a running container has lost of the host's network. The caller holds its lock."""
    healing = NetworkHealing(container)
    healing.look()
    healing.heal()


class NetworkHealing:
    """The network of one running container, compared with what the host has now. To be used with its lock held."""

    def __init__(self, container: RecordedContainer) -> None:
        self.container = container
        self.broken: list[tuple[Wire, str]] = []
        self.rules = False
        self.ways: list[str] = []
        self.names = False

    def look(self) -> list[str]:
        """Return what it lacks, a line each; nothing is changed."""
        record = NetworkRecord.read(self.container.name)
        if record is None or record.namespace != own_namespace():
            return []
        with NetworkLock(), Netlink() as host:
            for interface in record.interfaces:
                wire = wire_of(interface)
                lost = wire.lost(host)
                if lost:
                    self.broken.append((wire, lost))
            records = network_rules.living()
            if record.container not in [other.container for other in records]:
                records.append(record)  # its end on the host is what was deleted
            # One that has ended a moment ago may still be in what was loaded last.
            self.rules = not (network_rules.has_rules(records) or network_rules.has_rules(NetworkRecord.all_here()))
            self.ways = host_ways.closed_ways(record, records)
            self.names = not zone_names.is_told(record, records)
        found = ["network: %s: %s" % (wire.interface.name, lost) for wire, lost in self.broken]
        found += [RULES] if self.rules else []
        found += [WAYS % ", ".join(self.ways)] if self.ways else []
        return found + ([NAMES] if self.names else [])

    def heal(self) -> list[str]:
        """Mend what `look` has found; return what was mended, a line each.

        Raises:
            LauncherError, OSError: something could not be mended.
        """
        if not self.broken and not self.rules and not self.ways:
            return self._heal_names()
        healed = []
        with NetworkLock() as lock, Netlink() as host:
            for wire, _lost in self.broken:
                wire.prepare(host)
                if not wire.rejoin(host):
                    self._connect(wire, host)
                healed.append("network: %s: is connected again" % wire.interface.name)
            records = network_rules.living()
            host_ways.open_ways(records)
            if self.broken or self.rules:
                network_rules.Rules(records, lock).wait()
        if self.rules:
            healed.append("network: the rules of containers are loaded again")
        if self.ways:
            healed.append("network: the host is set for containers again: %s" % ", ".join(self.ways))
        return healed + self._heal_names()

    def _heal_names(self) -> list[str]:
        """Have the container and its neighbours know each other."""
        record = NetworkRecord.read(self.container.name)
        if not self.names or record is None:
            return []
        with NetworkLock():
            records = network_rules.living()
            zones = zone_names.zones_of(record)
            zone_names.write_own(record)
            zone_names.write_zones(zones, records)
            untold = zone_names.untold(zones)
        networking.tell_neighbours(untold, [record, *networking.without(record, records)], record)
        return ["network: the names in its zones are up to date"]

    def _connect(self, wire: Wire, host: Netlink) -> None:
        """Make an interface anew; a child configures it, in the container's network namespace."""
        process = self.container.process()
        if process is None:
            return  # it has just ended
        try:
            wire.attach(process)

            def configure() -> None:
                linux.setns(process.descriptor, linux.CLONE_NEWNET)
                wire.set_inside()

            in_child(configure, SECONDS, keep=(process.descriptor,))
        except BaseException as error:
            wire.give_back(host)  # half of it would be taken for the whole by the next look
            if isinstance(error, TimeoutError):
                raise LauncherError("network: %s: was not configured in time" % wire.interface.name) from None
            raise
        finally:
            process.close()
