# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sizes in the option `volumes`, as both sides read them (V3)."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host.volume_options import parse_sizes
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import OptionError


def sizes(*declared: t.Any) -> dict[str, tuple[str, int, bool]]:
    found = parse_sizes(list(declared))
    return {name: (given.place, given.size.size, given.size.may_fail) for name, given in found.items()}


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("16M", 16 << 20),
        ("5G", 5 << 30),
        ("5GiB", 5 << 30),
        (" 1T ", 1 << 40),
        (33554432, 32 << 20),
        ("20480K", 20 << 20),
        ("20481K", 20 << 20),  # in whole blocks of any file system
        ((20 << 20) + 65537, (20 << 20) + 65536),
    ],
)
def test_v3_a_size_is_a_number_of_bytes(size: t.Any, expected: int) -> None:
    assert sizes({"name": "data", "size": size}) == {"data": ("volumes[0].size", expected, False)}


def test_v3_what_says_nothing_of_sizes_has_none() -> None:
    for declared in (True, False, None, [], ["redis", {"name": "data", "path": "/srv"}, {"name": "x", "size": None}]):
        assert parse_sizes(declared) == {}


def test_v3_each_has_its_place() -> None:
    found = sizes("redis", {"name": "data", "size": "5G", "size_may_fail": True}, {"name": "more", "size": "1G"})
    assert found == {"data": ("volumes[1].size", 5 << 30, True), "more": ("volumes[2].size", 1 << 30, False)}
    (given,) = parse_sizes([{"name": "data", "size": "1G"}], "containers.web.volumes").values()
    assert given.place == "containers.web.volumes[0].size"


@pytest.mark.parametrize(("word", "expected"), [("True", True), ("no", False), (True, True), ("off", False)])
def test_v3_what_templates_leave_of_true_and_false_is_that(word: t.Any, expected: bool) -> None:
    assert sizes({"name": "data", "size": "1G", "size_may_fail": word})["data"][2] is expected


@pytest.mark.parametrize("size", ["15M", "0", 0, "-5G", "five", "5X", True, [], {}, "", "5 G", 1 << 63])
def test_v3_a_size_that_is_none_is_refused(size: t.Any) -> None:
    with pytest.raises(OptionError, match=r"^volumes\[1\]\.size: .* is not a size of 16M or more, such as") as error:
        parse_sizes(["redis", {"name": "data", "size": size}])
    assert error.value.path == "volumes[1].size"


def test_v3_what_may_fail_is_a_size_and_is_said_plainly() -> None:
    with pytest.raises(OptionError, match=r"^volumes\[0\]\.size_may_fail: must be true or false, not 'perhaps'"):
        parse_sizes([{"name": "data", "size": "1G", "size_may_fail": "perhaps"}])
    with pytest.raises(OptionError, match=r"^volumes\[0\]\.size_may_fail: is said of no size"):
        parse_sizes([{"name": "data", "size_may_fail": False}])
