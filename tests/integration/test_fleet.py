# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rollouts onto a fleet of hosts: in waves, back from a bad system, and finished after a kill."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import typing as t
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path

import pytest

from .fleet_hosts import Fleet, FleetHost
from .playbooks import PLAYBOOK

pytestmark = [pytest.mark.root, pytest.mark.timeout(420)]

NAME = "test-web"
HEALTH = {"http": [{"port": 8080}], "units": ["static-web-server.service"], "timeout": 8, "steady": 0.6}
DEPLOY = [{"hosts": "all", "gather_facts": False, "roles": ["unshare.container.containers"]}]


def declared(text: str, broken: bool = False) -> dict[str, t.Any]:
    """Return a web server of one page, with a service that fails or without."""
    services: list[dict[str, t.Any]] = [
        {"type": "static-web-server", "value": {"root": "/etc/site", "port": 8080}},
        {"type": "simple", "value": {"name": "site", "target": "etc", "value": {"site/index.html": text}}},
    ]
    if broken:
        command = ["/usr/bin/sh", "-c", "echo it cannot be; exit 3"]
        services.append({"type": "unit", "value": {"name": "broken", "command": command}})
    return {"host_name": "web.example.org", "services": services}


class Run:
    """A run of ansible-playbook on a fleet."""

    def __init__(self, fleet: Fleet, text: str, bad: t.Sequence[str] = (), **variables: t.Any) -> None:
        containers = variables.pop("containers", {NAME: {"operating_system": "{{ declared }}", "health": HEALTH}})
        path = fleet.inventory({"containers": containers, "declared": declared(text)})
        inventory = json.loads(path.read_text())
        for host in bad:
            inventory["all"]["hosts"][host]["declared"] = declared(text, broken=True)
        path.write_text(json.dumps(inventory))
        self.fleet = fleet
        self.page = fleet.directory / "rollout.html"
        extra = {"rollout_waves": [1, "30%", "100%"], "rollout_page": str(self.page), **variables}
        self.words = ["-i", str(path), "-e", json.dumps(extra)]

    def deploy(self) -> Run:
        """Deploy at once."""
        playbook = self.fleet.directory / "deploy.yml"
        playbook.write_text(json.dumps(DEPLOY))
        return self._run(str(playbook))

    def rollout(self) -> Run:
        """Roll out in waves, with the playbook called by its name in the collection."""
        return self._run("unshare.container.rollout")

    def _run(self, playbook: str) -> Run:
        done = self.fleet.playbook(*self.words, playbook)
        self.code, self.output = done.code, done.output
        return self

    def succeeded(self) -> Run:
        assert self.code == 0, self.output
        return self

    def outcomes(self) -> dict[str, tuple[int, str]]:
        """Return what the summary says of each host: its wave and its outcome."""
        found = re.findall(r"^(\S+) \(wave (\d+)\): ([a-z ]+)", self.output, re.MULTILINE)
        return {host: (int(wave), outcome.strip()) for host, wave, outcome in found}


def serves(host: FleetHost) -> str:
    """Return what the container of a host answers, asked from inside."""
    fetch = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8080/', timeout=20).read().decode())"
    enter = f"/var/lib/unshare/containers/{NAME}/current/enter-container"
    done = host.inside(enter, "/usr/bin/python3", "-c", fetch)
    return done.stdout.strip() or done.stderr


def all_serve(hosts: t.Iterable[FleetHost]) -> dict[str, str]:
    """Return what every host answers."""
    listed = list(hosts)
    with ThreadPoolExecutor(4) as pool:
        return dict(zip([host.name for host in listed], pool.map(serves, listed), strict=True))


def generation(host: FleetHost) -> str:
    """Return the generation that is current, and the one to go back to, if a trial is unfinished."""
    return host.inside("sh", "-c", f"cd /var/lib/unshare/containers/{NAME} && readlink current former").stdout.strip()


class Page(HTMLParser):
    """Reads the summary's page: its tables' rows, and whether all that was opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.text = text
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: t.Any) -> None:
        assert not {"src", "href"} & {name for name, _value in attributes}  # nothing is needed beside it
        if tag != "meta":
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


@pytest.mark.long
def test_twenty_hosts() -> None:
    with Fleet(20) as fleet:
        Run(fleet, "one").deploy().succeeded()

        # A good system, in three waves.
        good = Run(fleet, "two").rollout().succeeded()
        waves = [wave for wave, outcome in good.outcomes().values() if outcome == "switched"]
        assert [waves.count(number) for number in (1, 2, 3)] == [1, 6, 13]
        assert set(all_serve(fleet.hosts).values()) == {"two"}
        page = Page(good.page.read_text())
        assert [row[0] for row in page.rows[1:]] == [host.name for host in fleet.hosts]
        assert {tuple(row[3:6]) for row in page.rows[1:]} == {(NAME, "2", "1")}

        # A system with a service that fails on host07, which is in the second wave.
        bad = Run(fleet, "three", bad=["host07"]).rollout()
        assert bad.code != 0
        outcomes = bad.outcomes()
        assert [host for host, (_wave, outcome) in outcomes.items() if outcome == "rolled back"] == ["host07"]
        assert {outcome for wave, outcome in outcomes.values() if wave == 3} == {"held back"}
        assert "1 of 6 hosts failed in wave 2" in bad.output
        assert "broken.service" in bad.output
        assert "it cannot be" in bad.page.read_text()
        served = all_serve(fleet.hosts)
        assert served.pop("host07") == "two"
        assert generation(fleet.hosts[6]) == "generations/2"
        expected = {name: "three" if outcomes[name][1] == "switched" else "two" for name in served}
        assert served == expected
        assert {name for name, text in served.items() if text == "three"} >= {"host01"}

        # The controller is killed in the middle of the second wave; another run finishes it.
        run = Run(fleet, "four")
        playbook = [PLAYBOOK, *run.words, "unshare.container.rollout"]
        controller = subprocess.Popen(
            playbook, env=fleet.environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert controller.stdout is not None
        switching, waves_seen, said = False, 0, ""
        for line in controller.stdout:
            said += line
            waves_seen += line.startswith("TASK [Open the wave]")
            switching = line.startswith("TASK [Switch, and go back") or switching
            if waves_seen == 2 and line.startswith("changed: [") and switching:
                break
        else:
            pytest.fail(f"it has ended before it could be killed:\n{said}")
        workers = Path(f"/proc/{controller.pid}/task/{controller.pid}/children").read_text().split()
        os.kill(controller.pid, 9)
        assert controller.wait(60) == -9
        controller.stdout.close()
        before = all_serve(fleet.hosts[7:])
        assert set(before.values()) == {"two"}  # the third wave has not begun
        finished = run.rollout().succeeded()
        assert set(all_serve(fleet.hosts).values()) == {"four"}
        assert {generation(host).partition("\n")[2] for host in fleet.hosts} == {""}
        assert {outcome for _wave, outcome in finished.outcomes().values()} == {"switched", "unchanged"}
        for worker in workers:  # of the killed controller; some wait for it for ever
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(worker), 9)


HOOK = [
    {
        "name": "Say who is next",
        "ansible.builtin.shell": {"cmd": "echo {{ word }} {{ inventory_hostname }} >> {{ said }}"},
        "delegate_to": "localhost",
        "vars": {"ansible_connection": "local"},
        "throttle": 1,
    }
]


@pytest.mark.long
def test_hooks_and_a_rollout_that_undoes_itself() -> None:
    with Fleet(4) as fleet:
        hooks: dict[str, t.Any] = {"said": str(fleet.directory / "said")}
        for word in ("before", "after"):
            path = fleet.directory / f"{word}.yml"
            path.write_text(json.dumps(HOOK).replace("{{ word }}", word))
            hooks[f"rollout_{word}"] = str(path)
        said = Path(hooks["said"])

        Run(fleet, "one", **hooks).rollout().succeeded()
        assert sorted(said.read_text().splitlines()) == sorted(
            f"{word} {host.name}" for word in ("before", "after") for host in fleet.hosts
        )
        said.unlink()
        unchanged = Run(fleet, "one", **hooks).rollout().succeeded()
        assert not said.exists()  # nothing is drained when nothing will change
        assert {outcome for _wave, outcome in unchanged.outcomes().values()} == {"unchanged"}

        options = {**hooks, "rollout_on_stop": "roll_back", "rollout_waves": [1, 2, "100%"]}
        bad = Run(fleet, "two", bad=["host03"], **options).rollout()
        assert bad.code != 0
        assert bad.outcomes() == {
            "host01": (1, "undone"),
            "host02": (2, "undone"),
            "host03": (2, "rolled back"),
            "host04": (3, "held back"),
        }
        assert set(all_serve(fleet.hosts).values()) == {"one"}
        lines = said.read_text().splitlines()
        assert "after host03" in lines  # it serves again, with its former system
        assert "before host04" not in lines

        # One host fails to take the system, another cannot be reached; half of them may fail.
        fleet.hosts[3].process.kill()
        fleet.hosts[3].process.wait(30)
        needs = {"type": "unit", "value": {"name": "needs", "command": ["/usr/bin/not-there"]}}
        more = "[needs] if inventory_hostname == 'host02' else []"
        lacking = f"{{{{ declared | combine({{'services': declared.services + ({more})}}) }}}}"
        containers = {NAME: {"operating_system": lacking, "health": HEALTH}}
        half = Run(
            fleet,
            "two",
            containers=containers,
            needs=needs,
            rollout_waves=["100%"],
            rollout_max_fail_percentage=50,
        ).rollout()
        assert half.code != 0
        assert half.outcomes() == {
            "host01": (1, "switched"),
            "host02": (1, "not staged"),
            "host03": (1, "switched"),
            "host04": (1, "unreachable"),
        }, half.output
        assert "/usr/bin/not-there" in half.output


@pytest.mark.long
def test_several_containers_and_those_that_nobody_declares() -> None:
    with Fleet(1) as fleet:
        host = fleet.hosts[0]
        both = {
            name: {"operating_system": {**declared("one"), "host_name": name}, "health": {"timeout": 5}}
            for name in (NAME, "test-other")
        }
        Run(fleet, "one", containers=both).deploy().succeeded()
        assert host.inside("ls", "/run/unshare").stdout.split() == ["test-other", NAME]

        # What goes wrong with one is named, and does not keep the other from its state.
        both[NAME]["operating_system"] = declared("two", broken=True)
        both["test-other"]["operating_system"] = declared("two")
        failed = Run(fleet, "two", containers=both, containers_roll_back=True).deploy()
        assert failed.code != 0
        assert f"container '{NAME}'" in failed.output
        inside = "/var/lib/unshare/containers/{}/current/enter-container"
        assert host.inside(inside.format(NAME), "cat", "/etc/site/index.html").stdout.strip() == "one"
        assert host.inside(inside.format("test-other"), "cat", "/etc/site/index.html").stdout.strip() == "two"

        del both[NAME]
        named = Run(fleet, "two", containers=both).deploy().succeeded()
        assert f"on this host, but not declared: {NAME}" in " ".join(named.output.split())
        Run(fleet, "two", containers=both, containers_purge=True).deploy().succeeded()
        assert host.inside("ls", "/var/lib/unshare/containers").stdout.split() == ["test-other"]
        listed = host.inside("ls", "/var/lib/unshare/systems").stdout.split()
        assert {name[33:] for name in listed} == {"test-other"}
