# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Containers with a network of their own on a host of the tests (`network_hosts`)."""

from __future__ import annotations

import contextlib
import json
import re
import typing as t
from pathlib import Path

from ansible_collections.unshare.container.plugins.module_utils.host.published import parse_nameservers, parse_ports
from ansible_collections.unshare.container.plugins.module_utils.launcher import network_options
from ansible_collections.unshare.container.plugins.module_utils.launcher.network_options import NetworkOptions
from ansible_collections.unshare.container.plugins.module_utils.life.healing import Healing
from ansible_collections.unshare.container.plugins.module_utils.state import library
from ansible_collections.unshare.container.plugins.module_utils.state.system_content import SystemContent
from ansible_collections.unshare.container.plugins.module_utils.state.systems import Systems
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout
from ansible_collections.unshare.container.plugins.plugin_utils.declared_containers import declared_containers, derive

from .conftest import INTERPRETER, Host, Machine, render_boot, write_system
from .network_hosts import ASK, ECHO, PYTHON, World, running


class Guest(Machine):
    """A container of a world's host, called by a prefix and its part in the test."""

    def __init__(self, prefix: str, world: World, part: str, *interfaces: dict[str, t.Any], **options: t.Any) -> None:
        name = f"{prefix}-{part}"
        network = {"interfaces": [{"name": f"eth{number}", **item} for number, item in enumerate(interfaces)]}
        network.update({key: options.pop(key) for key in ("host_access",) if key in options})
        self.held = {key: options.pop(key) for key in ("ports", "nameservers") if key in options}
        self.declared = {"host_name": name, **options.pop("declared", {})}
        self.options = {"network": network, **options}
        super().__init__(name, write_system(self.declared, name, **self.options))
        self.world = world
        self.deploy()

    def deploy(self) -> None:
        """Have what was declared be on the host, as a deployment does before it starts the container."""
        assert write_system(self.declared, self.name, **self.options) == self.system
        network_options.write(self.container.directory, NetworkOptions.read(self.held))

    def start(self, **arguments: t.Any) -> t.Any:
        with self.world.host.entered():
            return super().start(**arguments)

    def stop(self, timeout: float = 30.0) -> bool:
        with self.world.host.entered():
            return super().stop(timeout)

    def destroy(self) -> None:
        with self.world.host.entered():
            super().destroy()

    def noted(self) -> dict[str, t.Any]:
        """Return what is noted of its network."""
        found: dict[str, t.Any] = json.loads(Path("/run/unshare", self.name, "network.json").read_text())
        return found

    def addresses(self, number: int = 0) -> list[str]:
        """Return the addresses of an interface, that of IPv4 first."""
        return [item.partition("/")[0] for item in self.noted()["interfaces"][number]["addresses"]]

    def reaches(self, address: str) -> bool:
        """Return whether an echo comes back to it."""
        return self.run("ping", "-n", "-c1", "-W2", address).returncode == 0

    def ask(self, address: str, port: int, kind: str = "tcp", seconds: float = 3) -> str:
        """Return what the program `ECHO` says to it at an address."""
        return self.output(PYTHON, "-c", ASK, address, str(port), kind, str(seconds)).strip()

    def command(self, *words: str) -> list[str]:
        """Return the command that runs another one in it."""
        return [str(self.system / "enter-container"), "--", *words]

    def serving(self, *ports: int) -> t.ContextManager[t.TextIO]:
        """Run the program `ECHO` in it."""
        return running(self.command(PYTHON, "-c", ECHO, *map(str, ports)))


def zone(name: str, subnets: list[str] | None = None, **fields: t.Any) -> dict[str, t.Any]:
    """Return an interface in a zone."""
    return {"zone": {"name": name, "subnets": subnets} if subnets else name, **fields}


def state_of(world: World) -> set[str]:
    """Return what the host has of links, addresses, routes and rules, but for what comes with being a router."""
    commands = ("ip -o link", "ip -o addr", "ip route show table all", "ip -6 route show table all", "nft list ruleset")
    said = [world.host.output(*command.split()) for command in commands]
    lines = [re.sub(" tentative| state [A-Z]+", "", line) for text in said for line in text.splitlines()]
    lines = [re.sub(r"\{ (.*) \}", lambda found: str(sorted(found[1].split(", "))), line) for line in lines]
    return {
        line for line in lines if not line.startswith(("anycast ", "local fe80:", "fe80:")) and "ct count" not in line
    }


def heal(guest: Guest) -> tuple[list[str], list[str]]:
    """Do what a run does for a container that goes on running; what it lacked, and what was mended."""
    with guest.world.host.entered(), guest.container.lock(30):
        healing = Healing(guest.container)
        healing.look()
        lacked, mended = healing.stale, healing.heal(30)
        assert healing.warnings == []
        again = Healing(guest.container)
        again.look()
        assert again.stale == []
    return lacked, mended


@contextlib.contextmanager
def started(prefix: str, world: World, part: str, *interfaces: dict[str, t.Any], **options: t.Any) -> t.Iterator[Guest]:
    """Give a running container; afterwards the host is as before."""
    before = state_of(world)
    guest = Guest(prefix, world, part, *interfaces, **options)
    try:
        guest.start()
        yield guest
    finally:
        guest.destroy()
    assert state_of(world) ^ before == set()


@contextlib.contextmanager
def running_as_declared(name: str, world: World, options: dict[str, t.Any]) -> t.Iterator[Machine]:
    """Give a running container that is declared as in an inventory; afterwards it is gone.

    Args:
        name: of it, which no other file of tests has.
        options: of its entry in `containers`.
    """
    (declared,) = declared_containers({name: {"operating_system": {"host_name": "guide"}, **options}})
    system = derive(declared)
    Host.claim(name)
    content = SystemContent(system, render_boot(system), library.sources(), INTERPRETER, {}, name)
    machine = Machine(name, Systems(Layout()).write(content, None))
    kept = NetworkOptions(
        ports=parse_ports(declared.options["ports"]), nameservers=parse_nameservers(declared.options["nameservers"])
    )
    network_options.write(machine.container.directory, kept)
    with world.host.entered():
        try:
            machine.start()
            yield machine
        finally:
            machine.destroy()
