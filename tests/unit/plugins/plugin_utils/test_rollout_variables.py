# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of a rollout: what is taken, and what is said of what is not."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.unshare.container.plugins.plugin_utils import rollout_variables as subject
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError

PLAYBOOK = Path(__file__).parents[4] / "playbooks/rollout.yml"
HERE = str(Path(__file__).resolve())


def said(name: str, value: t.Any) -> str:
    with pytest.raises(DeclarationError) as error:
        subject.check_variables({name: value})
    return str(error.value)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (["ten"], "[0]: 'ten'"),
        ([1, "10 %"], "[1]: '10 %'"),
        ([1, "%"], "[1]: '%'"),
        ([1, ""], "[1]: ''"),
        ([1, "-1"], "[1]: '-1'"),
        ([-5], "[0]: '-5'"),
        ([1, 0, 5], "[1]: '0'"),
        (["0%"], "[0]: '0%'"),
        (["101%"], "[0]: '101%'"),
        (["10.5%"], "[0]: '10.5%'"),
        ([0.5], "[0]: '0.5'"),
        ([True], "[0]: 'true'"),
        ([None], "[0]: 'null'"),
        ([[1]], "[0]: '[1]'"),
        ({"first": 1}, ": '{\"first\": 1}'"),
        ("1\n", ": '1\n'"),
        (0, ": '0'"),
        ("all", ": 'all'"),
    ],
)
def test_what_is_no_size_of_a_wave(value: t.Any, place: str) -> None:
    assert said("rollout_waves", value).startswith(f"rollout_waves{place} is no size of a wave; use a number of hosts ")


@pytest.mark.parametrize("value", [None, []])
def test_no_waves(value: t.Any) -> None:
    assert "names no wave; use a list such as [1, '10%', '100%']" in said("rollout_waves", value)


@pytest.mark.parametrize(("value", "listed"), [("1,10%", True), ("[1, '10%']", True), ("ten", False), (["1,2"], False)])
def test_a_list_of_the_command_line_is_shown(value: t.Any, listed: bool) -> None:
    assert (
        said("rollout_waves", value).endswith("""; a list on the command line is -e '{"rollout_waves": [1, "10%"]}'""")
        == listed
    )


@pytest.mark.parametrize(
    "value", [1, "5", "20%", [1], ["1", "10%", "50%", "100%"], [1, 10, "100%"], ["007"], [1000000]]
)
def test_sizes_of_waves(value: t.Any) -> None:
    subject.check_variables({"rollout_waves": value})


@pytest.mark.parametrize("value", ["ten", "10%", "", None, -1, 100.5, "1000", True, [5], "nan", "inf"])
def test_what_is_no_percentage(value: t.Any) -> None:
    assert said("rollout_max_fail_percentage", value).startswith("rollout_max_fail_percentage: '")
    assert "is no percentage from 0 to 100" in said("rollout_max_fail_percentage", value)


@pytest.mark.parametrize(("value", "number"), [(0, 0.0), ("10", 10.0), (33.3, 33.3), ("100", 100.0)])
def test_a_percentage(value: t.Any, number: float) -> None:
    assert subject.percentage(value, "x") == number


@pytest.mark.parametrize("value", ["rollback", "", None, True, ["keep"], {"keep": 1}, "KEEP"])
def test_what_cannot_become_of_the_hosts(value: t.Any) -> None:
    assert re.fullmatch(
        "rollout_on_stop: '.*' is not possible here; use keep or roll_back", said("rollout_on_stop", value)
    )


@pytest.mark.parametrize("name", ["rollout_before", "rollout_after"])
@pytest.mark.parametrize("value", ["drain.yml", "/nosuch", "/", 5, [HERE], "~/x.yml"])
def test_what_is_no_file(name: str, value: t.Any) -> None:
    assert said(name, value).startswith(f"{name}: '")
    assert "is no file on the controller by an absolute path" in said(name, value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("/nosuch/page.html", "cannot be written: there is no directory /nosuch; make it"),
        (f"{HERE}/page.html", f"cannot be written: there is no directory {HERE}; make it"),
        ("/", "is a directory; name a file in it"),
        ("/proc/page.html", "cannot be written: /proc takes no new file: No such file or directory"),
        (["page.html"], "is no path of a file on the controller"),
        (True, "is no path of a file on the controller"),
        ("a\0b", "is no path of a file on the controller"),
    ],
)
def test_a_page_that_cannot_be_written(value: t.Any, text: str) -> None:
    assert said("rollout_page", value).startswith("rollout_page: '")
    assert said("rollout_page", value).endswith(text)


@pytest.mark.parametrize("value", ["page.html", "~/page.html", f"{HERE}", "/tmp/page.html", "", None])
def test_a_page(value: t.Any) -> None:
    subject.check_variables({"rollout_page": value})


def test_what_was_not_given_is_taken() -> None:
    subject.check_variables({})
    subject.check_variables(
        {"rollout_before": "", "rollout_after": None, "containers_purge": None, "rollout_on_stop": "keep"}
    )
    subject.check_variables({"rollout_before": HERE, "rollout_after": HERE, "containers_purge": "yes"})


@pytest.mark.parametrize("value", ["perhaps", 2, [True]])
def test_purge_is_a_boolean(value: t.Any) -> None:
    assert said("containers_purge", value).startswith("containers_purge: must be a boolean, not ")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("rollout_wave", "rollout_waves"),
        ("rollout_on_stopp", "rollout_on_stop"),
        ("rollout_max_fail_percent", "rollout_max_fail_percentage"),
        ("rollout_befor", "rollout_before"),
        ("containers_purg", "containers_purge"),
    ],
)
def test_a_misspelled_variable(name: str, meant: str) -> None:
    with pytest.raises(DeclarationError, match=f"^{name}: the playbook rollout has no .* did you mean '{meant}'"):
        subject.check_variables({}, [name, "rollout_waves"])


def test_other_variables_are_ones_own() -> None:
    subject.check_variables(
        {}, ["rollout_balancer", "rollout_opened", "rollout_staged", "rollout_switched", "containers", "wave"]
    )


def test_the_playbook_hands_over_all_of_them() -> None:
    begin, stage = yaml.safe_load(PLAYBOOK.read_text())[:2]
    step = "unshare.container.rollout_step"
    given = begin["tasks"][-1][step]["variables"]
    assert given == stage["tasks"][0]["block"][0][step]["variables"]
    assert given.keys() == {"containers_purge", *(f"rollout_{name}" for name in subject.KNOWN)}
    text = PLAYBOOK.read_text()
    assert set(re.findall(r"register: rollout_(\w+)", text)) == set(subject.REGISTERED)
    assert set(re.findall(r"\brollout_(?!step\b)(\w+)", text)) == {*subject.KNOWN, *subject.REGISTERED}
