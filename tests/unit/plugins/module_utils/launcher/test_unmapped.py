# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said of a share whose ids cannot be mapped, and which one is refused."""

from __future__ import annotations

import os
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import linux, mount_calls, unmapped
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.identity import Identity

from ..specifications import mount, specification

BASE, COUNT = 1 << 20, 65536
READ_ONLY = mount_calls.MOUNT_ATTR_RDONLY
BIND = ["bind-mount"]


def said(path: Path, attributes: int = 0, name: str = "/srv/x", **record: t.Any) -> str | None:
    plan = types.SimpleNamespace(spec=specification(), identity=Identity(BASE, COUNT, False))
    source = os.open(path, os.O_PATH)
    try:
        return unmapped.accept_unmapped(
            source, attributes, name, t.cast("t.Any", plan), mount(device=name, flags=BIND, **record)
        )
    finally:
        os.close(source)


def test_a_read_only_share_is_nobodys(tmp_path: Path) -> None:
    text = "/srv/x: its file system cannot map ids, so root's files there belong to nobody inside"
    assert said(tmp_path, READ_ONLY) == text
    store = said(tmp_path, READ_ONLY, "/usr")
    assert store is not None
    assert store.endswith("; su, sudo and other set-user-ID programs do not work")


@pytest.mark.root
@pytest.mark.parametrize(
    ("owner", "refused"),
    [(0, True), (BASE - 1, True), (BASE, False), (BASE + COUNT - 1, False), (BASE + COUNT, True)],
)
def test_a_writable_share_is_the_containers_own_or_refused(tmp_path: Path, owner: int, refused: bool) -> None:
    os.chown(tmp_path, owner, owner)
    if refused:
        with pytest.raises(LauncherError, match="so nobody inside could write to it; share it read-only"):
            said(tmp_path)
    else:
        assert said(tmp_path) is None
    assert tmp_path.stat().st_uid == owner


@pytest.mark.root
def test_the_journal_is_given_to_the_container(tmp_path: Path) -> None:
    assert said(tmp_path, name="/var/lib/unshare/containers/web/journal") is None
    assert (tmp_path.stat().st_uid, tmp_path.stat().st_gid) == (BASE, BASE)


@pytest.mark.root
@pytest.mark.parametrize("attributes", [0, READ_ONLY])
@pytest.mark.parametrize("autofs", [False, True])
def test_v2_a_share_has_its_owner_or_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attributes: int, autofs: bool
) -> None:
    if autofs:
        monkeypatch.setattr(linux, "file_system_type", lambda source: linux.AUTOFS_SUPER_MAGIC)
    os.chown(tmp_path, BASE + 901, BASE + 902)
    assert said(tmp_path, attributes, uid=901, gid=902) is None
    others: list[dict[str, t.Any]] = [{"uid": 902}, {"gid": 901}, {"uid": 901, "gid": 901}]
    for ids in others:
        with pytest.raises(
            LauncherError, match="/srv/x: its file system cannot map ids, so it cannot have the `owner`"
        ):
            said(tmp_path, attributes, **ids)
    if autofs:
        assert said(tmp_path, attributes) is None


def test_an_automount_point_is_read_only(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match="/srv/x: is an automount point .* could not map ids"):
        unmapped.accept_automount(0, "/srv/x", True)
    assert unmapped.accept_automount(READ_ONLY, "/srv/x", True) is None
    told = unmapped.accept_automount(READ_ONLY, "/srv/x", False)
    assert told is not None
    assert told.startswith("/srv/x: is an automount point with nothing mounted on it")
