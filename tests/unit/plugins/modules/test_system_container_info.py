# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said of containers, whole or broken, on a host that is a directory."""

from __future__ import annotations

import json
import os
import time
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.inside.outdated import Outdated
from ansible_collections.unshare.container.plugins.module_utils.inside.units import Judgement
from ansible_collections.unshare.container.plugins.module_utils.launcher import mount_table
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.network_records import Interface
from ansible_collections.unshare.container.plugins.module_utils.launcher.wires import Wire
from ansible_collections.unshare.container.plugins.module_utils.life import container_information
from ansible_collections.unshare.container.plugins.module_utils.life.container_information import (
    Information,
    mount,
    names,
)
from ansible_collections.unshare.container.plugins.module_utils.state import network_record
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError
from ansible_collections.unshare.container.plugins.modules import system_container_info as module

from ..module_utils.specifications import specification
from ..module_utils.target_helpers import judgement

SYSTEM = "0" * 32 + "-web"
MOUNTINFO = r"""1 0 8:1 / / rw,relatime - tmpfs none rw
2 1 8:1 /usr /usr ro shared:7 - ext4 /dev/sda1 rw
3 1 8:2 /a\040b /srv/a\040b\134 rw - xfs /dev/sdb\0401 rw
"""


class FakeContainer:
    """What the launcher would say."""

    def __init__(self, system: str, running: bool = True, files: dict[str, str] | None = None) -> None:
        self.files = {"cpu.stat": "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\n", **(files or {})}
        self.cgroup = types.SimpleNamespace(read=lambda name: self.files.get(name, ""), close=lambda: None)
        known = {"pid": 7, "system": system, "uid_base": 65536, "uid_count": 65536}
        times = {"started": time.time() - 10, "boot_seconds": 0.2, "ready": True}
        self.now = types.SimpleNamespace(state="running" if running else "stopped", **known, **times)
        self.failed: list[str] | None = ["bad.service"]

    def record(self) -> None:
        return None

    def status(self) -> t.Any:
        return self.now

    def outdated_units(self, timeout: float) -> dict[str, Outdated]:
        assert timeout == 5.0
        return {"nginx.service": Outdated(["/usr/lib/x.so", "/usr/sbin/nginx"], ["/usr/sbin/nginx"])}

    def judge(self, timeout: float) -> Judgement:
        if self.failed is None:
            raise LauncherError("container web: systemctl did not answer in 5 s")
        return judgement(self.failed)

    def log_tail(self, lines: int, unit: str | None, timeout: float) -> str:
        return "line\n" * lines


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Return a host with one container, web, of one generation."""
    made = Layout(tmp_path)
    (made.systems / SYSTEM).mkdir(parents=True)
    (made.systems / SYSTEM / "spec.json").write_text(json.dumps(specification().write()))
    made.generations("web").mkdir(parents=True)
    (made.generations("web") / "1").symlink_to(f"../../../systems/{SYSTEM}")
    made.current("web").symlink_to("generations/1")
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/mountinfo").write_text(MOUNTINFO)
    return made


def gather(layout: Layout, container: t.Any, **options: t.Any) -> dict[str, t.Any]:
    return Information(layout, "web", container, proc=layout.root / "proc", **options).gather()


def test_a_container_that_runs(layout: Layout) -> None:
    container = FakeContainer(str(layout.systems / SYSTEM), files={"memory.current": "100\n", "memory.max": "max\n"})
    facts = gather(layout, container, log_lines=2)
    assert (facts["state"], facts["ready"], facts["pid"], facts["errors"]) == ("running", True, 7, [])
    assert facts["system"] == facts["running_system"] == str(layout.systems / SYSTEM)
    (generation,) = facts["generations"]
    store = {"source": "/usr"}
    assert generation == {"number": 1, "system": facts["system"], "current": True, "well": False, "store": store}
    assert facts["store"] == store
    assert facts["memory"] == {"current": 100, "peak": None, "maximum": None, "swap": None}
    assert facts["cpu"] == {"usage_seconds": 1.5, "user_seconds": 1.0, "system_seconds": 0.5}
    assert facts["failed_units"] == ["bad.service"]
    assert facts["problems"] == ["bad.service has failed (exit-code)"]
    assert facts["log"] == "line\nline\n"
    assert 10 <= facts["uptime_seconds"] < 60
    assert [each["target"] for each in facts["mounts"]] == ["/", "/usr", "/srv/a b\\"]
    assert facts["mounts_truncated"] is False


def test_n14_the_addresses_and_ports(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_record, "RUN_DIRECTORY", str(layout.root / "run"))
    running = FakeContainer(str(layout.systems / SYSTEM))
    assert [gather(layout, running)[key] for key in ("interfaces", "addresses", "ports")] == [[], [], []]
    interface = {"name": "eth0", "kind": "zone", "parent": "web", "host_name": "u1", "mac": "02:00:00:00:00:01"}
    addresses = {"addresses": ["10.80.0.2/24", "fd00::2/64"], "gateways": ["10.80.0.1", "fd00::1"]}
    made = {
        **Wire(Interface(kind="zone", name="eth0", parent="web"), device="u2").describe().note(),
        **interface,
        **addresses,
    }
    noted = {"interfaces": [made], "ports": [{"port": 8080, "target": 80}]}
    (layout.root / "run/web").mkdir(parents=True)
    (layout.root / "run/web/network.json").write_text(json.dumps(noted))
    facts = gather(layout, running)
    assert facts["interfaces"] == [{**interface, **addresses}]
    assert facts["addresses"] == ["10.80.0.2", "fd00::2"]
    assert facts["ports"] == [{"port": 8080, "target": 80, "protocol": "tcp", "address": ""}]
    facts = gather(layout, FakeContainer("", running=False))
    assert [facts[key] for key in ("interfaces", "addresses", "ports")] == [None, None, None]


def test_what_the_host_does_not_count_is_none(layout: Layout) -> None:
    facts = gather(layout, FakeContainer(str(layout.systems / SYSTEM), files={"cpu.stat": ""}))
    assert (facts["memory"], facts["cpu"], facts["log"], facts["errors"]) == (None, None, None, [])


def test_a_container_that_is_stopped_or_absent(layout: Layout) -> None:
    facts = gather(layout, FakeContainer("", running=False))
    assert (facts["state"], facts["ready"], facts["pid"], facts["failed_units"]) == ("stopped", False, None, None)
    facts = Information(layout, "other", FakeContainer("", running=False)).gather()
    assert (facts["state"], facts["system"], facts["generations"], facts["errors"]) == ("absent", None, [], [])


def test_another_init_has_no_units(layout: Layout) -> None:
    given = specification(init={"argv": ["/usr/bin/sleep", "1000"]}).write()
    (layout.systems / SYSTEM / "spec.json").write_text(json.dumps(given))
    facts = gather(layout, FakeContainer(str(layout.systems / SYSTEM)))
    assert (facts["ready"], facts["failed_units"], facts["errors"]) == (True, None, [])


def test_what_is_broken_is_said_and_hides_nothing_else(layout: Layout) -> None:
    container = FakeContainer(str(layout.systems / SYSTEM), files={"cpu.stat": "nonsense\n"})
    container.failed = None
    (layout.root / "proc/7/mountinfo").unlink()
    facts = gather(layout, container, log_lines=1)
    assert (facts["state"], facts["failed_units"], facts["mounts"], facts["cpu"]) == ("running", None, None, None)
    assert facts["log"] == "line\n"
    assert len(facts["errors"]) == 3
    assert any("did not answer" in error for error in facts["errors"])

    (layout.systems / SYSTEM / "spec.json").write_text("{")
    facts = gather(layout, FakeContainer(str(layout.systems / SYSTEM)))
    assert facts["state"] == "running"
    assert any("its system cannot be read" in error for error in facts["errors"])


def test_a_log_is_bounded(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_information, "LOG_LIMIT", 8)
    facts = gather(layout, FakeContainer(str(layout.systems / SYSTEM)), log_lines=100)
    assert facts["log"] == "ne\nline\n"


@pytest.mark.parametrize(("size", "count", "expected"), [(999, 2, 2), (110, 99, 2), (100, 1, 1), (10, 99, 0)])
def test_mounts_are_bounded(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, size: int, count: int, expected: int
) -> None:
    """Whole lines of the first bytes, and so many of them."""
    monkeypatch.setattr(container_information, "MOUNTS_SIZE", size)
    monkeypatch.setattr(container_information, "MOUNTS_LIMIT", count)
    monkeypatch.setattr(mount_table, "READ_SIZE", 16)
    facts = gather(layout, FakeContainer(str(layout.systems / SYSTEM)))
    assert [each["target"] for each in facts["mounts"]] == ["/", "/usr"][:expected]
    assert facts["mounts_truncated"] is True


def test_no_more_is_read_of_mounts_than_may_be(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    table = layout.root / "proc/7/mountinfo"
    table.write_text("1 0 8:1 / / rw - tmpfs none rw\n" * 100_000)
    taken: list[int] = []
    read = os.read

    def count(descriptor: int, size: int) -> bytes:
        data = read(descriptor, size)
        taken.append(len(data))
        return data

    monkeypatch.setattr(os, "read", count)
    monkeypatch.setattr(container_information, "MOUNTS_SIZE", 1 << 17)
    assert len(gather(layout, FakeContainer(str(layout.systems / SYSTEM)))["mounts"]) == 4096
    assert sum(taken) <= 4 << 16


def test_all_of_a_host(layout: Layout) -> None:
    (layout.containers / ".web.removed").mkdir()
    (layout.root / "run/unshare/by-hand").mkdir(parents=True)
    assert names(layout, layout.root / "run/unshare") == ["by-hand", "web"]
    assert names(Layout(layout.root / "nothing"), Path("/nothing")) == []


def test_a_mount_with_optional_fields() -> None:
    line = "36 35 98:0 /mnt1 /mnt\\0112 ro,noatime shared:1 master:2 - ext3 /dev/root rw,errors=continue"
    assert mount(mount_table.MountTableEntry(line)) == {
        "target": "/mnt\t2",
        "source": "/dev/root",
        "root": "/mnt1",
        "type": "ext3",
        "options": ["ro", "noatime"],
    }


@pytest.mark.parametrize("parameters", [{"name": ["No!"]}, {"log_lines": -1}])
def test_input_that_cannot_be_meant(layout: Layout, parameters: dict[str, t.Any]) -> None:
    with pytest.raises(TargetError):
        module.run({"name": None, "log_lines": 0, "timeout": 5.0, **parameters}, layout)


def test_named_ones_once_each_in_their_order(layout: Layout) -> None:
    found = module.run({"name": ["zz", "aa", "zz"], "log_lines": 0, "timeout": 5.0}, layout)
    assert [each["name"] for each in found["containers"]] == ["zz", "aa"]
    assert found["changed"] is False


def test_an_init_that_is_not_systemd_is_asked_for_no_units(layout: Layout) -> None:
    """What has its default is left out of the file."""
    (layout.systems / SYSTEM / "spec.json").write_text(
        json.dumps({"format": 2, "host_name": "web", "init": {"argv": ["/bin/sh"]}})
    )
    facts = gather(layout, FakeContainer(str(layout.systems / SYSTEM)), log_lines=1)
    assert (facts["failed_units"], facts["log"], facts["errors"]) == (None, "line\n", [])
    assert facts["outdated_units"] == ["nginx.service"]
    assert facts["outdated"] == {"nginx.service": ["/usr/lib/x.so", "/usr/sbin/nginx"]}
