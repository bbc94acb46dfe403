# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The units by which running containers follow their host (N7, N8): their texts, and when they are there."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import network_units
from ansible_collections.unshare.container.plugins.module_utils.host.boot import Boot
from ansible_collections.unshare.container.plugins.module_utils.host.network_units import NetworkUnits
from ansible_collections.unshare.container.plugins.module_utils.launcher import network
from ansible_collections.unshare.container.plugins.module_utils.launcher.paths import STATE_DIRECTORY
from ansible_collections.unshare.container.plugins.module_utils.state import zones
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError

from ..target_helpers import FakeContainer, FakeSystemd

UNITS = "etc/systemd/system"
CHANGED, REFRESH = "unshare-network-changed.service", "unshare-network.service"
WATCHES = [f"unshare-network@{place}.path" for place in network_units.WATCHED]
ALL = sorted(
    [
        CHANGED,
        REFRESH,
        "unshare-network@.path",
        f"firewalld.service.wants/{CHANGED}",
        f"nftables.service.wants/{CHANGED}",
        *(f"multi-user.target.wants/{unit}" for unit in WATCHES),
    ]
)
NETWORK_FILE = "etc/systemd/network/00-unshare.network"
RELOAD_NETWORKD = f"reload {network_units.NETWORKD}"
RESTART, STOP = f"restart {' '.join(WATCHES)}", f"stop unshare-network@*.path {REFRESH}"

BEGUN = ["daemon-reload", RESTART, "daemon-reload"]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / UNITS).mkdir(parents=True)
    return Layout(tmp_path)


def there(layout: Layout, directory: str = UNITS) -> list[str]:
    """Return which files and links of these units there are."""
    root = layout.root / directory
    found = [path for path in root.rglob("unshare-network*") if path.is_symlink() or path.is_file()]
    return sorted(str(path.relative_to(root)) for path in found)


def texts() -> dict[str, str]:
    return {path.name: text for path, text in NetworkUnits(Path("/u"), Path("/")).files().items()}


def values(unit: str, key: str) -> list[str]:
    """Return the values of a setting of a unit."""
    return re.findall(rf"^{key}=(.*)$", texts()[unit], re.MULTILINE)


def command_of_shell(state: Path) -> str:
    """Return what the shell is told, for another directory of state."""
    (command,) = values(REFRESH, "ExecStart")
    found = re.fullmatch("/bin/sh -c '([^']*)'", command)
    assert found
    return found[1].replace("$$", "$").replace(STATE_DIRECTORY, str(state))


def boot(layout: Layout, systemd: FakeSystemd, name: str = "web") -> Boot:
    return Boot(layout, name, FakeContainer(), systemd=systemd)


def test_they_come_with_the_first_container_and_go_with_the_last(layout: Layout) -> None:
    systemd = FakeSystemd()
    (layout.root / UNITS / "nftables.service.wants").mkdir()
    (layout.root / UNITS / "nftables.service.wants/other.service").touch()
    assert boot(layout, systemd).apply("started")
    assert there(layout) == ALL
    assert systemd.orders == BEGUN
    for link in (layout.root / UNITS).rglob("*.wants/unshare-*"):
        file = re.sub("@.+[.]", "@.", link.name)
        assert str(link.readlink()) == f"/{UNITS}/{file}"
        assert (layout.root / UNITS / file).is_file()
    assert boot(layout, systemd, "other").apply("started")
    assert systemd.orders == [*BEGUN, "daemon-reload"]
    assert boot(layout, systemd).apply("absent")
    assert there(layout) == ALL
    own = layout.root / UNITS / "multi-user.target.wants/unshare-network@run-mine.path"
    own.symlink_to(f"/{UNITS}/unshare-network@.path")
    assert boot(layout, systemd, "other").apply("absent")
    assert systemd.orders[4:] == ["daemon-reload", STOP, "daemon-reload"]
    assert sorted(path.name for path in (layout.root / UNITS).rglob("*")) == ["nftables.service.wants", "other.service"]


@pytest.mark.parametrize("path", ALL)
def test_what_is_missing_of_them_is_made_again(layout: Layout, path: str) -> None:
    systemd = FakeSystemd()
    boot(layout, systemd).apply("started")
    (layout.root / UNITS / path).unlink()
    assert boot(layout, systemd).would_change("stopped")
    systemd.orders.clear()
    assert boot(layout, systemd).apply("stopped")
    assert there(layout) == ALL
    assert systemd.orders == BEGUN
    assert not boot(layout, systemd).would_change("stopped")


def test_a_host_without_systemd_has_none(layout: Layout) -> None:
    systemd = FakeSystemd(present=False)
    assert not boot(layout, systemd).apply("started")
    assert there(layout) == []
    assert not (layout.root / NETWORK_FILE).exists()
    assert systemd.orders == []


def test_a_host_that_cannot_be_watched_is_a_warning(layout: Layout) -> None:
    systemd = FakeSystemd()
    systemd.broken = True
    made = boot(layout, systemd)
    assert made.apply("started")
    (warning,) = made.warnings
    assert "do not follow the host's name servers" in warning
    assert "it went wrong" in warning
    with pytest.raises(TargetError):
        systemd.restart([], 1)


def test_n8_networkd_leaves_the_interfaces_of_containers_alone(layout: Layout) -> None:
    """A file for all interfaces, as some have it, would give them the host's address and take them off their bridge."""
    systemd = FakeSystemd()
    systemd.active.add(network_units.NETWORKD)
    file = layout.root / NETWORK_FILE
    assert boot(layout, systemd).apply("started")
    assert systemd.orders == ["daemon-reload", RESTART, RELOAD_NETWORKD, "daemon-reload"]
    assert "\n[Link]\nUnmanaged=yes\n" in file.read_text()
    (pattern,) = re.findall("^Name=(.*)$", file.read_text(), re.MULTILINE)
    for name in (zones.bridge_name("web"), network._unused_name()):
        assert fnmatch.fnmatchcase(name, pattern)
    for name in ("eth0", "enp0s3", "u0", "usb0", "u" + "g" * 14, "u" + "0" * 13, "u" + "0" * 15):
        assert not fnmatch.fnmatchcase(name, pattern)
    file.unlink()
    assert boot(layout, systemd).would_change("started")
    assert boot(layout, systemd).apply("started")
    assert file.exists()
    systemd.active = {network_units.NETWORKD}
    systemd.active_instances = list  # type: ignore[method-assign]
    systemd.orders.clear()
    assert boot(layout, systemd).apply("absent")
    assert systemd.orders == [STOP, RELOAD_NETWORKD, "daemon-reload"]
    assert not file.exists()


@pytest.mark.parametrize("order", ["reload", "restart"])
def test_a_run_that_is_interrupted_is_gone_on_with(layout: Layout, monkeypatch: pytest.MonkeyPatch, order: str) -> None:
    systemd = FakeSystemd()
    boot(layout, systemd).apply("started")
    (layout.root / NETWORK_FILE).write_text("of an earlier version")
    with monkeypatch.context() as patch:
        patch.setattr(systemd, order, lambda *_arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            boot(layout, systemd).apply("started")
    systemd.orders.clear()
    assert boot(layout, systemd).apply("started")
    assert systemd.orders == BEGUN
    assert not boot(layout, systemd).would_change("started")


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_networkd_can_read_it_whatever_new_directories_get(layout: Layout, mask: int) -> None:
    former = os.umask(mask)
    try:
        boot(layout, FakeSystemd()).apply("started")
    finally:
        os.umask(former)
    file = layout.root / NETWORK_FILE
    assert [stat.S_IMODE(path.stat().st_mode) for path in (file.parent, file)] == [0o755, 0o644]


def test_networkd_that_does_not_read_it_is_a_warning(layout: Layout) -> None:
    systemd = FakeSystemd()
    systemd.active.add(network_units.NETWORKD)
    systemd.broken = True
    made = boot(layout, systemd)
    assert made.apply("started")
    assert "may configure interfaces of containers" in made.warnings[1]


def test_each_path_has_a_unit_of_its_own() -> None:
    """systemd drops the events of one path of a unit when there is one of another."""
    assert values("unshare-network@.path", "PathChanged") == ["%f"]
    assert values("unshare-network@.path", "Unit") == [CHANGED]
    for place in network_units.WATCHED:
        assert re.fullmatch(r"[A-Za-z]+([.-][A-Za-z]+)*", place)  # nothing of it has to be escaped
    assert {"etc", "run-systemd-resolve"} <= set(network_units.WATCHED)


def test_what_a_path_starts_ends_at_once_and_the_work_comes_after_it() -> None:
    """While it runs the path is not watched."""
    (command,) = values(CHANGED, "ExecStart")
    assert "--no-block" in command
    assert CHANGED in values(REFRESH, "After")[0].split()
    for unit in (CHANGED, REFRESH):
        assert values(unit, "StartLimitIntervalSec") == ["0"]


@pytest.mark.parametrize("filter_unit", ["nftables.service", "firewalld.service"])
def test_the_rules_come_back_after_each_start_and_each_reload_and_nothing_of_containers_restarts(
    filter_unit: str,
) -> None:
    for unit in (CHANGED, REFRESH):
        assert filter_unit in values(unit, "After")[0].split()
        for key in ("PartOf", "BindsTo", "Requires", "PropagatesStopTo"):
            assert values(unit, key) == []
    assert filter_unit in values(CHANGED, "WantedBy")[0].split()
    assert filter_unit in values(REFRESH, "ReloadPropagatedFrom")[0].split()
    assert values(REFRESH, "RemainAfterExit") == ["yes"]  # only what is active is reloaded
    assert values(REFRESH, "ExecReload") == values(REFRESH, "ExecStart")


@pytest.mark.parametrize("unit", [CHANGED, REFRESH])
def test_the_log_has_what_could_not_be_done_and_no_more(unit: str) -> None:
    assert (values(unit, "SyslogLevel"), values(unit, "LogLevelMax")) == (["warning"], ["notice"])


def test_a_further_change_waits_for_the_end_of_what_is_being_done(tmp_path: Path) -> None:
    """Its main process heeds no SIGTERM, so nothing is left over for systemd to complain of."""
    done = tmp_path / "containers/web/current"
    done.mkdir(parents=True)
    program = done / "run-container"
    program.write_text(f"#!/bin/sh\nkill -TERM $PPID\necho done >{tmp_path}/said\n")
    program.chmod(0o755)
    assert subprocess.run(["/bin/sh", "-c", command_of_shell(tmp_path)], timeout=30).returncode == 0
    assert (tmp_path / "said").read_text() == "done\n"


def test_nobody_waits_for_a_process_that_is_held_by_root_inside() -> None:
    assert values(REFRESH, "KillMode") == ["process"]


@pytest.mark.parametrize(
    ("programs", "said", "status"),
    [
        ({"new": "echo new; exit 0", "old": "echo old"}, "new\n", 0),
        ({"new": "echo new; exit 1", "old": "echo old"}, "new\n", 1),  # something could not be brought up to date
        ({"new": "echo no option; exit 125", "old": "echo old"}, "no option\nold\n", 0),
        ({"new": None, "old": "echo old"}, "old\n", 0),
        ({"new": "exit 125", "old": "exit 126"}, "", 126),
        ({}, "", 0),
    ],
)
def test_the_newest_program_that_can_does_it_for_all(
    tmp_path: Path, programs: dict[str, str | None], said: str, status: int
) -> None:
    (tmp_path / "containers").mkdir()
    for age, (name, script) in enumerate(programs.items()):
        system = tmp_path / "systems" / name
        system.mkdir(parents=True)
        if script is not None:
            (system / "run-container").write_text(f'#!/bin/sh\ntest "$1" = --refresh-all || exit 3\n{script}\n')
            (system / "run-container").chmod(0o755)
        (tmp_path / "containers" / name).mkdir()
        link = tmp_path / "containers" / name / "current"
        link.symlink_to(system)
        subprocess.run(["touch", "-h", "-d", f"-{age} hours", str(link)], check=True)
    done = subprocess.run(["/bin/sh", "-c", command_of_shell(tmp_path)], capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.returncode) == (said, status)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("unit", [CHANGED, REFRESH, *WATCHES])
def test_systemd_takes_them(tmp_path: Path, unit: str) -> None:
    for name, text in texts().items():
        (tmp_path / name).write_text(text)
    # systemd that cannot find any other unit says nothing of those.
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit]
    environment = {"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin"}

    def said() -> list[str]:
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60)
        return [line for line in done.stderr.splitlines() if "unshare" in line]

    assert said() == []
    file = tmp_path / re.sub("@.+[.]", "@.", unit)
    file.write_text(file.read_text().replace("[Unit]", "[Unit]\nNoSuchSetting=1"))
    assert any("NoSuchSetting" in line for line in said())


@pytest.mark.skipif(shutil.which("systemd-escape") is None, reason="needs systemd-escape")
def test_the_paths_are_those_that_are_meant() -> None:
    command = ["systemd-escape", "--unescape", "--path", *network_units.WATCHED]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert found[:2] == ["/etc", "/etc/resolv.conf"]
    assert all(path.startswith("/run/") for path in found[2:])
