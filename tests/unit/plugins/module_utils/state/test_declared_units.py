# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which units a system declares, what starts them, and what of systemd's log is about them."""

from __future__ import annotations

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.contract import File
from ansible_collections.unshare.container.plugins.module_utils.state import declared_units
from ansible_collections.unshare.container.plugins.module_utils.state.declared_units import DeclaredUnits

AT = declared_units.UNITS_DIRECTORY
LOG = [
    AT + "a.service:7: Unknown key 'ExecStrat' in section [Service], ignoring.",
    AT + "a.service:7: Unknown key name 'ExecStrat' in section 'Service', ignoring.",
    AT + "a.service:3: Unknown lvalue 'ExecStrat' in section 'Service'",
    AT + "a.service:4: Unknown section 'Servce'. Ignoring.",
    AT + "a.service:7: Failed to parse service type, ignoring: simpel",
    AT + "a.service.d/b.conf:2: Invalid size, ignoring: 1X",
    AT + "ba.service:1: Assignment outside of section. Ignoring.",
    "/usr/lib/systemd/system/a.service:1: Failed to parse x, ignoring: y",
    "a.service: Cannot add dependency job, ignoring: Unit a.service has a bad unit file setting.",
    "b.service: Found ordering cycle on a.service/start",
    "Started a.service-like.service.",
    "xa.service: Refusing.",
]


def units(**links: str | None) -> DeclaredUnits:
    """Return the units of a system with these files, each a link or its own; in a name `_` stands for a slash."""
    return DeclaredUnits({AT + name.replace("_", "/"): File(link=link) for name, link in links.items()})


DECLARED = {
    "default.target": "multi-user.target",
    "multi-user.target": "/usr/lib/systemd/system/multi-user.target",
    "a.service": None,
    "alias.service": "a.service",
    "multi-user.target.wants_a.service": "../a.service",
    "multi-user.target.wants_late.target": "../late.target",
    "late.target": None,
    "late.target.wants_b.service": "../b.service",
    "b.service": None,
    "c.service": None,
    "c.service.d_more.conf": None,
    "t@.service": None,
    "multi-user.target.requires_t@x.service": "../t@.service",
    "multi-user.target.wants_t@.service": "../t@.service",
    "network-online.target.wants_n.service": "../n.service",
    "n.service": "/usr/lib/systemd/system/n.service",
    "reboot.target.wants_r.service": "../r.service",
    "r.service": None,
    "README": None,
}


def test_what_is_declared_and_what_starts_it() -> None:
    found = units(**DECLARED)
    assert found.own == ["a.service", "b.service", "c.service", "late.target", "r.service"]
    assert found.templates == ["t@.service"]
    assert [name for name in ("a.service", "t@.service", "t@y.service", "n.service") if found.is_own(name)] == [
        "a.service",
        "t@.service",
        "t@y.service",
    ]
    started = {"a.service", "b.service", "late.target", "multi-user.target", "t@x.service", "t@multi-user.service"}
    assert found.wanted(lambda _name: False) == started | set(declared_units.BASIC_TARGETS)
    assert found.wanted(lambda name: name == "network-online.target") - found.wanted(lambda _name: False) == {
        "n.service",
        "network-online.target",
    }
    assert set(found.names()) == found.wanted(lambda _name: True) | {
        "c.service",
        "network-online.target",
        "reboot.target",
    }


def test_what_is_none_of_it_is_left_out() -> None:
    found = DeclaredUnits({"/etc/motd": File(), "/etc/systemd/system.conf": File(), AT + "x y.service": File()})
    assert (found.own, found.templates) == ([], [])
    assert set(found.names()) == set(declared_units.BASIC_TARGETS)


def test_a_value_that_is_ignored_is_told_from_a_name_that_is_not_known() -> None:
    assert declared_units.ignored_names(LOG) == [LOG[0], LOG[1], LOG[3]]
    assert declared_units.ignored_values(LOG) == [LOG[4], LOG[5], LOG[6]]


@pytest.mark.parametrize(("unit", "lines"), [("a.service", [*range(6), 7, 8, 9]), ("xa.service", [11])])
def test_which_lines_name_a_unit(unit: str, lines: list[int]) -> None:
    assert declared_units.lines_on(unit, LOG + LOG) == [LOG[number] for number in lines]
