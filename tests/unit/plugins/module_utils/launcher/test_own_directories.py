# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which directories the builder of the root tree makes, and that no other way leads to one of them."""

from __future__ import annotations

import os
import stat
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import own_directories
from ansible_collections.unshare.container.plugins.module_utils.launcher.contract import Directory
from ansible_collections.unshare.container.plugins.module_utils.launcher.declared_root import SKELETON, DeclaredRoot
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError

from ..specifications import mount, specification

BIND = {"type": "none", "flags": ["bind-mount"], "device": "/srv/data"}
LEFT: dict[str, dict[str, t.Any]] = {
    "in the store": {"path": "/usr/local/x"},
    "where the store is": {"path": "/opt/store/x", "store": {"source": "/usr", "target": "/opt/store"}},
    "at a mapping": {"path": "/data", "mounts": [{**BIND, "mount_point": "/data"}]},
    "below a mapping": {"path": "/data/a/b", "mounts": [{**BIND, "mount_point": "/data"}]},
    "below a mapping of another spelling": {"path": "/data/a", "mounts": [{**BIND, "mount_point": "//data/"}]},
    "of another spelling": {"path": "//data/./a", "mounts": [{**BIND, "mount_point": "/data"}]},
    "below a further mapping": {"path": "/data/a", "more": [{**BIND, "mount_point": "/data"}]},
    "in a tmpfs of its own": {"path": "/cache/a", "mounts": [{"type": "tmpfs", "mount_point": "/cache"}]},
    "in a mapping at /tmp": {"path": "/tmp/a", "mounts": [{**BIND, "mount_point": "/tmp"}]},
    "behind a link of every root": {"path": "/var/run/a"},
    "behind a link into the store": {"path": "/lib/a"},
    "behind a link of the system": {"path": "/data/a", "files": {"/data": {"link": "/srv"}}},
    "at a link of the system": {"path": "/data", "files": {"/data": {"link": "/srv"}}},
    "at a file of the system": {"path": "/etc/x", "files": {"/etc/x": {"mode": "0644"}}},
    "below a file of the system": {"path": "/etc/x/y", "files": {"/etc/x": {"mode": "0644"}}},
    "at what is shared of the host's configuration": {"path": "/etc/ssl/certs", "host_files": ["/etc/ssl/certs"]},
    "below that": {"path": "/etc/ssl/certs/a", "host_files": ["/etc/ssl/certs"]},
    "in /dev": {"path": "/dev/a"},
    "in /proc": {"path": "/proc/a"},
    "in /sys": {"path": "/sys/a"},
    "where a mount point may lead": {"path": "/run/a", "mounts": [{**BIND, "mount_point": "/var/run/a"}]},
    "where a mount point below the system's link may lead": {
        "path": "/srv/x",
        "files": {"/data": {"link": "/srv"}},
        "mounts": [{**BIND, "mount_point": "/data/x"}],
    },
    "anywhere, where a mount point is a link": {
        "path": "/var/lib/x",
        "files": {"/data": {"link": "/srv"}},
        "mounts": [{**BIND, "mount_point": "/data"}],
    },
}
BUILT: dict[str, dict[str, t.Any]] = {
    "in the root": {"path": "/srv"},
    "deep in the root": {"path": "/var/lib/a/b/c"},
    "in /run": {"path": "/run/lock"},
    "in a /run that has options": {"path": "/run/a", "mounts": [{"type": "tmpfs", "mount_point": "/run"}]},
    "in a /tmp that has options": {"path": "/tmp/a", "mounts": [{"type": "tmpfs", "mount_point": "/tmp"}]},
    "above a mapping": {"path": "/var/lib", "mounts": [{**BIND, "mount_point": "/var/lib/a"}]},
    "beside a mapping": {"path": "/var/lib/ab", "mounts": [{**BIND, "mount_point": "/var/lib/a"}]},
    "above a file": {"path": "/etc/x", "files": {"/etc/x/y": {"mode": "0644"}}},
    "beside a link": {"path": "/database", "files": {"/data": {"link": "/srv"}}},
}


def divided(path: str, mounts: t.Sequence[t.Any] = (), more: t.Sequence[t.Any] = (), **given: t.Any) -> list[list[str]]:
    """Return the paths that are built, and those that are left."""
    spec = specification(directories=[{"path": path}], **given)
    records = [mount(**record) for record in [*mounts, *more]]
    return [[entry.path for entry in part] for part in own_directories.divide(spec, records)]


@pytest.mark.parametrize("case", LEFT)
def test_what_may_lie_elsewhere_is_left_to_the_first_process(case: str) -> None:
    assert divided(**LEFT[case]) == [[], [LEFT[case]["path"]]]


@pytest.mark.parametrize("case", BUILT)
def test_what_lies_in_the_tree_is_built(case: str) -> None:
    assert divided(**BUILT[case]) == [[BUILT[case]["path"]], []]


def test_each_is_made_by_one_of_them_in_the_declared_order() -> None:
    paths = ["/srv", "/usr/x", "/var/a", "/dev/x", "/var"]
    spec = specification(directories=[{"path": path} for path in paths])
    built, left = own_directories.divide(spec, [])
    assert [entry.path for entry in built] == ["/srv", "/var/a", "/var"]
    assert [entry.path for entry in left] == ["/usr/x", "/dev/x"]


def make(top: Path, *entries: Directory, base: int | None = None) -> None:
    """Make directories in a root that has its first ones, and belongs to this process's user, or to another."""
    for name in SKELETON:
        (top / name).mkdir()
    plan = types.SimpleNamespace(identity=types.SimpleNamespace(base=os.getuid() if base is None else base))
    DeclaredRoot(t.cast("t.Any", plan), t.cast("t.Any", None)).make_directories(list(entries))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_they_are_made_with_their_modes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    entries = [
        Directory(path="/var/lib/a/b", mode="2750"),
        Directory(path="/root", mode="0700"),
        Directory(path="/var/tmp/", mode="1777"),
        Directory(path="/var/lib", mode="0711"),
    ]
    before = os.umask(0)
    try:
        make(tmp_path, *entries)
    finally:
        os.umask(before)
    found = {path: mode(tmp_path / path) for path in ("var/lib/a/b", "var/lib/a", "var/lib", "root", "var/tmp")}
    assert found == {"var/lib/a/b": 0o2750, "var/lib/a": 0o755, "var/lib": 0o711, "root": 0o700, "var/tmp": 0o1777}


def test_they_belong_to_whom_they_are_declared_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given: list[tuple[t.Any, ...]] = []
    monkeypatch.setattr(os, "chown", lambda *arguments: given.append(arguments))
    make(tmp_path, Directory(path="/srv/a", uid=33, gid=44), Directory(path="/srv/b"), base=1000)
    assert given == [("srv/a", 1033, 1044), ("srv/b", 1000, 1000)]


@pytest.mark.parametrize("error", [PermissionError(1, "Operation not permitted"), OSError(22, "Invalid argument")])
def test_an_error_names_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def refuse(*_arguments: object) -> None:
        raise error

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(LauncherError, match=rf"^directory /srv/a: cannot be made as declared: .*{error.strerror}"):
        make(tmp_path, Directory(path="/srv/a"))
