# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Limits, time limits, JSON, small files: what is written, what is read again, and what is said of what is damaged."""

from __future__ import annotations

import json
import os
import stat
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import data, limits, paths, times
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError

ALL = {
    "memory_max": 1 << 30,
    "memory_high": 1 << 29,
    "cpu_quota": 150,
    "cpu_weight": 50,
    "tasks_max": 100,
    "io_weight": 20,
}


class Group:
    """A control group with CONTROLLERS and FILES."""

    def __init__(self, controllers: str, files: str) -> None:
        self.controllers = controllers
        self.files = files.split()
        self.written: dict[str, str] = {}

    def read(self, name: str) -> str:
        assert name == "cgroup.controllers"
        return self.controllers

    def has(self, name: str) -> bool:
        return name in self.files

    def write(self, name: str, value: str) -> None:
        self.written[name] = value


FILES = "memory.max memory.high cpu.max cpu.weight pids.max io.weight io.bfq.weight"
DEFAULTS = {
    "memory.max": "max",
    "memory.high": "max",
    "cpu.max": "max 100000",
    "cpu.weight": "100",
    "pids.max": "16384",
    "io.weight": "100",
}


@pytest.mark.parametrize(
    ("asked", "controllers", "files", "written", "failed"),
    [
        ({}, "cpu io memory pids", FILES, DEFAULTS, []),
        (ALL, "cpu io memory pids", FILES,
         {"memory.max": "1073741824", "memory.high": "536870912", "cpu.max": "150000 100000", "cpu.weight": "50",
          "pids.max": "100", "io.weight": "20"}, []),
        ({"io_weight": 20}, "io", "io.bfq.weight", {"io.bfq.weight": "20"}, []),
        ({"io_weight": 20}, "io", "", {}, ["io_weight"]),
        ({}, "io", "", {}, []),
        ({"cpu_quota": 1, "tasks_max": 70}, "pids", FILES, {"pids.max": "70"}, ["cpu_quota"]),
        (ALL, "", FILES, {}, list(ALL)),
    ],
)  # fmt: skip
def test_limits_are_written_and_those_not_asked_for_as_they_are_by_themselves(
    asked: dict[str, t.Any], controllers: str, files: str, written: dict[str, str], failed: list[str]
) -> None:
    group: t.Any = Group(controllers, files)
    assert limits.apply(group, asked) == failed
    assert group.written == written


def test_a_limit_that_cannot_be_kept_is_named_with_the_remedy() -> None:
    assert limits.not_kept(ALL, ["memory", "pids"]) == ["cpu_quota", "cpu_weight", "io_weight"]
    assert limits.not_kept({}, []) == []
    assert limits.warnings_of(["cpu_quota", "tasks_max"], []) == [
        f"limits.{name}: cannot be kept on this host: its unified control groups have no controller '{controller}' "
        "(version 1 holds it, or the kernel lacks it); boot with systemd.unified_cgroup_hierarchy=1"
        for name, controller in (("cpu_quota", "cpu"), ("tasks_max", "pids"))
    ]


def test_limits_are_kept_beside_the_container(tmp_path: Path) -> None:
    directory = tmp_path / "containers/web"
    assert limits.read(str(directory)) == {}
    limits.write(str(directory), ALL)
    assert limits.read(str(directory)) == ALL
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "limits.json").stat().st_mode) == 0o600
    (directory / "limits.json").write_text("[1]")
    with pytest.raises(LauncherError) as error:
        limits.read(str(directory))
    assert str(error.value) == f"{directory}/limits.json: is damaged: it holds no JSON object; declare the limits again"


@pytest.mark.parametrize(
    ("value", "least", "number"),
    [(5, 0.001, 5.0), ("2.5", 0.001, 2.5), (0, 0, 0.0), (0.001, 0.001, 0.001), (1000000, 0.001, 1e6), (" 7 ", 1, 7.0)],
)
def test_a_time_limit(value: t.Any, least: float, number: float) -> None:
    assert times.seconds(value, "x", least) == number


@pytest.mark.parametrize(
    ("value", "least", "said"),
    [
        (0, 0.001, "0 is no number of seconds from 0.001 to 1000000"),
        (0.0009, 0.001, "0.0009 is no number of seconds from 0.001 to 1000000"),
        (-1, 0, "-1 is no number of seconds from 0 to 1000000"),
        (1000001, 0.001, "1000001 is no number of seconds from 0.001 to 1000000"),
        (True, 0.001, "true is no number of seconds from 0.001 to 1000000"),
        (False, 0, "false is no number of seconds from 0 to 1000000"),
        (None, 0.001, "None is no number of seconds from 0.001 to 1000000"),
        ("", 0.001, "'' is no number of seconds from 0.001 to 1000000"),
        ("nan", 0.001, "nan is no number of seconds from 0.001 to 1000000"),
        ("a" * 50, 0.001, "a" * 40 + " is no number of seconds from 0.001 to 1000000"),
        (10**400, 0.001, "1" + "0" * 39 + " is no number of seconds from 0.001 to 1000000"),
    ],
)
def test_what_is_no_time_limit(value: t.Any, least: float, said: str) -> None:
    with pytest.raises(times.TimeLimitError) as error:
        times.seconds(value, "a.timeout", least)
    assert str(error.value) == f"a.timeout: {said}"


@pytest.mark.parametrize(
    ("number", "text"), [(5.0, "5"), (0.0, "0"), (2.5, "2.5"), (0.001, "0.001"), (100.0, "100"), (1e6, "1000000")]
)
def test_a_time_limit_as_digits(number: float, text: str) -> None:
    assert times.as_text(number) == text


@pytest.mark.parametrize("has_scanner", [True, False], ids=["scanner", "package"])
def test_json_is_read_and_written_with_and_without_the_scanner(
    monkeypatch: pytest.MonkeyPatch, has_scanner: bool
) -> None:
    if not has_scanner:
        monkeypatch.setitem(__import__("sys").modules, "_json", None)
    record = {"b": None, "a": True, "c": False, "d": 5, "e": 1.5, "é": 'x"\n\\'}
    text = data.format_flat(record)
    assert json.loads(text) == record
    assert text.startswith('{"a": true, "b": null, ')
    assert text.endswith("}\n")
    assert data.parse(f" {text} ", "here") == record
    assert data.parse('{"a": [1, {"b": NaN}]}', "here")["a"][0] == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "here: is damaged: Expecting value: line 1 column 1 (char 0)"),
        ("{", "here: is damaged: Expecting property name"),
        ("[]", "here: is damaged: it holds no JSON object"),
        ("null", "here: is damaged: it holds no JSON object"),
        ("[" * 100000, "here: is damaged: "),
    ],
)
def test_damaged_json_names_its_place(text: str, said: str) -> None:
    with pytest.raises(ValueError) as error:
        data.parse(text, "here")
    assert str(error.value).startswith(said)


def test_words_and_numbers() -> None:
    assert data.first_words("a.service loaded\n  b.timer x\x85y\n\n\u2028\nc") == ["a.service", "b.timer", "c"]
    assert [data.is_integer(value) for value in (0, 5, True, False, 1.0, "1", None)] == [True, True, *[False] * 5]


@pytest.mark.parametrize(
    ("source", "refused"),
    [("/", True), ("//", True), ("/..", True), ("/a/../.", True), ("/a", False), ("/a/..b", False)],
)
def test_the_whole_host_is_no_source(source: str, refused: bool) -> None:
    said = paths.refusal_of_root(source)
    assert said == (
        "'/' is the whole host, with the secrets of all of its users and the kernel's own file systems: "
        "name the directories that the container needs"
        if refused
        else None
    )


def test_directories_are_made_with_their_parents(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        paths.make_directory(str(tmp_path / "a/b/c"), 0o700)
        paths.make_directory(str(tmp_path / "a/b/c"), 0o755)
    finally:
        os.umask(old)
    modes = {path: stat.S_IMODE((tmp_path / path).stat().st_mode) for path in ("a", "a/b", "a/b/c")}
    assert modes == {"a": 0o755, "a/b": 0o755, "a/b/c": 0o700}
    (tmp_path / "link").symlink_to("a")
    paths.make_directory(str(tmp_path / "link"))
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        paths.make_directory(str(tmp_path / "file"))
    with pytest.raises(NotADirectoryError):
        paths.make_directory(str(tmp_path / "file/x"))


def test_a_small_file_is_read_or_empty(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x\xffyz")
    assert paths.read_text(str(tmp_path / "a")) == "x\ufffdyz"
    assert paths.read_text(str(tmp_path / "a"), 1) == "x"
    assert paths.read_text(str(tmp_path / "none")) == ""
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        assert paths.read_text("a", directory=directory) == "x\ufffdyz"
    finally:
        os.close(directory)
    with pytest.raises(IsADirectoryError):
        paths.read_text(str(tmp_path))


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(paths.os, "fsync", lambda descriptor: synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode)))
    place = tmp_path / "a"
    place.write_text("old")
    (tmp_path / "a.new").write_text("of a writer that was killed")
    paths.write_atomically(str(place), "nü", 0o640, durable)
    assert place.read_text("utf-8") == "nü"
    assert stat.S_IMODE(place.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["a"]
    assert synced == ([False, True] if durable else [])


def test_a_file_that_cannot_be_replaced_stays_and_nothing_is_left_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("old")

    def full(descriptor: int, text: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(paths.os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        paths.write_atomically(str(tmp_path / "a"), "new")
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_a_text_that_is_written_in_parts_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(paths.os, "write", lambda descriptor, text: write(descriptor, text[:3]))
    paths.write_atomically(str(tmp_path / "a"), "0123456789")
    assert (tmp_path / "a").read_text() == "0123456789"


def test_what_is_removed(tmp_path: Path) -> None:
    for name in ("a/b", "c"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "d").touch()
    paths.remove_file(str(tmp_path / "none"))
    paths.remove_file(str(tmp_path / "d"))
    with pytest.raises(OSError):
        paths.remove_file(str(tmp_path / "c"))
    paths.remove_tree(str(tmp_path / "a"))
    paths.remove_tree(str(tmp_path / "none"))
    paths.remove_tree(str(tmp_path / "none/none"))
    assert os.listdir(tmp_path) == ["c"]
    paths.remove_entries(str(tmp_path), ("none", "c"))
    paths.remove_entries(str(tmp_path / "none"), ("c",))
    assert os.listdir(tmp_path) == []
