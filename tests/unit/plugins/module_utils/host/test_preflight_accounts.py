# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""T5: accounts that a machine's tree has otherwise are refused before anything changes."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host.preflight_accounts import contradictions
from ansible_collections.unshare.container.plugins.module_utils.host.store import StoreView
from ansible_collections.unshare.container.plugins.module_utils.state.system_content import SystemFile

from ..specifications import SMALL, specification

DAEMON = "daemon:x:%d:1::/:/usr/sbin/nologin\n"


def found(root: Path, uid: int, says: bool, **options: t.Any) -> list[str]:
    """Return what is said of a declared user `daemon`, which has the id 1 in the tree."""
    (root / "tree/usr").mkdir(parents=True, exist_ok=True)
    (root / "tree/etc").mkdir(exist_ok=True)
    (root / "tree/etc/passwd").write_text(DAEMON % 1)
    files = {"/etc/passwd": SystemFile("/etc/passwd", {"content": DAEMON % uid})}
    kind = {"kind": "machine", "layer": "ephemeral", "users": {"daemon": says}, "groups": {}, **options}
    store = {**SMALL["store"], "source": "/tree/usr"}
    given = specification(root=kind, store=store, files={path: file.record().write() for path, file in files.items()})
    return contradictions(StoreView(given, root), given, files)


@pytest.mark.parametrize(("uid", "says"), [(1, True), (77, False)])
def test_t5_an_account_of_the_tree_that_fits(tmp_path: Path, uid: int, says: bool) -> None:
    assert found(tmp_path, uid, says) == []


def test_t5_an_id_that_contradicts_the_tree(tmp_path: Path) -> None:
    (said,) = found(tmp_path, 77, True)
    assert said.startswith("operating_system: the user 'daemon' has the id 1 in the tree")


def test_t5_what_root_inside_may_have_changed_is_for_the_start(tmp_path: Path) -> None:
    (tmp_path / f"var/lib/unshare/containers/{SMALL['name']}/layer").mkdir(parents=True)
    assert found(tmp_path, 77, True, layer="kept") == []
    assert found(tmp_path, 77, True) != []


def test_t5_a_declared_root_is_not_looked_at(tmp_path: Path) -> None:
    assert found(tmp_path, 77, True, kind="declared", users={}) == []
