# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The unit of a container to the letter, and what the host's systemd is asked and told."""

from __future__ import annotations

import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import systemd_units
from ansible_collections.unshare.container.plugins.module_utils.host.systemd_units import Systemd, UnitOptions
from ansible_collections.unshare.container.plugins.module_utils.host.unit_by_hand import clearing, stopping
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError

PROGRAM = "/var/lib/unshare/containers/%i/current/run-container"
UNIT = "unshare-container@web.service"
TEMPLATE = f"""\
# Written by the Ansible collection unshare.container, and removed with the last container.
# What one container has of its own is in unshare.conf and unshare-limits.conf of its instance.
[Unit]
Description=System container %i
After=network.target systemd-machined.service
After=nftables.service firewalld.service
RequiresMountsFor=/var/lib/unshare/containers/%i
AssertPathExists={PROGRAM}
StartLimitIntervalSec=600s
StartLimitBurst=60
[Service]
Type=notify
NotifyAccess=main
Slice=machine.slice
Environment=UNSHARE_TIMEOUT=30
ExecStart={PROGRAM} --service --timeout=${{UNSHARE_TIMEOUT}}
ExecReload={PROGRAM} --refresh --timeout=${{UNSHARE_TIMEOUT}}
ExecStop={stopping("%i", PROGRAM + " --stop --timeout=${UNSHARE_TIMEOUT}")}
ExecStopPost={clearing("%i", PROGRAM + " --clear --timeout=${UNSHARE_TIMEOUT}")}
KillMode=mixed
KillSignal=38
Delegate=yes
Restart=on-failure
RestartForceExitStatus=SIGHUP
RestartPreventExitStatus=126
"""
CONSTANT = "RestartSec=3s\n"
GROWING = "RestartSec=1s\nRestartSteps=6\nRestartMaxDelaySec=30s\n"


def settings(text: str) -> list[str]:
    """Return the lines of a unit, without what stands among its settings for who reads it."""
    head, lines = text.partition("[Unit]")[0].split("\n")[:2], text.splitlines()
    return [*head, *(line for line in lines if line and not line.startswith("#"))]


@pytest.mark.parametrize(("version", "back_off"), [(0, CONSTANT), (253, CONSTANT), (254, GROWING), (999, GROWING)])
def test_the_template(version: int, back_off: str) -> None:
    expected = TEMPLATE + back_off + "[Install]\nWantedBy=multi-user.target\n"
    assert settings(systemd_units.template(version)) == settings(expected)


def test_a_drop_in_that_says_nothing_else() -> None:
    assert UnitOptions().text() == (
        "# Written by the Ansible collection unshare.container.\n[Unit]\n\n[Service]\n"
        "Environment=UNSHARE_TIMEOUT=30\nTimeoutStartSec=45s\nTimeoutStopSec=45s\nRestart=on-failure\n"
    )


@pytest.mark.parametrize("number", [15, 30, 38])
def test_the_signal_of_another_init_is_in_its_drop_in(number: int) -> None:
    options = UnitOptions(stop_signal=number)
    assert ("KillSignal=" in options.text()) == (number != 38)
    assert UnitOptions.read(options.text()) == options
    assert UnitOptions.read(options.text().replace(str(number), "SIGTERM")).stop_signal == 38


def test_a_drop_in_to_the_letter() -> None:
    options = UnitOptions(2.5, "always", ("web", "cache", "web"), ("database", "cache"))
    cache, database, web = (f"unshare-container@{name}.service" for name in ("cache", "database", "web"))
    assert options.text() == (
        "# Written by the Ansible collection unshare.container.\n[Unit]\n"
        f"After={cache}\nAfter={web}\nRequires={cache}\nAfter={cache}\nRequires={database}\nAfter={database}\n"
        "\n[Service]\nEnvironment=UNSHARE_TIMEOUT=2.5\nTimeoutStartSec=17.5s\nTimeoutStopSec=17.5s\nRestart=always\n"
    )
    assert UnitOptions.read(options.text()) == UnitOptions(2.5, "always", ("web", "cache"), ("cache", "database"))


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("Environment=UNSHARE_TIMEOUT= 7 ", {"timeout": 7.0}),
        ("Environment=UNSHARE_TIMEOUT=-1", {}),
        ("Environment=OTHER=7", {}),
        ("Restart=no", {"restart": "no"}),
        ("Restart=no\nRestart=sometimes", {"restart": "no"}),
        ("Restart=no\nRestart=always", {"restart": "always"}),
        ("After=unshare-container@a.service\nAfter=b.service", {"after": ("a",)}),
        ("After=unshare-container@a.socket", {}),
        ("After=unshare-container@-a.service", {}),
        ("After=unshare-container@.service", {}),
        (" After = unshare-container@a.service", {"after": ("a",)}),
        ("#After=unshare-container@a.service", {}),
        ("Requires=unshare-container@a.service", {"requires": ("a",)}),
        (f"After={UNIT}\nRequires={UNIT}\nAfter={UNIT}", {"after": ("web",), "requires": ("web",)}),
    ],
)
def test_what_a_drop_in_says(text: str, read: dict[str, t.Any]) -> None:
    assert UnitOptions.read(text) == UnitOptions()._replace(**read)


def test_limits_are_properties_of_the_unit() -> None:
    text = systemd_units.limits_drop_in({"memory_max": 1024, "cpu_quota": 50})
    assert text.startswith("# Written by the Ansible collection unshare.container.\n[Service]\n")
    assert {"MemoryMax=1024", "CPUQuota=50%"} <= set(text.splitlines())
    assert text.endswith("\n")


class Commands:
    """In place of programs: the commands that were run, and what each says."""

    def __init__(self) -> None:
        self.run: list[tuple[list[str], float]] = []
        self.answers: dict[str, tuple[int, str, str]] = {}

    def __call__(self, command: list[str], **options: t.Any) -> subprocess.CompletedProcess[str]:
        self.run.append((command, options.pop("timeout")))
        assert options == {
            "stdin": subprocess.DEVNULL,
            "capture_output": True,
            "encoding": "utf-8",
            "errors": "replace",
            "check": False,
        }
        word = command[0] if command[0] != "systemctl" else command[1]
        return subprocess.CompletedProcess(command, *self.answers.get(word, (0, "", "")))


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    commands = Commands()
    monkeypatch.setattr(subprocess, "run", commands)
    return commands


def test_a_host_with_systemd_as_its_init(tmp_path: Path) -> None:
    assert not Systemd(tmp_path).present
    (tmp_path / "run/systemd").mkdir(parents=True)
    assert not Systemd(tmp_path).present
    (tmp_path / "run/systemd/system").mkdir()
    assert Systemd(tmp_path).present


@pytest.mark.parametrize(("said", "version"), [("systemd 254 (254.5-1)\n+PAM\n", 254), ("sysd 9", 0), ("", 0)])
def test_its_version(tmp_path: Path, commands: Commands, said: str, version: int) -> None:
    commands.answers["--version"] = (0, said, "")
    assert Systemd(tmp_path).version() == version
    assert commands.run == [(["systemctl", "--version"], 30.0)]


@pytest.mark.parametrize(
    ("state", "active"),
    [
        *((state, True) for state in ("active", "activating", "deactivating", "reloading")),
        *((state, False) for state in ("inactive", "failed", "")),
    ],
)
def test_whether_a_unit_is_active(tmp_path: Path, commands: Commands, state: str, active: bool) -> None:
    commands.answers["show"] = (0, f"{state}\n", "")
    assert Systemd(tmp_path).is_active(UNIT) is active
    assert commands.run == [(["systemctl", "show", "--property=ActiveState", "--value", UNIT], 30.0)]


def test_properties_of_a_unit_by_their_names(tmp_path: Path, commands: Commands) -> None:
    commands.answers["show"] = (0, "MemoryMax=infinity\nAllowedCPUs=\nEnvironment=A=1 B=2\n", "")
    found = Systemd(tmp_path).properties(UNIT, ["MemoryMax", "AllowedCPUs", "Environment"])
    assert {name: found[name] for name in found if name} == {
        "MemoryMax": "infinity",
        "AllowedCPUs": "",
        "Environment": "A=1 B=2",
    }
    assert commands.run == [(["systemctl", "show", "--property=MemoryMax,AllowedCPUs,Environment", UNIT], 30.0)]


def test_which_units_of_containers_are_active(tmp_path: Path, commands: Commands) -> None:
    commands.answers["list-units"] = (0, f"{UNIT} loaded active running System container web\n\n", "")
    assert Systemd(tmp_path).active_instances() == [UNIT]
    words = ["list-units", "--plain", "--no-legend", "--full", "unshare-container@*.service"]
    assert commands.run == [(["systemctl", *words], 30.0)]


def test_orders_wait_longer_than_the_launcher(tmp_path: Path, commands: Commands) -> None:
    systemd = Systemd(tmp_path)
    systemd.reload()
    systemd.start(UNIT, 10)
    systemd.stop(UNIT, 10)
    assert commands.run == [
        (["systemctl", "daemon-reload"], 60),
        (["systemctl", "reset-failed", UNIT], 30.0),
        (["systemctl", "start", UNIT], 40),
        (["systemctl", "stop", UNIT], 50),
    ]


@pytest.mark.parametrize(
    ("answer", "log", "said"),
    [
        ((1, "", "Job failed.\n"), "one\ntwo\n", "Job failed.\nThe unit's log ends:\none\ntwo"),
        ((1, "", "Job failed.\n"), "", "Job failed."),
        ((4, "", ""), "\n", "status 4"),
    ],
)
def test_an_order_that_fails_is_told_with_the_units_log(
    tmp_path: Path, commands: Commands, answer: tuple[int, str, str], log: str, said: str
) -> None:
    commands.answers = {"start": answer, "journalctl": (0, log, "")}
    with pytest.raises(TargetError) as raised:
        Systemd(tmp_path).start(UNIT, 10)
    assert str(raised.value) == f"systemctl start {UNIT}: {said}"
    words = ["--no-pager", "--quiet", "--output=cat", "--lines=15", f"--unit={UNIT}"]
    assert commands.run[-1] == (["journalctl", *words], 10)


def test_an_order_about_no_unit_has_no_log(tmp_path: Path, commands: Commands) -> None:
    commands.answers = {"daemon-reload": (1, "", "Access denied"), "journalctl": (0, "of all", "")}
    with pytest.raises(TargetError, match=r"^systemctl daemon-reload: Access denied$"):
        Systemd(tmp_path).reload()


@pytest.mark.parametrize("error", [FileNotFoundError(2, "No such file"), subprocess.TimeoutExpired("x", 1)])
def test_a_systemd_that_gives_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_arguments: t.Any, **_options: t.Any) -> t.NoReturn:
        raise error

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(TargetError) as raised:
        Systemd(tmp_path).version()
    assert str(raised.value) == f"systemctl --version: {error}"


def test_about_transient_units_that_are_not_there_nobody_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def show(_systemd: Systemd, unit: str, _name: str) -> str:
        asked.append(unit)
        return "active" if unit == "a.service" else "inactive"

    monkeypatch.setattr(Systemd, "show", show)
    directory = tmp_path / "run/systemd/transient"
    directory.mkdir(parents=True)
    for name in ("a.service", "b.service"):
        (directory / name).touch()
    assert Systemd(tmp_path).active_transients(["a.service", "b.service", "a.scope"]) == ["a.service"]
    assert asked == ["a.service", "b.service"]
