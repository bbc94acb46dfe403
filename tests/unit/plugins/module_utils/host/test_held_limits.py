# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A running unit is held to its limits, whether or not its systemd writes them by itself; what is not held is said."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import held_limits
from ansible_collections.unshare.container.plugins.module_utils.host.boot import Boot
from ansible_collections.unshare.container.plugins.module_utils.launcher import limits as kept
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout

from ..target_helpers import FakeContainer, FakeSystemd
from .test_at_boot import UNITS

NOTHING = {
    "MemoryMax": "infinity",
    "MemoryHigh": "infinity",
    "CPUQuotaPerSecUSec": "infinity",
    "CPUQuotaPeriodUSec": "infinity",
    "CPUWeight": "[not set]",
    "MemorySwapMax": "infinity",
    "AllowedCPUs": "",
    "TasksMax": "16384",
    "IOWeight": "[not set]",
}
UNLIMITED = {
    "memory.max": "max",
    "memory.high": "max",
    "cpu.max": "max 100000",
    "cpu.weight": "100",
    "memory.swap.max": "max",
    "cpuset.cpus": "",
    "pids.max": "16384",
    "io.weight": "default 100\n8:0 50",
}


class Group:
    """A control group in memory.

    :ivar refuses: files that cannot be written.
    :ivar ignores: files whose writing has no effect.
    """

    of_unit = True

    def __init__(self, **files: str | None) -> None:
        given = {name.replace("__", "."): text for name, text in files.items()}
        self.files = {name: text for name, text in {**UNLIMITED, **given}.items() if text is not None}
        self.refuses: set[str] = set()
        self.ignores: set[str] = set()
        self.written: list[str] = []

    def controllers(self) -> list[str]:
        return ["cpu", "cpuset", "io", "memory", "pids"]

    def has(self, file: str) -> bool:
        return file in self.files

    def read(self, file: str) -> str:
        return self.files[file] + "\n" if file in self.files else ""

    def write(self, file: str, text: str) -> None:
        if file in self.refuses or file not in self.files:
            raise PermissionError(13, "Permission denied", file)
        self.written.append(f"{file}={text}")
        if file not in self.ignores:
            self.files[file] = text


@pytest.mark.parametrize(
    ("name", "properties", "text"),
    [
        ("memory_max", {"MemoryMax": "536870912"}, "536870912"),
        ("memory_max", {"MemoryMax": "18446744073709551615"}, "max"),
        ("memory_high", {"MemoryHigh": "1048576"}, "1048576"),
        ("cpu_quota", {"CPUQuotaPerSecUSec": "1.500000s"}, "150000 100000"),
        ("cpu_quota", {"CPUQuotaPerSecUSec": "500ms"}, "50000 100000"),
        ("cpu_quota", {"CPUQuotaPerSecUSec": "1min 30s"}, "9000000 100000"),
        ("cpu_quota", {"CPUQuotaPerSecUSec": "500ms", "CPUQuotaPeriodUSec": "10ms"}, "5000 10000"),
        ("cpu_quota", {}, "max 100000"),
        ("cpu_weight", {"CPUWeight": "50"}, "50"),
        ("cpu_weight", {"CPUWeight": "18446744073709551615"}, "100"),
        ("tasks_max", {"TasksMax": "infinity"}, "max"),
        ("io_weight", {"IOWeight": "20"}, "20"),
        ("swap_max", {"MemorySwapMax": "0"}, "0"),
        ("cpuset", {"AllowedCPUs": "0-3 7"}, "0-3,7"),
        ("cpuset", {}, ""),
    ],
)
def test_what_a_unit_has_in_the_words_of_the_kernel(name: str, properties: dict[str, str], text: str) -> None:
    found = held_limits.wanted({**NOTHING, **properties})
    assert found[name] == text
    assert set(found) == set(held_limits.PROPERTIES)


@pytest.mark.parametrize(
    ("key", "value"),
    [("MemoryMax", "much"), ("CPUQuotaPerSecUSec", "1 fortnight"), ("CPUWeight", "idle"), ("IOWeight", "")],
)
def test_what_is_not_understood_is_left_alone(key: str, value: str) -> None:
    missing = {name for name, of in held_limits.PROPERTIES.items() if of == key}
    assert set(held_limits.PROPERTIES) - set(held_limits.wanted({**NOTHING, key: value})) == missing


@pytest.mark.parametrize(
    ("file", "held", "name", "text", "same"),
    [
        ("memory.max", "536866816", "memory_max", "536870911", True),
        ("memory.max", "536870912", "memory_max", "536870912", True),
        ("memory.max", "536866816", "memory_max", "536870912", False),
        ("memory.max", "max", "memory_max", "536870912", False),
        ("memory.max", "536870912", "memory_max", "max", False),
        ("cpu.max", "15000 10000", "cpu_quota", "150000 100000", True),
        ("cpu.max", "max 10000", "cpu_quota", "max 100000", True),
        ("cpu.max", "max 100000", "cpu_quota", "150000 100000", False),
        ("cpu.max", "50000 100000", "cpu_quota", "max 100000", False),
        ("cpu.weight", "50", "cpu_weight", "51", False),
        ("pids.max", "100", "tasks_max", "101", False),
        ("pids.max", "5000", "tasks_max", "5001", False),
        ("io.weight", "default 20", "io_weight", "20", True),
        ("io.weight", "default 20\n8:0 100", "io_weight", "100", False),
        ("memory.max", None, "memory_max", "max", False),
        ("memory.swap.max", None, "swap_max", "max", True),
        ("memory.swap.max", None, "swap_max", "0", False),
        ("cpuset.cpus", "0-3,7", "cpuset", "0-3,7", True),
        ("cpuset.cpus", "0-3", "cpuset", "", False),
    ],
)
def test_what_counts_as_held(file: str, held: str | None, name: str, text: str, same: bool) -> None:
    group = Group(**{file.replace(".", "__"): held})
    first = (held or "").split("\n")[0].replace("default ", "")
    assert held_limits.not_held(group, {name: text}) == ({} if same else {name: first})


def test_a_scale_of_another_kind_is_not_judged() -> None:
    assert held_limits.not_held(Group(io__weight=None, io__bfq__weight="5"), {"io_weight": "20"}) == {}


@pytest.mark.parametrize("how", ["refuses", "ignores", "missing"])
def test_what_is_not_held_is_said(how: str) -> None:
    group = Group(memory__max=None if how == "missing" else "max")
    if how != "missing":
        getattr(group, how).add("memory.max")
    (said,) = held_limits.bring(group, {"memory_max": "4096", "tasks_max": "100"})
    held = "none" if how == "missing" else "max"
    reason = "" if how == "ignores" else ": Permission denied"
    assert said.startswith(f"limits.memory_max: the running container has {held} in place of 4096{reason}; it gets ")
    assert group.files["pids.max"] == "100"


class Running(FakeContainer):
    """A container that runs in its unit."""

    def __init__(self, group: Group) -> None:
        super().__init__()
        self.running = "/system"
        self.cgroup = group


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / UNITS).mkdir(parents=True)
    return Layout(tmp_path)


def unit_with(**properties: str) -> FakeSystemd:
    systemd = FakeSystemd(version=257)
    systemd.unit_properties = {**NOTHING, **properties}
    systemd.active.add("unshare-container@web.service")
    return systemd


def bring(layout: Layout, group: Group, systemd: FakeSystemd, **options: t.Any) -> tuple[bool, Boot]:
    """Return whether a run changes anything, which check mode says before."""
    container = Running(group)
    expected = Boot(layout, "web", container, systemd=systemd, **options).would_change("started")
    boot = Boot(layout, "web", container, systemd=systemd, **options)
    changed = boot.apply("started")
    assert changed == expected
    return changed, boot


def test_new_limits_hold_at_once_whatever_systemd_does(layout: Layout) -> None:
    group = Group()
    systemd = unit_with(MemoryMax="268435456", CPUQuotaPerSecUSec="500ms")
    limits = {"memory_max": 256 << 20, "cpu_quota": 50}
    changed, boot = bring(layout, group, systemd, limits=limits)
    assert (changed, boot.warnings) == (True, [])
    assert group.written == ["memory.max=268435456", "cpu.max=50000 100000"]
    assert kept.read(str(layout.container("web"))) == limits
    assert not bring(layout, group, systemd, limits=limits)[0]
    changed, _boot = bring(layout, group, unit_with(), limits={})
    assert changed
    assert (group.files["memory.max"], group.files["cpu.max"]) == ("max", "max 100000")


def test_a_drop_in_of_the_administrators_counts(layout: Layout) -> None:
    group = Group()
    systemd = unit_with(MemoryMax="134217728")
    for changed in (True, False):
        assert bring(layout, group, systemd, limits={"memory_max": 256 << 20})[0] is changed
        assert group.files["memory.max"] == "134217728"


def test_what_a_former_run_has_not_set_is_set_by_the_next(layout: Layout) -> None:
    """By a version that trusted systemd, or one that was interrupted."""
    group = Group()
    limits = {"memory_max": 256 << 20}
    systemd = unit_with(MemoryMax="268435456")
    bring(layout, group, systemd, limits=limits)
    group.files["memory.max"] = "max"
    for given in (limits, None):
        group.files["memory.max"] = "max"
        boot = Boot(layout, "web", Running(group), systemd=systemd, limits=given)
        assert boot.describe()["limits_not_held"] == ["memory_max: max in place of 268435456"]
        assert "limits_not_held" not in boot.plan("started")
        assert bring(layout, group, systemd, limits=given)[0]
        assert group.files["memory.max"] == "268435456"


def test_limits_are_kept_when_they_hold(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    group = Group()

    def reload(_systemd: FakeSystemd) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeSystemd, "reload", reload)
    with pytest.raises(KeyboardInterrupt):
        Boot(layout, "web", Running(group), systemd=unit_with(), limits={"memory_max": 1 << 20}).apply("started")
    assert kept.read(str(layout.container("web"))) == {}
