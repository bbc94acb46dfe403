# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A wrong value at any place of any service is an error with that place, or is harmless: nothing else is raised."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import containerized_operating_system
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.registry import BUILT_IN
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files
from ansible_collections.unshare.container.tests.unit.plugins.plugin_utils.good_values import (
    ADDITIONS,
    PROGRAM,
    VALUES,
    places,
    with_value,
)

WRONG: tuple[t.Any, ...] = (True, 5, {"a": "b"}, [[]], "\n")
GOOD: dict[str, dict[str, t.Any]] = {
    f"{kind} {index}": {"services": [{"type": kind, "value": value}]}
    for kind, values in VALUES.items()
    for index, value in enumerate(values)
}
GOOD |= {
    f"added to {target}": {"services": [{"type": "simple", "value": {"target": target, "value": value}}]}
    for target, value in ADDITIONS.items()
}
GOOD |= {
    f"a declared type that adds to {target}": {
        "service_types": [{"name": "mine", "extensions": {target: value}, "default": {"f": "v"}}],
        "services": [{"type": "mine", "value": {"f": "w"}}],
    }
    for target, value in ADDITIONS.items()
}


def render(declared: dict[str, t.Any]) -> dict[str, t.Any]:
    system = system_files(containerized_operating_system({"host_name": "a", **declared}))
    json.dumps(system, allow_nan=False)
    return system


def test_every_type_that_takes_a_value_is_tried() -> None:
    taking = {name for name, kind in BUILT_IN.items() if kind.spec and not kind.bare_metal and not kind.network}
    assert taking - {"simple", "dummy-networking"} == set(VALUES)
    extended = {name for name, kind in BUILT_IN.items() if kind.essential and not kind.bare_metal}
    assert {name for name in extended if BUILT_IN[name].combine.__name__ != "no_extension"} == set(ADDITIONS)


@pytest.mark.parametrize("what", GOOD)
def test_a_wrong_value_is_an_error_with_its_place(what: str) -> None:
    good = GOOD[what]
    render(good)
    refused = {}
    for place in list(places(good))[1:]:
        for value in WRONG:
            try:
                render(with_value(good, place, value))
            except DeclarationError as error:
                refused[error.path] = f"{place}: {value!r}: {error}"
    assert refused
    assert {said for path, said in refused.items() if not path.startswith("operating_system.")} == set()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_refused(number: float) -> None:
    """JSON has none of these."""
    with pytest.raises(DeclarationError) as caught:
        render(
            {"services": [{"type": "unit", "value": {"name": "a", "command": PROGRAM, "service": {"Nice": number}}}]}
        )
    assert caught.value.path.endswith("value.service.Nice")


@pytest.mark.parametrize("command", [True, 5, 2.5, {"a": "b"}, []])
def test_a_command_is_text_or_words(command: t.Any) -> None:
    with pytest.raises(DeclarationError) as caught:
        render({"services": [{"type": "unit", "value": {"name": "a", "command": command}}]})
    assert caught.value.path == "operating_system.services[0].value.command"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        pytest.param(["/bin/sleep", 5], "[1]: must be a string, not a number; quote it", id="cases_N2_number"),
        (["/bin/sleep", "5", 2.5], "[2]: must be a string, not a number; quote it"),
        (["/bin/sleep", True], "[1]: must be a string, not a boolean; quote it"),
        (["/bin/sleep", None], "[1]: must be a string, not null"),
        ([["/bin/sleep"]], "[0]: must be a string, not a list"),
        ([5], "[0]: must be a string, not a number; quote it"),
        (["/bin/echo", "a\0b"], "[1]: holds a NUL, with which an argument ends"),
        (["sleep", "5"], "[0]: 'sleep' must be an absolute path"),
        ([], ": must be a command: a string, or a list of strings, not an empty list"),
    ],
)
def test_a_wrong_word_of_a_command_is_named(command: t.Any, said: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        render({"services": [{"type": "unit", "value": {"name": "a", "command": command}}]})
    assert str(caught.value) == f"operating_system.services[0].value.command{said}"


@pytest.mark.parametrize(
    ("key", "value", "place"),
    [
        ("service", {"User": {}}, "service.User"),
        ("service", {"": "x"}, "service."),
        ("unit", {"Wants": [{}]}, "unit.Wants"),
        ("timer", {"On Calendar": "x"}, "timer.On Calendar"),
        ("socket", {"ListenStream": "1\n"}, "socket.ListenStream"),
        ("units", {"b.service": 5}, "units.b.service"),
        ("units", {"b.service": {"service": {}}}, "units.b.service.service"),
        ("units", {"b.service": {"Service": {"User": {}}}}, "units.b.service.Service.User"),
        ("units", {"b": "x"}, "units"),
        ("environment", {"A": 5}, "environment.A"),
    ],
)
def test_the_place_in_a_unit_is_exact(key: str, value: t.Any, place: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        render({"services": [{"type": "unit", "value": {"name": "a", "command": PROGRAM, key: value}}]})
    assert caught.value.path == f"operating_system.services[0].value.{place}"


@pytest.mark.parametrize(
    ("added", "place"),
    [
        ({"directories": True}, ".directories"),
        ({"directories": [{}]}, ".directories[0]"),
        ({"directories": [{"path": "x"}]}, ".directories[0].path"),
        ({"activation": [5]}, ".activation[0]"),
        ({"programs": [{"program": "x"}]}, ".programs[0]"),
        ({"packages": [[]]}, ".packages[0]"),
        ({"host_files": ["x"]}, ".host_files[0]"),
        ({"files": {"/etc/x": {"host": True}}}, ".files./etc/x"),
        ({"files": {"x": "y"}}, ".files.x"),
        ({"filse": {}}, ""),
    ],
)
def test_the_place_in_what_is_added_to_the_system_is_exact(added: dict[str, t.Any], place: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        render({"services": [{"type": "simple", "value": {"target": "system", "value": added}}]})
    assert caught.value.path == f"operating_system.services[0].value.value{place}"


def test_what_is_added_to_the_system_has_its_defaults() -> None:
    added = {
        "files": {"/srv/x": "text"},
        "directories": [{"path": "/d"}],
        "programs": [{"service": "a", "program": "b"}],
    }
    system = render({"services": [{"type": "simple", "value": {"target": "system", "value": added}}]})
    assert system["files"]["/srv/x"] == {"content": "text", "mode": "0644"}
    assert {"path": "/d", "mode": "0755", "uid": 0, "gid": 0} in system["directories"]
    assert {"service": "a", "program": "b", "package": None} in system["programs"]
