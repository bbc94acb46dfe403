# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a machine's layer lies, and over which tree it belongs (T5)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.contract import Specification
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.state import kept_layer

from ..specifications import specification


def machine(tree: str = "/srv/trees/a", layer: str = "kept") -> Specification:
    store = {"source": f"{tree}/usr", "target": "/usr"}
    return specification(store=store, root={"kind": "machine", "layer": layer})


def test_it_is_made_for_its_tree_and_for_root_alone(tmp_path: Path) -> None:
    path = kept_layer.prepare(str(tmp_path), machine())
    assert path == str(tmp_path / "layer")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o700
    assert kept_layer.has_layer(str(tmp_path))
    assert kept_layer.prepare(str(tmp_path), machine()) == path
    assert kept_layer.prepare(str(tmp_path), machine("/srv//trees/a/")) == path


def test_another_tree_is_refused(tmp_path: Path) -> None:
    kept_layer.prepare(str(tmp_path), machine())
    with pytest.raises(LauncherError, match="belongs over the tree /srv/trees/a,.* cannot be over /srv/trees/b"):
        kept_layer.prepare(str(tmp_path), machine("/srv/trees/b"))
    assert kept_layer.refusal(str(tmp_path), machine("/srv/trees/b", "ephemeral")) is None


def test_nothing_is_kept_of_other_roots(tmp_path: Path) -> None:
    assert kept_layer.prepare(str(tmp_path), machine(layer="ephemeral")) is None
    assert kept_layer.prepare(str(tmp_path), specification()) is None
    assert list(tmp_path.iterdir()) == []
    assert not kept_layer.has_layer(str(tmp_path))
    assert kept_layer.refusal(str(tmp_path), machine()) is None


def test_a_layer_whose_note_was_lost_is_noted_again(tmp_path: Path) -> None:
    """A host that loses its power may leave the file, and none of its text."""
    kept_layer.prepare(str(tmp_path), machine())
    (tmp_path / "layer/tree").write_text("")
    kept_layer.prepare(str(tmp_path), machine())
    with pytest.raises(LauncherError, match="belongs over the tree /srv/trees/a"):
        kept_layer.prepare(str(tmp_path), machine("/srv/trees/b"))
