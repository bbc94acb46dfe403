# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A container that is enabled and moves to another host is not started by the boot of the one that it leaves (V5)."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from .systemd_host import SystemdHost, started

if t.TYPE_CHECKING:
    from .conftest import MakeMachine

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]


@pytest.fixture
def host(make_machine: MakeMachine, tmp_path: Path) -> SystemdHost:
    return started("test-moves-host", make_machine, tmp_path)


def move(host: SystemdHost, state: str, **given: t.Any) -> t.Any:
    return host.module("container_move", name="web", peer="two", state=state, **given)


def active(host: SystemdHost) -> str:
    (state,) = host.show("web", "ActiveState")
    return state


def test_v5_only_the_host_that_is_to_have_it_starts_it_at_boot(host: SystemdHost) -> None:
    host.container("web", system=host.write("web"), enabled=True, restart="always")
    assert active(host) == "active"
    held = move(host, "held")
    assert held["changed"]
    assert active(host) == "inactive"
    again = move(host, "held")
    assert again == {**held, "changed": False, "move": again["move"]}
    assert again["move"] != held["move"], "each run has a name of its own"
    held = again

    host.machine.stop()
    host.machine.start()
    assert host.machine.run("systemctl", "is-system-running", "--wait").stdout == "degraded\n", "the boot says so"
    assert (active(host), *host.show("web", "NRestarts", "ExecMainStatus")) == ("failed", "0", "126")
    log = host.machine.output("journalctl", "--unit=unshare-container@web", "--output=cat", "--boot")
    assert "container web: it moves to two, and does not start here meanwhile" in log
    place = move(host, "examined")["place"]
    assert (place["container"], place["runs"], place["hold"]["state"]) == (True, False, "held")
    refused = host.machine.run("/var/lib/unshare/containers/web/current/run-container", "--detach", check=False)
    assert (refused.returncode, "it moves to two" in refused.stderr) == (125, True)
    with pytest.raises(AssertionError, match="container web: it moves to two"):
        host.container("web")
    assert move(host, "given", move=held["move"])["changed"]
    assert move(host, "released")["released"] is False

    released = move(host, "released", withdrawn=held["move"])
    assert (released["changed"], released["released"]) == (True, True)
    assert active(host) == "active"
    host.reboot()
    assert active(host) == "active"


def test_v5_what_is_expected_is_started_by_a_boot_when_it_is_admitted_and_only_then(host: SystemdHost) -> None:
    system = host.write("web")
    move(host, "expected", move="abc")
    with pytest.raises(AssertionError, match="it moves here from two, and not all of its data have come"):
        host.container("web", system=system, enabled=True)
    assert move(host, "admitted", move="abc")["changed"]
    host.container("web", system=system, enabled=True)
    assert active(host) == "active"
    place = move(host, "examined")["place"]
    assert place["hold"] == {}
    assert move(host, "withdrawn", move="abc")["withdrawn"] is False
