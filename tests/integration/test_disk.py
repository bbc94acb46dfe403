# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Full disks, read-only ones, files in the way, kills in the middle of a write: an error, and what was there is whole.

Each test is a process in a mount namespace of its own, where a small tmpfs is what it finds full.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import linux, mount_calls
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
from ansible_collections.unshare.container.plugins.module_utils.state import configs, id_ranges
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError

from .conftest import Host, write_system
from .lives import Run, host_unchanged, pause, reach, rounds, seeded

PREFIX = "test-disk"
STATE = Path("/var/lib/unshare")
pytestmark = [pytest.mark.root, pytest.mark.usefixtures("host_unchanged")]
__all__ = ["host_unchanged"]


def mount(path: Path, options: str) -> None:
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=True)


def in_private_mounts(test: t.Callable[[], None]) -> t.Callable[[], None]:
    """Run a test in a process of its own, with mounts of its own and nothing at /var/lib/unshare and /run/unshare."""

    def inside() -> None:
        linux.unshare(linux.CLONE_NEWNS)
        mount_calls.make_private("/")
        for path in (STATE, Path("/run/unshare")):
            mount(path, "mode=0755")
        test()

    @functools.wraps(test)
    def run() -> None:
        Run(inside).result(120)

    return run


def write(zone: str, name: str = PREFIX) -> Path:
    """Write a system that differs from another in its time zone."""
    return write_system({"host_name": name, "timezone": zone}, name)


def content(path: Path) -> dict[str, bytes | str]:
    """Return all files of a directory."""
    found: dict[str, bytes | str] = {}
    for parent, _directories, names in os.walk(path):
        for name in names:
            file = Path(parent, name)
            found[str(file)] = os.readlink(file) if file.is_symlink() else file.read_bytes()
    return found


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def fill(path: Path) -> None:
    """Leave no byte free on the file system of a directory."""
    with open(path / "ballast", "wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue


@in_private_mounts
def test_a_full_disk_leaves_the_former_system_whole_and_current() -> None:
    mount(STATE, "size=8m,mode=0700")
    first = write("Europe/Paris")
    reach(PREFIX, "started", first)
    before = content(first)
    fill(STATE)
    with pytest.raises(TargetError, match="No space left on device"):
        write("Europe/Rome")
    assert names(STATE / "systems") == [first.name]
    assert content(first) == before
    assert Layout().current_system(PREFIX) == first
    assert not reach(PREFIX, "started").changed
    assert reach(PREFIX, "restarted").describe()["running"] == first.name
    (STATE / "ballast").unlink()
    second = write("Europe/Rome")
    assert reach(PREFIX, "started", second).describe()["running"] == second.name
    reach(PREFIX, "absent")


@in_private_mounts
def test_a_disk_without_inodes_leaves_the_former_generation_current() -> None:
    mount(STATE, "nr_inodes=1000,mode=0700")
    first, second = write("Europe/Paris"), write("Europe/Rome")
    reach(PREFIX, "started", first)
    with contextlib.suppress(OSError):
        for number in range(1000):
            (STATE / f"ballast{number}").touch()
    with pytest.raises(TargetError, match="the former system is still current"):
        reach(PREFIX, "started", second)
    cycle = reach(PREFIX, "started")
    assert (cycle.changed, cycle.describe()["running"]) == (False, first.name)
    for file in STATE.glob("ballast*"):
        file.unlink()
    assert reach(PREFIX, "started", second).describe()["running"] == second.name
    reach(PREFIX, "absent")


@in_private_mounts
def test_ids_are_kept_or_not_given_at_all_on_a_full_disk() -> None:
    mount(STATE, "size=8m,mode=0700")
    first, other = write("Europe/Paris"), write("Europe/Paris", PREFIX + "-other")
    reach(PREFIX, "started", first)
    config = (STATE / "containers" / PREFIX / "config.json").read_bytes()
    fill(STATE)
    with pytest.raises((LauncherError, TargetError), match=r"No space left on device"):
        reach(PREFIX + "-other", "started", other)
    assert "config.json" not in names(STATE / "containers" / (PREFIX + "-other"))
    assert not os.path.exists(f"/run/unshare/{PREFIX}-other")
    reach(PREFIX, "stopped")
    reach(PREFIX, "started")
    assert (STATE / "containers" / PREFIX / "config.json").read_bytes() == config
    (STATE / "ballast").unlink()
    reach(PREFIX + "-other", "started", other)
    bases = {Container(name).status().uid_base for name in (PREFIX, PREFIX + "-other")}
    assert len(bases) == 2
    assert json.loads(config)["uid_base"] in bases
    for name in (PREFIX, PREFIX + "-other"):
        reach(name, "absent")


@in_private_mounts
def test_what_many_remember_is_kept_for_later_starts_and_a_start_goes_without() -> None:
    mount(STATE, "size=8m,mode=0700")
    bases = [id_ranges.FIRST + number * 65536 for number in range(configs.ENOUGH)]
    kept = STATE / "kept"
    for place in (kept, Path("/proc/none"), STATE / "systems"):
        for base in bases:
            configs.write_config(str(STATE / "containers" / f"other-{base}"), {"uid_base": base})
        configs.CONFIGS_FILE = str(place)
        reach(PREFIX, "started", write("Europe/Paris"))
        assert Container(PREFIX).status().uid_base not in bases
        reach(PREFIX, "absent")
    known = json.loads(kept.read_text())
    assert {config["uid_base"] for _identity, config in known.values()} == {*bases}
    assert [name for name in names(STATE) if name.startswith("kept")] == ["kept"]


@in_private_mounts
def test_a_read_only_file_system_gives_the_error_and_what_is_there_still_runs() -> None:
    mount(STATE, "mode=0700")
    first, second = write("Europe/Paris"), write("Europe/Rome")
    reach(PREFIX, "started", first)
    reach(PREFIX, "stopped")
    subprocess.run(["mount", "-o", "remount,ro", STATE], check=True)
    before = content(STATE)
    with pytest.raises(TargetError, match="Read-only file system"):
        write("Europe/Berlin")
    with pytest.raises(TargetError, match="Read-only file system"):
        reach(PREFIX, "started", second)
    with pytest.raises((LauncherError, TargetError), match="Read-only file system"):
        reach(PREFIX, "absent")
    assert content(STATE) == before
    assert reach(PREFIX, "started").describe()["running"] == first.name
    reach(PREFIX, "stopped")
    subprocess.run(["mount", "-o", "remount,rw", STATE], check=True)
    reach(PREFIX, "absent")


@in_private_mounts
def test_something_in_the_way_is_named() -> None:
    mount(STATE, "mode=0700")
    (STATE / "systems").write_text("in the way")
    with pytest.raises(TargetError, match=r"/var/lib/unshare/systems(?s:.*)Not a directory|exists"):
        write("Europe/Paris")
    assert (STATE / "systems").read_text() == "in the way"
    (STATE / "systems").unlink()
    first = write("Europe/Paris")
    (STATE / "containers").mkdir()
    (STATE / "containers" / PREFIX).write_text("in the way")
    with pytest.raises(TargetError, match="Not a directory|exists"):
        reach(PREFIX, "started", first)


@in_private_mounts
def test_a_permission_that_is_missing_is_named() -> None:
    mount(STATE, "mode=0700")
    first = write("Europe/Paris")
    reach(PREFIX, "started", first)
    reach(PREFIX, "stopped")

    def as_nobody() -> None:
        os.setresuid(65534, 65534, 65534)
        with pytest.raises(TargetError, match="Permission denied"):
            write("Europe/Rome")
        with pytest.raises((LauncherError, TargetError), match="Permission denied|no system"):
            reach(PREFIX, "started")

    Run(as_nobody).result()
    assert reach(PREFIX, "started").describe()["running"] == first.name
    reach(PREFIX, "absent")


@in_private_mounts
def test_a_full_run_undoes_the_start_and_does_not_hinder_a_stop() -> None:
    mount(STATE, "mode=0700")
    first = write("Europe/Paris")
    runtime = Path("/run/unshare")
    mount(runtime, "size=4k,nr_inodes=5,mode=0755")
    with pytest.raises(LauncherError, match="No space left on device"):
        reach(PREFIX, "started", first)
    assert names(runtime) == []
    assert not {path for path in Host.control_groups() if path.endswith(PREFIX)}
    subprocess.run(["mount", "-o", "remount,size=64k,nr_inodes=50", runtime], check=True)
    assert reach(PREFIX, "started").describe()["state"] == "running"
    fill(runtime)
    assert reach(PREFIX, "stopped").changed
    (runtime / "ballast").unlink()
    reach(PREFIX, "absent")
    assert names(runtime) == []


@in_private_mounts
def test_a_killed_write_leaves_a_whole_system_or_none() -> None:
    mount(STATE, "mode=0700")
    path = write("Europe/Paris")
    whole = content(path)
    subprocess.run(["rm", "-r", path], check=True)
    choices = seeded()
    for _round in range(rounds(20, 100)):
        run = Run(lambda: write("Europe/Paris"))
        pause(choices.uniform(0, 0.15))
        run.kill()
        run.end()
        if path.exists():
            assert content(path) == whole
            if choices.random() < 0.5:
                subprocess.run(["rm", "-r", path], check=True)
    assert write("Europe/Paris") == path
    write("Europe/Rome")
    assert len(names(STATE / "systems")) == 2
    assert content(path) == whole


@in_private_mounts
def test_two_writers_of_one_system_do_not_meet() -> None:
    mount(STATE, "mode=0700")
    paths = {run.result() for run in [Run(lambda: write("Europe/Paris")) for _writer in range(4)]}
    assert len(paths) == 1
    assert names(STATE / "systems") == [Path(paths.pop()).name]
