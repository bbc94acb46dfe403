# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container's part of the host's network: made by its start, mended by a run, and removed when it has ended (N9).

All that changes a zone's bridge or the packet filter holds one lock, and looks at all containers of this network
namespace. The packet filter is loaded by a program that goes on while the container's root is built.
"""

from __future__ import annotations

import os

from ..host import foreign_filters, nft
from ..launcher import network_files, network_options, resolver
from ..launcher.contract import Mount
from ..launcher.errors import LauncherError
from ..launcher.netlink import Netlink
from ..launcher.network import wire_of
from ..launcher.network_records import ZONE
from ..launcher.paths import read_text, write_atomically
from ..launcher.targets import plain_path
from ..launcher.wires import remove_link, zones_of_bridge
from ..state import network_conflicts, zone_names, zones
from ..state.locks import NetworkLock
from ..state.network_record import NetworkRecord, own_namespace
from .host_ways import open_routed, open_ways
from .network_rules import Rules, living, warnings_of_filters
from .network_warnings import warnings_of_addresses, warnings_of_ports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..launcher.contract import Specification
    from ..launcher.network_records import Published
    from ..launcher.wires import Wire
    from ..state.record import RecordedContainer

ELSEWHERE = (
    "container %s: runs in another network namespace of the host, whose ports are not changed from here: restart it, "
    "or do this there"
)
TAKEN = "ports: %s is published for container %s already: choose another port, or another of the host's addresses"


class Networking:
    """The network of one container that is about to start.

    Args:
        container: that is locked.
        spec: of its system; it has a network.
        config: what is remembered of the container; gets the addresses that are allocated.

    Attributes:
        wires: its interfaces.
        warnings: what it goes without.

    Raises:
        LauncherError: the host cannot give what was declared. Nothing has changed then.
    """

    def __init__(
        self, container: RecordedContainer, system: str, spec: Specification, config: dict[str, object]
    ) -> None:
        self.container = container
        self.system = system
        self.spec = spec
        self.warnings: list[str] = []
        self.record: NetworkRecord | None = None
        self.rules: Rules | None = None
        self.chains: nft.Loading | None = None
        self.options = network_options.read(container.directory)
        with Netlink() as host:
            others = self._others()
            self.wires = decide(container.name, spec, config, host, others)
            self.warnings += [wire.warning for wire in self.wires if wire.warning]
            self.warnings += warnings_of_addresses(spec)
            self._refuse_taken(others, host)

    def _others(self) -> list[NetworkRecord]:
        """Return the other containers that run, or are being started."""
        return [record for record in living() if record.container != self.container.name]

    def _refuse_taken(self, others: list[NetworkRecord], host: Netlink) -> None:
        """Raise LauncherError when another container has what this one is to have."""
        network_conflicts.refuse_taken(self.wires, others, host)
        refuse_published(self.options.ports, others)

    def prepare(self) -> None:
        """Note what the container gets, make what it shares with others, and begin to load the packet filter."""
        record = self.record = NetworkRecord.make(self.spec, self.system, self.wires, self.options)
        with NetworkLock() as lock, Netlink() as host:
            others = self._others()
            self._refuse_taken(others, host)  # again, for another one may have begun meanwhile
            record.write()
            records = in_order([*others, record])
            if any(wire.host_name for wire in self.wires):
                self.rules = Rules(records, lock, others)
            for wire in self.wires:
                wire.prepare(host)
            remove_unused_bridges(host, records)
            write_servers(record, self.options.nameservers)
            zone_names.write_own(record)
            zone_names.write_zones(zone_names.zones_of(record), records)
            self.warnings += open_ways(records) + warnings_of_ports(record, host)
            if any(wire.interface.kind == ZONE for wire in self.wires) and foreign_filters.are_there():
                self.chains = nft.Loading(foreign_filters.QUESTION + "\n", lock.descriptor)

    def mounts(self) -> list[Mount]:
        """Return the mounts of the files with the names of its zones and the servers that it asks for others."""
        paths = [network_files.HOSTS]
        # A client of DHCP inside writes the other one.
        if self.options.nameservers or not any(wire.interface.dhcp for wire in self.wires):
            paths.append(network_files.RESOLVER)
        taken = {plain_path(mount.mount_point) for mount in self.spec.file_systems}
        taken |= {path for path, file in self.spec.files.items() if file.link is not None}
        declared = read_text(self.system + "/root" + network_files.RESOLVER)
        if resolver.has_servers(declared) and not self.options.nameservers:
            taken.add(network_files.RESOLVER)
        flags = ["bind-mount", "read-only"]
        return [Mount(device=path, mount_point=path, type="none", flags=flags) for path in paths if path not in taken]

    def finish(self) -> None:
        """Do what has to wait for the interfaces, and for the packet filter. Raise LauncherError without the latter."""
        if self.record is not None:
            self.warnings += open_routed(self.record)
        if self.rules is not None:
            self.rules.wait_loaded()
        if self.chains is not None:
            bridges = [wire.device for wire in self.wires if wire.interface.kind == ZONE]
            try:
                self.warnings += warnings_of_filters(self.chains.wait(), bridges)
            except LauncherError:
                pass  # others change them at this moment, and what is lacking is a warning at most

    def announce(self) -> list[str]:
        """Have the neighbours know the container, which runs, and others that have come meanwhile. Return warnings.

        Of many that start at once, the first one that tells the others of itself tells them of all.
        """
        if self.record is None:
            return []
        try:
            with NetworkLock():
                untold = zone_names.untold(zone_names.zones_of(self.record))
                records = without(self.record, living()) if untold else []
        except LauncherError as error:
            return ["network: the container's neighbours do not know its name yet: %s" % error]
        tell_neighbours(untold, [self.record, *records], self.record)
        return []

    def close(self) -> None:
        """Wait for what the start has left going on."""
        for loading in (self.rules, self.chains):
            try:
                if loading is not None:
                    loading.wait()
            except LauncherError:
                pass  # why the start failed is what is to be said


def refuse_published(ports: list[Published], others: list[NetworkRecord]) -> None:
    """Raise LauncherError when the host publishes one of some ports for another container."""
    for record in others:
        for port in ports:
            if any(port.meets(other) for other in record.ports):
                raise LauncherError(TAKEN % (port, record.container))


def decide(
    name: str, spec: Specification, config: dict[str, object], host: Netlink, others: list[NetworkRecord]
) -> list[Wire]:
    """Return the interfaces of a container, after a look at what the host has of what they need.

    Args:
        config: what is remembered of the container; gets the addresses that are allocated.
        others: the other containers that run, or are being started.

    Raises:
        LauncherError: the host cannot give what was declared.
    """
    if spec.network is None:
        raise LauncherError("container %s: has no network" % name)
    if spec.network.is_filtered:
        nft.nft_program()
    wires = zones.wire(name, spec.network, config, host, others)
    for wire in wires:
        wire.check(host)
    return wires


def in_order(records: list[NetworkRecord]) -> list[NetworkRecord]:
    """Return records as `living` has them: rules are compared as texts."""
    return sorted(records, key=lambda record: record.container)


def write_servers(record: NetworkRecord, servers: list[str]) -> None:
    """Write which servers a container asks for names; none for those of the host."""
    path = os.path.join(record.directory, network_files.OWN[network_files.RESOLVER])
    write_atomically(path, resolver.with_servers(servers))


def tell_neighbours(zones: dict[str, str], records: list[NetworkRecord], own: NetworkRecord | None = None) -> None:
    """Have the containers of some zones know each other's names, as far as nobody inside holds what they know.

    Args:
        zones: as `zone_names.untold` returns them.
        records: of all containers that run, or are being started.
        own: of the one that is told in any case: what it knows may be older than what all have been told, since others
            came while its file was made.
    """
    some = [one for one in records if one is own or not zones.keys().isdisjoint(zone_names.zones_of(one))]
    containers = [(record.directory, record.host_name) for record in some]
    try:
        network_files.refresh_several(containers, (network_files.HOSTS,))
        zone_names.note_told(zones)
    except OSError:
        pass  # there can be no further process just now, or /run is full; the next run for each does it


def without(record: NetworkRecord, records: list[NetworkRecord]) -> list[NetworkRecord]:
    """Return the records of the other containers."""
    return [other for other in records if other.container != record.container]


def release(name: str) -> None:
    """Remove what a container that has ended has of the host's network, and a zone's bridge with the last one."""
    record = NetworkRecord.read(name)
    if record is None:
        return
    with NetworkLock() as lock, Netlink() as host:
        records = without(record, living())
        rules = None
        try:
            rules = Rules(records, lock, in_order([*records, record]))  # beside what follows, for both wait long
        except (LauncherError, OSError):
            pass  # nft was removed, for instance
        try:
            for interface in record.interfaces:
                wire_of(interface).give_back(host)
            record.remove()
            remove_unused_bridges(host, records)
        finally:
            _settle(records, rules, lock)
        untold = {}
        if record.namespace != own_namespace():  # somebody else stops it, who knows of none that lives there
            records = without(record, NetworkRecord.all_in(record.namespace))
        try:
            zone_names.write_zones(zone_names.zones_of(record), records)
            untold = zone_names.untold(zone_names.zones_of(record))
        except OSError:
            pass  # a full /run
    tell_neighbours(untold, records)


def _settle(records: list[NetworkRecord], rules: Rules | None, lock: NetworkLock) -> None:
    """Have the host be set for the containers that are left, and wait until it has their rules.

    What cannot be done keeps nobody from stopping: the container has ended all the same, and rules lead nowhere.
    """
    try:
        open_ways(records)
    except OSError:
        pass
    try:
        if rules is not None:
            rules.wait(lock)
    except (LauncherError, OSError):
        pass


def remove_unused_bridges(host: Netlink, records: list[NetworkRecord]) -> None:
    """Remove the bridges of zones that have none of these containers, whoever has left them."""
    used = {interface.device for record in records for interface in record.interfaces}
    for link in host.bridges():
        if link.name not in used and link.name in map(zones.bridge_name, zones_of_bridge(link)):
            remove_link(host, link.name)


def follow(container: RecordedContainer) -> list[str]:
    """Give a running container the options that are kept for it now. Return warnings.

    Raises:
        LauncherError: its host has another network than this process, or publishes a port for another container.
    """
    with NetworkLock() as lock, Netlink() as host:
        record = NetworkRecord.read(container.name)
        if record is None:
            return []  # it has no network, or has just ended
        if record.namespace != own_namespace():
            raise LauncherError(ELSEWHERE % container.name)
        options = network_options.read(container.directory)
        former = living()
        refuse_published(options.ports, without(record, former))  # since it was asked, another one may have begun
        record.ports = options.ports
        record.write()
        write_servers(record, options.nameservers)
        records = living()
        warnings = open_ways(records) + warnings_of_ports(record, host)
        Rules(records, lock, former).wait(lock)
    network_files.refresh_several([(record.directory, record.host_name)])
    return warnings
