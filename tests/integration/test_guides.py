# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The README and the guide about day 2, read from top to bottom and done: their files written, their commands run."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.unshare.container.plugins.modules import container_script, eval_container
from ansible_collections.unshare.container.tests import guides
from ansible_collections.unshare.container.tests.integration.playbooks import REPOSITORY

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("host_unchanged"), pytest.mark.timeout(300)]

BIN = Path(sys.executable).parent
HOST = "one.example.org"
WEB, CACHE, RENAMED, SCRIPT = "test-guide-web", "test-guide-cache", "test-guide-sessions", "test-guide-script"
CACHE_NAME = r"\bcache\b(?!-before)"
"""The container in the guide about day 2."""
HERE = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
"""What makes this machine the host of the guides."""


class Reader:
    """Somebody who follows a page in a directory of his own.

    Attributes:
        directory: where he is.
        changes: what he writes in place of what the page says, as pairs of a regular expression and a text.
    """

    def __init__(self, directory: Path, changes: dict[str, str]) -> None:
        self.directory = directory
        self.changes = changes
        self.unused = set(changes)
        host_variables = directory / "inventory/host_vars" / f"{HOST}.json"
        host_variables.parent.mkdir(parents=True)
        host_variables.write_text(json.dumps(HERE))

    def own(self, text: str) -> str:
        """Return a text of the page with the changes made."""
        for pattern, replacement in self.changes.items():
            text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
            if count:
                self.unused.discard(pattern)
        return text

    def write(self, block: guides.Block) -> None:
        """Write the file that a block shows."""
        path = self.directory / str(block.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a" if block.added else "w") as file:
            file.write(self.own(block.text))

    def environment(self) -> dict[str, str]:
        """Return the environment of his shell: the collection is installed, and no configuration is set."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        return {
            **kept,
            "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".collections"),
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }

    def streams(self) -> dict[str, t.Any]:
        """Return where a command runs, and where what it prints goes."""
        places = {"cwd": self.directory, "env": self.environment(), "text": True}
        return {**places, "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}

    def start(self, command: str) -> subprocess.Popen[str]:
        """Start a command of the page, whose output is read as it comes."""
        return subprocess.Popen(["/bin/sh", "-c", f"exec {self.own(command)}"], **self.streams())

    def run(self, command: str, fails: bool = False) -> str:
        """Run a command of the page, and return what it printed."""
        done = subprocess.run(["/bin/sh", "-c", self.own(command)], timeout=120, check=False, **self.streams())
        assert (done.returncode != 0) == fails, f"{command}\n{done.stdout}"
        return done.stdout

    def remove(self, *names: str) -> None:
        """Remove containers."""
        for name in names:
            options = f"name={name} state=absent"
            self.run(f"ansible -i inventory {HOST} -m unshare.container.system_container -a '{options}'")


def free_port() -> int:
    """Return a port that no program uses."""
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return int(probe.getsockname()[1])


def test_the_readme_from_the_web_server_to_containers_as_hosts(tmp_path: Path) -> None:
    """`curl` shows the page after the deployment, and after the rollout, both as the README says."""
    reader = Reader(
        tmp_path,
        {
            r"host_name: web$": f"host_name: {WEB}",
            r"^  web:$": f"  {WEB}:",
            r"_named_web$": f"_named_{WEB.replace('-', '_')}",
            r"^( +(?:path|dest): )/srv/www": rf"\g<1>{tmp_path}/www",
            r"\[/srv/www\]": f"[{tmp_path}/www=/srv/www]",
            r"\[/srv/www=": f"[{tmp_path}/www=",
            r"\b8080\b": str(free_port()),
            rf"http://{re.escape(HOST)}": "http://127.0.0.1",
        },
    )
    sections = ["A web server", "A server that exists already", "A fleet", "One command, and containers as hosts"]
    fetch = ""
    printed: dict[str, str] = {}
    try:
        for block in guides.blocks("README.md"):
            if block.section not in sections:
                continue
            if block.file:
                reader.write(block)
                continue
            for command in block.commands():
                printed[command] = reader.run(command)
                fetch = command if command.startswith("curl ") else fetch
                if fetch:
                    assert reader.run(fetch.replace("curl ", "curl --silent ")) == "Hello from a container\n", command
    finally:
        reader.remove(WEB)
    assert not reader.unused
    assert fetch
    assert len(printed) == 5
    said = "\n".join(printed.values())
    assert "1 host: 1 switched" in said
    assert "the host's kernel runs the container" in said
    assert re.search(rf"^{WEB}@{HOST} +: ok=1 +changed=1 ", said, re.MULTILINE)


NOT_RUN = {
    "apt-get": "upgrades this machine",
    "Move to another host": "needs another host",
}
"""Commands of the guide, by their program or section, that no test can run, with the reason."""


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

    def follow(self, page: str) -> None:
        """Do all that the page says, in its order."""
        for block in guides.blocks(page):
            section = block.section
            if section in NOT_RUN:
                continue
            if section not in self.sections:
                self.sections.append(section)
                self.arrives(section)
            if block.file:
                self.write(block)
            elif block.is_commands:
                for command in block.commands():
                    if guides.program(command) not in NOT_RUN:
                        self.does(section, command)

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


def test_day_two(tmp_path: Path) -> None:
    reader = DayTwo(tmp_path)
    try:
        reader.follow("docs/day-2.md")
        assert reader.redis("get", "key") == "kept"
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
