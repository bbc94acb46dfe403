# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Interfaces on a device of the host: what the kernel has of them is asked before anything changes."""

from __future__ import annotations

import errno
import os
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import wires
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.network import OnDevice
from ansible_collections.unshare.container.plugins.module_utils.launcher.network_records import Interface

DEVICE = 2


class Link:
    """The one link of a namespace."""

    def __init__(self, name: str) -> None:
        self.index, self.name, self.master, self.mtu, self.kind = DEVICE, name, 0, 1500, ""


class Kernel:
    """A namespace that has a device `eth0`, of a kernel that refuses interfaces on no device with a code."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.names: list[str] = []

    def link(self, name: str) -> Link | None:
        return Link(name) if name == "eth0" else None

    def add_on_device(self, kind: str, name: str, parent: int, _namespace: int, _mac: str, _mtu: int) -> None:
        if not parent:
            raise OSError(self.code, os.strerror(self.code), f"add {kind} {name}")
        if self.link(name) is not None:
            raise FileExistsError(errno.EEXIST, "File exists", name)
        self.names.append(name)


class Inside:
    """The container's namespace, with one interface."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.addresses: list[str] = []

    def link(self, name: str) -> Link | None:
        return Link(name) if name == self.name else None

    def set_name(self, _index: int, name: str) -> None:
        self.name = name

    def set_up(self, _index: int) -> None:
        """Set it up."""

    def make_no_address(self, _index: int) -> None:
        """Keep it from making addresses."""

    def add_address(self, _index: int, address: str) -> None:
        self.addresses.append(address)


def wire(kind: str) -> OnDevice:
    return OnDevice(Interface(kind=kind, name="eth0", parent="eth0"), device="eth0", addresses=["192.0.2.5/24"])


@pytest.mark.parametrize("kind", ["macvlan", "ipvlan"])
def test_n2_a_kind_that_the_kernel_does_not_have_is_refused_before_anything_ends(kind: str) -> None:
    unknown: t.Any = Kernel(errno.EOPNOTSUPP)
    with pytest.raises(LauncherError, match=rf"^network: {kind}: the kernel .* install its module {kind} "):
        wire(kind).check(unknown)
    known: t.Any = Kernel(errno.ENODEV)
    wire(kind).check(known)
    assert known.names == []
    forbidden: t.Any = Kernel(errno.EPERM)
    with pytest.raises(PermissionError):
        wire(kind).check(forbidden)


def test_n2_its_name_inside_may_be_that_of_an_interface_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Linux 6.15 the kernel looks for the name of a new interface in the namespace of who makes it."""
    monkeypatch.setattr(wires, "set_setting", lambda _name, _value: True)
    made, host = wire("macvlan"), t.cast("t.Any", Kernel(errno.ENODEV))
    made.connect(host, -1)
    (name,) = host.names
    assert name != "eth0"
    assert len(name) < 16
    inside: t.Any = Inside(name)
    made.configure(inside)
    assert (inside.name, inside.addresses) == ("eth0", ["192.0.2.5/24"])
