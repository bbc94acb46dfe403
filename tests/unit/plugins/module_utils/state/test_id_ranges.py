# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which ids of the host a container gets (S5): its own for life, nobody else's, and a free range at first."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.state import configs, id_ranges

COUNT = 65536
FIRST = 0x70000000
LAST = 0x7FBF0000
"""The first id of the last range of a container; the ids of single commands follow."""


class HostIds:
    """What a host says of its ids.

    Attributes:
        state: the directory of all that is kept.
        subordinate: the text of `/etc/subuid`.
        available: how many ids there are, and whether that is in a user namespace.
    """

    def __init__(self, state: Path) -> None:
        self.state = state
        self.subordinate = ""
        self.groups = ""
        self.available = (4294967295, False)

    def read_text(self, path: str) -> str:
        return {"/etc/subuid": self.subordinate, "/etc/subgid": self.groups}[path]

    def remember(self, name: str, **config: t.Any) -> None:
        configs.write_config(str(self.state / "containers" / name), config)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HostIds:
    host = HostIds(tmp_path)
    monkeypatch.setattr(configs, "STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(configs, "CONFIGS_FILE", str(tmp_path / "known"))
    monkeypatch.setattr(id_ranges, "read_text", host.read_text)
    monkeypatch.setattr(id_ranges, "available", lambda: host.available)
    return host


def base_of(name: str, asked: str | int = "auto", config: dict[str, object] | None = None) -> int:
    found = id_ranges.identity_for(name, asked, {} if config is None else config)
    assert (found.count, found.nested) == (COUNT, False)
    return found.base


@pytest.mark.parametrize(("name", "base"), [("web", 1964048384), ("database", 1954021376), ("a", 1953234944)])
def test_a_name_gets_the_same_range_on_every_host(host: HostIds, name: str, base: int) -> None:
    """So that data that is brought along keeps its owners, where nothing else has them."""
    config: dict[str, object] = {}
    assert base_of(name, config=config) == base
    assert config == {"uid_base": base}


def test_a_range_is_kept_for_life(host: HostIds) -> None:
    config: dict[str, object] = {"uid_base": FIRST + 5 * COUNT, "uid_base_asked": 100000}
    host.remember("other", uid_base=FIRST + 5 * COUNT)
    assert base_of("web", config=config) == FIRST + 5 * COUNT
    assert config == {"uid_base": FIRST + 5 * COUNT}


@pytest.mark.parametrize("base", [FIRST, LAST])
def test_a_range_that_can_be_remembered(host: HostIds, base: int) -> None:
    assert base_of("web", config={"uid_base": base}) == base


@pytest.mark.parametrize("base", [FIRST - 1, LAST + 1, "1879048192", 1.5])
def test_a_range_that_was_never_given_is_damage(host: HostIds, base: object) -> None:
    with pytest.raises(
        LauncherError, match=r"^container web: uid_base in its config.json is damaged; restore it from a"
    ):
        base_of("web", config={"uid_base": base})


@pytest.mark.parametrize("key", ["uid_base", "uid_base_asked"])
def test_the_next_free_range_is_taken(host: HostIds, key: str) -> None:
    """Beside any other container's, that of one which has chosen its ids itself included."""
    wanted = base_of("web")
    host.remember("other", **{key: wanted})
    assert base_of("web") == wanted + COUNT
    host.remember("another", **{key: wanted + 2 * COUNT - 1})
    assert base_of("web") == wanted + 3 * COUNT
    host.remember("web", uid_base=wanted + 3 * COUNT)  # its own is no other's
    assert base_of("web") == wanted + 3 * COUNT


@pytest.mark.parametrize("kind", ["subordinate", "groups"])
@pytest.mark.parametrize(
    ("first", "count", "next_one"),
    [(0, 1, 1), (-1, 1, 0), (-1, 2, 1), (COUNT - 1, 1, 1), (COUNT, 1, 0), (-5, 2 * COUNT + 6, 3), (0, 0, 0)],
)
def test_subordinate_ids_are_others(host: HostIds, kind: str, first: int, count: int, next_one: int) -> None:
    wanted = base_of("web")
    setattr(host, kind, f"alice:{wanted + first}:{count}\n")
    assert base_of("web") == wanted + next_one * COUNT


@pytest.mark.parametrize("line", ["# alice:{0}:1", "alice:{0}", "alice:{0}:1:2", "alice:{0}:x", "alice:x{0}:1", ""])
def test_a_line_that_says_nothing_takes_nothing(host: HostIds, line: str) -> None:
    wanted = base_of("web")
    host.subordinate = line.format(wanted) + "\n"
    expected = COUNT if line.startswith("#") else 0  # shadow(5) knows no comments
    assert base_of("web") == wanted + expected


def test_after_the_last_range_comes_the_first(host: HostIds) -> None:
    wanted = base_of("web")
    host.subordinate = f"alice:{wanted}:{LAST + COUNT - wanted}\n"
    assert base_of("web") == FIRST


def test_no_range_is_left(host: HostIds) -> None:
    host.subordinate = f"alice:{FIRST}:{LAST - FIRST}\nbob:{LAST}:1\n"
    with pytest.raises(LauncherError, match=rf"no free range of 65536 ids is left between {FIRST} and {LAST}$"):
        base_of("web")
    host.subordinate = f"alice:{FIRST}:{LAST - FIRST}\n"
    assert base_of("web") == LAST


@pytest.mark.parametrize(
    ("first", "count", "takes"),
    [(0, FIRST, False), (0, FIRST + 1, True), (0, 0xFFFFFFFF, True), (LAST + COUNT, COUNT, False)],
)
def test_ids_outside_of_all_ranges_take_none(host: HostIds, first: int, count: int, takes: bool) -> None:
    """All but the first range are somebody's."""
    host.subordinate = f"alice:{FIRST + COUNT}:{LAST - FIRST}\nbob:{first}:{count}\n"
    if takes:
        with pytest.raises(LauncherError, match="no free range"):
            base_of("web")
    else:
        assert base_of("web") == FIRST


def test_many_ranges_are_looked_at_once() -> None:
    """So that a start takes no longer where few are left."""

    class Ranges(list[tuple[int, int, str]]):
        looks = 0

        def __iter__(self) -> t.Iterator[tuple[int, int, str]]:
            self.looks += 1
            return super().__iter__()

    taken = Ranges((base, COUNT, "container other") for base in range(FIRST, LAST, COUNT))
    assert id_ranges._free("web", taken) == LAST
    assert taken.looks == 1


def test_the_hosts_own_ids(host: HostIds) -> None:
    config: dict[str, object] = {"uid_base": FIRST}
    found = id_ranges.identity_for("web", "identity", config)
    assert (found.base, found.count, found.nested) == (0, COUNT, False)
    assert config == {"uid_base": FIRST}


@pytest.mark.parametrize("asked", [1, "100000", 0xFFFFFFFF - COUNT])
def test_ids_that_are_asked_for(host: HostIds, asked: str | int) -> None:
    config: dict[str, object] = {"uid_base": FIRST}
    assert base_of("web", asked, config) == int(asked)
    assert config == {"uid_base": FIRST, "uid_base_asked": int(asked)}


@pytest.mark.parametrize("asked", [0, -1, 0xFFFFFFFF - COUNT + 1])
def test_ids_that_no_range_begins_with(host: HostIds, asked: int) -> None:
    with pytest.raises(LauncherError, match=rf"^private_users: {asked} is no first id of a range of 65536$"):
        base_of("web", asked)


COMMANDS = (id_ranges.COMMANDS_FIRST, id_ranges.COMMANDS_LAST + 1)


@pytest.mark.parametrize(
    ("base", "free"),
    [
        (COMMANDS[0] - COUNT, True),
        (COMMANDS[0] - COUNT + 1, False),
        (COMMANDS[0], False),
        (COMMANDS[0] + COUNT, False),
        (COMMANDS[1] - 1, False),
        (COMMANDS[1], True),
    ],
)
def test_ids_of_single_commands_are_no_containers(host: HostIds, base: int, free: bool) -> None:
    config: dict[str, object] = {}
    if free:
        assert base_of("web", base, config) == base
        return
    said = rf"^private_users: ids from {base} overlap those of single commands \(eval_container\); take another number$"
    with pytest.raises(LauncherError, match=said):
        base_of("web", base, config)
    assert config == {}
    assert base_of("web", base, {"uid_base_asked": base}) == base, "one that has them keeps them"


@pytest.mark.parametrize(("distance", "free"), [(-COUNT, True), (1 - COUNT, False), (0, False), (9, False), (10, True)])
def test_ids_that_are_asked_for_are_nobody_elses(host: HostIds, distance: int, free: bool) -> None:
    host.subordinate = "alice:500000:10\n"
    config: dict[str, object] = {}
    if free:
        assert base_of("web", 500000 + distance, config) == 500000 + distance
        return
    said = f"^private_users: ids from {500000 + distance} overlap those of alice in /etc/subuid; take another number$"
    with pytest.raises(LauncherError, match=said):
        base_of("web", 500000 + distance, config)
    assert config == {}


def test_the_other_container_is_named(host: HostIds) -> None:
    host.remember("database", uid_base_asked=300000)
    with pytest.raises(LauncherError, match="overlap those of container database; take"):
        base_of("web", 300000)


@pytest.mark.parametrize(("there", "count"), [(70000, COUNT), (COUNT, COUNT), (10, 10), (1, 1)])
@pytest.mark.parametrize("asked", ["auto", "identity"])
def test_in_a_container_all_that_there_is(host: HostIds, there: int, count: int, asked: str) -> None:
    host.available = (there, True)
    found = id_ranges.identity_for("web", asked, {})
    assert (found.base, found.count, found.nested) == (0, count, True)


def test_in_a_container_none_can_be_chosen_and_some_are_needed(host: HostIds) -> None:
    host.available = (COUNT, True)
    with pytest.raises(LauncherError, match=r"^private_users: 5: inside a container only 'auto' and 'identity' can be"):
        id_ranges.identity_for("web", 5, {})
    host.available = (0, True)
    with pytest.raises(LauncherError, match="^private_users: this user namespace has no ids to give to a container$"):
        id_ranges.identity_for("web", "auto", {})
