# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""T2: a tree stays as long as anything needs it, whichever way that names it, and goes afterwards."""

from __future__ import annotations

import json
import shutil
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import store
from ansible_collections.unshare.container.plugins.module_utils.state import kept_layer
from ansible_collections.unshare.container.plugins.module_utils.state import trees as trees_module
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError
from ansible_collections.unshare.container.plugins.module_utils.state.trees import Trees
from ansible_collections.unshare.container.plugins.module_utils.trees import making as making_module
from ansible_collections.unshare.container.plugins.module_utils.trees.listing import Listing

from ..specifications import specification
from .small_trees import NAME, left, make_tree, making


@pytest.fixture
def source(tmp_path: Path) -> dict[str, t.Any]:
    return {"path": str(make_tree(tmp_path / "source"))}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "root")


def by_path(content: str) -> dict[str, str]:
    """Return the store of a container that names a stored tree by its path."""
    return {"source": store.Store.of_tree(NAME, content).source, "target": "/usr"}


def test_t2_a_tree_that_a_system_names_by_its_path_stays(layout: Layout, source: dict[str, t.Any]) -> None:
    made = making(layout.root, "directory", source).reach("present")["content"]
    system = layout.systems / f"{'0' * 32}-web"
    system.mkdir(parents=True)
    (system / "spec.json").write_text(json.dumps(specification(store=by_path(made)).write()))
    removing = making(layout.root, None)
    assert removing.reach("absent")["changed"]
    assert any(system.name in said for said in removing.warnings)
    assert left(layout.root) == [made, "names"]
    shutil.rmtree(system)
    assert Trees(layout).collect() == [made]


def test_t5_a_tree_that_a_kept_layer_belongs_over_stays(layout: Layout, source: dict[str, t.Any]) -> None:
    """A layer that no system has just now may be used again, and over no other tree."""
    made = making(layout.root, "directory", source).reach("present")["content"]
    container = layout.container("web")
    container.mkdir(parents=True)
    root = {"kind": "machine", "layer": "kept"}
    kept_layer.prepare(str(container), specification(store=by_path(made), root=root))
    (layout.containers / "stray").write_text("")
    removing = making(layout.root, None)
    assert removing.reach("absent")["changed"]
    assert removing.warnings == [
        f"tree '{NAME}': its content stays as long as these containers have kept layers over it: web"
    ]
    (told,) = Listing(layout).unnamed()
    assert (told["content"], told["layers"], told["systems"]) == (made, ["web"], [])
    assert Trees(layout).collect() == []
    shutil.rmtree(container)
    assert Trees(layout).collect() == [made]


def test_t2_no_tree_goes_while_a_name_cannot_be_read(layout: Layout, source: dict[str, t.Any]) -> None:
    made = making(layout.root, "directory", source).reach("present")["content"]
    for text in ("{", ""):
        (layout.trees / "names" / f"{NAME}.json").write_text(text)
        with pytest.raises(TargetError, match=f"the record of the tree '{NAME}' is damaged"):
            Trees(layout).collect()
        assert made in left(layout.root)
    assert making(layout.root, None).reach("absent")["changed"]
    assert left(layout.root) == []


def test_t2_a_name_that_cannot_be_taken_away_whole_is_taken_away(layout: Layout, source: dict[str, t.Any]) -> None:
    """A system that cannot be read keeps the content, and the name goes all the same."""
    made = making(layout.root, "directory", source).reach("present")["content"]
    (layout.systems / f"{'0' * 32}-web").mkdir(parents=True)
    for check in (True, False):
        removing = making(layout.root, None, check=check)
        assert removing.reach("absent")["changed"]
        assert any("which trees are used cannot be known" in said for said in removing.warnings)
    assert left(layout.root) == [made, "names"]


def test_t2_two_runs_may_remove_trees_at_once(
    layout: Layout, source: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each removes what nobody else does; a run that died in the middle left something."""
    contents = []
    for version in ("1", "2"):
        make_tree(Path(source["path"]), version)
        contents.append(making(layout.root, "directory", source).reach("latest")["content"])
        Trees(layout).forget(NAME)
        if version == "1":
            monkeypatch.setattr(trees_module, "remove_tree", lambda path: None)
            assert Trees(layout).collect() == contents
            monkeypatch.undo()
    real, inner = trees_module.remove_tree, []

    def remove(path: str) -> None:
        monkeypatch.undo()
        inner.append(Trees(layout).collect())
        assert Path(path).is_dir()
        real(path)

    monkeypatch.setattr(trees_module, "remove_tree", remove)
    assert Trees(layout).collect() == contents[1:]
    assert inner == [[]]
    assert left(layout.root) == ["names"]


def test_t2_what_a_run_that_died_has_left_takes_no_room_from_the_next(
    layout: Layout, source: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = layout.trees / ".aside-other"
    other.mkdir(parents=True)
    real = making_module.TreeMaking._fill

    def fill(self: t.Any, aside: Path) -> t.Any:
        assert not other.exists()
        return real(self, aside)

    monkeypatch.setattr(making_module.TreeMaking, "_fill", fill)
    assert making(layout.root, "directory", source).reach("present")["changed"]


def test_t1_a_path_in_a_stored_tree_has_its_content() -> None:
    assert store.content_in(store.Store.of_tree("debian", "0" * 32).source) == "0" * 32
    assert store.content_in("/var/lib/unshare/trees/names/x/root/usr") == ""
    assert store.content_in("/srv/trees/" + "0" * 32) == ""
