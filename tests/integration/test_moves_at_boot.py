# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A container that moves from a host with systemd: no boot starts it, and what stopped with it comes back (V5)."""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import pytest

from .conftest import INTERPRETER
from .systemd_host import MODULES, RUN_MODULE, SystemdHost, started

if t.TYPE_CHECKING:
    from .conftest import MakeMachine

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.timeout(300)]


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


class Pair:
    """A container of a host, `web`, and another one that requires it, `shop`."""

    DROP_IN = "/etc/systemd/system/unshare-container@web.service.d/test.conf"
    GATE = "/run/gate"
    """A pipe at which the start of `web` waits, once it has said so."""

    def __init__(self, host: SystemdHost) -> None:
        self.host = host
        for name, requires in (("web", []), ("shop", ["web"])):
            host.container(name, system=host.write(name), requires=requires)
        host.machine.output("mkfifo", self.GATE)

    def active(self) -> list[str]:
        """Return the states of both units."""
        return [self.host.show(name, "ActiveState")[0] for name in ("web", "shop")]

    def drop_in(self, *lines: str) -> None:
        """Have the unit of `web` be changed so, and by no former lines."""
        self.host.machine.output("sh", "-c", 'cat >"$0"', self.DROP_IN, input="\n".join(lines) + "\n")
        self.host.machine.output("systemctl", "daemon-reload")

    def kill_release(self) -> None:
        """Release `web`, and kill all processes of the module while the start of `web` has begun and waits."""
        self.drop_in("[Service]", f"ExecStartPre=/bin/sh -c 'echo waits at the gate; read line <{self.GATE}'")
        given = {"ANSIBLE_MODULE_ARGS": {"name": "web", "peer": "two", "state": "released"}}
        self.host.machine.output("sh", "-c", "cat >/run/given.json", input=json.dumps(given))
        unit = ["systemd-run", "--unit=releasing", "--property=StandardInput=file:/run/given.json"]
        environment = ["--setenv=PYTHONPATH=/opt/collections:/opt/packages"]
        module = [INTERPRETER, "-c", RUN_MODULE, MODULES + "container_move"]
        self.host.machine.output(*unit, *environment, *module)
        self.host.await_message("web", "waits at the gate", 1)
        assert self.host.machine.output("systemctl", "is-active", "releasing") == "active\n"
        self.host.machine.output("systemctl", "kill", "--signal=SIGKILL", "releasing")
        self.drop_in()


@pytest.fixture
def pair(host: SystemdHost) -> Pair:
    return Pair(host)


def noted(host: SystemdHost) -> str:
    """Return the state of the note of a move; empty for none."""
    return str(move(host, "examined")["place"]["hold"].get("state", ""))


def test_v5_a_release_that_is_killed_after_the_start_of_the_container_is_ended_by_the_next(pair: Pair) -> None:
    host = pair.host
    assert move(host, "held")["stopped_with"] == ["unshare-container@shop.service"]
    assert pair.active() == ["inactive", "inactive"]
    pair.kill_release()
    host.machine.output("sh", "-c", f"echo >{pair.GATE}; systemctl start unshare-container@web")
    assert (pair.active(), noted(host)) == (["active", "inactive"], "released")
    released = move(host, "released")
    assert (released["changed"], released["released"]) == (True, True)
    assert (pair.active(), noted(host)) == (["active", "active"], "")
    assert move(host, "released")["changed"] is False


def test_v5_a_release_that_is_killed_before_the_container_runs_is_known_to_the_next_move(pair: Pair) -> None:
    host = pair.host
    move(host, "held")
    pair.kill_release()
    host.machine.output("systemctl", "stop", "unshare-container@web")
    assert "active" not in pair.active()
    assert noted(host) == "released"
    again = move(host, "held")
    assert (again["changed"], again["stopped_with"]) == (True, ["unshare-container@shop.service"])
    assert noted(host) == "held"
    move(host, "released")
    assert (pair.active(), noted(host)) == (["active", "active"], "")


def test_v5_what_stopped_with_a_container_that_does_not_start_again_is_named_with_the_command(pair: Pair) -> None:
    host = pair.host
    move(host, "held")
    pair.drop_in("[Service]", "ExecStartPre=/bin/false")
    with pytest.raises(AssertionError, match="Container 'web' does not run again. Mend that, ") as error:
        move(host, "released")
    (command,) = re.findall(r"start what stopped with it: (systemctl start .*)", str(error.value))
    assert "active" not in pair.active()
    assert noted(host) == "released"
    pair.drop_in()
    host.machine.output("sh", "-c", f"systemctl reset-failed; {command}")
    assert (pair.active(), noted(host)) == (["active", "active"], "released")
    move(host, "released")
    assert (pair.active(), noted(host)) == (["active", "active"], "")
