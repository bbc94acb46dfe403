# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A system on the disk is whole or not there, private, and never changed."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils import systems as systems_module
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.systems import ASIDE, Systems
from ansible_collections.unshare.container.plugins.module_utils.target import Layout, TargetError

from .target_helpers import content


@pytest.fixture
def systems(tmp_path: Path) -> Systems:
    return Systems(Layout(tmp_path))


def test_writes_everything(systems: Systems) -> None:
    path = systems.write(content(motd="hello\n"), b"filter")
    assert path.name == content(motd="hello\n").directory_name(b"filter")
    assert (path / "root/etc/motd").read_text() == "hello\n"
    assert os.readlink(path / "root/etc/systemd/system/default.target").endswith("multi-user.target")
    assert (path / "seccomp.bpf").read_bytes() == b"filter"
    specification = json.loads((path / "spec.json").read_text())
    assert specification["files"]["/etc/shadow"] == {"mode": "0640", "gid": 42, "secret": True}
    assert specification["host_files"] == ["/etc/alternatives"]
    assert "root:!" not in (path / "spec.json").read_text()


def test_is_for_root_alone(systems: Systems) -> None:
    path = systems.write(content(), None)
    for directory in (path, path.parent, path.parent.parent):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((path / "root/etc/shadow").stat().st_mode) == 0o600
    assert os.access(path / "run-container", os.X_OK)
    assert os.access(path / "enter-container", os.X_OK)
    assert not (path / "seccomp.bpf").exists()


def test_the_script_runs_and_writes_nothing(systems: Systems) -> None:
    path = systems.write(content(), None)
    before = sorted(path.rglob("*"))
    script = (path / "run-container").read_text().replace("/usr/bin/python3", sys.executable)
    result = subprocess.run([sys.executable, "-IS", path / "run-container"], check=False, timeout=20)
    assert result.returncode == 0
    assert script.startswith(f"#!{sys.executable} -IS\n")
    assert sorted(path.rglob("*")) == before
    assert list(path.glob("launcher/__pycache__/main.*.pyc"))


def test_an_existing_system_is_left_alone(systems: Systems) -> None:
    path = systems.write(content(), None)
    inode = (path / "spec.json").stat().st_ino
    assert systems.write(content(), None) == path
    assert (path / "spec.json").stat().st_ino == inode


def test_leftovers_of_a_killed_run_are_removed(systems: Systems) -> None:
    leftover = systems.layout.systems / (ASIDE + "x")
    (leftover / "root/etc").mkdir(parents=True)
    systems.write(content(), None)
    assert not leftover.exists()


def test_two_writers_both_succeed(systems: Systems) -> None:
    results: list[Path] = []
    threads = [threading.Thread(target=lambda: results.append(systems.write(content(), None))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == [systems.path(content(), None)] * 4
    assert [entry.name for entry in systems.layout.systems.iterdir()] == [systems.path(content(), None).name]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_refuses_leaves_nothing(systems: Systems, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(path: Path) -> None:
        raise OSError(number, os.strerror(number), "/somewhere")

    systems.write(content(), None)
    monkeypatch.setattr(systems_module, "_synchronise", refuse)
    with pytest.raises(TargetError, match=f"{os.strerror(number)}: /somewhere; nothing was changed"):
        systems.write(content(motd="new"), None)
    assert [entry.name for entry in systems.layout.systems.iterdir()] == [systems.path(content(), None).name]


@pytest.mark.root
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
def test_a_full_disk_for_real(tmp_path: Path) -> None:
    program = (
        "import sys; sys.path[:0] = eval(sys.argv[2]); from pathlib import Path;"
        "from ansible_collections.unshare.container.tests.unit.plugins.module_utils import test_systems as tests;"
        "tests.write_and_report(Path(sys.argv[1]))"
    )
    script = 'mount -t tmpfs -o size=64k,nr_inodes=1000 none "$1" && exec "$2" -c "$3" "$1" "$4"'
    result = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path), sys.executable, program, repr(sys.path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "No space left on device" in result.stdout
    assert result.stdout.endswith("left: []\n")


def write_and_report(root: Path) -> None:
    """Run in a process of its own, on a file system too small."""
    systems = Systems(Layout(root))
    try:
        systems.write(content(large="x" * 200_000), None)
    except TargetError as error:
        print(error)
    print("left:", [entry.name for entry in systems.layout.systems.iterdir()])


def test_removes_only_what_it_is_told(systems: Systems) -> None:
    first, second = systems.write(content(), None), systems.write(content(motd="x"), None)
    assert systems.of_container("web") == [first, second]
    assert systems.of_container("eb") == []
    systems.remove([first])
    assert [entry.name for entry in systems.layout.systems.iterdir()] == [second.name]


def test_what_is_mounted_in_a_system_keeps_it_from_being_removed(
    systems: Systems, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = systems.write(content(), None)

    def mounted(_path: str) -> None:
        raise LauncherError("something is mounted there")

    monkeypatch.setattr(systems_module, "remove_tree", mounted)
    with pytest.raises(TargetError, match="^cannot remove a system: something is mounted there$"):
        systems.remove([path])
    assert systems.of_container("web") == []


def test_the_modes_of_what_is_written(systems: Systems) -> None:
    path = systems.write(content(), b"filter")
    modes = {str(p.relative_to(path)): oct(stat.S_IMODE(p.lstat().st_mode)) for p in path.rglob("*") if p.is_file()}
    assert modes["root/etc/shadow"] == "0o600"
    assert {modes[name] for name in ("boot", "run-container", "enter-container")} == {"0o755"}
    plain = ("spec.json", "seccomp.bpf", "launcher/main.py", "root/etc/hostname")
    assert {modes[name] for name in plain} == {"0o644"}
