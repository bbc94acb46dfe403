# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module container_snapshot as a play runs it, and on a host whose containers are units of systemd (V4)."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from .conftest import MakeMachine, contain, files_of, render_boot
from .systemd_host import started
from .test_trees import Played

pytestmark = [pytest.mark.root, pytest.mark.timeout(300), pytest.mark.usefixtures("host_unchanged")]

NAME = "test-played-snapshots"
SNAPSHOT = "unshare.container.container_snapshot"


def test_v4_a_play_saves_changes_restores_and_removes(tmp_path: Path) -> None:
    play = Played(tmp_path)
    declared = {"operating_system": {"host_name": NAME}, "volumes": [{"name": "data", "path": "/srv/data"}]}

    def inside(name: str, script: str) -> None:
        enter = f"/var/lib/unshare/containers/{NAME}/current/enter-container"
        play.task(name, "ansible.builtin.command", {"argv": [enter, "--", "sh", "-c", script]})

    def snapshot(name: str, check: bool = False, **options: t.Any) -> None:
        play.task(name, SNAPSHOT, {"name": NAME, **options}, diff=True, check_mode=check)

    snapshot("foreseen", check=True, snapshot="one")
    snapshot("unknown", snapshot="one")
    play.task("made", "unshare.container.containers", {"containers": {NAME: declared}})
    inside("written", "echo first > /srv/data/file")
    snapshot("saved", snapshot="one", labels={"why": "test"}, keep=5)
    snapshot("saved_again", snapshot="one", labels={"why": "test"}, keep=5)
    snapshot("by_time")
    inside("overwritten", "echo second > /srv/data/file")
    snapshot("refused", snapshot="one", state="restored")
    snapshot("restored", snapshot="one", state="restored", stop=True)
    inside("read", "cat /srv/data/file")
    snapshot("removed", snapshot="one", state="absent")
    absent = {NAME: {"state": "absent", "remove_volumes": True}}
    play.task("gone", "unshare.container.containers", {"containers": absent})
    found = play.run()

    assert found["foreseen"]["changed"]
    assert "no container of this name" in found["foreseen"]["warnings"][0]
    assert "no container of this name" in found["unknown"]["msg"]
    assert found["saved"]["changed"], found["saved"]
    assert found["saved"]["volumes"] == ["data"]
    assert found["saved"]["consistent"] == "frozen"
    assert found["saved"]["diff"]["after"] == {"snapshots": ["one"]}
    assert found["saved_again"]["changed"] is False
    assert found["saved_again"]["made"] == found["saved"]["made"]
    assert found["by_time"]["kept"] == sorted(["one", found["by_time"]["snapshot"]])
    assert "with stop: true" in found["refused"]["msg"]
    assert found["restored"]["changed"], found["restored"]
    assert found["read"]["stdout"] == "first"
    assert found["removed"]["removed"] == ["one"]
    assert not found["gone"].get("failed"), found["gone"]
    assert not Path("/var/lib/unshare/containers", NAME).exists()


def test_v4_a_container_that_is_a_unit_is_frozen_stopped_and_started_as_one(
    make_machine: MakeMachine, tmp_path: Path
) -> None:
    host = started("test-played-host", make_machine, tmp_path)
    derived = contain({"host_name": "inside"})
    # In a container ids cannot be mapped again, and so such a volume is the host's root's.
    system = files_of(
        derived, name="web", volumes=[{"name": "data", "path": "/srv/data"}], private_users="identity", security={}
    )
    path = str(host.module("container_script", system=system, boot=render_boot(system))["system"])
    host.container("web", system=path)
    assert host.show("web", "ActiveState") == ["active"]
    host.inside("web", "sh", "-c", "echo first > /srv/data/file")
    assert host.module("container_snapshot", name="web", snapshot="one")["consistent"] == "frozen"
    assert host.show("web", "ActiveState") == ["active"]
    host.inside("web", "sh", "-c", "echo second > /srv/data/file")
    result = host.module("container_snapshot", name="web", snapshot="one", state="restored", stop=True)
    assert result["changed"]
    assert host.show("web", "ActiveState") == ["active"]
    assert host.inside("web", "cat", "/srv/data/file") == "first\n"
    assert host.module("container_snapshot", name="web", snapshot="two", stop=True)["consistent"] == "stopped"
    assert host.show("web", "ActiveState") == ["active"]
    assert host.runs("web")
    host.container("web", state="absent", remove_volumes=True)
    assert host.machine.output("ls", "/var/lib/unshare").split() == []
