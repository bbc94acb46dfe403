# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the sources call things."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "plugins").rglob("*.py"))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_contexts_are_entered_by_with_alone(path: Path) -> None:
    """What is taken and given back at other places than the ends of a block has methods for that."""
    called = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    found = [
        call.lineno
        for call in called
        if isinstance(call.func, ast.Attribute) and call.func.attr in ("__enter__", "__exit__")
    ]
    assert found == []


REPLACING = {"os.rename", "os.replace", "tempfile.mkstemp", "tempfile.NamedTemporaryFile"}


def test_files_are_replaced_in_one_way() -> None:
    """By `write_atomically`; directories and links, which it cannot write, get their names by methods of a Path.

    It takes a path of the host's. What lies in a machine's root, or in a volume's copy, which may be hostile, is
    replaced below a descriptor; so is an archive, whose directory was examined.
    """
    found = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in REPLACING
    }
    below = {
        "launcher/machine_root.py",
        "state/archive_files.py",
        "state/project_quotas.py",
        "state/tree_copy.py",
        "state/unpacking.py",
    }
    assert found == {f"plugins/module_utils/{name}" for name in ("launcher/paths.py", *below)}


CONVENTIONS = {
    "DOCUMENTATION",
    "EXAMPLES",
    "RETURN",
    "ARGUMENT_SPEC",
    "OPTIONS",
    "TYPES",
    "TYPE_CHECKING",
    "main",
    "run",
}
"""Names that every module of a kind has, by Ansible's rules or by ours, and that nobody takes for another's."""

CLASSES = {"ActionModule", "FilterModule", "ModuleDocFragment"}


def defined(source: ast.Module) -> set[str]:
    """Return the names that a source defines for others."""
    found = set()
    for node in source.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return {name for name in found - CONVENTIONS if not name.startswith("_")}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_name_means_one_thing_in_its_module(path: Path) -> None:
    """A second value of a constant would be the first one's, too, for all that runs later."""
    given = [
        target.id
        for node in tree(path).body
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        for whole in (node.targets if isinstance(node, ast.Assign) else [node.target])
        for target in (whole.elts if isinstance(whole, ast.Tuple) else [whole])
        if isinstance(target, ast.Name)
    ]
    given += [node.name for node in tree(path).body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    assert {name for name in given if given.count(name) > 1} == set()


def twice(found: dict[Path, set[str]]) -> dict[str, list[str]]:
    """Return the names that are in more than one of these sets, with the sources."""
    places: dict[str, list[str]] = {}
    for path, names in found.items():
        for name in names:
            places.setdefault(name, []).append(str(path.relative_to(ROOT)))
    return {name: paths for name, paths in places.items() if len(paths) > 1}


@pytest.fixture(scope="module")
def trees() -> dict[Path, ast.Module]:
    """Return all sources but filters: a filter's function bears the filter's name, like what it calls."""
    return {path: tree(path) for path in SOURCES if path.parent.name != "filter"}


def test_a_class_has_a_name_of_its_own(trees: dict[Path, ast.Module]) -> None:
    found = {
        path: {node.name for node in source.body if isinstance(node, ast.ClassDef)} - CLASSES
        for path, source in trees.items()
    }
    classes = set().union(*found.values())
    same = twice({path: defined(source) & classes for path, source in trees.items()})
    assert same == {}


def test_what_is_called_by_its_name_alone_is_one_thing(trees: dict[Path, ast.Module]) -> None:
    """Two modules may each have a `parse`, as long as callers say whose they mean."""
    imported = {
        alias.name
        for source in trees.values()
        for node in ast.walk(source)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert {
        name: paths for name, paths in twice({p: defined(s) for p, s in trees.items()}).items() if name in imported
    } == {}
