# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Limits: what is taken, what is refused with its place, and what becomes of them in control groups and units."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.unshare.container.plugins.filter.container_limits import FilterModule
from ansible_collections.unshare.container.plugins.module_utils.host.limits import LimitError, parse_limits
from ansible_collections.unshare.container.plugins.module_utils.launcher import limits as kept
from ansible_collections.unshare.container.plugins.module_utils.launcher.limits import properties

ALL = {
    "memory_max": "512M",
    "memory_high": 268435456,
    "cpu_quota": "150%",
    "cpu_weight": "200",
    "tasks_max": 512,
    "io_weight": "50",
}


class Group:
    """A control group with these controllers and files, which remembers what was written."""

    def __init__(self, controllers: str, *files: str) -> None:
        self.controllers = controllers
        self.files = files
        self.written: dict[str, str] = {}

    def read(self, file: str) -> str:
        assert file == "cgroup.controllers"
        return self.controllers + "\n"

    def has(self, file: str) -> bool:
        return file in self.files

    def write(self, file: str, text: str) -> None:
        self.written[file] = text


FILES = ("memory.max", "memory.high", "cpu.max", "cpu.weight", "pids.max", "io.weight")


def test_numbers() -> None:
    assert parse_limits(ALL) == {
        "memory_max": 512 << 20,
        "memory_high": 256 << 20,
        "cpu_quota": 150,
        "cpu_weight": 200,
        "tasks_max": 512,
        "io_weight": 50,
    }
    assert parse_limits({"memory_max": None}) == {}
    assert [parse_limits({"memory_max": size})["memory_max"] for size in ("2G", "1GiB", "1024K", "1T")] == [
        2 << 30,
        1 << 30,
        1 << 20,
        1 << 40,
    ]


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"memry_max": "1G"}, "limits.memry_max: is not a limit; did you mean 'memory_max'?"),
        ({"swap": "1G"}, "limits.swap: is not a limit; known: memory_max"),
        ([], "limits: must be a mapping"),
        ({"memory_max": "lots"}, "limits.memory_max: 'lots' is not a size"),
        ({"memory_max": "1"}, "limits.memory_max: '1' is not a size of 1M or more"),
        ({"memory_max": True}, "limits.memory_max: True is not a size"),
        ({"memory_max": "-1G"}, "limits.memory_max"),
        ({"memory_high": "2G", "memory_max": "1G"}, "limits.memory_high: is above memory_max"),
        ({"cpu_quota": "0%"}, "limits.cpu_quota: '0%' is not a share"),
        ({"cpu_quota": 1.5}, "limits.cpu_quota: 1.5 is not a share"),
        ({"cpu_weight": 0}, "limits.cpu_weight: 0 is not a weight from 1 to 10000"),
        ({"tasks_max": 1}, "limits.tasks_max: 1 is not a number of tasks from 64"),
        ({"io_weight": "10001"}, "limits.io_weight: '10001' is not a weight"),
    ],
)
def test_what_is_refused_is_named(declared: t.Any, message: str) -> None:
    with pytest.raises(LimitError) as caught:
        parse_limits(declared)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("memory_max", 1 << 20, 1 << 62),
        ("memory_high", 1 << 20, 1 << 62),
        ("cpu_weight", 1, 10000),
        ("tasks_max", 64, 4194304),
        ("io_weight", 1, 10000),
    ],
)
def test_a_limit_has_a_least_and_a_most(name: str, least: int, most: int) -> None:
    for number in (least, most):
        assert parse_limits({name: number}) == parse_limits({name: f" {number} "}) == {name: number}
    for number in (least - 1, most + 1):
        with pytest.raises(LimitError):
            parse_limits({name: number})
    assert parse_limits({"cpu_quota": "1%"}) == {"cpu_quota": 1}
    assert parse_limits({"memory_high": "1G", "memory_max": "1G"}) == {"memory_max": 1 << 30, "memory_high": 1 << 30}


def test_the_filter_names_the_place() -> None:
    check = FilterModule().filters()["container_limits"]
    assert check({"memory_max": "1G"}) == {"memory_max": "1G"}
    with pytest.raises(AnsibleFilterError, match=r"system_container_limits\.memory_max: 'x' is not a size"):
        check({"memory_max": "x"}, "system_container_limits")


def test_what_a_unit_gets() -> None:
    assert properties({}) == [f"TasksMax={kept.TASKS}"]
    assert sorted(properties(parse_limits(ALL))) == [
        "CPUQuota=150%",
        "CPUWeight=200",
        "IOWeight=50",
        "MemoryHigh=268435456",
        "MemoryMax=536870912",
        "TasksMax=512",
    ]


def test_what_a_control_group_gets() -> None:
    group = Group("cpu io memory pids", *FILES)
    assert kept.apply(group, parse_limits(ALL)) == []  # type: ignore[arg-type]
    assert group.written == {
        "memory.max": "536870912",
        "memory.high": "268435456",
        "cpu.max": "150000 100000",
        "cpu.weight": "200",
        "pids.max": "512",
        "io.weight": "50",
    }


def test_a_limit_that_is_gone_is_taken_away() -> None:
    group = Group("cpu io memory pids", *FILES)
    assert kept.apply(group, {}) == []  # type: ignore[arg-type]
    assert group.written == {
        "memory.max": "max",
        "memory.high": "max",
        "cpu.max": "max 100000",
        "cpu.weight": "100",
        "pids.max": str(kept.TASKS),
        "io.weight": "100",
    }


def test_what_a_host_cannot_keep_is_named() -> None:
    group = Group("cpu io", "cpu.max", "cpu.weight")  # no controller for memory and tasks; no file for io
    failed = kept.apply(group, parse_limits(ALL))  # type: ignore[arg-type]
    assert sorted(failed) == ["io_weight", "memory_high", "memory_max", "tasks_max"]
    assert set(group.written) == {"cpu.max", "cpu.weight"}
    (warning,) = kept.warnings_of(["memory_max"])
    assert warning.startswith("limits.memory_max: cannot be kept on this host")
    assert "'memory'" in warning


def test_bfq_has_a_file_of_its_own() -> None:
    group = Group("io", "io.bfq.weight")
    assert kept.apply(group, {"io_weight": 30}) == []  # type: ignore[arg-type]
    assert group.written == {"io.bfq.weight": "30"}


def test_kept_beside_the_container(tmp_path: Path) -> None:
    directory = str(tmp_path / "web")
    assert kept.read(directory) == {}
    kept.write(directory, parse_limits(ALL))
    assert kept.read(directory) == parse_limits(ALL)
    assert kept.tasks(kept.read(directory)) == 512
    (tmp_path / "web" / kept.FILE).write_text("{")
    with pytest.raises(Exception, match="declare the limits again"):
        kept.read(directory)
