# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The part of a container's network that the host keeps beside its systems: published ports, and name servers.

A change of these is no reason to restart. The container has no part in that: it is the host that forwards, and that
writes the list of servers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterable

from ..host import claims, facts
from ..host.published import parse_nameservers, parse_ports
from ..launcher import network_options
from ..launcher.errors import LauncherError
from ..launcher.network_options import NetworkOptions
from ..state.network_record import NetworkRecord
from ..state.target import Layout, TargetError

if TYPE_CHECKING:
    from ..launcher.contract import Specification

NO_WAY = (
    "ports: the system of container %r has no network that the host forwards to: declare 'network: {zone: NAME}', or a "
    "routed interface, or leave 'ports' out"
)


class KeptNetwork:
    """The ports and name servers of one container. Those that are None stay as they are.

    :raises OptionError: naming the option.
    """

    def __init__(
        self, layout: Layout, name: str, container: Any, ports: list[Any] | None, nameservers: list[Any] | None
    ) -> None:
        self.layout = layout
        self.name = name
        self.container = container
        self.given: dict[str, Any] = {}
        if ports is not None:
            self.given["ports"] = parse_ports(ports)
        if nameservers is not None:
            self.given["nameservers"] = parse_nameservers(nameservers)

    def describe(self) -> dict[str, Any]:
        """Return those that were asked for, in the form that a diff shows."""
        return self._shown(self._kept() or NetworkOptions())

    def plan(self, state: str) -> dict[str, Any]:
        """Return what `describe` will return after `apply(state)`."""
        return self._shown(NetworkOptions() if state == "absent" else self.wanted())

    def would_change(self, state: str) -> bool:
        """Return whether `apply(state)` would change anything."""
        return state != "absent" and self.wanted() != self._kept()

    def is_behind(self) -> bool:
        """Return whether the container runs with other ports than those that are wanted, as after a failure."""
        if self.container.status().state != "running":
            return False
        record = NetworkRecord.read(self.name)
        return record is not None and record.ports != self.wanted().ports

    def apply(self, state: str) -> bool:
        """Keep what was asked for, before the container is started. Return whether anything changed."""
        changed = self.would_change(state)
        if changed:
            network_options.write(str(self.layout.container(self.name)), self.wanted())
        return changed

    def follow(self) -> list[str]:
        """Have a container that goes on running get what is kept for it now. Return warnings.

        :raises LauncherError: the host could not do that.
        """
        from . import networking  # much code, of which most runs need none

        return networking.follow(self.container)

    def facts(self) -> dict[str, list[str]]:
        """Return the addresses of a container that runs with interfaces, as a part of a module's result."""
        record = NetworkRecord.read(self.name)
        if record is None or self.container.status().state != "running":
            return {}
        return {"addresses": record.addresses()}

    def wanted(self) -> NetworkOptions:
        """Return what is kept for the container from now on."""
        kept = NetworkOptions() if len(self.given) == len(NetworkOptions.KINDS) else self._kept() or NetworkOptions()
        return kept.replacing(**self.given)

    def problems(self, specification: Specification | None) -> list[str]:
        """Return why the ports that were asked for lead nowhere in a system.

        :param specification: of the system that is to run; None where it is not known.
        """
        if not self.given.get("ports") or specification is None:
            return []
        network = specification.network
        return [] if network is not None and network.publishes else [NO_WAY % self.name]

    def conflicts(self, without: Iterable[str]) -> list[str]:
        """Return who has the ports already that are new; for a container that goes on running.

        :param without: containers that are to end in the same run, or to change.
        """
        former = (self._kept() or NetworkOptions()).ports
        wanted = self.wanted().ports
        new = [port for port, item in zip(claims.as_ports(wanted), wanted) if item not in former]
        return claims.publishing_conflicts(facts.HostFacts(self.layout.root), self.layout, self.name, new, without)

    def refuse(self, said: list[str]) -> None:
        """Raise TargetError when there is anything against it."""
        if said:
            raise TargetError(f"container {self.name!r} is left as it is: {'; '.join(said)}")

    def _kept(self) -> NetworkOptions | None:
        """Return what is kept; None for what cannot be read, and is to be written anew.

        :raises LauncherError: it cannot be read, and not all of it is given.
        """
        try:
            return network_options.read(str(self.layout.container(self.name)))
        except LauncherError:
            if len(self.given) < len(NetworkOptions.KINDS):
                raise
            return None

    def _shown(self, options: NetworkOptions) -> dict[str, Any]:
        shown = {"ports": [f"{port} to {port.target}" for port in options.ports], "nameservers": options.nameservers}
        return {name: list(shown[name]) for name in self.given}
