# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The caller's side of one start: the descriptors it passes, the record it keeps, the wait for readiness."""

from __future__ import annotations

import os
import select
import time

from ..launcher import automounts, confine, credentials, identity, limits, mapped, mounts, network_files
from ..launcher.errors import LauncherError, NotReady
from ..launcher.excursion import in_child
from ..launcher.handshake import error_line
from ..launcher.launch import Launch
from ..launcher.notification import Notification
from ..launcher.paths import write_atomically
from ..launcher.plan import Plan
from ..launcher.process import Process, boot_id, executed, milliseconds, start_time
from ..state.record import RecordedContainer, Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from ..launcher.contract import Mount, Specification
    from .networking import Networking

WARNINGS_LIMIT = 16384  # characters of the warnings that are noted
MORE_WARNINGS = "there are more warnings, which the log of who has started it has"
OUTPUT_SIZE = "4m"  # of PID 1's own output while it starts
OUTPUT_LIMIT = 65536  # bytes of the end of that, for an error message
OUTPUT_SECONDS = 1.0  # in which they are read, unless somebody inside holds them


class Start:
    """One start of `container`, whose lock the caller holds. `notes` go into its record."""

    def __init__(
        self,
        container: RecordedContainer,
        system: str,
        spec: Specification,
        ids: identity.Identity,
        machine_id: str,
        console: str | None,
        output: int | None,
        extra_file_systems: list[Mount],
        notes: dict[str, Any],
        before_boot: Callable[[], None] | None = None,
        networking: Networking | None = None,
        layer: str | None = None,
    ) -> None:
        self.container = container
        self.system = system
        self.spec = spec
        self.ids = ids
        self.launched = time.monotonic()
        self.warnings: list[str] = []
        self.notification: Notification | None = None
        self.own_output: int | None = None
        self.cgroup: int | None = None
        self.host_mounts: int | None = None
        self.init: Process | None = None
        self.machine_id = machine_id
        self.console = console
        self.output = output
        self.extra_file_systems = extra_file_systems + (networking.mounts() if networking is not None else [])
        self.notes = notes
        self.before_boot = before_boot
        self.networking = networking
        self.layer = layer

    def _prepare(self, deadline: float) -> Launch:
        """Make what the processes of the start need on the host; the caller undoes it."""
        notify_path = self._listen() if self.spec.init.ready == "notify" else None
        if self.output is None and notify_path is not None:
            self.own_output = self._make_output()
        if self.networking is not None:
            self.networking.prepare()
        records = self.spec.file_systems + self.extra_file_systems
        directory = self.container.run_directory
        self.warnings += network_files.prepare(directory, records, self.spec.host_name, self.ids.base)
        self.warnings += automounts.trigger(records, deadline)
        if any(record.propagation == "slave" for record in records):
            self.host_mounts = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        self.cgroup = self.container.cgroup.create(self.ids.base)
        bounds = limits.read(self.container.directory)
        launch = Launch(
            Plan(
                self.system,
                self.spec,
                self.ids,
                self.cgroup,
                self.container.run_directory,
                self.machine_id,
                notify_path,
                self.console,
                self.own_output if self.output is None else self.output,
                self.extra_file_systems,
                self._bound(bounds),
                self.host_mounts,
                limits.memory(bounds),
                credentials.read_all(self.spec, self.system),
                self.networking.wires if self.networking is not None else None,
                self.layer,
            )
        )
        self.warnings += confine.given_up(self.spec.security, self.ids, launch.plan.filter_program)
        return launch

    def _bound(self, bounds: dict[str, Any]) -> int | None:
        """Set the limits, unless the unit has them. Return the bound on tasks when the control group cannot keep it."""
        cgroup = self.container.cgroup
        counted = self.ids.base != 0 or self.ids.nested
        controllers = cgroup.read("cgroup.controllers").split()
        failed = limits.not_kept(bounds, controllers) if cgroup.of_unit else limits.apply(cgroup, bounds)
        self.warnings += limits.warnings_of(
            [name for name in failed if name != "tasks_max" or not counted], controllers
        )
        self.warnings += limits.unfit(bounds, controllers)
        return limits.tasks(bounds) if counted and not cgroup.has("pids.max") else None

    def _listen(self) -> str:
        path = os.path.join(self.container.run_directory, "notify")
        self.notification = Notification(path, self.ids.base)
        return path

    def _make_output(self) -> int:
        """Return a file for what PID 1 says while it starts. Nobody reads it unless the start fails.

        It has no name, and a file system of its own that bounds it. A pipe needs a reader, which root inside can keep
        waiting: it would have to be another process (`courier`).
        """
        mount = mounts.tmpfs("0700", OUTPUT_SIZE, "2")
        try:
            file = os.open("output", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600, dir_fd=mount)
        finally:
            os.close(mount)
        os.fchown(file, self.ids.base, self.ids.base)  # for programs inside that open /dev/stderr
        return file

    def close(self) -> None:
        """Close what the start used."""
        if self.init is not None:
            self.init.close()
        if self.networking is not None:
            self.networking.close()
        if self.notification is not None:
            self.notification.close()
        for descriptor in (self.own_output, self.cgroup, self.host_mounts):
            if descriptor is not None:
                os.close(descriptor)

    def run(self, wait: bool, timeout: float) -> Status:
        """Launch the container and, with `wait`, wait until it is ready, within `timeout` seconds. Return a status."""
        deadline = time.monotonic() + timeout
        launch = self._prepare(deadline)
        # An init that does not notify is ready when it runs, which comes next when that is written down.
        record = self._launch(launch, deadline, wait and self.notification is None)
        if self.networking is not None:
            self.warnings += self.networking.announce()
        if wait and self.notification is not None and self.init is not None:
            self._await_ready(self.init, self.notification, deadline, timeout)
            record["boot_seconds"] = self._seconds()
            self.container.write_record(record)
        return Status("running", record, self.warnings)

    def _seconds(self) -> float:
        """Return how long the start has taken, in seconds."""
        return round(time.monotonic() - self.launched, 4)

    def _launch(self, launch: Launch, deadline: float, is_ready: bool) -> dict[str, Any]:
        """Run the launch to its end, until `boot` runs. Return the record of PID 1 that was written before that.

        Args:
            is_ready: whether the container is ready then.
        """
        report, go = os.pipe(), os.pipe()
        try:
            try:
                launch.build(report, go, deadline)
            finally:
                os.close(report[1])
                os.close(go[0])
                self.init = launch.init
            if self.networking is not None:
                self.networking.finish()
                self.warnings += self.networking.warnings
            self.warnings += launch.warnings + launch.plan.memory.warnings
            if self.before_boot is not None:
                self.before_boot()
            self._note_mapped(launch.mapped)
            record = self._note(is_ready)
            try:
                os.write(go[1], b"1")
            except BrokenPipeError:
                pass  # it has ended already; the report says why
            # The way to the running system's `enter-container`, for who knows the container's name only.
            os.symlink(self.system, os.path.join(self.container.run_directory, "system"))
            error = _read_report(report[0], deadline)
            if error is None:
                error = "it did not run its program in time; does a mapping's file system hang?"
            if not error and self.init is not None and self.init.wait(0) and not executed(self.init.pid):
                error = "its first process was killed"
        except Exception as failure:
            self._end()
            error = _read_report(report[0], deadline) or error_line(failure)
            raise LauncherError("container %s: cannot start: %s" % (self.container.name, error)) from failure
        except BaseException:
            self._end()
            raise
        finally:
            os.close(report[0])
            os.close(go[1])
        if error:
            self._end()
            raise LauncherError("container %s: cannot start: %s" % (self.container.name, error))
        return record

    def _end(self) -> None:
        """End all processes of a failed start."""
        if self.init is not None:
            self.init.end()

    def _note_mapped(self, lines: list[str]) -> None:
        """Write down what was at the sources of its mappings."""
        if lines:
            write_atomically(os.path.join(self.container.run_directory, mapped.FILE), "\n".join(lines) + "\n")

    def _note(self, is_ready: bool) -> dict[str, Any]:
        """Write, and return, the record that tells PID 1 from every other process."""
        pid = self.init.pid if self.init is not None else 0
        started = start_time(pid)
        if started is None:
            raise LauncherError("its first process was killed")
        record = {
            "pid": pid,
            "start_time": started,
            "boot_id": boot_id(),
            "system": self.system,
            "uid_base": self.ids.base,
            "uid_count": self.ids.count,
            "started": round(time.time(), 3),
            "stop_signal": self.spec.init.stop_signal,
            "warnings": noted_warnings(self.warnings),
            **self.notes,
        }
        if is_ready:
            record["boot_seconds"] = self._seconds()
        self.container.write_record(record)
        return record

    def _await_ready(self, init: Process, notification: Notification, deadline: float, timeout: float) -> None:
        """Wait for READY=1 from the init (sd_notify(3)), its end, or the time limit."""
        poll = select.poll()
        poll.register(notification.fileno(), select.POLLIN)
        poll.register(init.descriptor, select.POLLIN)
        while True:
            left = deadline - time.monotonic()
            events = dict(poll.poll(milliseconds(left)))
            if notification.fileno() in events and b"READY=1" in notification.take():
                return
            if init.descriptor in events:
                init.reap()
                raise NotReady(self._failure("ended before it was ready"), True)
            if left <= 0:
                raise NotReady(self._failure("was not ready within %g s, and still runs" % timeout), False)

    def _failure(self, what: str) -> str:
        message = "container %s: PID 1 %s" % (self.container.name, what)
        said = self._said()
        return message + ("; its output ends:\n" + "\n".join(said.splitlines()[-20:]) if said else "")

    def _said(self) -> str:
        """Return the end of PID 1's output; nothing when that cannot be read, or not in time."""
        output = self.own_output
        if output is None:
            return ""
        try:
            return in_child(lambda: end_of(output), OUTPUT_SECONDS, (output,)).strip()
        except (TimeoutError, LauncherError):
            return ""


def end_of(output: int) -> str:
    """Return the text at the end of an open file, to which others may be writing."""
    size = os.fstat(output).st_size
    return os.pread(output, OUTPUT_LIMIT, max(0, size - OUTPUT_LIMIT)).decode("utf-8", "replace")


def noted_warnings(warnings: list[str]) -> str:
    """Return warnings as they are noted: whole ones, a line each, as many of the first as there is room for."""
    noted = ""
    for warning in warnings:
        line = " ".join(warning.split()) + "\n"
        if len(noted + line + MORE_WARNINGS) > WARNINGS_LIMIT:
            return noted + MORE_WARNINGS
        noted += line
    return noted


def _read_report(report: int, deadline: float) -> str | None:
    """Return the init's report of its failure: "" when it runs `boot`, None when it did neither in time."""
    poll = select.poll()
    poll.register(report, select.POLLIN)
    said = b""
    while poll.poll(milliseconds(deadline - time.monotonic())):
        chunk = os.read(report, 65536)
        if not chunk:
            return said.decode("utf-8", "replace").partition(" ")[2].strip()
        said += chunk
    return None
