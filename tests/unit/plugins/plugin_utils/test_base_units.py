# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The units of the base system are what they are, whatever is declared for all units of a type."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.contract import File
from ansible_collections.unshare.container.plugins.module_utils.state.declared_units import DeclaredUnits
from ansible_collections.unshare.container.plugins.plugin_utils import base_units
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import containerized_operating_system
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files

UNITS = "/etc/systemd/system/"
OWN = {"type": "unit", "value": {"name": "a", "command": "/bin/a", "socket": {"ListenStream": "/run/a"}}}


def rendered(drop_ins: dict[str, str], **arguments: t.Any) -> dict[str, t.Any]:
    files = {f"systemd/system/{path}": {"content": text} for path, text in drop_ins.items()}
    added = {"type": "simple", "value": {"target": "etc", "value": files}}
    declared = {"host_name": "web", "services": [OWN, added]}
    return t.cast("dict[str, t.Any]", system_files(containerized_operating_system(declared), **arguments)["files"])


def declared_units(files: dict[str, t.Any]) -> DeclaredUnits:
    records = {path: File(link=entry.get("link")) for path, entry in files.items()}
    return DeclaredUnits(records, lambda path: str(files[path].get("content", "")).encode())


TYPES = {
    "service": ("a.service", ("unshare-reboot.service", "systemd-journald.service", "systemd-journald@x.service")),
    "socket": ("a.socket", ("systemd-journald.socket", "systemd-journald-dev-log.socket")),
    "target": ("b.target", ("multi-user.target", "sysinit.target", "shutdown.target")),
    "slice": ("b.slice", ("user.slice",)),
}


@pytest.mark.parametrize("kind", TYPES)
def test_a_drop_in_of_a_type_counts_for_what_is_declared_alone(kind: str) -> None:
    declared, own = TYPES[kind]
    found = declared_units(rendered({f"{kind}.d/x.conf": "[Unit]\nAfter=x.service\n"}))
    change = ("Unit", "After", "x.service")
    assert change in found.settings(declared)
    for unit in own:
        assert change not in found.settings(unit), unit


def test_the_prefix_of_a_name_that_nobody_has_declared_is_one() -> None:
    found = declared_units(rendered({"unshare-.service.d/x.conf": "[Service]\nRestart=always\n"}))
    assert ("Service", "Restart", "always") in found.settings("unshare-a.service")
    assert ("Service", "Restart", "always") not in found.settings(base_units.REBOOT_MARK)


def test_what_is_declared_for_such_a_unit_itself_counts() -> None:
    place = "systemd-journald.service.d/x.conf"
    given = {"service.d/x.conf": "[Service]\nNice=1\n", place: "[Service]\nNice=2\n"}
    files = rendered(given)
    assert files[UNITS + place]["content"] == given[place]
    assert ("Service", "Nice", "2") in declared_units(files).settings("systemd-journald.service")


@pytest.mark.parametrize("log", ["volatile", "persistent"])
def test_no_other_file_is_added(log: str) -> None:
    """No drop-in of a unit that is not there, and none without one of a type."""
    plain = rendered({"a.service.d/x.conf": "[Service]\nNice=1\n"}, log=log)
    found = rendered({"a.service.d/x.conf": "[Service]\nNice=1\n", "service.d/y.conf": "[Service]\nNice=1\n"}, log=log)
    added = set(found) - set(plain) - {UNITS + "service.d/y.conf"}
    assert {path.rpartition("/")[2] for path in added} == {"y.conf"}
    for path in added:
        assert path.rpartition(".d/")[0] in found
    assert (UNITS + "systemd-journal-flush.service.d/y.conf" in added) == (log == "persistent")


def test_another_init_gets_none() -> None:
    files = rendered({"service.d/x.conf": "[Service]\nNice=1\n"}, init={"argv": ["/bin/x"], "systemd": False})
    assert not [path for path in files if path.startswith(UNITS)]
