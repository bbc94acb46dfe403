# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module four ways (check, run, check, run) for each state, with a container that starts nothing."""

from __future__ import annotations

import contextlib
import shutil
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import boot
from ansible_collections.unshare.container.plugins.module_utils.inside.units import Judgement
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.life import examination
from ansible_collections.unshare.container.plugins.module_utils.life.host_containers import HostContainers
from ansible_collections.unshare.container.plugins.module_utils.state import system_diff
from ansible_collections.unshare.container.plugins.module_utils.state.system_content import SystemContent
from ansible_collections.unshare.container.plugins.module_utils.state.systems import Systems
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout
from ansible_collections.unshare.container.plugins.modules import system_container
from ansible_collections.unshare.container.plugins.modules.containers import options_of

from ..module_utils.specifications import SMALL
from ..module_utils.target_helpers import FakeSystemd, judgement
from .conftest import RunModule


class Host:
    """A host without containers, and what its launcher would say."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout(root)
        self.running: str | None = None
        self.failed: list[str] = []
        self.starts = 0
        self.broken = False
        self.cgroup = types.SimpleNamespace(of_unit=False, controllers=lambda: ["pids"], close=lambda: None)
        self.run_directory = str(root / "run")

    def __call__(self, name: str) -> Host:
        self.name = name
        return self

    @contextlib.contextmanager
    def lock(self, timeout: float) -> t.Iterator[None]:
        yield

    def thaw_left(self) -> None:
        pass

    def status(self) -> t.Any:
        state = "running" if self.running else "stopped"
        known = {"boot_seconds": 0.1, "ready": True, "started": 0.0, "warnings": ["/srv/x was left out"]}
        return types.SimpleNamespace(state=state, pid=7, system=self.running, uid_base=65536, uid_count=65536, **known)

    def start(self, system: str, wait: bool, timeout: float) -> t.Any:
        if self.broken:
            raise LauncherError("container web: cannot start: mount /data: no such file")
        self.starts += 1
        self.running = system
        return self.status()

    def stop(self, timeout: float) -> bool:
        ran, self.running = self.running is not None, None
        return ran

    def outdated_units(self, timeout: float = 5.0) -> dict[str, t.Any]:
        return {}

    def judge(self, timeout: float = 10.0) -> Judgement:
        return judgement(self.failed)

    def log_tail(self, lines: int, unit: str | None = None) -> str:
        return "it went wrong"

    def remove(self) -> None:
        shutil.rmtree(self.layout.container("web"))

    def write(self, text: str) -> str:
        system = {"name": "web", "spec": SMALL, "files": {"/etc/motd": {"content": text}}}
        return str(Systems(self.layout).write(SystemContent(system, "", {"main.py": ""}, "/usr/bin/python3"), None))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_launcher: None) -> Host:
    host = Host(tmp_path)
    monkeypatch.setattr(system_container, "ROOT", tmp_path)
    monkeypatch.setattr(system_container, "Container", host)
    monkeypatch.setattr(examination, "examine", lambda *arguments: examination.Examined([], []))
    return host


def four_ways(host: Host, run_module: RunModule, **arguments: t.Any) -> dict[str, t.Any]:
    """Run each way; returns the result of the first real run."""
    listed = sorted(host.layout.root.rglob("*"))
    planned = run_module(system_container.main, check=True, name="web", **arguments)
    assert sorted(host.layout.root.rglob("*")) == listed
    done = run_module(system_container.main, name="web", **arguments)
    assert planned["changed"] == done["changed"]
    assert planned.get("diff") == done.get("diff")
    for key in ("state", "system"):
        assert planned.get(key) == done.get(key)
    for check in (True, False):
        again = run_module(system_container.main, check=check, name="web", **arguments)
        assert not again["changed"]
        assert "diff" not in again
        assert again["state"] == done["state"]
    return done


def test_started(host: Host, run_module: RunModule) -> None:
    system = host.write("1")
    result = four_ways(host, run_module, system=system)
    assert result["changed"]
    assert result["system"] == system
    assert result["pid"] == 7
    assert result["failed_units"] == []
    assert result["shell"].endswith("/containers/web/current/enter-container")
    assert result["warnings"] == ["/srv/x was left out"]
    assert host.starts == 1
    other = host.write("2")
    changed = four_ways(host, run_module, system=other)
    state = changed["diff"][-1]
    assert state["before"] == {"state": "running", "current": Path(system).name, "running": Path(system).name}
    assert state["after"]["running"] == Path(other).name
    assert host.starts == 2


def content_of(result: dict[str, t.Any]) -> list[tuple[str, str, str]]:
    """Return the title, and both sides, of each difference of content in a result."""
    shown = result.get("diff", [])
    entries = shown if isinstance(shown, list) else [shown]
    return [(one["after_header"], one["before"], one["after"]) for one in entries if isinstance(one["before"], str)]


def test_a_difference_is_that_of_the_content_when_the_system_is_on_the_host(host: Host, run_module: RunModule) -> None:
    first = host.write("1")
    fresh = four_ways(host, run_module, system=first)
    assert ("/etc/motd", "", "1") in content_of(fresh)
    second = host.write("2")
    changed = four_ways(host, run_module, system=second)
    assert content_of(changed) == [("/etc/motd", "1", "2")]
    back = four_ways(host, run_module, state="rolled_back", generation=1)
    assert content_of(back) == [("/etc/motd", "2", "1")]
    again = four_ways(host, run_module, system=second)  # which a roll-back has left on the host
    assert content_of(again) == [("/etc/motd", "1", "2")]
    stopped = four_ways(host, run_module, system=first, state="stopped")
    assert content_of(stopped) == [("/etc/motd", "2", "1")]
    started = four_ways(host, run_module, state="started")
    assert content_of(started) == []
    host.running = second  # a switch was interrupted
    assert content_of(four_ways(host, run_module, system=first)) == [("/etc/motd", "2", "1")]
    assert content_of(four_ways(host, run_module, state="absent")) == []


def test_no_difference_is_made_that_nobody_asked_for(
    host: Host, run_module: RunModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system_diff, "between", lambda before, after: pytest.fail("it was compared"))
    assert "diff" not in run_module(system_container.main, diff=False, name="web", system=host.write("1"))


def test_stopped_and_absent(host: Host, run_module: RunModule) -> None:
    run_module(system_container.main, name="web", system=host.write("1"))
    stopped = four_ways(host, run_module, state="stopped")
    assert stopped["state"] == "stopped"
    assert "pid" not in stopped
    absent = four_ways(host, run_module, state="absent")
    assert absent["state"] == "absent"
    assert not host.layout.state.exists()


def test_restarted_is_never_without_a_change(host: Host, run_module: RunModule) -> None:
    run_module(system_container.main, name="web", system=host.write("1"))
    for check in (True, False, True, False):
        assert run_module(system_container.main, check=check, name="web", state="restarted")["changed"]
    assert host.starts == 3


def test_a_system_that_is_only_planned(host: Host, run_module: RunModule) -> None:
    planned = str(host.layout.systems / ("a" * 32 + "-web"))
    assert run_module(system_container.main, check=True, name="web", system=planned)["system"] == planned
    assert "is not a system on this host" in run_module(system_container.main, name="web", system=planned)["msg"]


def test_failed_units(host: Host, run_module: RunModule) -> None:
    host.failed = ["nginx.service"]
    system = host.write("1")
    failed = run_module(system_container.main, name="web", system=system)
    assert failed["failed"]
    assert failed["changed"]
    assert failed["failed_units"] == ["nginx.service"]
    assert failed["msg"].split("\n") == [
        "container 'web' is not well: nginx.service has failed (exit-code)",
        "The log of nginx.service:",
        "it went wrong",
    ]
    assert "log" not in failed
    allowed = run_module(system_container.main, name="web", allow_failed_units=True)
    assert not allowed["changed"]
    assert allowed["failed_units"] == ["nginx.service"]
    assert allowed["warnings"] == ["container 'web' is not well: nginx.service has failed (exit-code)"]


def test_what_the_launcher_says_is_the_error(host: Host, run_module: RunModule) -> None:
    host.broken = True
    failed = run_module(system_container.main, name="web", system=host.write("1"))
    assert failed["msg"] == "container web: cannot start: mount /data: no such file"


@pytest.mark.parametrize("name", ["", "Web", "../x", "a" * 64, "web\n"])
def test_bad_names(host: Host, run_module: RunModule, name: str) -> None:
    for check in (True, False):
        assert "cannot name a container" in run_module(system_container.main, check=check, name=name)["msg"]


def test_v4_state_goes_back_with_a_switch_that_may_be_undone_alone(host: Host, run_module: RunModule) -> None:
    result = run_module(system_container.main, name="web", system=host.write("1"), roll_back_state=True)
    assert result["failed"]
    assert result["msg"] == "roll_back_state: needs roll_back: true, without which no switch is undone"


def test_to_require_what_the_host_does_not_have_is_refused(
    host: Host, run_module: RunModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot, "Systemd", lambda root: FakeSystemd())
    asked: dict[str, t.Any] = {"name": "web", "system": host.write("x"), "requires": ["nosuch"]}
    said = "requires: this host has no container 'nosuch'; declare it before this one, or take it out of the list"
    planned = run_module(system_container.main, check=True, **asked)
    assert (planned["changed"], planned["warnings"]) == (True, [f"container 'web': {said}"])
    done = run_module(system_container.main, **asked)
    assert (done["failed"], done["msg"]) == (True, f"container 'web' is left as it is: {said}")
    assert (host.starts, host.layout.container("web").exists()) == (0, False)
    gone = run_module(system_container.main, check=True, name="web", state="absent", requires=["nosuch"])
    assert (gone["state"], gone["warnings"]) == ("absent", [])


def test_an_order_after_what_the_host_does_not_have_yet_is_a_warning(
    host: Host, run_module: RunModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot, "Systemd", lambda root: FakeSystemd())
    asked: dict[str, t.Any] = {"name": "web", "system": host.write("x"), "state": "stopped", "after": ["nosuch"]}
    said = "container 'web': after: this host has no container 'nosuch' yet; the order counts once it has"
    assert run_module(system_container.main, check=True, **asked)["warnings"] == [said]
    done = run_module(system_container.main, **asked)
    assert not done.get("failed")
    assert said in done["warnings"]


@pytest.mark.parametrize(
    ("option", "state", "staged", "brought"),
    [
        ("after", "started", True, True),
        ("requires", "started", True, True),
        ("after", "absent", True, True),
        ("requires", "absent", False, False),
    ],
)
def test_names_of_containers_that_the_same_run_makes(
    host: Host,
    run_module: RunModule,
    monkeypatch: pytest.MonkeyPatch,
    option: str,
    state: str,
    staged: bool,
    brought: bool,
) -> None:
    monkeypatch.setattr(boot, "Systemd", lambda root: FakeSystemd())
    run_module(system_container.main, name="web", system=host.write("x"), state="stopped")
    declared = {
        "web": {**options_of({option: ["late"], "state": "stopped"}, ""), "digest": None, "security": None},
        "late": {**options_of({"state": state}, ""), "digest": None, "security": None},
    }
    for check in (True, False):
        containers = HostContainers(host.layout.root, declared, {}, {}, host, check)
        assert bool(containers.stage()[0].get("failed")) == (not staged and not check)
        ordered = option == "after" and state == "absent"
        assert bool(containers.warnings) == (ordered or (not staged and check))
        containers.warnings.clear()
        first = containers.bring(False)[0]
        if check:
            assert any("no container 'late'" in said for said in containers.warnings) == (ordered or not staged)
        else:
            assert ("no container 'late'" in first.get("msg", "")) == (not brought)
