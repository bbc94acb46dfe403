# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A row for each check of a declaration: what is declared, and the words of the refusal (see ..golden)."""

from __future__ import annotations

import copy
import tempfile
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.plugin_utils import declared_containers
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import containerized_operating_system
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.modify import modify_services
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files

from .. import golden

Row = dict[str, t.Any]


def _declared(row: Row) -> None:
    declared = {"host_name": "a", **row.get("declared", {})}
    system_files(containerized_operating_system(declared, **row.get("derive", {})), **row.get("render", {}))


def _services(row: Row) -> None:
    declared = {"host_name": "a", "services": row["services"]}
    system_files(containerized_operating_system(declared, keep_services=row.get("keep_services", [])))


def _changes(row: Row) -> None:
    modify_services(row["services"], row["changes"])


def _containers(row: Row) -> None:
    for item in declared_containers.declared_containers(row["containers"]):
        if item.derivation:
            declared_containers.derive(item)


def _networks(row: Row) -> None:
    _declared({"derive": row})


def _hosts(row: Row) -> None:
    """Each container of a row is a system of its own, beside what the row says of it."""
    declared = {
        name: {"operating_system": {"host_name": name, **(entry.pop("system", {}))}, **entry}
        for name, entry in copy.deepcopy(row["containers"]).items()
    }
    with tempfile.TemporaryDirectory() as directory:
        systems = declared_containers.DerivedSystems(directory)
        declared_containers.refuse_shared(declared_containers.declared_containers(declared), systems)


@pytest.mark.parametrize(
    ("name", "ask"),
    [
        ("declaration", _declared),
        ("arguments", _declared),
        ("services", _services),
        ("changes", _changes),
        ("containers", _containers),
        ("networks", _networks),
        ("networks_of_host", _hosts),
    ],
)
def test_each_check_refuses_and_says_what_is_wrong(name: str, ask: t.Callable[[Row], None]) -> None:
    golden.check_refusals(f"refusals/{name}.yml", ask, DeclarationError)
