# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The interfaces of a container's own network, made and configured before PID 1 runs (N3).

All is decided before the start (`Wire`); here it is done, in this order:

    check       what the host must have is looked for, before anything changes
    prepare     what several containers share: a zone's bridge, and the host's addresses on it
    connect     the interface, with one end in the container's network namespace
    configure   inside, from a socket that was opened there: addresses, routes, and the link set up

A container's network namespace belongs to its own user namespace. Nothing of its files is looked at here.
"""

from __future__ import annotations

import errno
import os
from _socket import AF_INET6

from . import port_guard
from .addresses import address_text, network_of
from .errors import LauncherError
from .host_settings import distrust, has_ipv6, set_setting
from .made_interfaces import DECLARED, MadeInterface
from .netlink import Netlink
from .network_records import BRIDGE, ZONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .links import Link
    from .network_records import Interface
    from .process import Process

# Of the route to ::1 by a zone's bridge: higher than that of the loopback itself, and no two are equal, for the kernel
# would take the second for the first.
LOOPBACK_METRIC = 4096
NAME_OF_ANOTHER = (
    "network: zone %s: its bridge is to be known as %s, which is a name of the host's interface %s: take it from that "
    "(ip link property del)"
)
BRIDGE_FULL = "network: %s %s: has 1,023 interfaces, and Linux gives a bridge no more: free one, or declare another %s"
LINK_LOCAL = 0xFE80 << 112
# What is decided for an interface on its host.
DECIDED = (
    "host_name",
    "other_name",
    "host_mac",
    "mac",
    "addresses",
    "gateways",
    "device",
    "device_kind",
    "subnets",
)


class Wire:
    """One interface of a container, with all that was decided for it on this host.

    Args:
        interface: as it was declared.
        host_name: of the host's end; empty where there is none.
        other_name: the alternative name of that.
        mac, host_mac: the hardware addresses inside and of the host's end; empty for those of the device.
        addresses, gateways: inside.
        device: of the host, that it is attached to: a bridge, or a parent.
        subnets: of its zone.
        device_kind: as `MadeInterface` has it.

    Attributes:
        warning: what is to be known about it, as far as it is known after `check`.
    """

    warning = ""

    def __init__(
        self,
        interface: Interface,
        host_name: str = "",
        other_name: str = "",
        mac: str = "",
        host_mac: str = "",
        addresses: list[str] | None = None,
        gateways: list[str] | None = None,
        device: str = "",
        subnets: list[str] | None = None,
        device_kind: str = "",
    ) -> None:
        self.interface = interface
        self.host_name = host_name
        self.other_name = other_name
        self.mac = mac
        self.host_mac = host_mac
        self.addresses = addresses or []
        self.gateways = gateways or []
        self.device = device
        self.subnets = subnets or []
        self.device_kind = device_kind

    def describe(self) -> MadeInterface:
        """Return what is noted of the interface while the container runs."""
        declared = {name: getattr(self.interface, name) for name in DECLARED}
        return MadeInterface(**declared, **{name: getattr(self, name) for name in DECIDED})

    def lost(self, host: Netlink) -> str:
        """Return what has become of the interface on the host while the container runs; empty when all is well."""
        return ""

    def rejoin(self, host: Netlink) -> bool:
        """Connect what is left of it on the host as before. Return whether anything is left."""
        return True

    def give_back(self, host: Netlink) -> None:
        """Remove what the container, which has ended, has left of it on the host."""
        if self.host_name:
            remove_link(host, self.host_name)

    def check(self, host: Netlink) -> None:
        """Look for what the interface needs on the host. Raise LauncherError."""

    def prepare(self, host: Netlink) -> None:
        """Make what it shares with other containers, or make it whole again."""

    def attach(self, process: Process) -> None:
        """Make the interface for the network namespace of a process. Raise LauncherError when that has ended."""
        namespace = os.open("/proc/%d/ns/net" % process.pid, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if process.wait(0):  # else its number may be another one's, and the namespace the host's
                raise LauncherError("network: the container has ended")
            with Netlink() as host:
                self.connect(host, namespace)
        finally:
            os.close(namespace)

    def set_inside(self) -> None:
        """Configure it, from within its network namespace."""
        with Netlink() as inside:
            self.configure(inside)

    def connect(self, host: Netlink, namespace: int) -> None:
        """Make the interface.

        Args:
            namespace: descriptor of the container's network namespace.
        """
        raise NotImplementedError

    def configure(self, inside: Netlink) -> None:
        """Give it its addresses and routes, and set it up."""
        link = inside.link(self.interface.name)
        if link is None:
            raise LauncherError("network: its interface %s has vanished" % self.interface.name)
        if self.settled:
            inside.make_no_address(link.index)
            set_setting("ipv6/conf/%s/accept_ra" % link.name, "0")
        # As systemd has it on machines. Clients of DHCP set it where it is not so, and inside nobody can.
        set_setting("ipv4/conf/%s/promote_secondaries" % link.name, "1")
        # When it is set up, it says which addresses are its own: another machine may have had them.
        set_setting("ipv4/conf/%s/arp_notify" % link.name, "1")
        set_setting("ipv6/conf/%s/ndisc_notify" % link.name, "1")
        for address in self.addresses:
            if ":" not in address:
                inside.add_address(link.index, address)
        inside.set_up(link.index)
        if self.settled and has_ipv6(link.name):
            inside.add_address(link.index, link_local(self.mac) + "/64")
        for address in self.addresses:
            if ":" in address:
                inside.add_address(link.index, address)
        self.lead_out(inside, link.index)

    def lead_out(self, inside: Netlink, index: int) -> None:
        """Make the routes by its gateways."""
        for gateway in self.gateways:
            inside.add_route(index, gateway=gateway)

    @property
    def settled(self) -> bool:
        """Return whether all of its addresses are known; otherwise somebody inside settles them."""
        return bool(self.mac and self.addresses and not self.interface.dhcp)

    def guard(self, host: Netlink, index: int) -> None:
        """Have nothing come in by the host's end that is not the container's, whatever becomes of the host's rules."""
        own = [*self.addresses, link_local(self.mac)] if self.settled else []
        try:
            host.guard(index, port_guard.guarding(self.mac, own))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EOPNOTSUPP, errno.EINVAL):
                raise  # else the kernel has no such filters, and the host's rules are all there is

    def _lost_end(self, end: Link | None) -> str:
        """Return what has become of the host's end, which is not there or is down."""
        return "its end on the host, %s, %s" % (self.host_name, "was deleted" if end is None else "is down")

    def _needed(self, host: Netlink, kind: str = "") -> int:
        """Return the number of the device that it is attached to.

        Raises:
            LauncherError: there is none, or it is of another kind.
        """
        link = host.link(self.device)
        place = "network: %s: %s" % (self.interface.kind, self.device)
        if link is None:
            raise LauncherError("%s: the host has no such interface: make it, or name another" % place)
        if kind and link.kind != kind:
            raise LauncherError("%s: is no %s but a %s: name another" % (place, kind, link.kind or "device"))
        self.device = link.name  # where another of its names was given
        return link.index


class OnBridge(Wire):
    """An interface whose other end is a port of a bridge of the administrator's."""

    def lost(self, host: Netlink) -> str:
        port, bridge = host.link(self.host_name), host.link(self.device)
        if port is None or not port.up:
            return self._lost_end(port)
        if bridge is None:
            return "the bridge %s was deleted" % self.device
        return "" if port.master == bridge.index else "is no port of the bridge %s any more" % self.device

    def rejoin(self, host: Netlink) -> bool:
        port = host.link(self.host_name)
        if port is None:
            return False
        host.set_master(port.index, self._needed(host, "bridge"))
        host.confine_port(port.index, self.mac)
        host.set_up(port.index)
        return True

    def check(self, host: Netlink) -> None:
        self._needed(host, "bridge")

    def connect(self, host: Netlink, namespace: int) -> None:
        remove_link(host, self.host_name)
        master = self._needed(host, "bridge")
        bridge = host.link(self.device)
        usual = bridge.mtu if bridge is not None else 0
        mtu = self.interface.mtu or usual
        # A bridge has the least mtu of its ports, and one of the administrator's keeps its own.
        own = max(mtu, usual) if self.interface.kind == BRIDGE else mtu
        name = self.interface.name
        try:
            host.add_pair(self.host_name, name, namespace, self.host_mac, self.mac, (own, mtu), master)
        except OSError as error:
            if error.errno != errno.EXFULL:
                raise
            place = "zone" if self.interface.kind == ZONE else "bridge"
            raise LauncherError(BRIDGE_FULL % (place, self.interface.parent, place)) from error
        link = host.link(self.host_name)
        if link is None:
            raise LauncherError("network: the interface %s has vanished" % self.host_name)
        host.make_no_address(link.index)
        host.confine_port(link.index, self.mac)
        self.guard(host, link.index)
        add_name(host, link.index, self.other_name)
        host.set_up(link.index)


class InZone(OnBridge):
    """An interface whose other end is a port of its zone's bridge, which comes and goes with the zone's containers."""

    def check(self, host: Netlink) -> None:
        """Look for nothing: its bridge is made, and looked at, when no others wait for their addresses any more."""

    def lost(self, host: Netlink) -> str:
        lost = super().lost(host)
        link = host.link(self.device)
        if lost or link is None:
            return lost
        if not link.up:
            return "the bridge %s is down" % self.device
        there = [address for index, address in host.addresses() if index == link.index]
        missing = [address for address in self._own() if address not in there]
        return "the bridge %s has lost the address %s" % (self.device, missing[0]) if missing else ""

    def prepare(self, host: Netlink) -> None:
        name = zone_name(self.interface.parent)
        link = host.link(self.device)
        if link is None or name not in link.others:
            for other in host.links():
                if name in (other.name, *other.others):
                    raise LauncherError(NAME_OF_ANOTHER % (self.interface.parent, name, other.name))
        if link is None:
            host.add_bridge(self.device, self.host_mac)
            link = host.link(self.device)
            if link is None:
                raise LauncherError("network: the bridge %s has vanished" % self.device)
        if link.kind != "bridge":
            raise LauncherError("network: zone %s: %s is no bridge: delete it" % (self.interface.parent, self.device))
        if not link.up:
            host.make_no_address(link.index)
            host.set_up(link.index)
        if name not in link.others:
            host.add_name(link.index, name)
        there = [address for index, address in host.addresses() if index == link.index]
        for own in self._own():
            if own not in there:
                host.add_address(link.index, own)
        # Without it the host asks for no neighbour there on behalf of another machine.
        own = link_local(self.host_mac) + "/64"
        if has_ipv6(self.device) and own not in there:
            host.add_address(link.index, own)
        distrust(self.device)
        # What comes for ::1 is looked up by the interface by which it comes. It is the answer to a published port.
        if has_ipv6(self.device):
            host.add_local_route(link.index, "::1/128", LOOPBACK_METRIC + link.index)

    def _own(self) -> list[str]:
        """Return the host's addresses on the bridge: none of IPv6 where somebody has switched that off meanwhile."""
        return [own for own in map(gateway_of, self.subnets) if ":" not in own or has_ipv6(self.device)]


def zone_name(zone: str) -> str:
    """Return the alternative name of a zone's bridge."""
    return "unshare-" + zone


def zones_of_bridge(link: Link) -> list[str]:
    """Return the zone whose bridge a link is by its alternative names, or none."""
    first = zone_name("")
    return [name[len(first) :] for name in link.others if link.kind == "bridge" and name.startswith(first)]


def gateway_of(subnet: str) -> str:
    """Return the host's address in a zone's subnet, with the length of its prefix: the first one."""
    family, value, length = network_of(subnet)
    return "%s/%d" % (address_text(family, value + 1), length)


def link_local(mac: str) -> str:
    """Return the address of IPv6 that an interface has by its hardware address (RFC 4291, appendix A)."""
    high, low = bytes.fromhex(mac.replace(":", "")[:6]), bytes.fromhex(mac.replace(":", "")[6:])
    identifier = bytes((high[0] ^ 2, *high[1:], 0xFF, 0xFE, *low))
    return address_text(AF_INET6, LINK_LOCAL | int.from_bytes(identifier, "big"))


def add_name(host: Netlink, index: int, name: str) -> None:
    """Give a link an alternative name, for people that look for it, unless another link has it."""
    try:
        host.add_name(index, name)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise


def remove_link(host: Netlink, name: str) -> bool:
    """Delete a link of the host, if it is there. Return whether it was."""
    link = host.link(name)
    if link is None:
        return False
    try:
        host.delete_link(link.index)
    except OSError as error:
        if error.errno != errno.ENODEV:  # else it has just gone with the container's namespace
            raise
    return True
