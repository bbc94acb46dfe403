# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The README and the guide about day 2, read from top to bottom and done: their files written, their commands run."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import tarfile
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.unshare.container.plugins.modules import container_script, eval_container
from ansible_collections.unshare.container.tests import followed
from ansible_collections.unshare.container.tests.integration import network_hosts
from ansible_collections.unshare.container.tests.integration.reader import HOST, Reader

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("host_unchanged"), pytest.mark.timeout(300)]

WEB, CACHE, RENAMED, SCRIPT = "test-guide-web", "test-guide-cache", "test-guide-sessions", "test-guide-script"
CACHE_NAME = r"\bcache\b(?!-before)"
"""The container in the guide about day 2."""


@pytest.fixture
def world() -> t.Iterator[network_hosts.World]:
    """Give a host of its own network, and a machine beside it."""
    with network_hosts.world("readme") as found:
        yield found


def test_the_readme_from_the_web_server_to_containers_as_hosts(tmp_path: Path, world: network_hosts.World) -> None:
    """Another machine gets the page after the deployment, and after the rollout, from the host's port 80."""
    reader = Reader(
        tmp_path,
        {
            r"host_name: web$": f"host_name: {WEB}",
            r"^  web:$": f"  {WEB}:",
            r"_named_web$": f"_named_{WEB.replace('-', '_')}",
            r"^( +(?:path|dest): )/srv/www": rf"\g<1>{tmp_path}/www",
            r"\[/srv/www\]": f"[{tmp_path}/www=/srv/www]",
            r"\[/srv/www=": f"[{tmp_path}/www=",
            r"(system_container_install_packages): true": r"\1: false",  # the host reaches no archive of packages
            rf"^curl (.*)http://{re.escape(HOST)}": rf"ip netns exec {world.machine.name} curl \1http://{network_hosts.HOST}",
        },
    )
    fetch = ""
    printed: dict[str, str] = {}
    try:
        with followed.Page("README.md", __file__) as page, world.host.entered():
            for step in page.rest():
                if step.block.file:
                    reader.write(step.block)
                    continue
                printed[step.text] = reader.run(step.text)
                fetch = step.text if step.text.startswith("curl ") else fetch
                if fetch:
                    assert reader.run(fetch.replace("curl ", "curl --silent ")) == "Hello from a container\n", step.text
    finally:
        with world.host.entered():
            reader.remove(WEB)
    assert not reader.unused
    assert fetch
    assert len(printed) == 5
    said = "\n".join(printed.values())
    assert "1 host: 1 switched" in said
    assert "the host's kernel runs the container" in said
    assert re.search(rf"^{WEB}@{HOST} +: ok=1 +changed=1 ", said, re.MULTILINE)


class DayTwo(Reader):
    """A reader of the guide about day 2, who looks at what his commands did."""

    def __init__(self, directory: Path) -> None:
        changes = {
            r"/run/unshare/\*/system": "/run/unshare/cache/system",  # others' containers are not asked
            CACHE_NAME: CACHE,
            r"/srv/": f"{directory}/srv/",
        }
        super().__init__(directory, changes)
        (directory / "srv").mkdir()
        self.variables = directory / "inventory/group_vars/cache_hosts.yml"
        self.sections: list[str] = []

    def redis(self, *words: str) -> str:
        """Return what the server in the container answers."""
        return self.run(f"/run/unshare/cache/system/enter-container redis-cli {' '.join(words)}").strip()

    def containers(self) -> dict[str, t.Any]:
        """Return the declared containers."""
        return t.cast("dict[str, t.Any]", yaml.safe_load(self.variables.read_text())["containers"])

    def look_after(self, steps: t.Iterable[followed.Step]) -> None:
        """Do all that steps of the page say, in their order."""
        for step in steps:
            section = step.block.section
            if section not in self.sections:
                self.sections.append(section)
                self.arrives(section)
            if step.block.file:
                self.write(step.block)
            else:
                self.does(section, step.text)

    def arrives(self, section: str) -> None:
        """Do what the guide takes for granted, or says in words, before a section's commands."""
        if section == "Back up":
            self.redis("set", "key", "kept")
        elif section == "Restore":
            assert self.redis("get", "key") == "kept"
            self.redis("set", "key", "spoilt")
        elif section == "Debug a boot":
            (options,) = self.containers().values()
            value = {"name": "broken", "command": ["/usr/bin/false"], "service": {"Restart": "no", "Type": "oneshot"}}
            options["operating_system"]["services"].append({"type": "unit", "value": value})
            self.variables.write_text(json.dumps({"containers": {self.changes[CACHE_NAME]: options}}))
            assert "broken.service" in self.run("ansible-playbook -i inventory site.yml", fails=True)

    def does(self, section: str, command: str) -> None:
        """Run a command, and see that it did what the section says."""
        if command.endswith("--follow"):
            self.follows_a_log(command)
            return
        if command.endswith("run-container --timeout=20"):
            self.runs_in_the_foreground(command)
            return
        said = self.run(command)
        if section == "List":
            assert CACHE in said
        elif "site.yml" in command:
            assert self.redis("ping") == "PONG"
            # What root of this machine may not raise is no matter of the guide.
            known = r"\[WARNING\]: (?:on this host, but not declared|[^\[]*resource limits: )"
            assert "[WARNING]: " not in re.sub(known, "", said)
        elif section == "Logs":
            assert "redis" in said or "BOOT ID" in said, command
        elif "systemctl restart redis" in command:
            assert self.redis("ping") == "PONG"
        elif command.startswith("tar --create"):
            with tarfile.open(self.directory / f"srv/containers/{CACHE}.tar") as archive:
                assert f"{CACHE}/dump.rdb" in archive.getnames()
        elif section == "Restore" and command.endswith("state=started'"):
            assert self.redis("get", "key") == "kept"
        elif section == "Rename" and "state=absent" in command:
            self.renames()
        elif "--failed" in command:
            assert "broken.service" in said
        elif "rolled_back" in command:
            assert "broken" not in self.run("/run/unshare/cache/system/enter-container systemctl --all --no-pager")

    def renames(self) -> None:
        """Change the name in the inventory."""
        assert not Path("/run/unshare", CACHE).exists()
        (options,) = self.containers().values()
        options["operating_system"]["host_name"] = RENAMED
        self.variables.write_text(json.dumps({"containers": {RENAMED: options}}))
        self.changes[CACHE_NAME] = RENAMED

    def follows_a_log(self, command: str) -> None:
        """Follow a log until it has a line, and end that."""
        with self.start(command) as process:
            assert process.stdout is not None
            assert "redis" in process.stdout.readline()
            process.terminate()

    def runs_in_the_foreground(self, command: str) -> None:
        """Run the container in the foreground until it has booted, and end it as Ctrl-C does."""
        with self.start(command) as process:
            assert process.stdout is not None
            lines: list[str] = []
            for line in process.stdout:
                lines.append(line)
                if "running as PID" in line:
                    process.send_signal(signal.SIGINT)
            assert any("running as PID" in line for line in lines), lines
            process.wait(30)


@pytest.mark.long
def test_day_two(tmp_path: Path) -> None:
    reader = DayTwo(tmp_path)
    try:
        with followed.Page("docs/day-2.md", __file__) as page:
            moved = page.section("Move to another host")
            reader.look_after(page.rest())
            assert reader.redis("get", "key") == "kept"
            # The end of it, on the first host. It begins as "Back up" and "Restore" do.
            reader.look_after(moved)
            assert not Path("/run/unshare", RENAMED).exists()
    finally:
        reader.remove(CACHE, RENAMED)
    assert not reader.unused
    assert {"Logs", "Usage", "Upgrade the host's software", "Back up", "Restore", "Rename", "Debug a boot"} <= set(
        reader.sections
    )


def test_examples_of_the_modules_that_need_nothing_else(tmp_path: Path) -> None:
    """The EXAMPLES of eval_container and container_script, in one play."""
    for name in ("uploads", "source", "result"):
        (tmp_path / "srv" / name).mkdir(parents=True)
    (tmp_path / "srv/source/Makefile").write_text("install:\n\tinstall -D greeting $(DESTDIR)/greeting\n")
    (tmp_path / "srv/source/greeting").write_text("Hello\n")
    with tarfile.open(tmp_path / "srv/uploads/today.tar", "w") as archive:
        archive.add(tmp_path / "srv/source/greeting", "greeting")
    text = (eval_container.EXAMPLES + container_script.EXAMPLES).replace("/srv/", f"{tmp_path}/srv/")
    tasks = yaml.safe_load(text.replace("name='web'", f"name='{SCRIPT}'"))
    play = {"hosts": HOST, "gather_facts": False, "vars": {"operating_system": {"host_name": "web"}}, "tasks": tasks}
    (tmp_path / "examples.yml").write_text(json.dumps([play]))
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory/hosts.json").write_text(json.dumps({"all": {"hosts": {HOST: None}}}))
    reader = Reader(tmp_path, {})
    try:
        said = reader.run("ansible-playbook -i inventory examples.yml")
        (script,) = re.findall(r'"web.run_container": "([^"]+)"', said)
        assert re.fullmatch(rf"/var/lib/unshare/systems/\w+-{SCRIPT}/run-container", script)
        assert "usage" in subprocess.run([script, "--help"], capture_output=True, text=True, check=True).stdout.lower()
    finally:
        for system in Path("/var/lib/unshare/systems").glob(f"*-{SCRIPT}"):
            shutil.rmtree(system)
    assert (tmp_path / "srv/result/greeting").read_text() == "Hello\n"
