# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a start, and what it tells of a container now: its first process, and whether that runs still.

Everybody who has business with a container begins here: who starts and stops it, and who only enters or asks it.
"""

from __future__ import annotations

import os

from ..launcher import data, identity
from ..launcher.cgroup import ControlGroup
from ..launcher.errors import LauncherError
from ..launcher.paths import RUN_DIRECTORY, STATE_DIRECTORY, read_text, write_atomically
from ..launcher.process import Process, boot_id
from .locks import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, TypeVar

    Method = TypeVar("Method", bound=Callable[..., Any])


class Status:
    """What is known of a container at one moment.

    Attributes:
        state: `running` or `stopped`.
        pid: PID 1 on the host.
        system: directory of the system that runs.
        uid_base, uid_count: its ids on the host.
        started: when it was started, in seconds since the epoch.
        boot_seconds: from launch to ready; none when nobody waited for it.
        ready: whether it was seen to become ready.
        warnings: what the start went without, a line each; of a start by another process as many as are noted.
    """

    def __init__(self, state: str, record: dict[str, Any] | None = None, warnings: list[str] | None = None) -> None:
        record = record or {}
        self.state = state
        self.pid: int | None = record.get("pid")
        self.system: str | None = record.get("system")
        self.uid_base: int | None = record.get("uid_base")
        self.uid_count: int = record.get("uid_count", identity.COUNT)
        self.started: float | None = record.get("started")
        self.boot_seconds: float | None = record.get("boot_seconds")
        self.ready: bool = record.get("boot_seconds") is not None or bool(record.get("ready"))
        noted = str(record.get("warnings") or "").splitlines()
        self.warnings = noted if warnings is None else warnings


def explained(what: str) -> Callable[[Method], Method]:
    """Let a method of a container turn what the system refuses into an error that says what was being done."""

    def decorate(method: Method) -> Method:
        def call(container: RecordedContainer, *arguments: Any, **options: Any) -> Any:
            try:
                return method(container, *arguments, **options)
            except OSError as error:
                message = "container %s: cannot %s: %s" % (container.name, what, error)
                raise LauncherError(message) from error

        call.__doc__ = method.__doc__
        return call  # type: ignore[return-value]

    return decorate


class RecordedContainer:
    """What this host knows of the container `name`; nothing is opened before it is needed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.directory = os.path.join(STATE_DIRECTORY, "containers", name)
        self.run_directory = os.path.join(RUN_DIRECTORY, name)
        self.current = os.path.join(self.directory, "current")
        self.cgroup = ControlGroup(name)

    def lock(self, timeout: float) -> Lock:
        """Return the container's lock, not taken yet; it waits up to `timeout` seconds for another holder."""
        return Lock(self.name, self.run_directory, timeout, self.cgroup.close)

    def record(self) -> dict[str, Any] | None:
        """What was noted at the last start, whether that still runs or not; a damaged note is none."""
        path = os.path.join(self.run_directory, "state.json")
        try:
            record = data.parse(read_text(path) or "{}", path)
        except ValueError:
            return None
        whole = data.is_integer(record.get("pid")) and data.is_integer(record.get("start_time"))
        return record if whole and record["pid"] > 0 else None

    def write_record(self, record: dict[str, Any]) -> None:
        """Note a start."""
        write_atomically(os.path.join(self.run_directory, "state.json"), data.format_flat(record), 0o644)

    def process(self, ended: bool = False) -> Process | None:
        """PID 1, pinned, if the container runs; the caller closes it.

        Args:
            ended: whether one that has ended or is about to, and that nobody has waited for, counts too.
        """
        record = self.record()
        if record is None or record.get("boot_id") != boot_id():
            return None
        return Process.find(record["pid"], record["start_time"], ended)

    @explained("be looked at")
    def status(self) -> Status:
        """What runs now, by the record of its start and the kernel's word that this process still is.

        What has been asked to stop counts as stopped: whoever holds the lock meets it only when who asked has died.
        """
        process = self.process()
        if process is None:
            return Status("stopped")
        process.close()
        record = self.record() or {}
        return Status("stopped") if record.get("stopping") else Status("running", record)

    def is_to_come_back(self) -> bool:
        """Whether it has rebooted itself, and nothing on this host starts it again by itself.

        To be called with the lock held. A unit is systemd's to start, and the one in the foreground is its caller's.
        """
        record = self.record()
        if record is None or record.get("boot_id") != boot_id() or record.get("stopping") or record.get("foreground"):
            return False
        if self.cgroup.of_unit or not self.cgroup.is_marked():
            return False
        process = self.process()
        if process is not None:
            process.close()
        return process is None
