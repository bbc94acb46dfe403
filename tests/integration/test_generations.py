# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real switches between systems: with health from inside the network, back again, and each with its own launcher."""

from __future__ import annotations

import shutil
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.life import health, starting
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
from ansible_collections.unshare.container.plugins.module_utils.life.life_cycle import LifeCycle
from ansible_collections.unshare.container.plugins.module_utils.life.unhealthy import UnhealthyError
from ansible_collections.unshare.container.plugins.module_utils.state import generations, library
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout

from .conftest import heard, write_system

pytestmark = pytest.mark.root

NAME = "test-generations"
SERVER = {"type": "static-web-server", "value": {"root": "/etc/site", "port": 8080}}
PAGE = {"type": "simple", "value": {"name": "site", "target": "etc", "value": {"site/index.html": "served"}}}
BROKEN = {"type": "unit", "value": {"name": "broken", "command": ["/usr/bin/false"]}}


def write(*services: dict[str, t.Any]) -> Path:
    return write_system({"host_name": NAME, "services": list(services)}, NAME)


def reach(container: Container, state: str = "started", **options: t.Any) -> LifeCycle:
    cycle = LifeCycle(Layout(), NAME, container, **options)
    cycle.reach(state)
    return cycle


def wanted(**changes: t.Any) -> dict[str, t.Any]:
    return {**health.DEFAULTS, "timeout": 20.0, **changes}


def test_health_is_asked_from_inside_and_a_bad_switch_is_undone(container: Container) -> None:
    request = {"port": 8080, "address": "127.0.0.1", "host": "localhost", "path": "/", "status": 200}
    command = {"argv": ["test", "-e", "/etc/site/index.html"], "exit_code": 0}
    checks = {"http": [request], "tcp": [{"port": 8080, "address": "127.0.0.1"}], "commands": [command]}
    good = write(SERVER, PAGE)
    asked = wanted(units=["static-web-server.service"], **checks)
    cycle = reach(container, system=good, health=asked, roll_back=True)
    assert cycle.facts()["generation"] == 1

    bad = write(SERVER, PAGE, BROKEN)
    with pytest.raises(UnhealthyError, match=r"broken\.service(?s:.*)generation 1 runs again") as caught:
        reach(container, system=bad, health=wanted(timeout=4.0), roll_back=True)
    assert caught.value.rolled_back_to == 1
    assert "\nThe log of broken.service:\n" in str(caught.value)
    assert container.status().system == str(good)
    assert reach(container, health=asked).changed is False
    with pytest.raises(UnhealthyError, match=r"port 1 of 127\.0\.0\.1: Connection refused"):
        reach(container, health=wanted(timeout=1.0, tcp=[{"port": 1, "address": "127.0.0.1"}]))


def test_a_former_system_runs_with_its_own_launcher(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = library.sources()
    main = sources["life/main.py"].replace(
        "def _run(", "WORD = sys.stderr.write('run-container: warning: of old\\n')\n\n\ndef _run(", 1
    )
    assert main != sources["life/main.py"]
    with monkeypatch.context() as patch:
        patch.setattr(library, "sources", lambda: {**sources, "life/main.py": main})
        old = write(SERVER)
    new = write(SERVER, PAGE)
    assert not starting.is_own(old)
    assert starting.is_own(new)

    assert heard(reach(container, system=old).warnings) == ["of old"]
    assert container.status().ready
    assert heard(reach(container, system=new).warnings) == []
    back = reach(container, "rolled_back")
    assert heard(back.warnings) == ["of old"]
    assert container.status().system == str(old)
    assert back.facts()["generation"] == 1
    assert not reach(container, "rolled_back", generation=1).changed


def test_readiness_is_remembered_once_it_was_seen(container: Container) -> None:
    reach(container, system=write(), wait=False)
    assert not container.status().ready
    assert not reach(container).changed
    assert container.status().ready


def test_what_runs_and_what_may_be_gone_back_to_is_kept(container: Container) -> None:
    systems = [
        write(PAGE, {"type": "unit", "value": {"name": f"u{n}", "command": ["/usr/bin/true"]}}) for n in range(3)
    ]
    for system in systems:
        reach(container, system=system, keep=2, wait=False)
    assert [system.is_dir() for system in systems] == [False, True, True]
    assert generations.numbers(Layout(), NAME) == [2, 3]
    shutil.rmtree(systems[1])
    with pytest.raises(Exception, match="no generation before the current one"):
        reach(container, "rolled_back")
