# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a start, and what it tells of a container now: its first process, and whether that still runs.

All work with a container begins here: to start and to stop it, to enter it, and to ask it.
"""

from __future__ import annotations

import os

from ..launcher import data, identity
from ..launcher.cgroup import ControlGroup
from ..launcher.errors import LauncherError
from ..launcher.paths import RUN_DIRECTORY, STATE_DIRECTORY, read_text, remove_file, write_atomically
from ..launcher.process import Process, boot_id, start_time
from .locks import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, TypeVar

    Method = TypeVar("Method", bound=Callable[..., Any])

CLAIM = "starting"
"""The file, in a container's runtime directory, that says who is starting it."""

FROZEN = "frozen"
"""The file there that says who has all of its processes stand still (`life/frozen`)."""

FREEZE = "cgroup.freeze"
"""The file of a control group that does so."""


class Use:
    """What a container does that may write to its mappings.

    Attributes:
        does: in words: it runs, is being started, or is ending.
        system: directory of its system.
        shares: what it is being started with beside that, as `mapped.Mapped.line` writes it.
    """

    def __init__(self, does: str, system: str, shares: str) -> None:
        self.does = does
        self.system = system
        self.shares = shares


class Status:
    """The status of a container at one moment.

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
        noted = [line for line in str(record.get("warnings") or "").split("\n") if line]
        self.warnings = noted if warnings is None else warnings


def explained(what: str) -> Callable[[Method], Method]:
    """Return a decorator that turns a method's OSError into an error that says what was being done."""

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
    """The host's knowledge of the container `name`. Nothing is opened before it is needed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.directory = os.path.join(STATE_DIRECTORY, "containers", name)
        self.run_directory = os.path.join(RUN_DIRECTORY, name)
        self.current = os.path.join(self.directory, "current")
        self.cgroup = ControlGroup(name)

    def lock(self, timeout: float) -> Lock:
        """Return the container's lock, not taken yet. It waits up to `timeout` seconds for another holder."""
        return Lock(self.name, self.run_directory, timeout, self.cgroup.close, self.thaw_left)

    def thaw_left(self) -> None:
        """Let its processes go on if a run has frozen them that was killed. The caller has taken a lock of its."""
        if os.path.lexists(os.path.join(self.run_directory, FROZEN)):
            holder = self._found(self._flat(FROZEN), False)
            if holder is None:
                self.thaw()
            else:
                holder.close()

    def thaw(self, of: int | None = None) -> None:
        """Let its processes go on.

        Args:
            of: the process that has frozen them; by default whichever has.
        """
        if of is not None and (self._flat(FROZEN) or {}).get("pid") != of:
            return
        if self.cgroup.exists():
            self.cgroup.write(FREEZE, "0")
        remove_file(os.path.join(self.run_directory, FROZEN))

    def record(self) -> dict[str, Any] | None:
        """Return the record of the last start, running or not; None when it is missing or damaged."""
        return self._flat("state.json")

    def _flat(self, file: str) -> dict[str, Any] | None:
        """Return what a file of the runtime directory says of a process; None when it is missing or damaged."""
        path = os.path.join(self.run_directory, file)
        try:
            record = data.parse(read_text(path) or "{}", path)
        except ValueError:
            return None
        whole = data.is_integer(record.get("pid")) and data.is_integer(record.get("start_time"))
        return record if whole and record["pid"] > 0 else None

    def write_record(self, record: dict[str, Any]) -> None:
        """Write the record of a start."""
        write_atomically(os.path.join(self.run_directory, "state.json"), data.format_flat(record), 0o644)

    def claim(self, system: str, shares: str) -> None:
        """Write down that this process is starting the container, until `give_up_claim`. The caller holds the lock.

        Args:
            system: from which it is started.
            shares: the mounts that it gets beside those of the system, as `mapped.Mapped.line` writes them.
        """
        claim = {"pid": os.getpid(), "start_time": start_time(os.getpid()), "boot_id": boot_id()}
        text = data.format_flat({**claim, "system": system, "shares": shares})
        write_atomically(os.path.join(self.run_directory, CLAIM), text)

    def give_up_claim(self) -> None:
        """Remove the claim: the container runs, and its record says so, or it does not."""
        remove_file(os.path.join(self.run_directory, CLAIM))

    def use(self) -> Use | None:
        """Return how the container may be writing to its mappings now; None when it neither runs nor starts.

        The claim is read before the record, which a start writes before it gives up its claim.
        """
        claim = self._flat(CLAIM)
        starter = self._found(claim, False)
        if claim is not None and starter is not None:
            starter.close()
            return Use("is being started", str(claim.get("system")), str(claim.get("shares") or ""))
        process = self.process()
        if process is None:
            return None
        process.close()
        record = self.record() or {}
        return Use("is ending" if record.get("stopping") else "runs", str(record.get("system") or ""), "")

    def process(self, ended: bool = False) -> Process | None:
        """Return PID 1, pinned, if the container runs, else None. The caller closes it.

        Args:
            ended: also count a process that has ended, or is about to, and that nobody has waited for.
        """
        return self._found(self.record(), ended)

    def _found(self, record: dict[str, Any] | None, ended: bool) -> Process | None:
        if record is None or record.get("boot_id") != boot_id():
            return None
        return Process.find(record["pid"], record["start_time"], ended)

    @explained("be looked at")
    def status(self) -> Status:
        """Return the status, from the record of the last start and the kernel's word on that process.

        A container that was asked to stop counts as stopped. The lock's holder meets one only when the asker has died.
        """
        process = self.process()
        if process is None:
            return Status("stopped")
        process.close()
        record = self.record() or {}
        return Status("stopped") if record.get("stopping") else Status("running", record)

    def is_to_come_back(self) -> bool:
        """Return whether the container has rebooted itself, and nothing on this host starts it again by itself.

        The caller holds the lock. systemd starts a unit's container again, and the caller one in the foreground.
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
