# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Units that a health names and the system does not have, found on the controller and on the host before a start."""

from __future__ import annotations

import json
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.filter.container_record import container_record
from ansible_collections.unshare.container.plugins.module_utils.host import claims, health_units, preflight
from ansible_collections.unshare.container.plugins.module_utils.life import examination, one_container
from ansible_collections.unshare.container.plugins.module_utils.life.one_container import OneContainer
from ansible_collections.unshare.container.plugins.module_utils.state.declared_units import UNIT_PLACES
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError
from ansible_collections.unshare.container.plugins.modules.containers import options_of
from ansible_collections.unshare.container.plugins.plugin_utils.declared_containers import (
    DerivedSystems,
    declared_containers,
    refuse_unknown_units,
)
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError

from ..specifications import SMALL
from ..target_helpers import FakeContainer

MACHINE: dict[str, t.Any] = {
    "host_name": "web",
    "services": [
        {"type": "nginx", "value": {"servers": [{"root": "/srv/www"}]}},
        {"type": "unit", "value": {"name": "sync", "command": "/usr/bin/true"}},
        {"type": "unit", "value": {"name": "job@", "command": "/usr/bin/true"}},
    ],
}
ACTIVATION = {"type": "simple", "value": {"target": "activation", "value": ["cp /x /etc/systemd/system/"]}}
THERE = """
nginx.service nginx sync.service multi-user.target network-online.target job@one.service job@two
systemd-journald.socket user.slice srv-www.mount dev-sda.device /srv/www nginx* session-1.scope
""".split()
"""Units that the machine has, or of which a file says nothing."""

NOT_THERE = {
    "ngnix.service": "did you mean 'nginx.service'?",
    "nginx.servce": "no unit 'nginx.servce.service'",
    "snyc": "did you mean 'sync.service'?",
    "postgresql.service": "no unit 'postgresql.service'",
    "other@one.service": "no unit 'other@one.service'",
    "cron.timer": "no unit 'cron.timer'",
    "graphical.target": "no unit 'graphical.target'",
}


def entry(units: list[str], **more: t.Any) -> dict[str, t.Any]:
    return {"operating_system": MACHINE, "health": {"units": units}, **more}


def refused(directory: Path, given: dict[str, t.Any]) -> str:
    with pytest.raises(DeclarationError) as error:
        refuse_unknown_units(declared_containers({"web": given}), DerivedSystems(str(directory)))
    return str(error.value)


@pytest.mark.parametrize("unit", NOT_THERE)
def test_an_undeclared_unit_is_found_on_the_controller(tmp_path: Path, unit: str) -> None:
    place = "health.units[1]: the container has no unit '"
    said = refused(tmp_path, entry(["nginx.service", unit]))
    assert said.startswith(f"containers.web.{place}")
    assert NOT_THERE[unit] in said
    with pytest.raises(DeclarationError) as error:
        container_record(entry(["nginx.service", unit]), "system_container_")
    assert str(error.value).startswith(f"system_container_{place}")


def test_units_that_are_there(tmp_path: Path) -> None:
    refuse_unknown_units(declared_containers({"web": entry(THERE)}), DerivedSystems(str(tmp_path)))
    container_record(entry(THERE))


@pytest.mark.parametrize(
    "more",
    [
        {"init": {"argv": ["/usr/bin/init"]}},
        {"init": {"argv": ["/usr/bin/i"], "systemd": True, "environment": {"SYSTEMD_UNIT_PATH": "/srv/units"}}},
        {"state": "absent"},
        {"state": "rolled_back"},
        {
            "operating_system": {
                **MACHINE,
                "services": [ACTIVATION],
            }
        },
    ],
)
def test_units_that_cannot_be_known_are_left(tmp_path: Path, more: dict[str, t.Any]) -> None:
    refuse_unknown_units(declared_containers({"web": entry(["x.service"], **more)}), DerivedSystems(str(tmp_path)))
    container_record(entry(["x.service"], **more))


def test_two_declarations_of_one_system_are_looked_at_each(tmp_path: Path) -> None:
    systems = DerivedSystems(str(tmp_path))
    refuse_unknown_units(declared_containers({"web": entry(["nginx"])}), systems)
    with pytest.raises(DeclarationError, match="no unit 'x.service'"):
        refuse_unknown_units(declared_containers({"web": entry(["x"])}), systems)


@pytest.mark.parametrize("path", ["/etc/systemd/generators/mine", "/etc/systemd/system/x.service"])
@pytest.mark.parametrize("places", ["/etc/systemd/system", UNIT_PLACES])
def test_a_file_that_brings_units(path: str, places: str) -> None:
    environment = {"SYSTEMD_UNIT_PATH": places, "SYSTEMD_GENERATOR_PATH": "/etc/systemd/generators"}
    assert health_units.missing_units(["x"], [path], environment, "") == []
    assert len(health_units.missing_units(["x"], ["/etc/passwd"], environment, "")) == 1


@pytest.mark.parametrize(
    "places", ["", "/srv/units", UNIT_PLACES + ":", UNIT_PLACES + ":/srv/units", "/run/systemd/transient"]
)
def test_a_place_that_may_have_units(places: str) -> None:
    assert health_units.missing_units(["x"], [], {"SYSTEMD_UNIT_PATH": places}, "") == []


ENVIRONMENT = {"SYSTEMD_UNIT_PATH": UNIT_PLACES}


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """Return a host with one system, of which nothing else is looked at."""
    layout = Layout(tmp_path)
    system = layout.systems / f"{'0' * 32}-web"
    system.mkdir(parents=True)
    init = {"argv": ["/usr/lib/systemd/systemd"], "systemd": True, "environment": ENVIRONMENT, "ready": "notify"}
    files = {"/etc/systemd/system/nginx.service": {"link": "/usr/lib/systemd/system/nginx.service"}}
    (system / "spec.json").write_text(json.dumps({**SMALL, "init": init, "files": files}))
    (system / "boot").write_text("#!/bin/sh\nexec /usr/lib/systemd/systemd\n")
    monkeypatch.setattr(preflight, "problems", lambda host, specification: [])
    monkeypatch.setattr(claims, "conflicts", lambda *_arguments: [])
    for module in (examination, one_container):
        monkeypatch.setattr(module, "damages", lambda _system: [])
    programs = types.SimpleNamespace(problems=list, texts=None, read=None)
    monkeypatch.setattr(examination, "Programs", lambda *given: types.SimpleNamespace(**vars(programs), boot=given[-1]))
    monkeypatch.setattr(examination, "NamesInUnits", lambda *_all: types.SimpleNamespace(problems=list))
    monkeypatch.setattr(examination, "UnitPaths", lambda *_all: types.SimpleNamespace(refused=[], missing=[]))
    return layout


def one(layout: Layout, **options: t.Any) -> tuple[OneContainer, FakeContainer]:
    container = FakeContainer()
    (system,) = layout.systems.iterdir()
    given = options_of(options, "")
    return OneContainer(layout, container, None if given["state"] == "rolled_back" else system, given, False), container


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("state", ["started", "restarted"])
def test_it_is_found_on_the_host_before_anything_is_stopped(layout: Layout, state: str, check: bool) -> None:
    subject, container = one(layout, state=state, health={"units": ["nginx", "ngnix.service"]})
    container.running = "/var/lib/unshare/systems/former-web"
    said = r"is left as it is: health\.units\[1\]: the container has no unit 'ngnix.service'; did you mean 'nginx.serv"
    with pytest.raises(TargetError, match=said):
        subject.bring(check, False)
    assert "stop" not in container.calls
    assert "start" not in container.calls
    assert container.running


def test_what_is_there_is_taken_on_the_host(layout: Layout) -> None:
    (system,) = layout.systems.iterdir()
    for units in (["nginx"], []):
        assert examination.examine(layout, "web", system, [], units).problems == []
    (system / "boot").write_text("cp /srv/x.service /etc/systemd/system/\n")
    assert examination.examine(layout, "web", system, [], ["x"]).problems == []


def test_a_health_of_another_system_keeps_nobody_from_going_back(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[t.Any] = []

    def examine(*arguments: t.Any) -> examination.Examined:
        asked.append(arguments[4])
        return examination.Examined([], [])

    monkeypatch.setattr(examination, "examine", examine)
    for state in ("started", "rolled_back"):
        subject, _container = one(layout, state=state, health={"units": ["new.service"]})
        subject._examine(layout.systems)
    assert asked == [["new.service"], ()]
