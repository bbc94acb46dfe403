# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The transient unit of a start by hand says what the unit of a deployment says, as far as it holds for both."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import systemd_units
from ansible_collections.unshare.container.plugins.module_utils.host import unit_by_hand as unit_by_hand_module
from ansible_collections.unshare.container.plugins.module_utils.host.unit_by_hand import (
    as_word,
    clearing,
    paths_of_host,
    scope_words,
    service_words,
    stopping,
    unit_by_hand,
    units_by_hand,
)
from ansible_collections.unshare.container.plugins.module_utils.launcher.contract import Mount
from ansible_collections.unshare.container.plugins.module_utils.launcher.data import format_flat
from ansible_collections.unshare.container.plugins.module_utils.launcher.names import is_name
from ansible_collections.unshare.container.plugins.module_utils.launcher.needs import Credential
from ansible_collections.unshare.container.plugins.module_utils.launcher.stop_signals import (
    HEEDED,
    SCOPE_STOP,
    SYSTEMD_STOP,
    UNIT_STOP,
    signal_number,
)

from ..specifications import specification

SYSTEM = "/var/lib/unshare/systems/0123-web"
SAME = (
    "NotifyAccess",
    "KillMode",
    "KillSignal",
    "Delegate",
    "RestartForceExitStatus",
    "StartLimitIntervalSec",
    "StartLimitBurst",
)


def settings(command: list[str]) -> dict[str, str]:
    found = [word[len("--property=") :].partition("=") for word in command if word.startswith("--property=")]
    assert len(found) == len({key for key, _equals, _value in found})
    return {key: value for key, _equals, value in found}


def test_it_is_what_a_person_would_type() -> None:
    command = service_words(
        "web", SYSTEM, ["--share=/srv/a=/b"], 30.5, {"memory_max": 1 << 30, "cpu_quota": 150}, ["/srv/a"]
    )
    assert command[:5] == [
        *("systemd-run", "--quiet", "--collect", "--unit=unshare-by-hand-web.service", "--slice=machine.slice"),
    ]
    assert command[command.index("--") + 1 :] == [
        *(f"{SYSTEM}/run-container", "--service", "--timeout=30.5", "--share=/srv/a=/b")
    ]
    said = settings(command)
    assert said["RequiresMountsFor"] == '"/var/lib/unshare/containers/web" "/srv/a"'
    assert said["ExecStop"] == stopping("web", f"{SYSTEM}/run-container --stop --timeout=30.5")
    assert said["ExecStopPost"] == clearing("web", f"{SYSTEM}/run-container --clear --timeout=30.5")
    assert said["TimeoutStartSec"] == said["TimeoutStopSec"] == "45.5"
    assert (said["MemoryMax"], said["CPUQuota"], said["TasksMax"]) == ("1073741824", "150%", "16384")
    assert "Restart" not in said  # after a crash or a power-off it stays down, as it does without systemd


class Unit:
    """What a unit executes when it ends, on a host with this directory for containers' runtime files.

    Attributes:
        result: how systemd says that it has ended (`SERVICE_RESULT` in systemd.exec(5)).
    """

    def __init__(self, run_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = run_directory / "web"
        self.programs = run_directory / "programs"
        self.programs.mkdir()
        self.result = "success"
        monkeypatch.setattr(unit_by_hand_module, "RUN_DIRECTORY", str(run_directory))
        self.host("running")

    def host(self, state: str) -> None:
        """Have systemctl(1) say this of the host."""
        program = self.programs / "systemctl"
        program.write_text(f'#!/bin/sh\ntest "$*" = is-system-running && echo {state}\ntest {state} = running\n')
        program.chmod(0o755)

    def record(self, **record: t.Any) -> None:
        """Give the container a record of its start."""
        self.directory.mkdir(exist_ok=True)
        (self.directory / "state.json").write_text(format_flat(record))

    def execute(self, value: t.Callable[[str, str], str]) -> tuple[int, str]:
        """Execute a command; return its status, and the arguments of a launcher that was started, which ends with 3."""
        words = value("web", "/bin/sh -c 'echo $$0; exit 3' --option")
        assert words.startswith("-"), "it is no failure of the unit"
        command = shlex.split(words[1:].replace("$$", "$"))  # as systemd takes it (systemd.service(5))
        environment = {"PATH": f"{self.programs}:{os.environ['PATH']}", "SERVICE_RESULT": self.result}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        return done.returncode, done.stdout.strip()


OF_SYSTEMD = {"boot_seconds": 1.25, "pid": 7, "stop_signal": "SIGRTMIN+4", "system": SYSTEM}
LAUNCHER = (3, "--option")
NONE = (0, "")


@pytest.fixture
def unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Unit:
    return Unit(tmp_path, monkeypatch)


def test_what_a_stop_has_cleared_is_not_cleared_again(unit: Unit) -> None:
    """No launcher begins then. A crash leaves something, which a launcher clears, and its status counts."""
    assert unit.execute(clearing) == NONE
    unit.directory.mkdir()
    assert unit.execute(clearing) == LAUNCHER


@pytest.mark.parametrize("state", ["running", "degraded", "starting", "maintenance", ""])
def test_a_stop_is_a_launchers(unit: Unit, state: str) -> None:
    unit.record(**OF_SYSTEMD)
    unit.host(state)
    assert unit.execute(stopping) == unit.execute(clearing) == LAUNCHER


def test_while_the_host_shuts_down_no_launcher_begins(unit: Unit) -> None:
    """The start of one for each of many containers takes longer than all the rest of a shutdown."""
    unit.record(**OF_SYSTEMD)
    unit.host("stopping")
    assert unit.execute(stopping) == unit.execute(clearing) == NONE


@pytest.mark.parametrize("result", ["timeout", "signal", "exit-code", "oom-kill"])
def test_what_does_not_end_well_is_cleared_also_then(unit: Unit, result: str) -> None:
    """What does not let a process end, such as a file system that answers nobody, holds up the shutdown."""
    unit.record(**OF_SYSTEMD)
    unit.host("stopping")
    unit.result = result
    assert unit.execute(clearing) == LAUNCHER


@pytest.mark.parametrize(
    "record",
    [
        {"boot_seconds": 0.3, "stop_signal": "SIGTERM"},
        {"boot_seconds": 0.3, "stop_signal": "SIGRTMIN+5"},
        {"boot_seconds": 0.3, "stop_signal": "SIGTERM", "warnings": '"stop_signal": "SIGRTMIN+4"'},
        {"boot_seconds": None, "stop_signal": "SIGRTMIN+4"},
        {"boot_seconds": None, "pid": 7, "stop_signal": "SIGRTMIN+4"},
        {"boot_seconds": 0.3},
        {},
    ],
)
def test_another_init_or_one_that_may_not_heed_it_yet_is_a_launchers_also_then(
    unit: Unit, record: dict[str, t.Any]
) -> None:
    """A launcher knows what an init heeds, and waits until it does."""
    unit.record(**record)
    unit.host("stopping")
    assert unit.execute(stopping) == LAUNCHER


def test_what_has_no_record_is_a_launchers_also_then(unit: Unit) -> None:
    unit.host("stopping")
    assert unit.execute(stopping) == LAUNCHER


def test_the_signal_is_that_of_systemd() -> None:
    assert signal_number(SYSTEMD_STOP) == UNIT_STOP == signal.SIGRTMIN + 4
    assert UNIT_STOP in HEEDED  # also by the launcher that has not yet started it


@pytest.mark.parametrize("key", SAME)
def test_it_is_as_the_unit_of_a_deployment(key: str) -> None:
    template = systemd_units.template(252)
    assert re.search(
        rf"^{key}={re.escape(settings(service_words('web', SYSTEM, [], 30, {}, []))[key])}$", template, re.MULTILINE
    )


def test_it_has_its_place_and_its_kind() -> None:
    template = systemd_units.template(252)
    command = service_words("web", SYSTEM, [], 30, {}, [])
    assert "Type=notify\n" in template
    assert "--service-type=notify" in command
    assert "Slice=machine.slice\n" in template


def test_the_foreground_is_a_scope() -> None:
    command = scope_words("web", ["cat", "$x"], 30, {"memory_max": 1 << 30}, ["/srv/a"])
    assert "--unit=unshare-by-hand-web.scope" in command
    assert command[command.index("--scope") :] == ["--scope", "--", "cat", "$x"]
    said, other = settings(command), settings(service_words("web", SYSTEM, [], 30, {"memory_max": 1 << 30}, ["/srv/a"]))
    assert said["KillSignal"] == str(int(signal.SIGURG)) == str(SCOPE_STOP)
    assert all(other[key] == value for key, value in said.items() if key != "KillSignal")


def test_nobody_but_the_launcher_heeds_the_signal_of_a_scope() -> None:
    """A process that has said nothing of it does not end by it, and systemd inside has no job for it either."""
    code = f"import os, signal; os.kill(os.getpid(), {int(SCOPE_STOP)}); print('alive')"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout == b"alive\n"


def test_its_name_is_no_other_containers() -> None:
    assert units_by_hand("web") == ["unshare-by-hand-web.service", "unshare-by-hand-web.scope"]
    assert unit_by_hand("web") != systemd_units.unit_of("web")
    assert not is_name("web.service")
    assert unit_by_hand("web").startswith("unshare-by-hand-web.")


@pytest.mark.parametrize(("given", "written"), [("--share=/srv/$HOME", "--share=/srv/$$HOME"), ("--x=$$", "--x=$$$$")])
def test_no_variable_is_put_into_what_was_given(given: str, written: str) -> None:
    assert service_words("web", SYSTEM, [given], 30, {}, [])[-1] == written


@pytest.mark.parametrize("path", ["/srv/a b", "/srv/'", '/srv/"', "/srv/\\", "/srv/%i"])
def test_a_path_is_one_word(path: str) -> None:
    word = as_word(path)
    assert word[0] == word[-1] == '"'
    assert re.sub(r"\\(.)", r"\1", word[1:-1]) == path
    assert systemd_units.quoted(path) == word.replace("%", "%%")


def test_what_may_be_missing_is_not_waited_for() -> None:
    def bind(source: str, *flags: str, kind: str = "none") -> Mount:
        return Mount(device=source, mount_point="/x", type=kind, flags=["bind-mount", *flags])

    def kept(place: str, source: str) -> Credential:
        return Credential(name=place.strip("/").replace("/", "-") + source, source=source, place=place)

    may_fail = Mount(device="/srv/c", mount_point="/x", type="none", flags=["bind-mount"], mount_may_fail=True)
    records = [bind("/srv/b"), bind("/srv/a", "read-only"), bind("/srv/b"), may_fail, bind("/etc/hosts")]
    records += [Mount(device="tmpfs", mount_point="/x", type="tmpfs", flags=[]), bind("/srv/\udcff")]
    declared = specification()
    declared.file_systems = records[:3]
    declared.credentials = [kept("/etc/key", "path"), kept("key", "stored")]
    assert paths_of_host(declared, records[3:]) == ["/etc/key", "/srv/a", "/srv/b"]
