# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Texts that are quoted for others to read, and the places that errors name, to the letter."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.plugin_utils import units
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import containerized_operating_system
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files


def refusal(operating_system: dict[str, t.Any], **options: t.Any) -> str:
    with pytest.raises(DeclarationError) as raised:
        system_files(containerized_operating_system({"host_name": "web", **operating_system}), **options)
    return str(raised.value)


@pytest.mark.parametrize(
    ("word", "argument", "value"),
    [
        ("plain", "plain", '"plain"'),
        ("/a/b-c_d.e@f:g=h,i+j", "/a/b-c_d.e@f:g=h,i+j", '"/a/b-c_d.e@f:g=h,i+j"'),
        ("", '""', '""'),
        ("a b", '"a b"', '"a b"'),
        ("a\\b", '"a\\\\b"', '"a\\\\b"'),
        ('a"b', '"a\\"b"', '"a\\"b"'),
        ("50%", "50%%", '"50%%"'),
        ("$HOME", "$$HOME", '"$HOME"'),
        ("a;b", '"a;b"', '"a;b"'),
        ("'a'", "\"'a'\"", "\"'a'\""),
    ],
)
def test_words_of_a_unit_stay_what_they_are(word: str, argument: str, value: str) -> None:
    """As systemd.syntax(7) reads them: in a command `$` has a meaning, in an assignment it has none."""
    assert units.quote(word) == argument
    assert units.quote_value(word) == value


@pytest.mark.parametrize(
    ("users", "good"),
    [
        ("auto", True),
        ("identity", True),
        (65536, True),
        ("65536", True),
        (2**32 - 2 * 65536, True),
        (2**32 - 65536, False),
        ("00000065536", False),
        ("٦٥٥٣٦", False),
        (0, False),
        (1, False),
        (-65536, False),
        (True, False),
        ("other", False),
    ],
)
def test_private_users(users: t.Any, good: bool) -> None:
    derived = containerized_operating_system({"host_name": "web"})
    if good:
        found = system_files(derived, private_users=users)["spec"].get("private_users", "auto")
        assert found == (int(users) if str(users).isdigit() else users)
    else:
        with pytest.raises(DeclarationError, match="^private_users: "):
            system_files(derived, private_users=users)


@pytest.mark.parametrize(
    ("declared", "place", "said"),
    [
        ({"etc": {"a/b": {"content": "${missing}"}}}, "etc.a/b.content", "'${missing}' is not in the service's value"),
        ({"etc": {"${missing}": {}}}, "etc", "'${missing}' is not in the service's value"),
        ({"etc": {"x": ["a", "${missing}"]}}, "etc.x[1]", "'${missing}' is not in the service's value"),
        ({"etc": {"x": "${word.more}"}}, "etc.x", "'${word.more}' is not in the service's value"),
        ({"etc": {"x": "a-${list}"}}, "etc.x", "'${list}' within a text must be a string or a number"),
        ({"etc": {"x": "${wort}"}}, "etc.x", "'${wort}' is not in the service's value; did you mean 'word'?"),
    ],
)
def test_a_field_that_a_value_does_not_have_is_named_by_its_place(
    declared: dict[str, t.Any], place: str, said: str
) -> None:
    server = {
        "services": [{"type": "own", "value": {"list": [], "word": "w"}}],
        "service_types": [{"name": "first"}, {"name": "own", "extensions": declared}],
    }
    assert refusal(server).startswith(f"operating_system.service_types[1].extensions.{place}: {said}")
