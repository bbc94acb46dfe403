# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What depends on the distribution is taken from its record, and stands nowhere else."""

from __future__ import annotations

import ast
import dataclasses
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.plugin_utils import accounts, registry
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import containerized_operating_system
from ansible_collections.unshare.container.plugins.plugin_utils.debian import DEBIAN
from ansible_collections.unshare.container.plugins.plugin_utils.distribution import NOTHING, Distribution
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files

PLUGIN_UTILS = Path(registry.__file__).parent
OTHERS = [path for path in sorted(PLUGIN_UTILS.rglob("*.py")) if path.name != "debian.py"]


def paths_of(family: Distribution) -> set[str]:
    """Return the paths of programs and directories that the record names."""
    found = {family.systemd, family.unit_directory, family.no_login}
    for software in family.software.values():
        found |= {path.partition("/{version}/")[0] for path in software.programs.values()}
    return found


def texts(path: Path) -> t.Iterator[str]:
    """Yield the texts in a source except its documentation."""
    tree = ast.parse(path.read_text("utf-8"))
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and node.body
        if isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: str(path.relative_to(PLUGIN_UTILS)))
def test_a_path_of_the_distribution_stands_once(path: Path) -> None:
    assert [text for text in texts(path) for known in paths_of(DEBIAN) if known in text] == []


def test_every_row_of_the_record_is_that_of_a_type() -> None:
    assert DEBIAN.software.keys() <= registry.BUILT_IN.keys()
    assert all(software != NOTHING for software in DEBIAN.software.values())
    assert DEBIAN.of("simple") is NOTHING


@pytest.mark.parametrize(
    ("version", "package", "directory"), [(None, "postgresql", "*"), ("15", "postgresql-15", "15")]
)
def test_a_version_of_postgresql_is_a_package_and_a_directory(
    version: str | None, package: str, directory: str
) -> None:
    service = {"type": "postgresql", "value": {"version": version} if version else {}}
    system = system_files(containerized_operating_system({"host_name": "db", "services": [service]}))
    assert package in system["packages"]
    program = {"service": "postgresql", "program": f"/usr/lib/postgresql/{directory}/bin/postgres", "package": package}
    assert program in system["programs"]
    assert "{home}" not in system["files"]["/etc/postgresql/server"]["content"]
    assert "/usr/lib/postgresql/$version/bin" in system["files"]["/etc/postgresql/server"]["content"]


def test_the_users_of_services_are_users_of_every_system() -> None:
    users = {user.name for user in accounts.base_users()}
    groups = {group.name for group in accounts.base_groups()}
    assert {software.user for software in DEBIAN.software.values()} - {""} <= users
    assert {user.group for user in DEBIAN.users.values()} <= groups
    assert {DEBIAN.administrators, "shadow"} <= groups


def test_no_fact_of_the_record_is_unread() -> None:
    read = {
        node.attr
        for path in OTHERS
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
    }
    assert {field.name for field in dataclasses.fields(Distribution)} <= read
