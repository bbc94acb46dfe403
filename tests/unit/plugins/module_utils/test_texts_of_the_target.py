# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the target's side writes and says: units, differences of systems, refusals, orders to systemd (see ..golden)."""

from __future__ import annotations

import subprocess
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import limits, systemd_units
from ansible_collections.unshare.container.plugins.module_utils.host.network_units import NetworkUnits
from ansible_collections.unshare.container.plugins.module_utils.host.systemd_units import Systemd, UnitOptions
from ansible_collections.unshare.container.plugins.module_utils.state import generations
from ansible_collections.unshare.container.plugins.module_utils.state.system_content import SystemContent
from ansible_collections.unshare.container.plugins.module_utils.state.system_diff import (
    differences,
    of_content,
    of_directory,
)
from ansible_collections.unshare.container.plugins.module_utils.state.systems import Systems
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError

from .. import golden
from .target_helpers import LAUNCHER, content, system

LIMITS = {"memory_max": "1G", "memory_high": "512M", "cpu_quota": "150%", "cpu_weight": 50, "tasks_max": 100,
          "io_weight": "20", "swap_max": "0", "cpuset": "1,0", "io_read_bandwidth": {"/srv": "5M", "/dev/sda": "1G"},
          "io_write_bandwidth": {"/srv": 1}, "io_read_iops": {"/srv": 2}, "io_write_iops": {"/srv": 3}}  # fmt: skip


def test_the_unit_of_a_container() -> None:
    options = UnitOptions(timeout=7.5, restart="always", after=("db", "app", "db"), requires=("db", "cache"))
    parts = {
        "the template, for systemd 253": systemd_units.template(253),
        "the template, for systemd 254": systemd_units.template(254),
        "a drop-in without options": UnitOptions().text(),
        "a drop-in with all options": options.text(),
        "limits": systemd_units.limits_drop_in(limits.parse_limits(LIMITS)),
        "no limits": systemd_units.limits_drop_in({}),
    }
    shared = NetworkUnits(Path("/etc/systemd/system"), Path("/"))
    parts.update({f"{path.name}, for all containers": text for path, text in shared.files().items()})
    parts["links to these"] = "".join(f"{link} -> {target}\n" for link, target in shared.links.items())
    golden.check("unit.txt", "".join(f"=== {title}\n{text}\n" for title, text in parts.items()))
    assert UnitOptions.read(options.text()) == options._replace(after=("app", "db"), requires=("cache", "db"))


def test_a_system_is_refused_before_it_is_written() -> None:
    def ask(row: dict[str, t.Any]) -> None:
        value = system()
        value.update({key: item for key, item in row.items() if key != "secrets"})
        SystemContent(value, "", LAUNCHER, "/usr/bin/python3", row.get("secrets"))

    golden.check_refusals("refusals/system.yml", ask, TargetError)


def test_what_is_shown_of_a_change(tmp_path: Path) -> None:
    before = system(same="same\n", gone="gone\n", text="one\n", empty="", mode="x", binary="\0a", latin="é")
    after = system(same="same\n", text="two\n", empty="full\n", mode="x", binary="\0b", new="new\n", latin="\0")
    before["files"]["/etc/latin"] = {"content": "/w==", "encoding": "base64"}
    after["files"]["/etc/mode"].update(mode="0600", uid=5)
    after["files"]["/etc/shadow"] = {"content": "changed", "mode": "0640", "gid": 42, "secret": True}
    after["files"]["/etc/systemd/system/default.target"] = {"content": "no link\n"}
    after["files"]["/etc/key"] = {"content": "never shown", "secret": True}
    after["directories"] = [{"path": "/srv", "mode": "0700", "uid": 1, "gid": 2}]
    after["host_files"] = ["/etc/alternatives", "/etc/ssl"]
    after["spec"]["log"] = "persistent"
    after["spec"]["file_systems"] += [
        {"device": {"uuid": "a"}, "mount_point": "/a", "type": "xfs", "required": True},
        {"device": "t", "mount_point": "/b", "type": "tmpfs", "flags": ["no-exec"], "options": "size=1M",
         "mount_may_fail": True},
    ]  # fmt: skip
    old = SystemContent(before, "#!/bin/sh\n", LAUNCHER, "/usr/bin/python3")
    new = SystemContent(after, "#!/bin/sh\necho\n", {**LAUNCHER, "more.py": ""}, "/usr/bin/python3.11")
    written = of_directory(Systems(Layout(tmp_path)).write(old, None))
    shown = differences(written, of_content(new, None))
    assert shown == differences(of_content(old, None), of_content(new, None))
    assert "never shown" not in str(shown)
    for difference in shown:
        assert difference["before_header"] == difference["after_header"]
        if difference["after_header"] == "launcher":
            # The digest of this test's own launcher, which says nothing.
            for side in ("before", "after"):
                difference[side] = difference[side].replace(difference[side].split()[1], "DIGEST")
    golden.check("difference.yml", golden.dump({d["after_header"]: [d["before"], d["after"]] for d in shown}))


@pytest.mark.parametrize("present", ["", "run/systemd/system"])
def test_systemd_is_there_when_it_is_pid_1(tmp_path: Path, present: str) -> None:
    (tmp_path / present).mkdir(parents=True, exist_ok=True)
    assert Systemd(tmp_path).present is bool(present)


class Ran:
    """In place of subprocess.run: what was run, and what it answers by its first words."""

    def __init__(self, answers: dict[str, tuple[int, str, str]]) -> None:
        self.answers = answers
        self.commands: list[tuple[str, float]] = []

    def __call__(self, command: list[str], timeout: float, **options: t.Any) -> t.Any:
        words = " ".join(command)
        self.commands.append((words, timeout))
        assert options["stdin"] == subprocess.DEVNULL
        status, out, error = next((a for start, a in self.answers.items() if words.startswith(start)), (0, "", ""))
        return types.SimpleNamespace(returncode=status, stdout=out, stderr=error)


UNIT = "unshare-container@web.service"


@pytest.mark.parametrize(
    ("ask", "command", "seconds", "said", "answer"),
    [
        (lambda s: s.version(), "--version", 30, "systemd 252 (252.39)\n+PAM\n", 252),
        (lambda s: s.version(), "--version", 30, "elogind 1\n", 0),
        (lambda s: s.show(UNIT, "RequiredBy"), f"show --property=RequiredBy --value {UNIT}", 30, " a b \n", "a b"),
        *[
            (lambda s: s.is_active(UNIT), f"show --property=ActiveState --value {UNIT}", 30, f"{state}\n", active)
            for state, active in (
                ("active", True), ("activating", True), ("deactivating", True), ("failed", False), ("inactive", False),
                ("", False),
            )
        ],
        (lambda s: s.active_instances(), "list-units --plain --no-legend --full unshare-container@*.service", 30,
         "a.service loaded\nb.service x\n", ["a.service", "b.service"]),
        (lambda s: s.reload(), "daemon-reload", 60, "", None),
        (lambda s: s.stop(UNIT, 5), f"stop {UNIT}", 40, "", None),
    ],
)  # fmt: skip
def test_what_systemd_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: t.Any, command: str, seconds: float, said: str, answer: t.Any
) -> None:
    ran = Ran({"systemctl": (0, said, "")})
    monkeypatch.setattr(systemd_units.subprocess, "run", ran)
    assert ask(Systemd(tmp_path)) == answer
    assert ran.commands == [(f"systemctl {command}", seconds)]


@pytest.mark.parametrize(
    ("error", "log", "message"),
    [
        ("it broke\n", "one\ntwo\n", f"systemctl start {UNIT}: it broke\nThe unit's log ends:\none\ntwo"),
        ("", "", f"systemctl start {UNIT}: status 3"),
    ],
)
def test_a_unit_that_does_not_start_is_an_error_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str, log: str, message: str
) -> None:
    ran = Ran({"systemctl start": (3, "", error), "journalctl": (0, log, "")})
    monkeypatch.setattr(systemd_units.subprocess, "run", ran)
    with pytest.raises(TargetError) as raised:
        Systemd(tmp_path).start(UNIT, 5)
    assert str(raised.value) == message
    assert ran.commands == [
        (f"systemctl reset-failed {UNIT}", 30),
        (f"systemctl start {UNIT}", 35),
        (f"journalctl --no-pager --quiet --output=cat --lines=15 --unit={UNIT}", 10),
    ]


def test_an_order_without_a_unit_has_no_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = Ran({"systemctl": (1, "", "no bus")})
    monkeypatch.setattr(systemd_units.subprocess, "run", ran)
    with pytest.raises(TargetError, match="^systemctl daemon-reload: no bus$"):
        Systemd(tmp_path).reload()
    assert len(ran.commands) == 1


@pytest.mark.parametrize("error", [OSError("no such file"), subprocess.TimeoutExpired("systemctl", 30)])
def test_a_systemctl_that_is_missing_or_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_command: t.Any, **_options: t.Any) -> t.Any:
        raise error

    monkeypatch.setattr(systemd_units.subprocess, "run", fail)
    with pytest.raises(TargetError) as raised:
        Systemd(tmp_path).version()
    assert str(raised.value) == f"systemctl --version: {error}"


def test_generations_say_what_is_kept(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    written = [Systems(layout).write(content(x=str(number)), None) for number in range(3)]

    def said(number: int | None) -> str:
        with pytest.raises(TargetError) as error:
            generations.find(layout, "web", number)
        return str(error.value)

    assert said(None) == "container 'web' has no generation before the current one (None); none is kept"
    assert said(4) == "container 'web' has no generation 4 to go back to; none is kept"
    for path in (*written, written[2]):
        generations.switch(layout, "web", path)
    assert generations.numbers(layout, "web") == [1, 2, 3]
    assert said(4) == "container 'web' has no generation 4 to go back to; kept are 1, 2, 3"
    assert generations.find(layout, "web") == 2
    generations.point(layout, "web", 1)
    assert said(None) == "container 'web' has no generation before the current one (1); kept are 1, 2, 3"
    (written[1] / "spec.json").unlink()
    assert said(2) == "container 'web' has no generation 2 to go back to; kept are 1, 3"
    generations.point(layout, "web", 3)
    assert generations.find(layout, "web") == 1


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda layout, path: generations.switch(layout, "web", path),
         "cannot make {path} current for 'web': No space left on device; the former system is still current"),
        (lambda layout, _path: generations.point(layout, "web", 1),
         "cannot make generation 1 of 'web' current: No space left on device"),
        (lambda layout, _path: generations.begin_trial(layout, "web"),
         "cannot note the generation 1 of 'web': No space left on device"),
    ],
)  # fmt: skip
def test_links_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: t.Any, message: str
) -> None:
    layout = Layout(tmp_path)
    path = Systems(layout).write(content(), None)
    generations.switch(layout, "web", path)
    generations.note_well(layout, "web")

    def full(*_arguments: t.Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(generations, "_link", full)
    with pytest.raises(TargetError) as error:
        act(layout, path)
    assert str(error.value).startswith(message.format(path=path))
