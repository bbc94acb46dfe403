# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""T1: the tree that a container's software is of is a part of its system."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.specification import read_spec, read_store
from ansible_collections.unshare.container.plugins.module_utils.launcher.store import Store
from ansible_collections.unshare.container.plugins.module_utils.life import software
from ansible_collections.unshare.container.plugins.module_utils.state import system_diff
from ansible_collections.unshare.container.plugins.module_utils.state.system_content import (
    SystemContent,
    digest_on_target,
)
from ansible_collections.unshare.container.plugins.module_utils.state.systems import Systems
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError
from ansible_collections.unshare.container.plugins.module_utils.state.tree_records import TreeFacts, TreeRecord
from ansible_collections.unshare.container.plugins.module_utils.state.trees import Trees

from ..target_helpers import LAUNCHER, system

ONE, TWO = "1" * 32, "2" * 32
BOOT, PYTHON = "#!/bin/sh\nexec true\n", "/usr/bin/python3"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


def store_tree(layout: Layout, content: str, version: str = "1", name: str = "base") -> None:
    """Store a tree without anything in it, and let a name lead to it."""
    trees = Trees(layout)
    with trees.making(name, 5) as aside:
        (aside / "root/usr").mkdir(parents=True)
        trees.adopt(name, aside, TreeRecord(content=content, source="x"), TreeFacts(packages={"hello": version}))


def declared() -> dict[str, t.Any]:
    """Return a system whose store is a tree, as the controller makes it."""
    result = system()
    store = Store.of_tree("base")
    result["spec"]["store"] = store.write()
    result["spec"]["file_systems"][0]["device"] = store.source
    return result


def content(layout: Layout | None, check: bool = False) -> SystemContent:
    """Return the system on the target of a layout, or on the controller."""
    resolve = None if layout is None else lambda name: software.content_of_tree(layout, name, check)
    return SystemContent(declared(), BOOT, LAUNCHER, PYTHON, tree=resolve)


def test_t1_the_trees_content_is_part_of_the_systems_name(layout: Layout) -> None:
    store_tree(layout, ONE)
    first = content(layout)
    store_tree(layout, TWO)
    second = content(layout)
    assert first.content_digest() == second.content_digest() == content(None).content_digest()
    assert first.digest(None) != second.digest(None)
    assert second.digest(None) == digest_on_target(content(None).content_digest(), PYTHON, None, TWO)
    assert digest_on_target("x", PYTHON, None) != digest_on_target("x", PYTHON, None, TWO)


def test_t1_a_system_says_which_tree_it_is_for(layout: Layout) -> None:
    store_tree(layout, ONE)
    path = Systems(layout).write(content(layout), None)
    specification = read_spec(str(path))
    assert specification.store == Store.of_tree("base", ONE)
    assert specification.file_systems[0].device == f"/var/lib/unshare/trees/{ONE}/root/usr"
    assert read_store(str(path)).content == ONE
    assert software.store_of(path) == {"source": specification.store.source, "tree": "base", "content": ONE}
    assert software.store_of(path.with_name("nothing")) is None


def test_t1_a_tree_that_a_system_is_for_is_kept(layout: Layout) -> None:
    """A generation's software outlives its name, and goes with its system."""
    store_tree(layout, ONE)
    path = Systems(layout).write(content(layout), None)
    store_tree(layout, TWO)
    assert software.collect(layout) == []
    assert Trees(layout).contents() == [ONE, TWO]
    Systems(layout).remove([path])
    assert software.collect(layout) == []
    assert Trees(layout).contents() == [TWO]
    Trees(layout).forget("base")
    assert software.collect(layout) == []
    assert not layout.trees.exists()


def test_t1_a_system_that_cannot_be_read_keeps_all_trees(layout: Layout) -> None:
    store_tree(layout, ONE)
    path = Systems(layout).write(content(layout), None)
    store_tree(layout, TWO)
    (path / "spec.json").write_text("{")
    assert "which trees are used cannot be known" in software.collect(layout)[0]
    assert Trees(layout).contents() == [ONE, TWO]


def test_t1_a_missing_tree_is_refused_by_its_place(layout: Layout) -> None:
    with pytest.raises(TargetError) as error:
        content(layout)
    assert str(error.value) == (
        "store.tree: this host has no tree 'base': make it first, with a task of unshare.container.tree; "
        "nothing was changed"
    )
    store_tree(layout, ONE, name="other")
    with pytest.raises(TargetError, match=r"no tree 'base' \(it has other\)"):
        content(layout)
    foreseen = content(layout, check=True)
    assert foreseen.tree == ""
    assert "this host has no tree 'base'" in (software.lacks_tree(layout, foreseen) or "")
    assert software.lacks_tree(layout, SystemContent(system(), BOOT, LAUNCHER, PYTHON)) is None


def test_t1_a_tree_that_is_collected_meanwhile_ends_the_writing(layout: Layout) -> None:
    store_tree(layout, ONE)
    staged = content(layout)
    Trees(layout).forget("base")
    assert Trees(layout).collect() == [ONE]
    with pytest.raises(TargetError, match="the tree 'base' was made anew meanwhile; run again"):
        Systems(layout).write(staged, None)
    assert Systems(layout).of_container("web") == []


def test_t1_a_difference_shows_content_and_packages(layout: Layout) -> None:
    store_tree(layout, ONE)
    path = Systems(layout).write(content(layout), None)
    store_tree(layout, TWO, version="2")
    packages = system_diff.tree_packages(content(layout).specification, layout.trees)
    shown = system_diff.differences(
        system_diff.of_directory(path), system_diff.of_content(content(layout), None, packages)
    )
    assert shown == [
        {
            "before_header": "store",
            "after_header": "store",
            "before": f"base at {ONE}\nhello 1\n",
            "after": f"base at {TWO}\nhello 2\n",
        }
    ]


@pytest.mark.parametrize(
    "store",
    [
        {"source": "/usr", "target": "/usr", "tree": "base"},
        {"source": "/var/lib/unshare/trees/base/root/usr", "target": "/srv", "tree": "base"},
        {"source": "/var/lib/unshare/trees/../root/usr", "target": "/usr", "tree": "base"},
        {"source": "/var/lib/unshare/trees/other/root/usr", "target": "/usr", "tree": "base"},
        {"source": "/usr", "target": "/usr", "tree": "../base"},
    ],
)
def test_t1_a_store_is_of_its_tree_or_is_refused(store: dict[str, str]) -> None:
    with pytest.raises(Exception, match=r"is not the directory of the tree|is no absolute path|is no tree's name"):
        Store.read(store)


def test_t1_a_tree_is_named_as_a_digest_or_not() -> None:
    """A name may look like a content."""
    store = Store.of_tree(ONE)
    assert Store.read(store.write()) == store
    assert Store.read(Store.of_tree(ONE, TWO).write()).content == TWO
    assert Store(source="/usr", target="/usr").content == ""
