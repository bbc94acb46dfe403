# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What cannot run is refused while what runs goes on running, and `--check` says the same."""

from __future__ import annotations

import json
import os
import re
import socket
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
from ansible_collections.unshare.container.plugins.module_utils.life.one_container import OneContainer
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError
from ansible_collections.unshare.container.plugins.modules.containers import options_of

from .conftest import MakeMachine
from .playbooks import playbook

NAME = "test-before"
NEIGHBOUR = f"{NAME}-old"
pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]
SUITE = "../tests/integration/found_before.yml"


def writable(source: Path, target: str = "/data") -> dict[str, t.Any]:
    return {"source": str(source), "target": target, "writable": True}


def unit(text: str) -> dict[str, t.Any]:
    return {"services": [{"type": "unit", "value": {"name": "a", "text": text}}]}


def alone(name: str, sections: dict[str, t.Any]) -> dict[str, t.Any]:
    return {"type": "unit", "value": {"name": "a", "units": {name: sections}}}


def served(port: int) -> dict[str, t.Any]:
    service = {"type": "static-web-server", "value": {"port": port}}
    return {"operating_system": {"services": [service]}, "network": "host"}


class Suite:
    """Cases that are refused, each with what is said of it; those of `others` are a warning in check mode.

    An earlier task of a play may have ended what they meet.
    """

    def __init__(self, directory: Path, taken: int) -> None:
        for name in ("dir", "data"):
            (directory / name).mkdir()
        (directory / "file").touch()
        (directory / "link").symlink_to("dir")
        service = {"type": "nginx", "value": {"servers": [{"root": "/srv/www"}]}}
        words = {"timezone": "Mars/Olympus", "locale": "xx_YY", "sudoers": "garbage line"}
        mount = {"device": "x", "mount_point": "/srv", "type": "nosuchfs", "needed_for_boot": True}
        command = {"Service": {"ExecStart": "/usr/bin/nosuch"}}
        template = {"type": "unit", "value": {"name": "t@", "sections": command}}
        requiring = {"type": "unit", "value": {"name": "u", "command": "/bin/sleep 9", "requirement": ["t@one"]}}
        file = {"x": {"content": "#!/usr/bin/nosuch\n", "mode": "0755"}}
        script = {"type": "simple", "value": {"target": "etc", "value": file}}
        self.cases: dict[str, tuple[dict[str, t.Any], str]] = {
            "cases_N5_link": ({"mappings": [f"{directory}/link=/x"]}, "passes through a symbolic link"),
            "cases_N5_directory": (
                {"mappings": [f"{directory}/dir=/etc/host.conf"]},
                "/etc/host.conf, which is a file",
            ),
            "a_file_of_the_systems": ({"mappings": [f"{directory}/file=/etc/hostname"]}, r"mappings\[0\]: .*replace"),
            "data_read_only": (
                {
                    "operating_system": {"services": [{"type": "redis"}]},
                    "mappings": [f"{directory}/dir=/var/lib/redis"],
                },
                r"mappings\[0\]: .* is read-only, and operating_system\.services\[0\] keeps its data",
            ),
            "below_read_only": (
                {
                    "operating_system": {"services": [{"type": "redis", "value": {"save": [], "directory": "/d/x"}}]},
                    "mappings": [f"{directory}/dir=/d"],
                },
                "the directory /d/x of redis cannot be made",
            ),
            "cases_N5_file": ({"mappings": [f"{directory}/file=/opt"]}, "/opt, which is a directory"),
            "cases_N5_read_only": ({"mappings": [f"{directory}/dir=/usr/nosuch"]}, "and has no nosuch"),
            "cases_N5_device": ({"mappings": ["/dev/null=/x"]}, "/dev/null is a device"),
            "cases_010": ({"mappings": [f"{directory}/dir=/run/current-system"]}, "holds the program that"),
            "cases_02": (
                {"operating_system": {"services": [service, {"type": "openssh"}]}, "network": "host"},
                r"listen\[0\] \(port 80\), .*value\.port \(port 22\): .*ip_unprivileged_port_start to 22",
            ),
            "cases_01_U1": ({"operating_system": {"services": [{"type": "nginx"}]}}, r"value\.servers: is empty"),
            "cases_U14": ({"init": {"argv": ["/usr/bin/nosuchinit"]}}, "/usr/bin/nosuchinit is not there"),
            "a_user_of_nobody": (
                {"operating_system": unit("[Service]\nExecStart=/bin/sleep 9\nUser=nosuch\n")},
                r"services\[0\] \(a\.service: User\): there is no user 'nosuch'",
            ),
            "a_socket_alone": (
                {"operating_system": {"services": [alone("a.socket", {"Socket": {"ListenStream": "/run/a"}})]}},
                "a.socket starts a.service, which is not there",
            ),
            "a_timer_alone": (
                {"operating_system": {"services": [alone("a.timer", {"Timer": {"OnBootSec": "1h"}})]}},
                "a.timer starts a.service, which is not there",
            ),
            "a_type_of_no_kernel": (
                {"operating_system": {"file_systems": [mount]}},
                "/srv: the kernel of this host has no type 'nosuchfs'",
            ),
            "cases_N2": ({"operating_system": words}, "no time zone .* no locale .*visudo does not take"),
        }
        self.others: dict[str, tuple[dict[str, t.Any], str]] = {
            "cases_N6_program": (
                {"operating_system": unit("[Service]\nExecStart=/usr/bin/nosuch\n")},
                "a.service starts /usr/bin/nosuch, which is not there",
            ),
            "a_program_by_its_name": (
                {"operating_system": unit("[Service]\nExecStart=nosuch x\n")},
                "a.service starts nosuch, which is in none of",
            ),
            "a_program_of_an_instance": (
                {"operating_system": {"services": [template, requiring]}},
                "t@one.service starts /usr/bin/nosuch, which is not there",
            ),
            "an_interpreter": (
                {
                    "operating_system": {
                        "services": [script, {"type": "unit", "value": {"name": "a", "command": "/etc/x"}}]
                    }
                },
                "a.service starts /etc/x, whose interpreter /usr/bin/nosuch is not there",
            ),
            "cases_U9": ({"mappings": [writable(directory / "data")]}, f"container '{NEIGHBOUR}', which runs, writes"),
            "a_port_that_is_taken": (served(taken), rf"port {taken} .* is taken by .* \(PID {os.getpid()}\)"),
        }

    def run(self, report: Path, *arguments: str) -> dict[str, str]:
        """Return what was said of each case."""
        given = {name: case for name, (case, _said) in {**self.cases, **self.others}.items()}
        variables = {"container": NAME, "cases": given, "report": str(report)}
        playbook(SUITE, "examples/inventory", *arguments, variables=variables).succeeded()
        found: dict[str, str] = json.loads(report.read_text())
        return found


@pytest.fixture
def removed(host_unchanged: None) -> t.Iterator[None]:
    """Take away the container that a playbook made, with all of its systems."""
    yield
    OneContainer(Layout(), Container(NAME), None, options_of({"state": "absent"}, NAME), False).bring(False, False)


@pytest.mark.usefixtures("removed")
@pytest.mark.long
def test_what_runs_goes_on(make_machine: MakeMachine, tmp_path: Path) -> None:
    container = Container(NAME)
    with socket.create_server(("127.0.0.1", 0)) as server:
        suite = Suite(tmp_path, server.getsockname()[1])
        neighbour = make_machine(name=NEIGHBOUR, mappings=[writable(tmp_path / "data", "/old")])
        neighbour.start()
        said = suite.run(tmp_path / "report.json")
        running = container.status()
        assert running.state == "running"
        for name, (_case, expected) in {**suite.cases, **suite.others}.items():
            assert said[name].startswith("failed: "), (name, said[name])
            assert re.search(expected, said[name]), (name, said[name])
        planned = suite.run(tmp_path / "planned.json", "--check")
    for name in suite.cases:
        assert planned[name] == said[name]
    for name, (_case, expected) in suite.others.items():
        assert re.search(expected, planned[name]), (name, planned[name])
    after = container.status()
    assert (after.state, after.pid, after.started) == ("running", running.pid, running.started)


def test_a_host_that_has_changed_since(make_machine: MakeMachine, tmp_path: Path) -> None:
    """A mapping's source has become a link; the system is the same, so that no task writes it anew."""
    source = tmp_path / "dir"
    source.mkdir()
    machine = make_machine(name=NAME, mappings=[str(source)])
    one = OneContainer(Layout(), machine.container, machine.system, options_of({}, NAME), False)
    one.bring(False, False)
    running = machine.container.status()
    source.rename(tmp_path / "away")
    source.symlink_to("away")
    options = options_of({"state": "restarted"}, NAME)
    for check in (True, False):
        with pytest.raises(TargetError, match=rf"{source} passes through a symbolic link: name .*/away"):
            OneContainer(Layout(), machine.container, None, options, False).bring(check, False)
    assert machine.container.status().pid == running.pid
    source.unlink()
    source.mkdir()
    assert OneContainer(Layout(), machine.container, None, options, False).bring(False, False)["changed"]
    assert machine.container.status().pid != running.pid
