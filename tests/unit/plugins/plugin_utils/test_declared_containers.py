# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The containers of an inventory: what is refused and where, and that equal declarations are derived once."""

from __future__ import annotations

import copy
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.filter import containerization_report
from ansible_collections.unshare.container.plugins.module_utils.host.limits import parse_limits
from ansible_collections.unshare.container.plugins.module_utils.state import library
from ansible_collections.unshare.container.plugins.module_utils.state.system_content import SystemContent
from ansible_collections.unshare.container.plugins.plugin_utils import declared_containers as subject
from ansible_collections.unshare.container.plugins.plugin_utils.container_record import RECORD
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError

OPERATING_SYSTEM = {
    "host_name": "web.example.org",
    "users": [{"name": "alice", "uid": 1000, "password": "$6$salt$hash"}],
    "services": [{"type": "static-web-server"}],
}


def declared(**options: t.Any) -> subject.Declared:
    return subject.declared_containers({"web": {"operating_system": OPERATING_SYSTEM, **options}})[0]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], r"^containers: must be a mapping of names to containers, not a list"),
        ({"Web": {}}, r"^containers\.Web: 'Web' is not a container's name"),
        ({"web": []}, r"^containers\.web: must be a mapping, not a list"),
        ({"web": {}}, r"^containers\.web\.operating_system: is required"),
        ({"web": {"state": "stopped", "log": "persistent"}}, r"^containers\.web\.operating_system: is required"),
        ({"web": {"operating_sytem": {}}}, r"^containers\.web: unknown key 'operating_sytem'; did you mean"),
        ({"web": {"state": "startd"}}, r"^containers\.web\.state: 'startd' is not possible here; did you mean"),
        (
            {"web": {"state": "absent", "generation": 3}},
            r"^containers\.web\.generation: is used with 'state: rolled_back'",
        ),
        ({"web": {"state": "absent", "keep_generations": 0}}, r"^containers\.web\.keep_generations: must be 1 or more"),
        ({"web": {"state": "absent", "timeout": "soon"}}, r"^containers\.web\.timeout: soon is no number of seconds"),
        ({"web": {"state": "absent", "health": {"tpc": []}}}, r"^containers\.web\.health: unknown key 'tpc'"),
        (
            {"web": {"state": "absent", "health": {"tcp": [{"port": 70000}]}}},
            r"^containers\.web\.health\.tcp\[0\]\.port: 70000 is not a port",
        ),
        (
            {"web": {"state": "absent", "health": {"http": [{}, {"port": -1}]}}},
            r"^containers\.web\.health\.http\[1\]\.port: -1 is not a port \(1 to 65535\)",
        ),
        (
            {"web": {"state": "absent", "health": {"http": [{"path": "/ HTTP/1.1\r\nX: y"}]}}},
            r"^containers\.web\.health\.http\[0\]\.path: .* cannot be asked for",
        ),
        (
            {"web": {"state": "absent", "limits": {"memory": "1G"}}},
            r"^containers\.web\.limits: unknown key 'memory'; did",
        ),
        (
            {"web": {"state": "absent", "limits": {"io_weight": 0}}},
            r"^containers\.web\.limits\.io_weight: 0 is not a w",
        ),
        (
            {"web": {"state": "absent", "security": {"nested": True}}},
            r"^containers\.web\.security: unknown key 'nested'",
        ),
        ({"web": {"state": "absent", "mappings": "/srv"}}, r"^containers\.web\.mappings: must be a list, not a string"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_place(value: t.Any, message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        subject.declared_containers(value)


def test_an_error_in_the_operating_system_names_the_container(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"^containers\.web\.operating_system\.services\[0\]\.type: "):
        subject.DerivedSystems(str(tmp_path)).announcement(
            subject.declared_containers(
                {"web": {"operating_system": {"host_name": "web", "services": [{"type": "?"}]}}}
            )[0]
        )


def test_defaults_and_order() -> None:
    found = subject.declared_containers(
        {"b": {"state": "absent"}, "a": {"state": "stopped"}, "c": {"state": "rolled_back"}}
    )
    assert [item.name for item in found] == ["b", "a", "c"]
    assert {item.options["timeout"] for item in found} == {30}
    for option, value in {"restart": "on-failure", "after": [], "requires": [], "enabled": False}.items():
        assert found[0].options[option] == value  # not None: what is not declared does not stay as it is
    assert {item.options["health"] for item in found} == {None}
    health = declared(health={"http": [{}]}).options["health"]
    assert health["http"] == [{"port": 80, "address": "127.0.0.1", "host": "localhost", "path": "/", "status": 200}]


def test_what_is_left_out_is_nobody_elses() -> None:
    """A default is a value of its own each time: what becomes of one container's is not another's, nor the record's."""
    record = copy.deepcopy(RECORD)
    first, second = (declared() for _ in range(2))
    subject.derive(first)
    for name in ("after", "requires", "limits"):
        assert first.options[name] is not second.options[name]
    for name in ("after", "requires"):
        first.options[name].append("other")
    assert second.options["after"] == second.options["requires"] == []
    assert record == RECORD


def test_a_state_without_a_system_has_none(tmp_path: Path) -> None:
    derivation = subject.DerivedSystems(str(tmp_path))
    for state in ("absent", "rolled_back"):
        assert derivation.announcement(declared(state=state)) == {"digest": None, "security": None, "tree": None}


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    derivation = subject.DerivedSystems(str(tmp_path))
    item = declared()
    announced = derivation.announcement(item)
    sent = derivation.system(item)
    content = SystemContent(sent["system"], sent["boot"], library.sources(), "/usr/bin/python3", sent["secrets"], "web")
    security = content.specification.security.write()
    assert announced == {"digest": content.content_digest(), "security": security, "tree": None}
    assert derivation.announcement(item) == announced
    assert "$6$salt$hash" not in str(sent["system"])
    assert "$6$salt$hash" in str(sent["secrets"])


def test_equal_declarations_are_derived_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    derived = []

    def derive(item: subject.Declared) -> t.Any:
        derived.append(item.name)
        return original(item)

    original = subject.derive
    monkeypatch.setattr(subject, "derive", derive)
    first = subject.DerivedSystems(str(tmp_path)).announcement(declared(timeout=5))
    again = subject.declared_containers({"web": {"operating_system": copy.deepcopy(OPERATING_SYSTEM)}})[0]
    assert subject.DerivedSystems(str(tmp_path)).announcement(again) == first
    assert subject.DerivedSystems(str(tmp_path)).system(again)["digest"] == first["digest"]
    assert derived == ["web"]
    other = subject.DerivedSystems(str(tmp_path)).announcement(declared(log="persistent"))
    assert other != first
    assert derived == ["web", "web"]


def test_what_is_kept_of_a_derivation_is_the_owners_alone(tmp_path: Path) -> None:
    subject.DerivedSystems(str(tmp_path)).announcement(declared())
    kept = tmp_path / "unshare-systems"
    assert {path.stat().st_mode & 0o077 for path in (kept, *kept.iterdir())} == {0}


def test_the_report_says_what_was_dropped() -> None:
    services = [{"type": "udev"}]
    item = subject.declared_containers({"web": {"operating_system": {"host_name": "web", "services": services}}})[0]
    assert any(line.startswith("dropped service udev: ") for line in subject.report(item))


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({}, ["dropped essential_service linux-bare-metal: the host's kernel runs the container"]),
        (
            {"services": [{"type": "udev"}]},
            ["dropped service udev: devices belong to the host, whose udev manages them"],
        ),
        ({"swap_devices": ["/dev/sda2"]}, ["dropped swap_device /dev/sda2: swap belongs to the host"]),
        ({"file_systems": [{"device": "tmpfs", "mount_point": "/srv", "type": "tmpfs"}]}, ["kept file_system /srv: "]),
    ],
    ids=["nothing", "service", "swap", "kept"],
)
def test_the_role_and_the_module_say_the_same_lines(declared: dict[str, t.Any], said: list[str]) -> None:
    system = {"host_name": "web", **declared}
    (item,) = subject.declared_containers({"web": {"operating_system": system}})
    lines = containerization_report.FilterModule().filters()["containerization_report"](system)["lines"]
    assert lines == subject.report(item)
    assert not [line for line in lines if line.startswith("kept service ")]
    for begin in said:
        assert [line for line in lines if line.startswith(begin)], lines


def test_an_option_taken_out_is_taken_back() -> None:
    system = {"host_name": "web"}
    bare, told = (
        subject.declared_containers({"web": {"operating_system": system, **more}})[0].options
        for more in ({}, {"enabled": True, "limits": {"tasks_max": 100}})
    )
    assert (bare["enabled"], parse_limits(bare["limits"])) == (False, {})
    assert (told["enabled"], parse_limits(told["limits"])) == (True, {"tasks_max": 100})
