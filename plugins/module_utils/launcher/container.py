# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of one container: its lock, its start, whether it is ready, its stop."""

from __future__ import annotations

import _signal
import fcntl
import os
import time

from . import data, identity
from .cgroup import ControlGroup
from .errors import AlreadyRunning, LauncherError, NotReady
from .paths import RUN_DIRECTORY, STATE_DIRECTORY, make_directory, read_text, write_atomically
from .process import KILL, Process, signal_number
from .start import Start, Status, read_spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


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
        """Hold the container alone, as a context; waits up to `timeout` seconds for another holder."""
        return Lock(self, timeout)

    def record(self) -> dict[str, Any] | None:
        """What was noted at the last start, whether that still runs or not."""
        path = os.path.join(self.run_directory, "state.json")
        text = read_text(path)
        return data.parse(text, path) if text else None

    def write_record(self, record: dict[str, Any]) -> None:
        """Note a start."""
        write_atomically(os.path.join(self.run_directory, "state.json"), data.format_flat(record), 0o644)

    def process(self) -> Process | None:
        """PID 1, pinned, if the container runs; the caller closes it."""
        record = self.record()
        return Process.find(record["pid"], record["start_time"]) if record else None

    def status(self) -> Status:
        """What runs now, by the record of its start and the kernel's word that this process still is."""
        process = self.process()
        if process is None:
            return Status("stopped")
        process.close()
        return Status("running", self.record())

    # Start.

    def start(
        self,
        system: str,
        wait: bool = True,
        timeout: float = 30.0,
        console: str | None = None,
        output: int | None = None,
        extra_file_systems: list[dict[str, Any]] | None = None,
    ) -> Status:
        """Start `system`, to be called with the lock held; what fails undoes itself.

        Args:
            wait: return only when the container is ready.
            timeout: seconds it may take to become so.
            console: path of a pty for its `/dev/console`.
            output: descriptor for PID 1's output; by default it is read here while waiting, and dropped after that.
            extra_file_systems: further mount records (S11).

        Raises:
            AlreadyRunning: something runs.
            NotReady: launched, and not ready in time (it still runs), or ended by itself.
            LauncherError: it could not be launched.
        """
        running = self.status()
        if running.state == "running":
            raise AlreadyRunning("container %s: already runs, as PID %s" % (self.name, running.pid))
        self.clear()
        spec = read_spec(system)
        config = identity.read_config(self.directory)
        remembered = dict(config)
        with AllocationLock():
            ids = identity.identity_for(self.name, spec["private_users"], config)
            if "machine_id" not in config:
                config["machine_id"] = os.urandom(16).hex()
            if config != remembered:
                identity.write_config(self.directory, config)
        shared = (extra_file_systems or []) + self._kept_journal(spec)
        starting = Start(self, system, spec, ids, str(config["machine_id"]), console, output, shared)
        try:
            return starting.run(wait, timeout)
        except NotReady as error:
            if error.ended:
                self.clear()
            raise
        except BaseException:
            self.clear()
            raise
        finally:
            starting.close()

    def _kept_journal(self, spec: dict[str, Any]) -> list[dict[str, Any]]:
        """The mount record of the directory on the host in which the journal outlives a container, when it is to."""
        if spec.get("log") != "persistent":
            return []
        source = os.path.join(self.directory, "journal")
        make_directory(source, 0o700)
        return [{"device": source, "mount_point": "/var/log/journal", "type": "none", "flags": ["bind-mount"]}]

    # Stop.

    def stop(self, timeout: float = 30.0) -> bool:
        """Ask PID 1 to stop, kill it after `timeout` seconds, and clear what is left; whether it ran.

        To be called with the lock held.
        """
        process = self.process()
        if process is not None:
            record = self.record() or {}
            process.signal(signal_number(record.get("stop_signal", "SIGTERM")))
            if not process.wait(timeout):
                process.signal(KILL)
            process.close()
        self.clear()
        return process is not None

    def clear(self) -> None:
        """Remove what a container that has ended, however, left in memory: processes, control groups, runtime files."""
        if not self.cgroup.kill(10.0):
            raise LauncherError(
                "container %s: processes in the control group %s do not end, though killed; see what they wait for"
                % (self.name, self.cgroup.path)
            )
        self.cgroup.remove()
        for entry in os.listdir(self.run_directory) if os.path.isdir(self.run_directory) else []:
            path = os.path.join(self.run_directory, entry)
            if os.path.isdir(path) and not os.path.islink(path):
                os.rmdir(path)
            else:
                os.unlink(path)

    def remove(self) -> None:
        """Forget the stopped container: generations, id range, kept journal; never what its mappings name."""
        if self.status().state == "running":
            raise LauncherError("container %s: still runs; stop it first" % self.name)
        self.clear()
        if os.path.isdir(self.directory):
            # Renamed first, so that a kill in the middle leaves no container with half its state.
            aside = os.path.join(os.path.dirname(self.directory), ".%s.removed" % self.name)
            import shutil

            shutil.rmtree(aside, ignore_errors=True)
            os.rename(self.directory, aside)
            shutil.rmtree(aside)

    # Questions to the init inside; the answers are the container's own word.

    def failed_units(self, timeout: float = 10.0) -> list[str]:
        """Names of systemd's failed units."""
        command = ["systemctl", "list-units", "--state=failed", "--plain", "--no-legend", "--no-pager", "--full"]
        from . import enter

        text = enter.capture(self, command, timeout)
        return [line.split()[0] for line in text.splitlines() if line.split()]

    def log_tail(self, lines: int = 20, unit: str | None = None, timeout: float = 10.0) -> str:
        """The end of the journal, or of one unit's."""
        command = ["journalctl", "--no-pager", "--quiet", "--output=short-iso", "--lines=%d" % lines]
        from . import enter

        return enter.capture(self, command + (["--unit=" + unit] if unit else []), timeout)


class Lock:
    """The lock of one container: the runtime directory itself, so that it leaves no file.

    A directory that was removed meanwhile is made anew. On the way out the directory goes when nothing is in it.
    """

    def __init__(self, container: Container, timeout: float) -> None:
        self.container = container
        self.directory = container.run_directory
        self.timeout = timeout
        self.descriptor = -1

    def __enter__(self) -> None:
        deadline = time.monotonic() + self.timeout
        while True:
            make_directory(self.directory, 0o755)
            try:
                self.descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                self._acquire(deadline)
            except BaseException:
                os.close(self.descriptor)
                raise
            if _same(self.descriptor, self.directory):
                return
            os.close(self.descriptor)

    def _acquire(self, deadline: float) -> None:
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            pass
        try:
            with Alarm(max(0.001, deadline - time.monotonic())):
                fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        except TimeoutError:
            message = "container %s: another run has held it for %g s; wait for that, or raise the timeout"
            raise LauncherError(message % (self.container.name, self.timeout)) from None

    def __exit__(self, *_error: object) -> None:
        if _same(self.descriptor, self.directory):
            try:
                os.rmdir(self.directory)
                os.rmdir(RUN_DIRECTORY)
            except OSError:
                pass  # it holds the state of a running container, or another's
        os.close(self.descriptor)
        self.container.cgroup.close()


class AllocationLock:
    """Held while an id range is chosen, so that two containers never get the same."""

    def __enter__(self) -> None:
        containers = os.path.join(STATE_DIRECTORY, "containers")
        make_directory(containers, 0o700)
        self.descriptor = os.open(containers, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_error: object) -> None:
        os.close(self.descriptor)


class Alarm:
    """Lets the call inside end with `TimeoutError` (setitimer(2)); for calls without a time limit of their own."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __enter__(self) -> None:
        def ring(_number: int, _frame: object) -> None:
            raise TimeoutError()

        self.former = _signal.signal(_signal.SIGALRM, ring)
        _signal.setitimer(_signal.ITIMER_REAL, self.seconds)

    def __exit__(self, *_error: object) -> None:
        _signal.setitimer(_signal.ITIMER_REAL, 0)
        _signal.signal(_signal.SIGALRM, self.former)


def _same(descriptor: int, path: str) -> bool:
    """Whether the path still names the open directory."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
