# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A mapping of what an automounter mounts has that, whoever asked for it first, and waits for it within bounds."""

from __future__ import annotations

import subprocess
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.life.healing import Healing

from .automounter import automounter

if t.TYPE_CHECKING:
    from .conftest import MakeMachine

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif("autofs" not in Path("/proc/filesystems").read_text(), reason="this kernel has no autofs"),
]

NAME = "test-automounts"


def test_cases_b4_an_automount_point_is_triggered(make_machine: MakeMachine, tmp_path: Path) -> None:
    """The source itself, a directory below one, and a name of an indirect map; read-only and writable."""
    tmp_path.chmod(0o700)
    with (
        automounter(tmp_path / "direct", True) as direct,
        automounter(tmp_path / "read", True, mode="0755") as read,
        automounter(tmp_path / "map", False) as names,
    ):
        mappings = [
            {"source": str(direct), "target": "/direct", "writable": True},
            {"source": str(read), "target": "/read"},
            {"source": str(names / "one"), "target": "/one"},
            {"source": str(names / "two/there"), "target": "/two"},
        ]
        machine = make_machine(name=NAME, mappings=mappings)
        assert machine.start().warnings == []
        machine.output("ls", "/direct/there", "/read/there", "/one/there", "/two")
        machine.output("touch", "/direct/inside")
        assert (direct / "inside").exists()
        # As an automounter does after a while; the container goes on with it, and so does the host.
        subprocess.run(["umount", read], check=True)
        healing = Healing(machine.container)
        healing.look()
        assert healing.stale == []


def test_cases_b4_what_is_mounted_later_is_said_or_seen(make_machine: MakeMachine, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "shared").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "test-automounts", tmp_path / "shared"], check=True)
    try:
        subprocess.run(["mount", "--make-shared", tmp_path / "shared"], check=True)
        with automounter(tmp_path / "shared/map", False) as names:
            mappings = [
                {"source": str(names), "target": "/never"},
                {"source": str(names), "target": "/later", "propagation": "slave"},
            ]
            machine = make_machine(name=NAME, mappings=mappings)
            (said,) = machine.start().warnings
            assert said.startswith(f"{names}: is an automount point with nothing mounted on it")
            assert "propagation: slave" in said
            machine.output("ls", "/later/one/there")
            assert machine.shell("ls /never/two/there").returncode != 0
            writable = [{"source": str(names), "target": "/later", "writable": True}]
            machine.stop()
            machine = make_machine(name=NAME + "-writable", mappings=writable)
            with pytest.raises(LauncherError, match="is an automount point") as caught:
                machine.start()
            assert "chown" not in str(caught.value)
    finally:
        subprocess.run(["umount", "--recursive", tmp_path / "shared"], check=True)


def test_cases_b4_a_silent_automounter_keeps_no_start_for_long(make_machine: MakeMachine, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with automounter(tmp_path / "silent", True, answers=False) as silent:
        record = {"device": str(silent), "mount_point": "/silent", "type": "none", "flags": ["bind-mount", "read-only"]}
        began = time.monotonic()
        machine = make_machine(name=NAME, mappings=[{"source": str(silent), "target": "/silent"}])
        with pytest.raises(LauncherError, match=rf"the automounter of {silent} has not mounted it"):
            machine.start(timeout=2.0)
        assert time.monotonic() - began < 20
        optional = {**record, "needed_for_boot": True, "mount_may_fail": True}
        machine = make_machine(name=NAME, extra_file_systems=[optional])
        assert any("has not mounted it" in line for line in machine.start(timeout=8.0).warnings)
