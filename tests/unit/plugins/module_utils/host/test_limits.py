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
    "swap_max": 0,
    "cpu_quota": "150%",
    "cpu_weight": "200",
    "cpuset": "3, 0 1-2 7",
    "tasks_max": 512,
    "io_weight": "50",
    "io_read_bandwidth": {"/dev/sda": "20M", "/srv": 5},
    "io_write_bandwidth": {"/dev/sda": "1K"},
    "io_read_iops": {"/dev/sda": 100},
    "io_write_iops": {"/srv": "2K"},
}


class Group:
    """A control group with these controllers and files, which remembers what was written."""

    def __init__(self, controllers: str, *files: str) -> None:
        self.controllers = controllers
        self.files = files
        self.written: dict[str, str] = {}
        self.disks: dict[str, str] = {}

    def read(self, file: str) -> str:
        if file == kept.DISKS:
            return "".join(f"{number} {bounds}\n" for number, bounds in self.disks.items())
        assert file == "cgroup.controllers"
        return self.controllers + "\n"

    def has(self, file: str) -> bool:
        return file in self.files

    def write(self, file: str, text: str) -> None:
        assert text, "a write of nothing changes nothing"
        if file == kept.DISKS:
            number, _space, bounds = text.partition(" ")
            self.disks[number] = bounds
        else:
            self.written[file] = text


FILES = (
    *("memory.max", "memory.high", "memory.swap.max", "cpu.max", "cpu.weight", "cpuset.cpus", "pids.max", "io.weight"),
    kept.DISKS,
)
CONTROLLERS = "cpu cpuset io memory pids"
DISKS = {"/dev/sda": "8:0", "/srv": "8:16"}


@pytest.fixture(autouse=True)
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a host with eight processors, and two disks."""

    def whole_disk(path: str) -> str | None:
        if path not in DISKS:
            raise FileNotFoundError(2, "No such file or directory")
        return DISKS[path] or None

    monkeypatch.setattr(kept.devices, "whole_disk", whole_disk)
    monkeypatch.setattr(kept, "ONLINE", str(tmp_path / "online"))
    (tmp_path / "online").write_text("0-7\n")


def test_numbers() -> None:
    assert parse_limits(ALL) == {
        "memory_max": 512 << 20,
        "memory_high": 256 << 20,
        "swap_max": 0,
        "cpu_quota": 150,
        "cpu_weight": 200,
        "cpuset": "0-3,7",
        "tasks_max": 512,
        "io_weight": 50,
        "io_read_bandwidth": {"/dev/sda": 20000000, "/srv": 5},
        "io_write_bandwidth": {"/dev/sda": 1000},
        "io_read_iops": {"/dev/sda": 100},
        "io_write_iops": {"/srv": 2000},
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
        ({"blkio": "1G"}, "limits.blkio: is not a limit; known: memory_max"),
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
        ({"swap_max": "-1"}, "limits.swap_max: '-1' is not a size, such as 512M, or 0 for none"),
        ({"swap_max": False}, "limits.swap_max: False is not a size"),
        ({"cpuset": ""}, "limits.cpuset: '' is not a list of processors, such as 0-3"),
        ({"cpuset": True}, "limits.cpuset: True is not a list"),
        ({"cpuset": "0;1"}, "limits.cpuset: '0;1' is not a list"),
        ({"cpuset": "3-1"}, "limits.cpuset: '3-1': 3-1 is no processor, or no range of them"),
        ({"cpuset": "8192"}, "limits.cpuset: '8192': 8192 is no processor"),
        (
            {"io_read_bandwidth": "1M"},
            "limits.io_read_bandwidth: '1M' is not a mapping of disks, such as {/dev/sda: 10M",
        ),
        ({"io_read_iops": {}}, "limits.io_read_iops: {} is not a mapping"),
        ({"io_read_iops": {"sda": 1}}, "limits.io_read_iops: 'sda' is not an absolute path"),
        ({"io_read_iops": {"/a b": 1}}, "limits.io_read_iops: '/a b' is not an absolute path"),
        ({"io_read_iops": {"/a%i": 1}}, "limits.io_read_iops: '/a%i' is not an absolute path"),
        ({"io_read_iops": {"/a\n": 1}}, "limits.io_read_iops: '/a\\n' is not an absolute path"),
        ({"io_read_iops": {7: 1}}, "limits.io_read_iops: 7 is not an absolute path"),
        ({"io_read_iops": {"/dev/sda": 0}}, "limits.io_read_iops[/dev/sda]: 0 is not a number a second, such as 1000"),
        ({"io_write_iops": {"/dev/sda": "x"}}, "limits.io_write_iops[/dev/sda]: 'x' is not a number"),
        ({"io_write_bandwidth": {"/dev/sda": True}}, "limits.io_write_bandwidth[/dev/sda]: True is not a number"),
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
        "AllowedCPUs=0-3,7",
        "CPUQuota=150%",
        "CPUWeight=200",
        "IOReadBandwidthMax=/dev/sda 20000000",
        "IOReadBandwidthMax=/srv 5",
        "IOReadIOPSMax=/dev/sda 100",
        "IOWeight=50",
        "IOWriteBandwidthMax=/dev/sda 1000",
        "IOWriteIOPSMax=/srv 2000",
        "MemoryHigh=268435456",
        "MemoryMax=536870912",
        "MemorySwapMax=0",
        "TasksMax=512",
    ]


def test_what_a_control_group_gets() -> None:
    group = Group(CONTROLLERS, *FILES)
    assert kept.apply(group, parse_limits(ALL)) == []  # type: ignore[arg-type]
    assert group.written == {
        "memory.max": "536870912",
        "memory.high": "268435456",
        "memory.swap.max": "0",
        "cpu.max": "150000 100000",
        "cpu.weight": "200",
        "cpuset.cpus": "0-3,7",
        "pids.max": "512",
        "io.weight": "50",
    }
    assert group.disks == {
        "8:0": "rbps=20000000 wbps=1000 riops=100 wiops=max",
        "8:16": "rbps=5 wbps=max riops=max wiops=2000",
    }


def test_a_limit_that_is_gone_is_taken_away() -> None:
    group = Group(CONTROLLERS, *FILES)
    assert kept.apply(group, {}) == []  # type: ignore[arg-type]
    assert group.written == {
        "memory.max": "max",
        "memory.high": "max",
        "memory.swap.max": "max",
        "cpu.max": "max 100000",
        "cpu.weight": "100",
        "cpuset.cpus": "\n",
        "pids.max": str(kept.TASKS),
        "io.weight": "100",
    }
    assert group.disks == {}
    kept.apply(group, {"io_read_iops": {"/dev/sda": 7, "/srv": 8}})  # type: ignore[arg-type]
    assert kept.apply(group, {"io_write_iops": {"/srv": 9}}) == []  # type: ignore[arg-type]
    assert group.disks == {
        "8:0": "rbps=max wbps=max riops=max wiops=max",
        "8:16": "rbps=max wbps=max riops=max wiops=9",
    }


def test_what_a_host_cannot_keep_is_named() -> None:
    group = Group("cpu io", "cpu.max", "cpu.weight")  # no controller for memory and tasks; no file for io
    failed = kept.apply(group, parse_limits(ALL))  # type: ignore[arg-type]
    disks = ["io_read_bandwidth", "io_read_iops", "io_weight", "io_write_bandwidth", "io_write_iops"]
    assert sorted(failed) == ["cpuset", *disks, "memory_high", "memory_max", "swap_max", "tasks_max"]
    assert set(group.written) == {"cpu.max", "cpu.weight"}
    assert group.disks == {}
    (warning,) = kept.warnings_of(["memory_max"], ["cpu", "io"])
    assert warning.startswith("limits.memory_max: cannot be kept on this host")
    assert "'memory'" in warning


def test_a_kernel_that_does_not_count_swap_is_said_to() -> None:
    group = Group("memory", "memory.max", "memory.high")
    assert kept.apply(group, {"swap_max": 0}) == ["swap_max"]  # type: ignore[arg-type]
    said = "limits.swap_max: cannot be kept on this host: its kernel has no file memory.swap.max for that"
    assert kept.warnings_of(["swap_max"], ["memory"]) == [said]


def test_processors_and_disks_that_a_host_does_not_have_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DISKS, "/tmp", "")
    asked = parse_limits({"cpuset": "6-9", "io_read_iops": {"/dev/sda": 1, "/dev/sdz": 2, "/tmp": 3}})
    said = "cannot be kept on this host"
    assert kept.unfit(asked, ["cpuset", "io"]) == [
        f"limits.cpuset: {said}: it has no processor 8, only 0-7",
        f"limits.io_read_iops: {said}: '/dev/sdz' is not there: No such file or directory",
        f"limits.io_read_iops: {said}: '/tmp' is on no disk, or on several at once",
    ]
    assert kept.unfit(asked, []) == kept.unfit(parse_limits(ALL), ["cpuset", "io"]) == []
    group = Group("io", kept.DISKS)
    assert kept.apply(group, {"io_read_iops": asked["io_read_iops"]}) == []  # type: ignore[arg-type]
    assert set(group.disks) == {"8:0"}


@pytest.mark.parametrize("number", [22, 34, 19, 28])
def test_only_what_the_kernel_does_not_know_is_no_error(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(_group: Group, _file: str, _text: str) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(Group, "write", write)
    group: t.Any = Group("cpuset", "cpuset.cpus")
    if number == 28:
        with pytest.raises(OSError, match="refused"):
            kept.apply(group, {"cpuset": "9"})
    else:
        assert kept.apply(group, {"cpuset": "9"}) == []


def test_two_paths_of_one_disk_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """For systemd, which would forget the bounds of the first one, and for the kernel."""
    monkeypatch.setitem(DISKS, "/srv/x", "8:16")
    asked = parse_limits(
        {
            "memory_max": "1G",
            "io_read_bandwidth": {"/srv": 5, "/none": 4, "/srv/x": 3, "/dev/sda": 9},
            "io_write_iops": {"/srv/x": 7},
            "io_read_iops": {"/srv/x": 8, "/srv": 9},
        }
    )
    assert kept.by_disk(asked) == {
        "memory_max": 1 << 30,
        "io_read_bandwidth": {"/srv": 3, "/none": 4, "/dev/sda": 9},
        "io_write_iops": {"/srv": 7},
        "io_read_iops": {"/srv": 8},
    }
    group = Group("io", kept.DISKS)
    kept.apply(group, asked)  # type: ignore[arg-type]
    assert group.disks["8:16"] == "rbps=3 wbps=max riops=8 wiops=7"


def test_of_a_units_group_only_what_was_declared_is_written() -> None:
    """systemd takes no bound away from a unit that runs; the administrator's own are no matter of ours."""
    group: t.Any = Group("io", kept.DISKS)
    group.disks = {"8:0": "rbps=7 wbps=max riops=max wiops=max", "8:32": "rbps=5 wbps=max riops=max wiops=max"}
    former = {"io_read_bandwidth": {"/dev/sda": 7, "/gone": 1}}
    assert kept.apply_disks(group, {"io_read_iops": {"/srv": 9}}, former) == []
    assert group.disks == {
        "8:0": "rbps=max wbps=max riops=max wiops=max",
        "8:16": "rbps=max wbps=max riops=9 wiops=max",
        "8:32": "rbps=5 wbps=max riops=max wiops=max",
    }
    assert kept.apply_disks(Group("io"), {"io_read_iops": {"/srv": 9}}, former) == ["io_read_iops"]  # type: ignore[arg-type]


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
