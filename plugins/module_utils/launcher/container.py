# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of one container: its start, whether it is ready, its stop."""

from __future__ import annotations

import errno
import os
import time

from . import data, fuse, identity
from .cgroup import ControlGroup
from .contract import Mount, signal_number
from .errors import AlreadyRunning, LauncherError, NotReady
from .init import OUTPUT_LOG
from .locks import AllocationLock, Lock
from .paths import (
    NEW,
    RUN_DIRECTORY,
    STATE_DIRECTORY,
    make_directory,
    read_text,
    remove_entries,
    remove_file,
    write_atomically,
)
from .process import KILL, KILL_SECONDS, Process, boot_id, reap_left
from .specification import read_spec
from .start import Start, Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, TypeVar

    from .contract import Specification

    Method = TypeVar("Method", bound=Callable[..., Any])

# All that a container has on the host, in the order of its removal: the ids are given back when nothing bears them any
# more. Whatever else lies in these directories is somebody's data, perhaps a mapping's, and stays.
LIMITS_FILE, CONFIG_FILE = "limits.json", "config.json"
ON_DISK = (
    "current",
    "former",
    NEW,
    "generations",
    "journal",
    LIMITS_FILE + NEW,
    LIMITS_FILE,
    CONFIG_FILE + NEW,
    CONFIG_FILE,
)
RUNTIME = ("notify", "system", "cgroup" + NEW, "cgroup", "state.json" + NEW, "state.json")
BOOTED = ("running", "degraded", "maintenance", "stopping")  # what is-system-running says after the boot
PAUSE_BETWEEN_QUESTIONS = 0.05  # seconds between two questions to a systemd that takes none yet
KILL_MOMENT = 0.5  # seconds in which killed processes end, unless they wait for something
KILL_TIMEOUT = 10.0  # seconds after which a killed process is taken for one that waits for broken hardware


def explained(what: str) -> Callable[[Method], Method]:
    """Let a method of `Container` turn what the system refuses into an error that says what was being done."""

    def decorate(method: Method) -> Method:
        def call(container: Container, *arguments: Any, **options: Any) -> Any:
            try:
                return method(container, *arguments, **options)
            except OSError as error:
                message = "container %s: cannot %s: %s" % (container.name, what, error)
                raise LauncherError(message) from error

        call.__doc__ = method.__doc__
        return call  # type: ignore[return-value]

    return decorate


class Container:
    """The container `name` of this host; nothing is opened before it is needed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.directory = os.path.join(STATE_DIRECTORY, "containers", name)
        self.run_directory = os.path.join(RUN_DIRECTORY, name)
        self.current = os.path.join(self.directory, "current")
        self.cgroup = ControlGroup(name)

    # What is.

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

    # Start.

    @explained("start")
    def start(
        self,
        system: str,
        wait: bool = True,
        timeout: float = 30.0,
        console: str | None = None,
        output: int | None = None,
        extra_file_systems: list[Mount] | None = None,
    ) -> Status:
        """Start `system`, to be called with the lock held; what fails undoes itself.

        Args:
            wait: return only when the container is ready.
            timeout: seconds it may take to become so.
            console: path of a pty for its `/dev/console`.
            output: descriptor for PID 1's output; by default that of an init which notifies is read here while waiting,
                and that of another goes to a file inside.
            extra_file_systems: further mount records (S11).

        Raises:
            AlreadyRunning: something runs.
            NotReady: launched, and not ready in time (it still runs), or ended by itself.
            LauncherError: it could not be launched.
        """
        running = self.status()
        if running.state == "running":
            raise AlreadyRunning("container %s: already runs, as PID %s" % (self.name, running.pid))
        self.stop(timeout)
        remove_file(os.path.join(self.directory, "config.json" + NEW))
        spec = read_spec(system)
        config = identity.read_config(self.directory)
        remembered = dict(config)
        with AllocationLock():
            ids = identity.identity_for(self.name, spec.private_users, config)
            if "machine_id" not in config:
                config["machine_id"] = os.urandom(16).hex()
            if config != remembered:
                identity.write_config(self.directory, config)
        shared = (extra_file_systems or []) + self._kept_journal(spec)
        notes = {"foreground": output is not None, "shares": bool(extra_file_systems), "timeout": timeout}
        starting = Start(self, system, spec, ids, str(config["machine_id"]), console, output, shared, notes)
        try:
            return starting.run(wait, timeout)
        except NotReady as error:
            if error.ended:
                self._undo()
            raise
        except BaseException:
            self._undo()
            raise
        finally:
            starting.close()

    def _undo(self) -> None:
        """Clear what a failed start left; what the kernel does not let end yet, the next stop or start clears."""
        try:
            self.clear(KILL_SECONDS)
        except LauncherError:
            pass  # why the start failed is what is to be said

    def _kept_journal(self, spec: Specification) -> list[Mount]:
        """The mount record of the directory on the host in which the journal outlives a container, when it is to."""
        if spec.log != "persistent":
            return []
        source = os.path.join(self.directory, "journal")
        make_directory(source, 0o700)
        kept = Mount(device=source, mount_point="/var/log/journal", type="none", flags=["bind-mount"])
        kept.own = True  # the one place in our state to which a container writes
        return [kept]

    def await_ready(self, timeout: float = 30.0) -> bool:
        """Wait for a systemd that was started without waiting, and note that it is ready; whether it is in time.

        To be called with the lock held.
        """
        from . import enter

        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            try:
                answer = enter.capture(self, ["systemctl", "is-system-running", "--wait"], left).strip()
            except LauncherError:
                answer = ""
            if answer in BOOTED:
                self.write_record(dict(self.record() or {}, ready=True))
                return True
            time.sleep(PAUSE_BETWEEN_QUESTIONS)  # while it takes no question there is nothing to wait for

    # Stop.

    @explained("stop")
    def stop(self, timeout: float = 30.0) -> bool:
        """Ask PID 1 to stop, kill it after `timeout` seconds, and clear what is left; whether it ran.

        To be called with the lock held. A stop that was cut short is finished by the next, or by a start.
        """
        process = self.process()
        if process is not None:
            record = self.record() or {}
            deadline = time.monotonic() + timeout
            try:
                self.write_record(dict(record, stopping=True))
            except OSError:
                pass  # a full /run must not keep it from being stopped
            process.ask(signal_number(record.get("stop_signal", "SIGTERM")), deadline)
            process.wait(deadline - time.monotonic())
            process.close()
        self.clear()
        return process is not None

    def clear(self, timeout: float = KILL_TIMEOUT) -> None:
        """Remove what a container that has ended, however, left in memory: processes, control groups, runtime files.

        Args:
            timeout: seconds in which what is killed must end.
        """
        process = self.process(ended=True)
        try:
            if not self._kill(process, timeout):
                raise LauncherError(
                    "container %s: processes in the control group %s do not end, though killed; see what they wait for"
                    % (self.name, self.cgroup.whole)
                )
            self.cgroup.remove()
            reap_left()
            # It leaves its control group a moment before, and then waits until those who entered are let go of.
            if process is not None:
                process.end()
        finally:
            if process is not None:
                process.close()
        remove_entries(self.run_directory, RUNTIME)

    def _kill(self, process: Process | None, timeout: float) -> bool:
        """Kill PID 1, if anything of it is there, and all others; whether none is left after so many seconds."""
        deadline = time.monotonic() + timeout
        if process is not None:
            process.signal(KILL)
        if self.cgroup.kill(KILL_MOMENT):
            return True
        record = self.record() or {}
        while True:
            self.cgroup.kill_each()
            try:
                fuse.abort(record.get("uid_base", 0), record.get("uid_count", identity.COUNT))
            except OSError:
                pass  # then only what waits for such a file system is left
            if self.cgroup.wait_empty(PAUSE_BETWEEN_QUESTIONS):
                return True
            if time.monotonic() >= deadline:
                return False

    @explained("be removed")
    def remove(self) -> None:
        """Forget the stopped container: generations, kept journal, id range; never what its mappings name.

        A mapping's data may lie in the container's own directory, or be mounted there: only what is known to be ours
        goes, and nothing that is mounted. A removal that was cut short is finished by the next.
        """
        if self.status().state == "running":
            raise LauncherError("container %s: still runs; stop it first" % self.name)
        self.clear()
        remove_entries(self.directory, ON_DISK)
        try:
            os.rmdir(self.directory)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EBUSY):
                raise

    def exists(self) -> bool:
        """Whether anything of it is kept on the host."""
        return any(os.path.lexists(os.path.join(self.directory, entry)) for entry in ON_DISK)

    # Questions to the init inside; the answers are the container's own word.

    def failed_units(self, timeout: float = 10.0) -> list[str]:
        """Names of systemd's failed units, and of those that wait to be started again after a failure."""
        from . import enter

        listing = ["systemctl", "list-units", "--state=failed,auto-restart", "--plain", "--no-legend", "--full"]
        names = data.first_words(enter.capture(self, listing, timeout))
        results = ["systemctl", "show", "--property=Result", "--value", "--"] + names
        found = zip(names, enter.capture(self, results, timeout).split()) if names else ()
        return [name for name, result in found if result != "success"]

    def log_tail(self, lines: int = 20, unit: str | None = None, timeout: float = 10.0) -> str:
        """The end of the journal, or of one unit's; with another init than systemd, the end of its output."""
        from . import enter

        if not read_spec(str((self.record() or {}).get("system"))).init.systemd:
            return enter.capture(self, ["tail", "-n", str(lines), OUTPUT_LOG], timeout)
        command = ["journalctl", "--no-pager", "--quiet", "--output=short-iso", "--lines=%d" % lines]
        return enter.capture(self, command + (["--unit=" + unit] if unit else []), timeout)
