# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever happens to a file of a system is found, named, and mended the next time that the system is asked for."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import threading
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.state import renaming
from ansible_collections.unshare.container.plugins.module_utils.state.system_damage import (
    damages,
    manifest,
    summary_of_damages,
)
from ansible_collections.unshare.container.plugins.module_utils.state.systems import ASIDE, Systems
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError

from ..target_helpers import content

FILTER = b"filter"
Damage = t.Callable[[Path], object]


@pytest.fixture
def systems(tmp_path: Path) -> Systems:
    return Systems(Layout(tmp_path / "root"))


def snapshot(directory: Path) -> dict[str, t.Any]:
    """Return all of a directory but times and inodes, seen without the code under test."""
    found: dict[str, t.Any] = {}
    for path in (directory, *directory.rglob("*")):
        status = path.lstat()
        what: t.Any = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(directory))] = (status.st_mode, status.st_uid, status.st_gid, what)
    return found


def other_byte(path: Path) -> None:
    """Change a bit in the middle of a file, and nothing else."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def replace_by_link(path: Path) -> None:
    """Move a file or directory away, and make it a link to where it is: whoever follows links sees no difference."""
    away = Path(str(path).partition("/root/var/lib/")[0], "away")
    path.rename(away)
    path.symlink_to(away)


def replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def lead_elsewhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("/elsewhere")


def lead_nowhere(path: Path) -> None:
    shutil.rmtree(path)
    path.symlink_to("nothing")


def replace_by_file(path: Path) -> None:
    shutil.rmtree(path)
    path.touch()


def empty(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir(0o700)


def bytecode(path: Path) -> Path:
    return next(path.glob("library/life/__pycache__/main.*.pyc"))


DAMAGES: dict[str, tuple[Damage, str]] = {
    "file missing": (lambda path: (path / "root/etc/hostname").unlink(), "root/etc/hostname is missing"),
    "boot missing": (lambda path: (path / "boot").unlink(), "boot is missing"),
    "specification missing": (lambda path: (path / "spec.json").unlink(), "spec.json is missing"),
    "filter missing": (lambda path: (path / "seccomp.bpf").unlink(), "seccomp.bpf is missing"),
    "directory missing": (lambda path: shutil.rmtree(path / "root/etc"), "root/etc is missing"),
    "file truncated": (lambda path: truncate(path / "spec.json"), "spec.json has"),
    "file longer": (lambda path: (path / "boot").write_text("#!/bin/sh\nexec true\n\n"), "boot has 21 bytes"),
    "file empty": (lambda path: os.truncate(path / "seccomp.bpf", 0), "seccomp.bpf has 0 bytes instead of 6"),
    "content": (lambda path: other_byte(path / "root/etc/shadow"), "root/etc/shadow has other content"),
    "specification": (lambda path: other_byte(path / "spec.json"), "spec.json has other content"),
    "filter": (lambda path: other_byte(path / "seccomp.bpf"), "seccomp.bpf has other content"),
    "script": (lambda path: other_byte(path / "run-container"), "run-container has other content"),
    "source": (lambda path: other_byte(path / "library/life/main.py"), "library/life/main.py has other content"),
    "byte code": (lambda path: other_byte(bytecode(path)), ".pyc has other content"),
    "byte code missing": (lambda path: bytecode(path).unlink(), ".pyc is missing"),
    "mode of a file": (lambda path: (path / "boot").chmod(0o644), "boot has mode 0644 instead of 0755"),
    "mode of a secret": (lambda path: (path / "root/etc/shadow").chmod(0o644), "root/etc/shadow has mode 0644"),
    "set-user-id": (lambda path: (path / "boot").chmod(0o4755), "boot has mode 4755"),
    "mode of a directory": (lambda path: (path / "root/etc").chmod(0o777), "root/etc has mode 0777"),
    "mode of its own": (lambda path: path.chmod(0o755), "its directory has mode 0755 instead of 0700"),
    "extra file": (
        lambda path: (path / "library/life/json.py").touch(),
        "library/life/json.py does not belong there",
    ),
    "extra hidden file": (lambda path: (path / ".x").touch(), ".x does not belong there"),
    "extra directory": (lambda path: (path / "root/new").mkdir(), "root/new does not belong there"),
    "extra link": (lambda path: (path / "root/x").symlink_to("/"), "root/x does not belong there"),
    "link elsewhere": (
        lambda path: lead_elsewhere(path / "root/etc/systemd/system/default.target"),
        "root/etc/systemd/system/default.target leads elsewhere",
    ),
    "link for a file": (lambda path: replace_by_link(path / "spec.json"), "spec.json is a link instead of a file"),
    "link for a directory": (lambda path: replace_by_link(path / "library"), "library is a link instead of a dir"),
    "directory for a file": (lambda path: replace_by_directory(path / "boot"), "boot is a directory instead of"),
    "pipe for a file": (lambda path: replace_by_pipe(path / "boot"), "boot is a special file instead of a file"),
    "manifest missing": (lambda path: (path / "manifest.json").unlink(), "manifest.json is missing"),
    "manifest truncated": (lambda path: truncate(path / "manifest.json"), "manifest.json is damaged"),
    "manifest empty": (lambda path: (path / "manifest.json").write_text("[]"), "manifest.json is damaged"),
    "manifest of nothing": (lambda path: (path / "manifest.json").write_text('{"entries":{"a":1}}'), "is damaged"),
    "manifest binary": (lambda path: (path / "manifest.json").write_bytes(b"\xff"), "manifest.json is damaged"),
    "mode of the manifest": (lambda path: (path / "manifest.json").chmod(0o644), "manifest.json has mode 0644"),
    "link for the manifest": (lambda path: replace_by_link(path / "manifest.json"), "manifest.json is damaged"),
    "pipe for the manifest": (lambda path: replace_by_pipe(path / "manifest.json"), "manifest.json is damaged"),
    "link for all": (replace_by_link, "is no directory"),
    "link to nothing": (lead_nowhere, "is no directory"),
    "file for all": (replace_by_file, "is no directory"),
    "empty": (empty, "manifest.json is missing"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damage_is_found_named_and_mended(systems: Systems, name: str) -> None:
    damage, said = DAMAGES[name]
    path = systems.write(content(), FILTER)
    whole = snapshot(path)
    assert damages(path) == []
    damage(path)
    found = damages(path)
    assert any(said in line for line in found), found
    assert not systems.is_whole(path)
    assert systems.write(content(), FILTER) == path
    assert snapshot(path) == whole
    assert systems.is_whole(path)
    assert [entry.name for entry in systems.layout.systems.iterdir()] == [path.name]


def test_an_owner_is_noted(systems: Systems) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to give a file away")
    path = systems.write(content(), None)
    os.chown(path / "boot", 0, 7)
    assert damages(path) == ["boot belongs to 0:7 instead of 0:0"]


def test_a_filter_where_none_was_written_does_not_belong_there(systems: Systems) -> None:
    path = systems.write(content(), None)
    (path / "seccomp.bpf").write_bytes(FILTER)
    assert damages(path) == ["seccomp.bpf does not belong there"]


def test_another_whole_system_in_its_place_is_a_damage(systems: Systems) -> None:
    path, other = systems.write(content(), None), systems.write(content(motd="x"), None)
    shutil.rmtree(path)
    shutil.copytree(other, path, symlinks=True)
    assert damages(path) == ["manifest.json is damaged (it is that of another system)"]


def test_what_is_whole_is_not_written_again(systems: Systems) -> None:
    path = systems.write(content(), FILTER)
    inode = path.stat().st_ino
    for _ in range(2):
        systems.write(content(), FILTER)
        assert path.stat().st_ino == inode


def test_the_manifest_tells_nobody_but_root_of_secrets(systems: Systems) -> None:
    path = systems.write(content(), None)
    assert stat.S_IMODE((path / "manifest.json").stat().st_mode) == 0o600
    assert "root:!" not in (path / "manifest.json").read_text()


def test_the_manifest_has_every_file_of_a_system(systems: Systems) -> None:
    path = systems.write(content(), FILTER)
    entries = json.loads((path / "manifest.json").read_text())["entries"]
    assert set(entries) == {".", *(str(entry.relative_to(path)) for entry in path.rglob("*"))}
    assert manifest(path, path.name) != ""
    assert all(len(entry[5]) == 64 for name, entry in entries.items() if entry[0] == "file" and name != "manifest.json")


def test_names_that_are_no_text(systems: Systems) -> None:
    path = systems.write(content(), None)
    with open(os.fsencode(path) + b"/\xff\n", "wb"):
        pass
    assert [line.encode("utf-8", "surrogateescape") for line in damages(path)] == [b"\xff\n does not belong there"]
    systems.write(content(), None)
    assert damages(path) == []


def test_all_of_a_large_file_is_looked_at(systems: Systems) -> None:
    large = content(large="x" * 200_000)
    path = systems.write(large, None)
    with open(path / "root/etc/large", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"y")
    assert damages(path) == ["root/etc/large has other content"]


def test_few_of_many_damages_are_named() -> None:
    assert summary_of_damages(["a", "b"]) == "a, b"
    assert summary_of_damages([str(number) for number in range(8)]) == "0, 1, 2, 3, 4, 3 more"


def test_a_damaged_system_stays_where_the_disk_refuses(systems: Systems, monkeypatch: pytest.MonkeyPatch) -> None:
    path = systems.write(content(), None)
    (path / "spec.json").unlink()
    before = snapshot(path)

    def refuse(new: Path, place: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(place))

    monkeypatch.setattr("ansible_collections.unshare.container.plugins.module_utils.state.systems.put_in_place", refuse)
    with pytest.raises(TargetError, match="Read-only file system"):
        systems.write(content(), None)
    assert snapshot(path) == before
    assert [entry.name for entry in systems.layout.systems.iterdir()] == [path.name]


def test_whoever_has_a_file_of_it_open_keeps_that(systems: Systems) -> None:
    path = systems.write(content(), None)
    with open(path / "boot", "rb") as boot:
        (path / "spec.json").unlink()
        systems.write(content(), None)
        assert boot.read() == b"#!/bin/sh\nexec true\n"


@pytest.mark.parametrize("number", [None, *renaming._NOT_POSSIBLE])
def test_exchanged_in_one_step_or_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int | None) -> None:
    if number is not None:

        def refuse(one: Path, other: Path) -> None:
            raise OSError(number, os.strerror(number), str(other))

        monkeypatch.setattr(renaming, "_exchange", refuse)
    new, path = tmp_path / ASIDE, tmp_path / "system"
    for directory in (new, path):
        directory.mkdir()
        (directory / "name").write_text(directory.name)
    renaming.put_in_place(new, path)
    assert ((path / "name").read_text(), (new / "name").read_text()) == (ASIDE, "system")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [ASIDE, "system"]
    renaming.put_in_place(new, tmp_path / "third")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["system", "third"]


def test_what_was_there_comes_back_when_the_second_step_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(one: Path, other: Path) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(other))

    monkeypatch.setattr(renaming, "_exchange", refuse)
    path = tmp_path / "system"
    path.mkdir()
    with pytest.raises(FileNotFoundError):
        renaming.put_in_place(tmp_path / "nothing", path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["system"]


def test_an_exchange_shows_one_or_the_other_at_any_moment(tmp_path: Path) -> None:
    new, path = tmp_path / "new", tmp_path / "system"
    new.mkdir()
    path.mkdir()
    try:
        renaming._exchange(new, path)
    except OSError as error:
        pytest.skip(f"the file system of the test cannot exchange names: {error}")
    missed: list[str] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            if not path.is_dir():
                missed.append("missing")

    looking = threading.Thread(target=look)
    looking.start()
    for _ in range(2000):
        renaming.put_in_place(new, path)
    done.set()
    looking.join(30)
    assert missed == []


@pytest.mark.parametrize("damage", ["link for all", "link to nothing", "file for all"])
def test_what_is_called_as_a_system_is_removed_with_the_container(systems: Systems, damage: str) -> None:
    path = systems.write(content(), None)
    DAMAGES[damage][0](path)
    assert systems.of_container("web") == [path]
    systems.remove([path])
    assert list(systems.layout.systems.iterdir()) == []
