# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a container's systemd is told of the mounts that it cannot unmount (S13)."""

from __future__ import annotations

import os
import shutil
import subprocess
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import declared_root, mount_units, root

NAMES = {
    "/tmp": "tmp.mount",
    "/var/lib/data": "var-lib-data.mount",
    "/etc/ca-certificates/": "etc-ca\\x2dcertificates.mount",
    "/etc/ld.so.conf.d": "etc-ld.so.conf.d.mount",
    "/.hidden/.too": "\\x2ehidden-.too.mount",
    "/srv/a b@c:d_e": "srv-a\\x20b\\x40c:d_e.mount",
    "/srv/b\\c": "srv-b\\x5cc.mount",
    "/srv/größe": "srv-gr\\xc3\\xb6\\xc3\\x9fe.mount",
}


@pytest.mark.parametrize("point", NAMES)
def test_s13_the_name_of_a_mounts_unit(point: str) -> None:
    assert mount_units.unit_name(point) == NAMES[point]
    if shutil.which("systemd-escape"):
        words = ["systemd-escape", "--path", "--suffix=mount", point]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        assert said == NAMES[point] + "\n"


def test_s13_the_units_that_systemd_would_stop() -> None:
    points = [
        "/srv/b",
        "/tmp",
        "/",
        "/usr",
        "/usr/share/x",
        "/usrlocal",
        "/run/x",
        "/dev/shm",
        "/proc/a",
        "/sys",
        "/tmp",
    ]
    found = ["srv-b", "tmp", "usrlocal"]
    assert mount_units.drop_ins(points) == [f"/etc/systemd/system/{name}.mount.d" for name in found]


def test_s13_what_the_system_says_of_a_unit_itself_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    units = tmp_path / "etc/systemd/system"
    own = units / "tmp.mount.d"
    own.mkdir(parents=True)
    placed: dict[str, bytes] = {}
    kind = declared_root.DeclaredRoot(t.cast("t.Any", None), t.cast("t.Any", None))
    monkeypatch.setattr(kind, "place", lambda path, _mode, content: placed.update({path: content}))
    builder = types.SimpleNamespace(kind=kind)
    root.Builder._tell_of_mounts(t.cast("t.Any", builder), ["/tmp", "/srv/a/", "/srv/a"])
    link = units / "srv-a.mount.d"
    assert sorted(path.name for path in units.iterdir()) == ["srv-a.mount.d", "tmp.mount.d"]
    assert not own.is_symlink()
    assert [f"{os.readlink(link)}/locked.conf".lstrip("/")] == list(placed)
    assert b"\n[Unit]\nDefaultDependencies=no\n" in b"".join(placed.values())
