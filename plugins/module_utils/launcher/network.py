# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds of interfaces of a container's own network, in one table.

`wires` has what they have in common, and those that end on a bridge of the host's.
"""

from __future__ import annotations

import errno
import os
import time
from _socket import AF_INET, AF_INET6

from . import linux
from .errors import LauncherError
from .excursion import in_child
from .host_settings import distrust, has_ipv6
from .made_interfaces import DECLARED, MadeInterface
from .netlink import Netlink
from .network_records import (
    BRIDGE,
    IPVLAN,
    MACVLAN,
    MADE_NAME,
    MADE_NAME_BYTES,
    PHYSICAL,
    ROUTED,
    ZONE,
    Interface,
)
from .wires import DECIDED, LOOPBACK_METRIC, InZone, OnBridge, Wire, add_name, remove_link

OWN_NAMESPACE, FIRST_NAMESPACE = "/proc/self/ns/net", "/proc/1/ns/net"
UNKNOWN_KIND = (
    "network: {0}: the kernel of this host has no such interfaces: load or install its module {0} (on Ubuntu it may be "
    "in linux-modules-extra-…), or have the device be a port of a bridge, and say that (bridge)"
)
VIRTUAL = (
    "%s: is no device of the machine's but a virtual one (%s), which the kernel deletes when the container ends: make "
    "it again before the next start"
)
BACK_SECONDS = 5.0  # in which a device comes back: the kernel ends a network namespace in its own time


class Routed(Wire):
    """An interface whose other end is the host's alone: the host routes single addresses there."""

    def lost(self, host: Netlink) -> str:
        end = host.link(self.host_name)
        return "" if end is not None and end.up else self._lost_end(end)

    def rejoin(self, host: Netlink) -> bool:
        end = host.link(self.host_name)
        if end is not None:
            self._lead(host, end.index)
        return end is not None

    def check(self, host: Netlink) -> None:
        wanted = {address.partition("/")[0]: address for address in self.addresses}
        for index, there in host.addresses():
            address = wanted.get(there.partition("/")[0])
            name = host.name(index) if address is not None else None
            if name is not None:
                form = "network: routed: the address %s is one of the host's own (interface %s): choose another"
                raise LauncherError(form % (address, name))

    def connect(self, host: Netlink, namespace: int) -> None:
        remove_link(host, self.host_name)
        mtu = self.interface.mtu
        host.add_pair(self.host_name, self.interface.name, namespace, self.host_mac, self.mac, (mtu, mtu), 0)
        link = host.link(self.host_name)
        if link is None:
            raise LauncherError("network: the interface %s has vanished" % self.host_name)
        host.make_no_address(link.index)
        distrust(self.host_name)
        self.guard(host, link.index)
        add_name(host, link.index, self.other_name)
        self._lead(host, link.index)

    def _lead(self, host: Netlink, index: int) -> None:
        """Have the host's end lead to the container's addresses."""
        host.set_up(index)
        six = has_ipv6(self.host_name)  # somebody may have switched it off meanwhile
        for gateway in self.gateways:
            if six or ":" not in gateway:
                host.add_address(index, gateway + ("/64" if ":" in gateway else "/32"))
        for address in self.addresses:
            if six or ":" not in address:
                host.add_route(index, destination=address)
        if six:  # as for a zone's bridge
            host.add_local_route(index, "::1/128", LOOPBACK_METRIC + index)

    def lead_out(self, inside: Netlink, index: int) -> None:
        for gateway in self.gateways:
            if ":" not in gateway:  # it is in no network of the interface's
                inside.add_route(index, destination=gateway + "/32")
            inside.add_route(index, gateway=gateway)


class OnDevice(Wire):
    """An interface on a device of the host's, without an end on the host: the device's network sees it."""

    # Until it is configured: before Linux 6.15 the name of a new one must be no interface's of the host, either.
    first_name = ""

    def check(self, host: Netlink) -> None:
        self._refuse_unknown(host)
        self._needed(host)
        link = host.link(self.device)
        place = "network: %s: %s" % (self.interface.kind, self.device)
        if link is not None and link.master:
            form = "%s: is a part of another interface of the host (a bridge's port, or of a bond): name that"
            raise LauncherError(form % place)
        if link is not None and self.interface.mtu > link.mtu:
            form = "%s: its mtu is %d, and that of the container's interface is to be %d: choose a smaller one (mtu)"
            raise LauncherError(form % (place, link.mtu, self.interface.mtu))

    def connect(self, host: Netlink, namespace: int) -> None:
        interface = self.interface
        parent = self._needed(host)
        self.first_name = _unused_name()
        host.add_on_device(interface.kind, self.first_name, parent, namespace, self.mac, interface.mtu)

    def configure(self, inside: Netlink) -> None:
        link = inside.link(self.first_name)
        if link is not None:
            inside.set_name(link.index, self.interface.name)
        super().configure(inside)

    def _refuse_unknown(self, host: Netlink) -> None:
        """Refuse a kind that the kernel does not have. It is asked for one on no device, which it never makes."""
        here = os.open(OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            host.add_on_device(self.interface.kind, _unused_name(), 0, here, "", 0)
        except OSError as failure:
            if failure.errno == errno.EOPNOTSUPP:
                raise LauncherError(UNKNOWN_KIND.format(self.interface.kind)) from None
            if failure.errno != errno.ENODEV:
                raise
        finally:
            os.close(here)


class Physical(Wire):
    """A device of the host's, which is the container's while it runs.

    When the container's network namespace ends, the kernel moves the device to that of the machine's first process.
    """

    def check(self, host: Netlink) -> None:
        index = self._needed(host)
        link = host.link(self.device)
        place = "network: physical: %s" % self.device
        if link is None or link.name == "lo" or link.master or link.kind == "bridge":
            raise LauncherError("%s: is part of the host's own network, and cannot be moved: name another" % place)
        there = [address for number, address in host.addresses() if number == index and not address.startswith("fe80")]
        if there:
            raise LauncherError("%s: the host has the address %s there: take it away first" % (place, there[0]))
        self.mac, self.device_kind = link.permanent or link.mac, link.kind
        if link.kind not in ("", "can"):
            self.warning = VIRTUAL % (place, link.kind)

    def connect(self, host: Netlink, namespace: int) -> None:
        index = self._needed(host)
        host.set_down(index)
        if self.interface.mtu:
            host.set_mtu(index, self.interface.mtu)
        host.move(index, namespace, self.interface.name)

    def give_back(self, host: Netlink) -> None:
        if host.link(self.device) is not None:
            return
        home = os.open(OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            first = os.open(FIRST_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # a security module, or a namespace of users, shields that process
            first = os.dup(home)  # which is most probably the first one itself

        def work() -> None:
            linux.setns(first, linux.CLONE_NEWNET)
            fetch(self.mac, self.device_kind, self.device, home)

        try:
            in_child(work, BACK_SECONDS + 1, keep=(home, first))
        except (TimeoutError, LauncherError):
            pass  # somebody keeps the namespace, and the device with it; the container has ended all the same
        finally:
            os.close(home)
            os.close(first)


WIRES: dict[str, type[Wire]] = {
    ZONE: InZone,
    BRIDGE: OnBridge,
    ROUTED: Routed,
    MACVLAN: OnDevice,
    IPVLAN: OnDevice,
    PHYSICAL: Physical,
}
# The host's address for a container that is routed: the same everywhere, for nobody else is at that wire.
HOST_OF_ROUTED = {AF_INET: "169.254.1.1", AF_INET6: "fe80::1"}


def _unused_name() -> str:
    """Return a name that no interface has."""
    return MADE_NAME % os.urandom(MADE_NAME_BYTES).hex()


def fetch(mac: str, kind: str, name: str, home: int) -> None:
    """Move a device that comes to this network namespace on, once it is there; give it its name.

    Args:
        mac: the hardware address that its maker gave it, or else the one that it had.
        kind: what the kernel calls its kind: a bridge, or a VLAN, can have the address of a device.
        name: that it had.
        home: descriptor of the namespace from which it came; perhaps this one.
    """
    deadline = time.monotonic() + BACK_SECONDS
    with Netlink(events=True) as events, Netlink() as here:
        while True:
            for link in here.links():
                if ((link.permanent or link.mac), link.kind) == (mac, kind) and link.name != "lo":
                    here.set_down(link.index)
                    here.move(link.index, home, name)
                    return
            if not events.await_event(deadline - time.monotonic()):
                return


def wire_of(noted: MadeInterface) -> Wire:
    """Return the interface of a running container, from what `Wire.describe` has noted."""
    interface = Interface(**{name: getattr(noted, name) for name in DECLARED})
    return WIRES[interface.kind](interface, **{name: getattr(noted, name) for name in DECIDED})
