# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Golden outputs (see ..golden): a full server, each service type, and the words of each refusal."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.plugin_utils import boot_script, declared_containers
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import (
    containerization_report,
    containerized_operating_system,
    essential_services,
)
from ansible_collections.unshare.container.plugins.plugin_utils.registry import BUILT_IN
from ansible_collections.unshare.container.plugins.plugin_utils.service_types import REQUIRED, ServiceType
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files

from .. import golden

SERVICES = golden.read("services.yml")


def rendered(declared: t.Any, shared_network: bool = False, **arguments: t.Any) -> golden.System:
    """Return the system of a declared operating system."""
    derived = containerized_operating_system(declared, shared_network=shared_network, **arguments)
    return system_files(derived, shared_network=shared_network)


@pytest.mark.parametrize("shared", [False, True], ids=["private", "shared"])
def test_c13_a_server_is_derived(shared: bool) -> None:
    server = golden.read("server.yml")
    arguments = {**server["arguments"], "shared_network": shared}
    made = {
        "derived": containerized_operating_system(server["declared"], **arguments),
        "report": containerization_report(server["declared"], **arguments),
        "essential_services": essential_services(server["declared"], shared_network=shared),
    }
    golden.check(f"server-{'shared' if shared else 'private'}-derived.yml", golden.dump(made))


@pytest.mark.parametrize(
    ("name", "shared", "arguments"),
    [
        ("private", False, {"name": "www", "log": "persistent", "private_users": 0x70000000, "store": "/srv/tree/usr"}),
        ("shared", True, {"security": {"nesting": True, "no_new_privileges": True}}),
        ("other-init", False, {"init": {"argv": ["/bin/sh", "-c", "exec sleep 9"], "environment": {"A": "b"},
                                        "ready": "notify", "stop_signal": "SIGRTMIN+3"}}),
        ("zone", False, {"network": [{"zone": "web"}, {"bridge": "br0", "dhcp": True}]}),
        ("other-systemd", False, {"init": {"argv": ["/usr/bin/init"], "systemd": True}, "private_users": "identity"}),
    ],
)  # fmt: skip
def test_a_server_is_rendered(name: str, shared: bool, arguments: dict[str, t.Any]) -> None:
    server = golden.read("server.yml")
    deriving = {**server["arguments"], **{key: arguments[key] for key in ("network",) if key in arguments}}
    derived = containerized_operating_system(server["declared"], shared_network=shared, **deriving)
    made = system_files(derived, shared_network=shared, **arguments)
    base = None if name == "private" else rendered(server["declared"], **server["arguments"])
    golden.check(f"server-{name}.txt", golden.system_text(made, base))
    golden.check(f"server-{name}-boot.sh.txt", boot_script.boot_script(made))


def test_what_the_target_is_told_of_a_container() -> None:
    server = golden.read("server.yml")
    both = {"operating_system": server["declared"], **server["arguments"]}
    health = {"tcp": [{"port": 80}], "http": [{}], "commands": [{"argv": ["/bin/true"]}], "units": ["a.service"]}
    limits = {"memory_max": "1G", "cpu_quota": "150%"}
    zone = {"network": {"zone": "web"}, "ports": ["8080:80"], "nameservers": ["192.0.2.53"]}
    full = {**both, "enabled": True, "health": health, "limits": limits, "restart": "no", **zone}
    found = declared_containers.declared_containers({"bare": both, "full": full})
    told = {item.name: {"options": item.options, "report": declared_containers.report(item)} for item in found}
    golden.check("containers.yml", golden.dump(told))


def _told(kind: ServiceType) -> dict[str, t.Any]:
    names = {} if callable(kind.provision) else {"provision": list(kind.provision)}
    default = "required" if kind.default is REQUIRED else kind.default
    lists = {"units": list(kind.units), "packages": list(kind.packages), "programs": list(kind.programs)}
    told = {"description": kind.description, "bare_metal": kind.bare_metal, "network": kind.network, "default": default}
    return {key: value for key, value in {**told, **names, **lists}.items() if value}


def test_the_types_there_are() -> None:
    golden.check("types.yml", golden.dump({name: _told(kind) for name, kind in BUILT_IN.items()}))


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_type(name: str) -> None:
    base = rendered({"host_name": "a"})
    parts = []
    for value in SERVICES[name]:
        declared = {"host_name": "a", "services": [{"type": name, **({} if value is None else {"value": value})}]}
        given = golden.dump({"value": value}) if value is not None else "Without a value\n"
        parts.append(f"=== {given}\n{golden.system_text(rendered(declared), base)}")
    golden.check(f"services/{name}.txt", "\n".join(parts))


def test_every_type_that_runs_in_a_container_has_a_golden_output() -> None:
    runs = {name for name, kind in BUILT_IN.items() if not (kind.bare_metal or kind.essential)}
    # This one is dropped from every container (C3).
    assert set(SERVICES) == runs - {"static-networking"}


def test_c14_what_is_kept_of_a_machine() -> None:
    names = [name for name, kind in BUILT_IN.items() if kind.bare_metal and not kind.essential]
    declared = {"host_name": "a", "services": [{"type": name} for name in names]}
    golden.check("kept.txt", golden.system_text(rendered(declared, keep_services=names), rendered({"host_name": "a"})))
