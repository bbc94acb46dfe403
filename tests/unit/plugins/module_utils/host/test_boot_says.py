# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said of a container's place on its host: what a diff shows, what is returned, what cannot be kept."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import boot as boot_module
from ansible_collections.unshare.container.plugins.module_utils.host.boot import Boot
from ansible_collections.unshare.container.plugins.module_utils.host.systemd_units import UnitOptions
from ansible_collections.unshare.container.plugins.module_utils.launcher import limits as kept
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError

from ..specifications import SMALL
from ..target_helpers import FakeSystemd
from .test_at_boot import UNITS, Container

UNIT = "unshare-container@web.service"
BY_HAND = "unshare-by-hand-web.service"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / UNITS).mkdir(parents=True)
    return Layout(tmp_path)


def boot_of(layout: Layout, container: Container | None = None, present: bool = True, **options: t.Any) -> Boot:
    return Boot(layout, "web", container or Container(), systemd=FakeSystemd(present), **options)


def test_a_diff_shows_the_unit_and_what_was_asked_for(layout: Layout) -> None:
    boot = boot_of(layout, enabled=True, limits={"memory_max": 1024})
    assert boot.describe() == {"enabled": False, "unit": [], "limits": {}}
    assert boot.plan("absent") == {"enabled": False, "unit": [], "limits": {}}
    planned = {"enabled": True, "unit": UnitOptions().text().splitlines(), "limits": {"memory_max": 1024}}
    assert boot.plan("started") == boot.plan("stopped") == planned
    boot.apply("stopped")
    assert boot.describe() == planned
    assert boot_of(layout).describe() == {key: planned[key] for key in ("enabled", "unit")}
    assert boot_of(layout, present=False, limits={}).describe() == {"limits": {"memory_max": 1024}}
    assert boot_of(layout, present=False).describe() == {}


@pytest.mark.parametrize(
    ("present", "enabled", "linked", "found"),
    [
        (True, None, False, False),
        (True, None, True, True),
        (True, True, False, True),
        (True, False, True, False),
        (False, True, False, False),
        (False, None, True, False),
    ],
)
def test_what_is_returned(layout: Layout, present: bool, enabled: bool | None, linked: bool, found: bool) -> None:
    if linked:
        boot_of(layout, enabled=True).apply("started")
    kept.write(str(layout.container("web")), {"tasks_max": 5})
    command = f"{layout.containers}/web/current/run-container --detach"
    expected = {"enabled": found, "boot_command": command, "limits": {"tasks_max": 5}}
    assert boot_of(layout, present=present, enabled=enabled).facts() == expected
    assert boot_of(layout, present=present, limits={}).facts()["limits"] == {}


def warnings(boot: Boot, state: str = "started") -> list[str]:
    boot.explain(state)
    return boot.warnings


def test_a_host_without_systemd_starts_nothing(layout: Layout) -> None:
    command = f"{layout.containers}/web/current/run-container --detach"
    said = "enabled: nothing starts container 'web' at boot, for this host's init is not systemd; "
    assert warnings(boot_of(layout, present=False, enabled=True)) == [
        f"{said}have the host's init call at boot: {command}"
    ]
    (layout.root / "run/openrc").mkdir(parents=True)
    assert warnings(boot_of(layout, present=False, enabled=True)) == [
        f"{said}write into the executable file /etc/local.d/unshare-web.start: {command}"
    ]
    for enabled in (None, False):
        assert warnings(boot_of(layout, present=False, enabled=enabled)) == []
    assert warnings(boot_of(layout, present=False, enabled=True), "absent") == []


def test_one_that_runs_outside_of_its_unit(layout: Layout) -> None:
    container = Container()
    assert warnings(boot_of(layout, container)) == []
    container.running = "/system"
    said = (
        "container 'web' was started {}, and runs outside of its unit until its next start; state: restarted moves it "
        "there now"
    )
    assert warnings(boot_of(layout, container)) == [said.format("before it had a unit")]
    systemd = FakeSystemd()
    systemd.active.add(BY_HAND)
    assert warnings(Boot(layout, "web", container, systemd=systemd)) == [said.format("by hand")]
    assert warnings(boot_of(layout, container), "stopped") == []
    systemd = FakeSystemd()
    systemd.active.add(UNIT)
    assert warnings(Boot(layout, "web", container, systemd=systemd)) == []


def test_limits_that_cannot_be_kept(layout: Layout) -> None:
    """But tasks, which are counted in another way where there is no controller."""
    limits = {"memory_max": 1024, "tasks_max": 5}
    (said,) = warnings(boot_of(layout, Container(controllers=("cpu",)), limits=limits))
    assert said.startswith("limits.memory_max: ")
    assert warnings(boot_of(layout, limits=limits)) == []
    assert warnings(boot_of(layout, Container(controllers=()), limits={})) == []


@pytest.mark.parametrize(
    ("controllers", "limits", "of_unit", "warned"),
    [
        ((), {"tasks_max": 5}, False, True),
        ((), {"tasks_max": 5}, True, False),
        (("pids",), {"tasks_max": 5}, False, False),
        ((), {"memory_max": 1024}, False, False),
    ],
)
def test_a_bound_of_tasks_waits_for_the_next_start(
    layout: Layout, controllers: tuple[str, ...], limits: dict[str, int], of_unit: bool, warned: bool
) -> None:
    container = Container(controllers)
    container.running = "/system"
    container.cgroup.of_unit = of_unit
    boot = boot_of(layout, container, present=False, limits=limits)
    former = boot.tasks()
    boot.apply("started")
    assert boot.warnings == []  # it may be about to start anew
    boot.explain_tasks(former)
    said = "limits.tasks_max: this host can set it only at a start; it is kept from the next start on"
    assert boot.warnings == ([said] if warned else [])
    assert kept.read(str(layout.container("web"))) == limits


@pytest.mark.parametrize("of_unit", [True, False])
@pytest.mark.parametrize("running", ["/system", None])
def test_limits_are_set_by_who_has_the_control_group(layout: Layout, running: str | None, of_unit: bool) -> None:
    container = Container()
    container.running = running
    container.cgroup.of_unit = of_unit
    boot_of(layout, container, limits={"memory_max": 1024}).apply("started")
    assert ("memory.max=1024" in container.calls) == (running is not None and not of_unit)


@pytest.mark.parametrize("active", [True, False])
def test_limits_of_one_that_was_started_by_hand_are_its_units(layout: Layout, active: bool) -> None:
    """No file of the collection's says what that unit's limits are, so that systemd is told of all of them."""
    container, systemd = Container(), FakeSystemd()
    container.running, container.cgroup.of_unit = "/system", True
    if active:
        systemd.active.add(BY_HAND)
    Boot(layout, "web", container, systemd=systemd, limits={"memory_max": 1 << 30, "cpu_weight": 50}).apply("started")
    all_of_them = " ".join(kept.all_properties({"memory_max": 1 << 30, "cpu_weight": 50}))
    assert all_of_them.startswith("TasksMax=16384 MemoryMax=1073741824 CPUWeight=50 MemoryHigh= ")
    orders = [order for order in systemd.orders if "network" not in order and order != "daemon-reload"]
    assert orders == ([f"limit {BY_HAND} {all_of_them}"] if active else [])


@pytest.mark.parametrize("of_unit", [True, False])
def test_disks_are_bound_in_a_units_group_too(layout: Layout, monkeypatch: pytest.MonkeyPatch, of_unit: bool) -> None:
    """For systemd takes no bound away from a unit that runs."""
    asked: list[t.Any] = []

    def note(_group: object, limits: object, former: object = None) -> list[str]:
        asked.append((limits, former))
        return []

    monkeypatch.setattr(kept, "apply_disks", note)
    container = Container(("io", "memory"))
    container.running = "/system"
    container.cgroup.of_unit = of_unit
    first, second = {"io_read_iops": {"/srv": 5}}, {"memory_max": 1024}
    for limits in (first, second, second):
        boot_of(layout, container, limits=limits).apply("started")
    assert asked == ([(first, {}), (second, first)] if of_unit else [(first, None), (second, None)])


def test_no_container_comes_after_itself(layout: Layout) -> None:
    options: list[dict[str, t.Any]] = [{"after": ["database", "web"]}, {"requires": ["database", "web"]}]
    for given in options:
        with pytest.raises(TargetError, match=r"^container 'web' cannot be started after itself$"):
            boot_of(layout, **given)


def test_a_unit_that_cannot_be_written(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: str, _text: str, _mode: int) -> None:
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr(boot_module, "write_atomically", full)
    template = layout.root / UNITS / "unshare-container@.service"
    with pytest.raises(TargetError) as raised:
        boot_of(layout).apply("started")
    assert str(raised.value) == f"the unit {UNIT} cannot be written: No space left on device: {template}"


def test_files_can_be_read_by_all_and_written_by_root(layout: Layout) -> None:
    boot_of(layout, limits={"memory_max": 1024}).apply("started")
    for path in (layout.root / UNITS).rglob("*"):
        if path.is_file():
            assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("enabled", [True, None, False])
def test_only_what_a_boot_starts_has_to_be_on_the_disk(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, enabled: bool | None
) -> None:
    monkeypatch.setattr(boot_module.os, "access", lambda path, mode: False)
    directory = "etc" if enabled else "run"
    assert boot_of(layout, enabled=enabled).template == (
        layout.root / directory / "systemd/system/unshare-container@.service"
    )


def test_nothing_is_there_to_remove_without_systemd(layout: Layout) -> None:
    boot_of(layout, enabled=True).apply("started")
    assert not boot_of(layout, present=False).would_change("absent")
    assert boot_of(layout).would_change("absent")


def has(layout: Layout, name: str) -> None:
    layout.generations(name).mkdir(parents=True)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("after", "after: this host has no container {!r} yet; the order counts once it has"),
        (
            "requires",
            "requires: this host has no container {!r}; declare it before this one, or take it out of the list",
        ),
    ],
)
def test_names_that_the_host_does_not_have(layout: Layout, option: str, said: str) -> None:
    def of(*names: str, present: bool = True) -> Boot:
        options: dict[str, t.Any] = {option: [*names]}
        return boot_of(layout, present=present, **options)

    def strangers(boot: Boot, *made: str) -> list[str]:
        return boot.required_strangers(made) + boot.ordered_strangers(made)

    has(layout, "database")
    layout.container("limits-only").mkdir(parents=True)
    assert strangers(of("database")) == []
    named = of("nosuch", "database", "limits-only", "nosuch")
    assert strangers(named) == [said.format(name) for name in ("nosuch", "limits-only")]
    assert strangers(named, "nosuch", "limits-only") == []
    assert strangers(of("nosuch", present=False)) == []
    assert strangers(boot_of(layout)) == strangers(of()) == []


@pytest.mark.parametrize(
    ("options", "idle"),
    [
        ({"after": ["database"]}, "after"),
        ({"requires": ["database"], "restart": "always"}, "requires, restart"),
        ({"after": ["a"], "requires": ["b"], "restart": "no"}, "after, requires, restart"),
        ({"after": [], "requires": [], "restart": "on-failure", "timeout": 90}, ""),
        ({}, ""),
    ],
)
def test_options_that_only_systemd_keeps(layout: Layout, options: dict[str, t.Any], idle: str) -> None:
    said = f"{idle}: without effect for container 'web', for this host's init is not systemd, which would see to it"
    assert warnings(boot_of(layout, present=False, **options)) == ([said] if idle else [])
    assert warnings(boot_of(layout, present=False, **options), "absent") == []
    for name in ("a", "b", "database"):
        has(layout, name)
    assert warnings(boot_of(layout, **options)) == []


def test_a_unit_that_cannot_be_written_is_named(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: str, _text: str, _mode: int) -> None:
        raise OSError(28, "No space left on device")

    boot = boot_of(layout, enabled=True)
    monkeypatch.setattr(boot_module, "write_atomically", full)
    with pytest.raises(TargetError, match=r"^the unit unshare-container@web\.service cannot be written: No space left"):
        boot.apply("started")


def test_what_a_system_says_is_read_once_from_when_it_is_there(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """It never changes, and is asked for with each setting of the unit."""
    read: list[str] = []

    def read_spec(system: str) -> t.Any:
        read.append(system)
        return original(system)

    original = boot_module.read_spec
    monkeypatch.setattr(boot_module, "read_spec", read_spec)
    system = layout.systems / ("0" * 32 + "-web")
    boot = boot_of(layout, system=system, enabled=True)
    assert "/srv/data" not in "\n".join(boot.plan("started")["unit"])
    missed = len(read)
    assert missed > 0
    system.mkdir(parents=True)
    mount = {"device": "/srv/data", "mount_point": "/data", "type": "none", "flags": ["bind-mount"]}
    (system / "spec.json").write_text(json.dumps({**SMALL, "file_systems": [mount]}))
    for _time in range(3):
        assert "/srv/data" in "\n".join(boot.plan("started")["unit"])
        boot.apply("stopped")
    assert read[missed:] == [str(system)]
