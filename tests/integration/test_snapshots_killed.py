# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Snapshots whose runs are killed: old or new as a whole, and no container that stands still (V4, V6)."""

from __future__ import annotations

import os
import time

import pytest
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
from ansible_collections.unshare.container.plugins.module_utils.state import restoring

from .lives import Run, seeded
from .saving import ask, is_frozen, many_files, reach, snapshot_directory, two, volume

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

NAME = "test-killed-snapshots"


def test_v4_a_run_that_is_killed_leaves_no_frozen_container_and_no_snapshot(container: Container) -> None:
    machine = two(container)
    many_files(machine, 3000)
    choices = seeded()
    ask(container, snapshot="good")
    began = time.monotonic()
    ask(container, snapshot="timed")
    span = time.monotonic() - began
    for number in range(6):
        run = Run(lambda: ask(container, snapshot="killed"))
        run.process.wait(choices.uniform(0, span))
        run.kill()
        run.end()
        made = "killed" in os.listdir(snapshot_directory(container))
        assert machine.output("echo", "alive", timeout=20) == "alive\n", f"round {number}"
        assert not is_frozen(container)
        result = ask(container, "absent", snapshot="killed")
        assert result["changed"] == made
        assert sorted(os.listdir(snapshot_directory(container))) == ["good", "timed"]


@pytest.mark.parametrize("moment", ["before", "between"])
def test_v4_a_restore_that_is_killed_is_old_or_new_as_a_whole(container: Container, moment: str) -> None:
    machine = two(container)
    machine.output("sh", "-c", "echo old > /srv/one/file; echo old > /srv/two/file")
    ask(container, snapshot="old")
    machine.output("sh", "-c", "echo new > /srv/one/file; echo new > /srv/two/file")

    def restore() -> None:
        real, finish = restoring.note, restoring.finish

        def note(path: str, restore: restoring.Restore) -> None:
            real(path, restore)
            if moment == "before":
                os.kill(os.getpid(), 9)

        def stop_between(name: str) -> None:
            if name == "two":
                os.kill(os.getpid(), 9)

        patched = pytest.MonkeyPatch()  # of this process, which is killed
        patched.setattr(restoring, "note", note)
        patched.setattr(restoring, "finish", lambda directory, path: finish(directory, path, stop_between))
        ask(container, "restored", snapshot="old", stop=True)

    status, _said = Run(restore).end()
    assert status == -9
    contents = [(volume(container, name) / "file").read_text() for name in ("one", "two")]
    if moment == "before":
        assert (contents, container.status().state) == (["new\n"] * 2, "running")
        result = ask(container, "absent", snapshot="other")
        assert (result["changed"], result["warnings"]) == (False, [])
        expected = "new\n"
    else:
        assert (contents, container.status().state) == (["old\n", "new\n"], "stopped")
        reach(container)  # which lets nobody inside see a part
        expected = "old\n"
    for name in ("one", "two"):
        assert machine.output("cat", f"/srv/{name}/file") == expected
    ask(container, "absent", snapshot="other")
    assert os.listdir(snapshot_directory(container)) == ["old"]


def test_v4_the_next_run_finishes_a_restore_and_starts_what_ran(container: Container) -> None:
    machine = two(container)
    machine.output("sh", "-c", "echo old > /srv/one/file; echo old > /srv/two/file")
    ask(container, snapshot="old")
    machine.output("sh", "-c", "echo new > /srv/one/file; echo new > /srv/two/file")

    def stop_between(name: str) -> None:
        if name == "two":
            os.kill(os.getpid(), 9)

    def restore() -> None:
        finish = restoring.finish
        patched = pytest.MonkeyPatch()  # of this process, which is killed
        patched.setattr(restoring, "finish", lambda directory, path: finish(directory, path, stop_between))
        ask(container, "restored", snapshot="old", stop=True)

    assert Run(restore).end()[0] == -9
    result = ask(container, snapshot="old")
    assert result["changed"]
    assert [said for said in result["warnings"] if "the restore of old was interrupted, and is finished now" in said]
    assert [said for said in result["warnings"] if "does not run: start it" in said]
    assert (volume(container, "two") / "file").read_text() == "old\n"
    (volume(container, "two") / "file").write_text("new\n")
    assert Run(restore).end()[0] == -9
    result = ask(container, "restored", snapshot="old")
    assert container.status().state == "stopped", "what was stopped when the restore began stays so"
    reach(container)
    assert Run(restore).end()[0] == -9
    result = ask(container, "restored", snapshot="old", stop=True)
    assert (result["changed"], container.status().state) == (True, "running")
    assert machine.output("cat", "/srv/two/file") == "old\n"
