# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of the target side share: a small system, and a container that only remembers what it was told."""

from __future__ import annotations

import contextlib
import time
import types
import typing as t

from ansible_collections.unshare.container.plugins.module_utils.host.systemd_units import Systemd
from ansible_collections.unshare.container.plugins.module_utils.inside.units import Judgement, UnitProblem
from ansible_collections.unshare.container.plugins.module_utils.launcher.contract import FORMAT
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import NotReady
from ansible_collections.unshare.container.plugins.module_utils.life.health import DEFAULTS
from ansible_collections.unshare.container.plugins.module_utils.state.system_content import SystemContent
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError

LAUNCHER = {"__init__.py": "", "life/__init__.py": "", "life/main.py": "def run_container_main():\n    return 0\n"}


def system(**files: str) -> dict[str, t.Any]:
    """Return a system as the filter makes it, with the text of further files of /etc by name."""
    return {
        "name": "web",
        "files": {
            "/etc/hostname": {"content": "web\n", "mode": "0644"},
            "/etc/systemd/system/default.target": {"link": "/usr/lib/systemd/system/multi-user.target"},
            "/etc/shadow": {"content": "root:!:::::::\n", "mode": "0640", "gid": 42, "secret": True},
            **{f"/etc/{name}": {"content": text, "mode": "0644"} for name, text in files.items()},
        },
        "directories": [{"path": "/var/lib/web", "mode": "0755", "uid": 0, "gid": 0}],
        "host_files": ["/etc/alternatives"],
        "spec": {
            "format": FORMAT,
            "name": "web",
            "host_name": "web",
            "store": {"source": "/usr", "target": "/usr"},
            "init": {"argv": ["/usr/lib/systemd/systemd"], "ready": "notify", "systemd": True},
            "file_systems": [
                {"device": "/usr", "mount_point": "/usr", "type": "none", "flags": ["bind-mount", "read-only"]}
            ],
        },
        "activation": [],
        "programs": [],
        "packages": [],
    }


def content(**files: str) -> SystemContent:
    """Return the system of `system`, ready to be written."""
    return SystemContent(system(**files), "#!/bin/sh\nexec true\n", LAUNCHER, "/usr/bin/python3")


def judgement(failed: t.Sequence[str], state: str = "running", lives: float | None = None) -> Judgement:
    """Return the judgement on a container whose units of these names have failed."""
    return Judgement(state, [UnitProblem(unit, "has failed (exit-code)") for unit in failed], lives)


def wanted_health(**changes: t.Any) -> dict[str, t.Any]:
    """Return the options of a container's health, with a short time limit, and no second look."""
    return {**DEFAULTS, "timeout": 5.0, "steady": 0.0, **changes}


NOTHING_OPEN = types.SimpleNamespace(cgroup=types.SimpleNamespace(close=lambda: None))
"""In place of the launcher's container, where nobody asks it anything."""


class FakeContainer:
    """In place of the launcher's container: starts and stops nothing, and remembers the order of what was asked."""

    def __init__(self, failed: t.Sequence[str] = (), becomes_ready: bool = True, state: str = "running") -> None:
        self.name = "web"
        self.calls: list[str] = []
        self.failed = list(failed)
        self.state = state
        self.lives: float | None = None
        self.age: float | None = None
        self.becomes_ready = becomes_ready
        self.running: str | None = None
        self.waited = False
        self.cgroup: t.Any = types.SimpleNamespace(of_unit=False, close=lambda: None)

    @contextlib.contextmanager
    def lock(self, timeout: float) -> t.Iterator[None]:
        self.calls.append("lock")
        yield

    def thaw_left(self) -> None:
        pass

    def status(self) -> t.Any:
        running = self.running is not None
        return types.SimpleNamespace(
            state="running" if running else "stopped",
            pid=4711 if running else None,
            system=self.running,
            uid_base=524288 if running else None,
            uid_count=65536,
            started=0.0 if self.age is None else 100.0 - self.age,
            boot_seconds=0.1 if self.waited else None,
            ready=running and self.waited and self.becomes_ready,
            warnings=[],
        )

    def process(self) -> t.Any:
        """Return an init that does not end while it is waited for."""
        return types.SimpleNamespace(wait=time.sleep, close=lambda: None)

    def start(self, system: str, wait: bool, timeout: float) -> t.Any:
        self.calls.append("start")
        self.running, self.waited = system, wait
        if wait and not self.becomes_ready:
            raise NotReady("container web: not ready", ended=False)
        return self.status()

    def stop(self, timeout: float) -> bool:
        if self.running is None:
            return False
        self.calls.append("stop")
        self.running = None
        return True

    def await_ready(self, timeout: float) -> bool:
        self.waited = True
        return self.becomes_ready

    def judge(self, timeout: float = 10.0) -> Judgement:
        return judgement(self.failed, self.state, self.lives)

    def log_tail(self, lines: int, unit: str | None = None) -> str:
        return "the last line"

    def remove(self) -> None:
        self.calls.append("remove")


class FakeSystemd(Systemd):
    """A manager that only remembers what it was told, and whose units run when they were started."""

    def __init__(self, present: bool = True, version: int = 252) -> None:
        self.present = present
        self.known = version
        self.active: set[str] = set()
        self.orders: list[str] = []
        self.required_by = ""
        self.requiring: dict[str, str] = {}
        self.unit_properties: dict[str, str] = {}
        self.broken = False

    def version(self) -> int:
        return self.known

    def is_active(self, unit: str) -> bool:
        return unit in self.active

    def active_transients(self, units: list[str]) -> list[str]:
        return [unit for unit in units if unit in self.active]

    def active_instances(self) -> list[str]:
        return sorted(self.active)

    def show(self, unit: str, name: str) -> str:
        return {"RequiredBy": self.requiring.get(unit, self.required_by)}[name]

    def properties(self, unit: str, names: list[str]) -> dict[str, str]:
        return {name: self.unit_properties[name] for name in names if name in self.unit_properties}

    def reload(self) -> None:
        self.orders.append("daemon-reload")

    def reload_unit(self, unit: str, timeout: float) -> None:
        self.orders.append(f"reload {unit}")
        if self.broken:
            raise TargetError("systemctl reload: it went wrong")

    def limit(self, unit: str, assignments: list[str]) -> None:
        self.orders.append(f"limit {unit} {' '.join(assignments)}")

    def start(self, unit: str, timeout: float) -> None:
        self.orders.append(f"start {unit}")
        if self.broken:
            raise TargetError("systemctl start: it went wrong")
        self.active.add(unit)

    def restart(self, units: list[str], timeout: float) -> None:
        self.orders.append(f"restart {' '.join(units)}")
        if self.broken:
            raise TargetError("systemctl restart: it went wrong")

    def stop(self, unit: str, timeout: float) -> None:
        self.orders.append(f"stop {unit}")
        self.active.discard(unit)

    def stop_all(self, units: list[str], timeout: float) -> None:
        self.orders.append(f"stop {' '.join(units)}")
