# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Outdated software of a container that goes on: told, restarted where that was asked for, or refused before that."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.inside import restarting
from ansible_collections.unshare.container.plugins.module_utils.inside.outdated import Outdated
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.life import examination, host_containers
from ansible_collections.unshare.container.plugins.module_utils.life.one_container import OneContainer
from ansible_collections.unshare.container.plugins.module_utils.life.unhealthy import UnhealthyError
from ansible_collections.unshare.container.plugins.module_utils.state import generations
from ansible_collections.unshare.container.plugins.module_utils.state.systems import Systems
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError
from ansible_collections.unshare.container.plugins.modules.containers import options_of

from ..target_helpers import FakeContainer, content

REDIS = Outdated(["/usr/bin/redis-server"], ["/usr/bin/redis-server"])
LIBRARY = Outdated(["/usr/lib/libc.so.6"], [])
ALL = {"init.scope": LIBRARY, "redis.service": REDIS, "session-1.scope": LIBRARY}
LACKS = "the unit redis.service starts /usr/bin/redis-server, which is not there"


class Running(FakeContainer):
    """One whose units run what `found` says, until they are restarted."""

    def __init__(self, root: Path, found: dict[str, Outdated]) -> None:
        super().__init__()
        self.run_directory = str(root / "run")
        self.found = found
        self.restarted: list[str] = []
        self.fails: list[str] = []
        self.stays: list[str] = []

    def outdated_units(self) -> dict[str, Outdated]:
        return self.found

    def restart(self, _container: t.Any, units: list[str], _timeout: float) -> bool:
        self.calls.append("restart")
        self.restarted += units
        self.failed = self.fails
        self.found = {unit: found for unit, found in self.found.items() if unit not in units or unit in self.stays}
        return not self.fails


class Deployed:
    """A container that runs its current system."""

    def __init__(self, root: Path, found: dict[str, Outdated]) -> None:
        self.layout = Layout(root)
        self.container = Running(root, found)
        self.system = Systems(self.layout).write(content(), None)
        generations.switch(self.layout, "web", self.system)
        generations.note_well(self.layout, "web")
        self.container.running, self.container.waited = str(self.system), True
        self.warnings: list[str] = []

    def bring(self, restart: bool = True, check: bool = False, **given: t.Any) -> dict[str, t.Any]:
        options = options_of({"health": {"timeout": 0.3, "steady": 0}, **given}, "web")
        one = OneContainer(self.layout, self.container, self.system, options, False, restart)
        try:
            return one.bring(check, True)
        finally:
            self.warnings = one.warnings


@pytest.fixture
def deployed(tmp_path: Path, own_launcher: None, monkeypatch: pytest.MonkeyPatch) -> Deployed:
    monkeypatch.setattr(examination, "examine", lambda *arguments: examination.Examined([], []))
    monkeypatch.setattr(examination, "removed_programs", lambda *arguments: [])
    deployed = Deployed(tmp_path, ALL)
    monkeypatch.setattr(restarting, "restart", deployed.container.restart)
    return deployed


def shown(result: dict[str, t.Any]) -> t.Any:
    """Return what the difference says of outdated units."""
    return tuple(result["diff"][side]["outdated_units"] for side in ("before", "after"))


@pytest.mark.parametrize("check", [True, False])
def test_what_is_outdated_is_told_and_left_alone(deployed: Deployed, check: bool) -> None:
    result = deployed.bring(restart=False, check=check)
    assert (result["changed"], result["outdated_units"]) == (False, sorted(ALL))
    assert "restarted_units" not in result
    (said,) = deployed.warnings
    assert "still run by: init.scope, redis.service, session-1.scope; restart these units inside" in said
    assert deployed.container.restarted == []


def test_the_units_alone_are_restarted_once(deployed: Deployed) -> None:
    asked = deployed.bring(check=True)
    assert deployed.container.restarted == []
    done = deployed.bring()
    for result in (asked, done):
        assert result["changed"]
        assert result["restarted_units"] == ["init.scope", "redis.service"]
        assert result["outdated_units"] == ["session-1.scope"]
        assert shown(result) == (sorted(ALL), ["session-1.scope"])
    assert deployed.container.restarted == ["init.scope", "redis.service"]
    assert not {"stop", "start"}.intersection(deployed.container.calls)
    (said,) = deployed.warnings
    assert "session-1.scope; sessions, and commands that somebody has entered" in said
    assert not deployed.bring()["changed"]


def test_what_is_outdated_all_the_same_is_told(deployed: Deployed) -> None:
    """A service's process of before may go on, as with KillMode=process."""
    deployed.container.found, deployed.container.stays = {"ssh.service": LIBRARY}, ["ssh.service"]
    result = deployed.bring()
    assert (result["restarted_units"], result["outdated_units"]) == (["ssh.service"], ["ssh.service"])
    assert "ssh.service" in deployed.warnings[0]


def test_a_container_that_is_not_well_then_is_an_error(deployed: Deployed) -> None:
    deployed.container.fails = ["redis.service"]
    with pytest.raises(UnhealthyError, match=r"redis\.service has failed") as caught:
        deployed.bring()
    assert caught.value.changed
    assert caught.value.failed_units == ["redis.service"]


def test_a_unit_that_does_not_come_up_is_told_where_that_is_allowed(deployed: Deployed) -> None:
    deployed.container.fails = ["redis.service"]
    result = deployed.bring(allow_failed_units=True)
    assert result["failed_units"] == ["redis.service"]
    assert any("not all of these units could be restarted: init.scope, redis.service" in w for w in deployed.warnings)


@pytest.mark.parametrize("check", [True, False])
def test_a_program_that_was_taken_away_is_an_error_before(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch, check: bool
) -> None:
    looked = []

    def removed_programs(_layout: Layout, system: Path, running: dict[str, list[str]]) -> list[str]:
        looked.append((system, running))
        return [LACKS]

    monkeypatch.setattr(examination, "removed_programs", removed_programs)
    if check:
        deployed.bring(check=True)
        (said, _left) = deployed.warnings
    else:
        with pytest.raises(TargetError) as caught:
            deployed.bring()
        said = str(caught.value)
    assert said.startswith("container 'web': nothing was restarted, though its software is outdated (init.scope, redis")
    assert LACKS in said
    assert deployed.container.restarted == []
    assert looked == [(deployed.system, {"init.scope": [], "redis.service": ["/usr/bin/redis-server"]})]
    deployed.bring(restart=False)
    assert LACKS in deployed.warnings[0]


@pytest.mark.parametrize(("restart", "lacking", "failed", "pending"), [
    (True, [], False, True), (True, [LACKS], True, None), (False, [], False, False), (False, [LACKS], False, False),
])  # fmt: skip
def test_staging_foresees_it(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch, restart: bool, lacking: list[str], failed: bool, pending: bool
) -> None:
    monkeypatch.setattr(examination, "removed_programs", lambda *arguments: lacking)
    host = host_containers.HostContainers(
        deployed.layout.root, {"web": options_of({}, "web")}, {}, {}, lambda name: deployed.container,
        restart_outdated=restart,
    )  # fmt: skip
    (result,) = host.stage()
    assert result.get("failed", False) is failed
    assert result.get("pending") is pending
    assert deployed.container.restarted == []


@pytest.mark.parametrize("state", ["stopped", "absent", "restarted"])
def test_a_container_that_ends_is_not_asked(deployed: Deployed, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    monkeypatch.setattr(deployed.container, "outdated_units", lambda: pytest.fail("was asked"))
    assert "restarted_units" not in deployed.bring(check=True, state=state)


def test_one_that_cannot_be_asked_is_told(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    def outdated_units() -> dict[str, Outdated]:
        raise LauncherError("container web: cannot be asked")

    monkeypatch.setattr(deployed.container, "outdated_units", outdated_units)
    result = deployed.bring()
    assert (result["changed"], result["outdated_units"]) == (False, [])
    assert deployed.warnings == ["container web: cannot be asked"]


REMOVED = {
    "there": ([], "/usr/bin/redis-server", ""),
    "another_path_of_the_unit": ([], "/usr/lib/postgresql/15/bin/postgres", "runs /usr/lib/postgresql/15/bin/postgres"),
    "said_already": (["the unit a starts /usr/bin/gone, which"], "/usr/bin/gone", ""),
}


@pytest.mark.parametrize("case", REMOVED)
def test_programs_that_no_unit_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    said, program, expected = REMOVED[case]
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/redis-server").touch(0o755)
    layout = Layout(tmp_path)
    system = Systems(layout).write(content(), None)
    monkeypatch.setattr(examination.Programs, "problems", lambda self: list(said))
    found = examination.removed_programs(layout, system, {"a.service": [program]})
    assert found[: len(said)] == said
    assert [text for text in found[len(said) :] if expected and expected in text] == found[len(said) :]
    assert len(found) == len(said) + bool(expected)
