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
    return DeclaredUnits({AT + name.replace("_", "/"): File(link=link) for name, link in links.items()}, lambda _p: b"")


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
    found = DeclaredUnits(
        {"/etc/motd": File(), "/etc/systemd/system.conf": File(), AT + "x y.service": File()}, lambda _path: b""
    )
    assert (found.own, found.templates) == ([], [])
    assert set(found.names()) == set(declared_units.BASIC_TARGETS)


def texts(**files: str) -> DeclaredUnits:
    """Return the units of a system with these texts; `link:` begins a link, and `_` in a name stands for a slash."""
    known = {AT + name.replace("_", "/"): text for name, text in files.items()}
    links = {path: File(link=text[5:] if text.startswith("link:") else None) for path, text in known.items()}
    return DeclaredUnits(links, lambda path: known[path].encode())


@pytest.mark.parametrize("link", ["/dev/null", "../../../dev/null"])
def test_a_masked_unit_keeps_its_name(link: str) -> None:
    boot = {"default.target": "link:multi-user.target", "multi-user.target": "link:/usr/lib/x/multi-user.target"}
    found = texts(**boot, **{"x.service": f"link:{link}", "multi-user.target.wants_x.service": "link:../x.service"})
    assert "x.service" in found.wanted(lambda name: True)
    assert "null" not in found.names()
    pulled = {"a.service": "[Unit]\nWants=x.service\n", "multi-user.target.wants_a.service": "link:../a.service"}
    assert "x.service" not in texts(**boot, **pulled, **{"x.service": f"link:{link}"}).wanted(lambda name: True)


BOOT = {
    "default.target": "link:multi-user.target",
    "multi-user.target": "link:/usr/lib/systemd/system/multi-user.target",
}
PULLING = {
    "a.service": "[Unit]\nRequires=b.service missing.service\nWants= \\\n  # between\n  c.service\n"
    "[Service]\nWants=no.service\n",
    "multi-user.target.wants_a.service": "link:../a.service",
    "b.service": "[Unit]\nBindsTo=other.service\n",
    "other.service": "link:d.service",
    "d.service": "",
    "c.service": "",
    "c.service.d_x.conf": "[Unit]\nRequires=t@one.service\n",
    "t@.service": "[Unit]\nWants=%p-%i.service net.target\n",
    "t-one.service": "",
    "net.target": "link:/usr/lib/systemd/system/net.target",
    "net.target.wants_n.service": "link:../n.service",
    "n.service": "",
    "no.service": "",
    "multi-user.target.d_upholds.conf": "[Unit]\nUpholds=u.service\n",
    "u.service": "[Unit]\nAfter=no.service\nPartOf=no.service\n",
    "service.d_all.conf": "[Unit]\nWants=every.service\n",
    "every.service": "",
}


def test_what_the_texts_of_units_start() -> None:
    """case 0.1: only the links were followed."""
    found = texts(**BOOT, **PULLING)
    names = ("a", "b", "c", "d", "every", "n", "t-one", "t@one", "u")
    started = {*(f"{name}.service" for name in names), "multi-user.target", "net.target"}
    assert found.wanted(lambda _name: False) == started | set(declared_units.BASIC_TARGETS)
    assert set(found.names()) == found.wanted(lambda _name: False) | {"no.service"}
    assert found.left_out(found.wanted(lambda _name: False)) == {}


def test_of_two_drop_ins_with_one_name_the_nearer_counts() -> None:
    found = texts(
        **BOOT,
        **{
            "a-b.service": "[Unit]\nWants=\\",  # the end of a file ends its last line
            "multi-user.target.wants_a-b.service": "link:../a-b.service",
            "a-.service.d_x.conf": "[Unit]\nWants=c.service\n",
            "a-b.service.d_x.conf": "[Unit]\nWants=d.service\n[Service]\n",
            "service.d_y.conf": "Wants=c.service\n",  # in no section, whatever another file ended with
            "service.d_z.conf": "link:/dev/null",
            "a-b.service.d_below_w.conf": "[Unit]\nWants=c.service\n",
            "c.service": "",
            "d.service": "",
        },
    )
    assert found.settings("a-b.service") == [("Unit", "Wants", ""), ("Unit", "Wants", "d.service")]
    assert found.wanted(lambda _name: False) & {"c.service", "d.service"} == {"d.service"}


def test_the_links_of_a_unit_are_followed_to_its_file() -> None:
    found = texts(**{"a.service": "link:b.service", "b.service": f"link:{AT}c.service", "c.service": "[Unit]\nA=1\n"})
    assert found.settings("a.service") == [("Unit", "A", "1")]
    found = texts(
        **{"a.service": "link:b.service", "b.service": "link:/usr/lib/c.service", "c.service": "[Unit]\nA=1\n"}
    )
    assert (found.followed("a.service"), found.settings("a.service")) == ("b.service", [])
    assert texts(**{"a.service": "link:b.service", "b.service": "link:a.service"}).settings("a.service") == []


LEFT_OUT: dict[str, tuple[dict[str, str], dict[str, list[str]]]] = {
    "a target that nothing starts": (
        {"net.target.wants_a.service": "link:../a.service"},
        {"a.service": ["net.target"]},
    ),
    "a target that is not there": (
        {"mutli-user.target.wants_a.service": "link:../a.service"},
        {"a.service": ["mutli-user.target"]},
    ),
    "an instance": (
        {"t@.service": "", "net.target.requires_t@x.service": "link:../t@.service"},
        {"t@x.service": ["net.target"]},
    ),
    "upheld by one": ({"net.target.d_u.conf": "[Unit]\nUpholds=a.service\n"}, {"a.service": ["net.target"]}),
    "by what is left out itself": (
        {
            "net.target.wants_b.service": "link:../b.service",
            "b.service": "",
            "b.service.wants_a.service": "link:../a.service",
        },
        {"a.service": ["b.service"], "b.service": ["net.target"]},
    ),
    "two": (
        {"net.target.wants_a.service": "link:../a.service", "x.mount.requires_a.service": "link:../a.service"},
        {"a.service": ["net.target", "x.mount"]},
    ),
    "one of two is started": (
        {"net.target.wants_a.service": "link:../a.service", "timers.target.wants_a.service": "link:../a.service"},
        {},
    ),
    "of no starter": ({}, {}),
    "by one of no starter": ({"b.service": "", "b.service.wants_a.service": "link:../a.service"}, {}),
    "by an instance of a template": ({"b@.service": "", "b@x.service.wants_a.service": "link:../a.service"}, {}),
    "on a reboot": ({"reboot.target.wants_a.service": "link:../a.service"}, {}),
    "of a slice": ({"system.slice.wants_a.service": "link:../a.service"}, {}),
    "by a text": (
        {"b.service": "[Unit]\nWants=a.service\n", "net.target.wants_a.service": "link:../a.service"},
        {},
    ),
    "by a timer as well": ({"a.timer": "[Timer]\n", "net.target.wants_a.service": "link:../a.service"}, {}),
    "by a socket as well": (
        {"b.socket": "[Socket]\nService=a.service\n", "net.target.wants_a.service": "link:../a.service"},
        {},
    ),
    "by another's timer": (
        {"a.timer": "[Timer]\nUnit=b.service\n", "net.target.wants_a.service": "link:../a.service"},
        {"a.service": ["net.target"]},
    ),
    "after a failure": (
        {"b.service": "[Unit]\nOnFailure=a.service\n", "net.target.wants_a.service": "link:../a.service"},
        {},
    ),
    "the target is started by another": (
        {
            "b.service": "[Unit]\nWants=net.target\n",
            "multi-user.target.wants_b.service": "link:../b.service",
            "net.target.wants_a.service": "link:../a.service",
        },
        {},
    ),
}


@pytest.mark.parametrize(("files", "left_out"), LEFT_OUT.values(), ids=LEFT_OUT.keys())
def test_which_units_are_left_out(files: dict[str, str], left_out: dict[str, list[str]]) -> None:
    stored = {"net.target": "link:/usr/lib/systemd/system/net.target", "a.service": ""}
    found = texts(**BOOT, **stored, **files)
    assert found.left_out(found.wanted(lambda _name: False)) == left_out
    assert found.left_out(found.wanted(lambda name: name == "net.target")).get("a.service") != ["net.target"]


def test_what_is_never_started_starts_nothing() -> None:
    found = texts(**BOOT, **{"x.target": "", "x.target.wants_a.service": "link:../a.service", "a.service": ""})
    assert found.left_out(found.wanted(lambda _name: False)) == {}
    assert found.left_out(found.wanted(lambda _name: False), ["x.target"]) == {"a.service": ["x.target"]}


def test_a_value_that_is_ignored_is_told_from_a_name_that_is_not_known() -> None:
    assert declared_units.ignored_names(LOG) == LOG[:4]
    assert declared_units.ignored_values(LOG) == [LOG[4], LOG[5], LOG[6]]


IN_FILE = {
    AT + "a.service:7: said": "a.service",
    AT + "a.service: said": "a.service",
    AT + "a.service.d/b.conf:2: said": "a.service",
    AT + "a:5.service:7: said: more": "a:5.service",
    AT + "a.service:: said": "a.service:",
    AT + "a.service:7:": "",
    AT + "a.service:7: ": "",
    AT + "a b.service:7: said": "",
    AT + "a.service\t:7: said": "",
    "a.service: said": "",
    "": "",
}


@pytest.mark.parametrize(("line", "unit"), IN_FILE.items())
def test_whose_file_a_line_is_about(line: str, unit: str) -> None:
    assert declared_units.unit_of_file(line) == unit
