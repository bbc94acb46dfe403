# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that nothing reads."""

from __future__ import annotations

import pytest
from ansible_collections.unshare.container.plugins.plugin_utils.declared_containers import declared_containers
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.unknown_names import refuse_alike, refuse_unknown

KNOWN = ("mappings", "roll_back", "roll", "log", "limits")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["x_maping"], "x_maping: the role has no variable of this name; did you mean 'x_mappings'? Go"),
        (["x_rollbck", "x_aaa"], "x_aaa: the role has no variable of this name. Go"),
        (
            ["x_rollback"],
            "x_rollback: the role has no variable of this name; did you mean 'x_roll_back', or 'x_roll'? Go",
        ),
        (["x_own", "x_owned"], "x_owned: the role has no variable of this name. Go"),
        (["x_"], "x_: the role has no variable of this name. Go"),
    ],
)
def test_an_unknown_name_is_refused_with_those_near_it(names: list[str], said: str) -> None:
    with pytest.raises(DeclarationError) as error:
        refuse_unknown([*names, "x_log"], KNOWN, "x_", "the role", "Go", ["x_own"])
    assert str(error.value) == said


def test_other_names_are_taken() -> None:
    refuse_unknown(["x_log", "x", "y_log", "my_x_log", "x_own", "limits"], KNOWN, "x_", "the role", "", ["x_own"])


@pytest.mark.parametrize("name", ["x_rollback", "x_limit", "x_mapings", "x_roll__back"])
def test_a_name_like_a_known_one_is_refused(name: str) -> None:
    with pytest.raises(DeclarationError, match=f"^{name}: the role has no .*; did you mean 'x_.* A variable of your"):
        refuse_alike(["x_log", name], KNOWN, "x_", "the role")


@pytest.mark.parametrize("name", ["x_log", "x_network", "limit", "y_limit", "x_catalog", "x_limits_of_mine", "x_map"])
def test_a_name_of_ones_own_is_taken(name: str) -> None:
    refuse_alike([name], KNOWN, "x_", "the role")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"maping": []}, "containers.web: unknown key 'maping'; did you mean 'mappings'?"),
        ({"health": {"unit": []}}, "containers.web.health: unknown key 'unit'; did you mean 'units'?"),
        ({"limits": {"memory": "1G"}}, "containers.web.limits: unknown key 'memory'; did you mean 'memory_max'?"),
        ({"security": {"nested": True}}, "containers.web.security: unknown key 'nested'; did you mean 'nesting'?"),
        ({"system_container_log": "persistent"}, "containers.web: unknown key 'system_container_log'"),
    ],
)
def test_an_entry_has_no_other_keys(entry: dict[str, object], said: str) -> None:
    with pytest.raises(DeclarationError) as error:
        declared_containers({"web": {"operating_system": {"host_name": "web"}, **entry}})
    assert str(error.value).startswith(said)
