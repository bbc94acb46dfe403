# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each network of docs/networking.md, made as it stands there: the container has the interfaces that the page says."""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.unshare.container.plugins.plugin_utils.networks import read_network
from ansible_collections.unshare.container.tests import followed

from . import network_hosts
from .conftest import INTERPRETER, Machine
from .connection_hosts import ansible
from .network_guests import running_as_declared

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.timeout(300)]

NAME = "test-guide-network"
DEVICES = (
    "link add br0 type bridge",
    "link add eno1 type veth peer name other1",
    "link add eno2 type veth peer name other2",
    *(f"link set {name} up" for name in ("br0", "eno1", "other1", "other2")),
)
"""Those of the host that the page names, beside what it has."""


def is_known(world: network_hosts.World, kind: str) -> bool:
    """Return whether the kernel has interfaces of a kind, of those that not every kernel has."""
    if kind not in ("macvlan", "ipvlan"):
        return True
    done = world.host.run("ip", "link", "add", "link", "eno1", "name", "probe", "type", kind)
    return done.returncode == 0 and bool(world.host.output("ip", "link", "del", "probe") == "")


def addresses(machine: Machine) -> dict[str, set[str]]:
    """Return the addresses of each interface inside, those of links left out."""
    found = json.loads(machine.output("ip", "-j", "address"))
    return {
        entry["ifname"]: {
            f"{item['local']}/{item['prefixlen']}" for item in entry["addr_info"] if item["scope"] == "global"
        }
        for entry in found
    }


def says_addresses(world: network_hosts.World, play: list[dict[str, t.Any]], directory: Path) -> None:
    """Run a play of the page, which says what addresses the containers of a host have."""
    here = {"ansible_connection": "local", "ansible_python_interpreter": INTERPRETER}
    (directory / "hosts.json").write_text(json.dumps({play[0]["hosts"]: {"hosts": {"host": here}}}))
    (directory / "play.json").write_text(json.dumps(play))
    with running_as_declared(NAME, world, {"network": {"zone": "web"}}) as machine:
        found = addresses(machine)["eth0"]
        done = ansible("ansible-playbook", "-i", directory / "hosts.json", directory / "play.json", directory=directory)
        assert done.returncode == 0, done.stdout + done.stderr
        (said,) = re.findall(rf'"{NAME}": \[(.*?)\]', done.stdout, re.DOTALL)
        assert set(re.findall(r'"(.*?)"', said)) == {item.partition("/")[0] for item in found}


def test_the_networks_of_the_page(tmp_path: Path) -> None:
    with followed.Page("docs/networking.md", __file__) as page, network_hosts.world("guide") as world:
        world.host.ip(*DEVICES)
        for step in page.rest():
            if step.block.language == "text":
                continue  # a drawing
            given = yaml.safe_load(step.text)
            if isinstance(given, list):
                says_addresses(world, given, tmp_path)
                continue
            options = {key.removeprefix("system_container_"): value for key, value in given.items()}
            network = read_network(options["network"])
            if not all(is_known(world, item.kind) for item in network.interfaces):
                continue
            with running_as_declared(NAME, world, options) as machine:
                found = addresses(machine)
                if network.shared:
                    assert {"eno1", "br0"} <= set(found), step.block.place
                    continue
                assert set(found) == {"lo", *(item.name for item in network.interfaces)}, step.block.place
                for item in network.interfaces:
                    assert set(item.addresses) <= found[item.name], step.block.place
                    assert bool(found[item.name]) is (item.name not in network.for_clients), step.block.place
                servers = re.findall(r"^nameserver (\S+)$", machine.output("cat", "/etc/resolv.conf"), re.MULTILINE)
                if "nameservers" in options:
                    assert servers == options["nameservers"], step.block.place
