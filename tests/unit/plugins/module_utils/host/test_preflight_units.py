# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names in units to which nothing answers are known before a container that runs is stopped for them."""

from __future__ import annotations

import re
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host.preflight_units import NamesInUnits
from ansible_collections.unshare.container.plugins.module_utils.host.unit_settings import UnitSettings

from ..specifications import specification

UNITS = "/etc/systemd/system/"
ACCOUNTS = {"/etc/passwd": "root:x:0:0::/:\nalice:x:1000:100::/:\n", "/etc/group": "root:x:0:\nusers:x:100:alice\n"}


def names(units: dict[str, str], files: dict[str, str] | None = None) -> NamesInUnits:
    """Return the names in units, of which `a.service` is wanted."""
    contents = {**ACCOUNTS, **(files or {}), **{UNITS + name: text for name, text in units.items()}}
    links: dict[str, t.Any] = {f"{UNITS}multi-user.target.wants/a.service": {"link": "../a.service"}}
    given = specification(files={**{path: {} for path in contents}, **links})

    def read(path: str) -> bytes:
        return contents[path].encode()

    return NamesInUnits(given, read, UnitSettings(given, read))


BAD = {
    "socket": ({"a.socket": "[Socket]\n"}, "a.socket starts a.service, which .* with Service=$"),
    "timer": ({"b.timer": "[Timer]\n"}, "b.timer starts b.service, which is not there: .* with Unit=$"),
    "path": ({"b.path": "[Path]\nUnit=c.service\n"}, "b.path starts c.service, which is not there"),
    "socket_for_connections": (
        {"b.socket": "[Socket]\nAccept=yes\n", "b.service": ""},
        "b.socket starts b@.service, which is not there",
    ),
    "bound": ({"a.service": "[Unit]\nBindsTo=nosuch.service\n"}, "a.service requires nosuch.service, which"),
    "bound_to_an_instance": ({"a.service": "[Unit]\nBindsTo=t@x.service\n"}, "a.service requires t@x.service, which"),
    "bound_by_a_drop_in": (
        {"a.service": "", "a.service.d/x.conf": "[Unit]\nBindsTo=x.target\n"},
        "a.service requires x.target, which",
    ),
    "user": ({"a.service": "[Service]\nUser=nosuch\n"}, r"a.service has User=nosuch, a user .*operating_system.users"),
    "group": ({"a.service": "[Service]\nGroup=alice\n"}, r"has Group=alice, a group .*operating_system.groups"),
    "groups": ({"a.service": "[Service]\nSupplementaryGroups=users video\n"}, "SupplementaryGroups=video, a group"),
    "user_of_an_instance": (
        {"a.service": "[Unit]\nRequires=t@bob.service\n", "t@.service": "[Service]\nUser=%i\n"},
        "t@bob.service has User=bob",
    ),
    "user_of_a_socket": ({"a.socket": "[Socket]\nSocketUser=bob\n", "a.service": ""}, "a.socket has SocketUser=bob"),
    "bound_by_a_drop_in_of_the_type": (
        {"a.service": "", "service.d/x.conf": "[Unit]\nBindsTo=x.target\n"},
        r"the unit a\.service \(by /etc/systemd/system/service\.d/x\.conf\) requires x\.target, which",
    ),
    "user_by_a_prefix": (
        {"a-b.service": "", "a-.service.d/x.conf": "[Service]\nUser=bob\n", "a.service": "[Unit]\nWants=a-b.service"},
        r"the unit a-b\.service \(by /etc/systemd/system/a-\.service\.d/x\.conf\) has User=bob",
    ),
    "groups_of_the_type_and_its_own": (
        {"a.service": "[Service]\nSupplementaryGroups=video\n", "service.d/x.conf": "[Service]\nUser=alice\n"},
        r"the unit a\.service has SupplementaryGroups=video",
    ),
    "user_in_a_drop_in": (
        {"a.service": "[Service]\nUser=alice\n", "a.service.d/x.conf": "[Service]\nUser=bob\n"},
        "a.service has User=bob",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_name_that_nothing_answers_to(case: str) -> None:
    units, pattern = BAD[case]
    (said,) = names(units).problems()
    assert said.startswith("the unit ")
    assert re.search(pattern, said), said


GOOD: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "socket": ({"a.socket": "[Socket]\n", "a.service": ""}, {}),
    "timer_of_an_instance": ({"b.timer": "[Timer]\nUnit=t@x.service\n", "t@.service": ""}, {}),
    "connections": ({"b.socket": "[Socket]\nAccept=true\n", "b@.service": ""}, {}),
    "wants": ({"a.service": "[Unit]\nWants=nosuch.service\nAfter=other.service\n"}, {}),
    "needs_no_file": ({"a.service": "[Unit]\nRequires=-.mount x.slice dev-x.device\n"}, {}),
    "installed": ({"a.service": "[Install]\nRequires=nosuch.service\n[X-Mine]\nUser=bob\n"}, {}),
    "user": ({"a.service": "[Service]\nUser=alice\nGroup=users\n"}, {}),
    "user_by_number": ({"a.service": "[Service]\nUser=12\nGroup=13\n"}, {}),
    "nobody": ({"a.service": "[Service]\nUser=nobody\nGroup=nogroup\n"}, {}),
    "dynamic": ({"a.service": "[Service]\nDynamicUser=yes\nUser=bob\n"}, {}),
    "that_of_a_dynamic_one": (
        {
            "a.service": "[Unit]\nRequires=b.service\n[Service]\nUser=b\n",
            "b.service": "[Service]\nDynamicUser=yes\n",
        },
        {},
    ),
    "forgotten": ({"a.service": "[Service]\nSupplementaryGroups=x\nSupplementaryGroups=\n"}, {}),
    "not_known_here": ({"a.service": "[Service]\nUser=%u\n"}, {}),
    "condition": ({"a.service": "[Unit]\nConditionPathExists=/x\n[Service]\nUser=bob\n"}, {}),
    "not_started": ({"b.service": "[Service]\nUser=bob\n[Unit]\nRequires=x.service\n"}, {}),
    "from_a_server": ({"a.service": "[Service]\nUser=bob\n"}, {"/etc/nsswitch.conf": "passwd: files [!x=y] sss\n"}),
    "made_at_boot": ({"a.service": "[Service]\nUser=bob\n"}, {"/etc/sysusers.d/x.conf": "u bob\n"}),
}


@pytest.mark.parametrize("case", GOOD)
def test_a_name_that_something_answers_to_or_need_not(case: str) -> None:
    assert (names(*GOOD[case]).problems(), names(*GOOD[case]).warnings()) == ([], [])


def test_files_alone_are_no_server() -> None:
    switch = {"/etc/nsswitch.conf": "passwd: files systemd # sss\nhosts: files dns\n"}
    assert len(names({"a.service": "[Service]\nUser=bob\n"}, switch).problems()) == 1


@pytest.mark.parametrize("key", ["Requires", "Requisite"])
@pytest.mark.parametrize("other", ["nosuch.service", "t@x.service", "x.target"])
def test_what_only_the_boot_starts_without_is_a_warning(key: str, other: str) -> None:
    found = names({"a.service": f"[Unit]\n{key}=b.service {other}\n", "b.service": ""})
    assert found.problems() == []
    (said,) = found.warnings()
    assert said.startswith(
        f"the unit a.service requires {other}, which is not there: declare that unit, or correct {key}="
    )
