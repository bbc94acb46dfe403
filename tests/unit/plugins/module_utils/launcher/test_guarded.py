# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the host runs is recognised by what it is. Mounts, for which root is needed, are in the integration tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import guarded, mount_table


class Guard:
    def __init__(self, root: Path) -> None:
        self.state = root / "var/lib/unshare"
        (self.state / "systems/one").mkdir(parents=True)
        (root / "srv/data").mkdir(parents=True)
        self.root = root
        self.host = guarded.Host({str(self.state): "the state"}, (str(self.state),))

    def look(self, path: str, writable: bool = True) -> str | None:
        source = os.open(self.root / path, os.O_PATH)
        try:
            if not writable:
                return self.host.warning(source, path)
            self.host.refuse_writable(source, path)
        except guarded.WritableSource as error:
            return str(error)
        finally:
            os.close(source)
        return None


@pytest.fixture
def guard(tmp_path: Path) -> Guard:
    return Guard(tmp_path)


@pytest.mark.parametrize(
    ("path", "relation"),
    [
        ("var/lib/unshare", "is"),
        ("var//lib/./unshare/", "is"),
        ("var/lib", "contains"),
        ("var", "contains"),
        (".", "contains"),
        ("srv/../var", "contains"),
        ("var/lib/unshare/systems", "lies in"),
        ("var/lib/unshare/systems/one", "lies in"),
        ("link", "is"),
        ("link/systems", "lies in"),
        ("above/lib", "contains"),
    ],
)
def test_each_way_to_it(guard: Guard, path: str, relation: str) -> None:
    (guard.root / "link").symlink_to(guard.state)
    (guard.root / "above").symlink_to("var")
    said = guard.look(path)
    assert said is not None
    assert said.startswith(f"{path}: {relation} {guard.state}, the state: root inside could")
    warned = guard.look(path, writable=False)
    assert warned is not None
    assert f"{relation} {guard.state}, so root inside can read the secrets" in warned


@pytest.mark.parametrize("path", ["srv", "srv/data", "var/lib/unshared", "var/lib/other", "var/lib/unshare.d"])
def test_what_is_beside_it_is_not_it(guard: Guard, path: str) -> None:
    (guard.root / path).mkdir(parents=True, exist_ok=True)
    assert guard.look(path) is None
    assert guard.look(path, writable=False) is None


def test_what_is_not_made_yet_is_guarded(tmp_path: Path) -> None:
    guard = Guard(tmp_path)
    guard.host = guarded.Host({str(tmp_path / "run/unshare/deep"): "the state"})
    (tmp_path / "run").mkdir()
    assert guard.look("run") is not None
    assert guard.look("srv") is None


def test_options_that_name_it_are_seen(guard: Guard) -> None:
    record = {"options": f"lowerdir=/a:{guard.state}/systems,upperdir=/b,workdir=/c"}
    with pytest.raises(guarded.WritableSource, match="lies in"):
        guard.host.refuse_writable_file_system(record, "overlay")
    assert "can read" in str(guard.host.warning_of_file_system(record, "overlay"))
    with pytest.raises(guarded.WritableSource, match="is "):
        guard.host.refuse_writable_file_system({"options": None}, str(guard.state))
    guard.host.refuse_writable_file_system({"options": "size=1M,mode=0755"}, "tmpfs")


@pytest.mark.parametrize(
    ("settings", "layers"),
    [
        ("rw,lowerdir=/a:/b,upperdir=/c,workdir=/d", [("/a", True), ("/b", True), ("/c", True), ("/d", False)]),
        ("lowerdir=/a\\:b::/data\\,x,index=off", [("/a:b", True), ("/data,x", True)]),
        ("lowerdir+=/a,lowerdir+=/b,datadir+=/c", [("/a", True), ("/b", True), ("/c", True)]),
        ("lowerdir=relative,size=1", []),
    ],
)
def test_layers_of_an_overlay(settings: str, layers: list[tuple[str, bool]]) -> None:
    assert guarded._layers(settings) == layers


def test_the_interpreter_is_guarded() -> None:
    found = guarded.interpreter("/opt/python/bin/python3")
    assert {"/opt/python/bin/python3", os.path.realpath(sys.executable), os.path.dirname(os.__file__)} <= set(found)


def test_a_mount_is_read_with_its_escapes() -> None:
    line = r"36 35 98:0 /mnt\0401 /mnt2\011x rw,noatime shared:1 - ext3 /dev/ro\134ot rw,errors=continue"
    mount = mount_table.Mount(line)
    assert (mount.number, mount.device, mount.part, mount.point) == (36, "98:0", "/mnt 1", "/mnt2\tx")
    assert (mount.options, mount.kind, mount.source) == (["rw", "noatime"], "ext3", "/dev/ro\\ot")
    assert mount.settings == "rw,errors=continue"
