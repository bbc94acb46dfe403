# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of one container: start, readiness, stop, removal."""

from __future__ import annotations

import errno
import os
import time

from ..launcher import identity
from ..launcher.contract import Mount
from ..launcher.errors import AlreadyRunning, LauncherError, NotReady
from ..launcher.excursion import in_child
from ..launcher.paths import HOLD_FILE, NETWORK_FILE, NEW, make_directory, remove_entries, remove_file
from ..launcher.process import KILL, KILL_SECONDS, Process, reap_left
from ..launcher.specification import read_spec
from ..launcher.stop_signals import signal_number
from ..launcher.volumes import SIZES_FILE
from ..launcher.written_paths import paths_written
from ..state import configs
from ..state.locks import AllocationLock
from ..state.record import CLAIM, FROZEN, RecordedContainer, Status, explained

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from ..inside.outdated import Outdated
    from ..inside.units import Judgement
    from ..launcher.contract import Specification

# All that a container has on the host, in the order of its removal: the ids are given back when nothing bears them any
# more. Whatever else lies in these directories is somebody's data, perhaps a mapping's, and stays.
LIMITS_FILE = "limits.json"
ON_DISK = (
    "current",
    "former",
    NEW,
    "generations",
    "journal",
    "layer",
    LIMITS_FILE + NEW,
    LIMITS_FILE,
    NETWORK_FILE + NEW,
    NETWORK_FILE,
    SIZES_FILE + NEW,
    SIZES_FILE,
    configs.CONFIG_FILE + NEW,
    configs.CONFIG_FILE,
)
_OF_NAMES = ("names", "zones", "nameservers", "hosts")
_REPLACED = (*_OF_NAMES, NETWORK_FILE, "mapped", "system", "cgroup", CLAIM, FROZEN, "state.json")
RUNTIME = ("notify", "network", *(name + end for name in _REPLACED for end in (NEW, "")))
BOOTED = ("running", "degraded", "maintenance", "stopping")  # what is-system-running says after the boot
PAUSE_BETWEEN_QUESTIONS = 0.05  # seconds between two questions to a systemd that takes none yet
STAYS = (
    "container %s: its PID 1 (%d) does not end, though killed, before these processes of the host let go of the "
    "children that they have inside: %s; end them, or let them go on, then stop the container again"
)
KILL_MOMENT = 0.5  # seconds in which killed processes end, unless they wait for something
KILL_TIMEOUT = 10.0  # seconds after which a killed process is taken for one that waits for broken hardware


class Container(RecordedContainer):
    """The container `name` of this host: its start, its stop, its removal."""

    @explained("start")
    def start(
        self,
        system: str,
        wait: bool = True,
        timeout: float = 30.0,
        console: str | None = None,
        output: int | None = None,
        extra_file_systems: list[Mount] | None = None,
        before_boot: Callable[[], None] | None = None,
    ) -> Status:
        """Start `system`. The caller holds the lock. A start that fails undoes itself.

        Args:
            wait: return only when the container is ready.
            timeout: seconds it may take to become so.
            console: path of a pty for its `/dev/console`.
            output: descriptor for PID 1's output; by default that of an init which notifies is read here while waiting,
                and that of another goes to a file inside.
            extra_file_systems: further mount records (S11).
            before_boot: called when the first process has all that it needs, and does not run its program yet.

        Raises:
            AlreadyRunning: something runs.
            Held: it moves to another host, or from one.
            NotReady: launched, and not ready in time (it still runs), or ended by itself.
            LauncherError: it could not be launched.
        """
        cleared = self._is_cleared()
        running = Status("stopped") if cleared else self.status()
        if running.state == "running":
            raise AlreadyRunning("container %s: already runs, as PID %s" % (self.name, running.pid))
        if os.path.lexists(os.path.join(self.directory, HOLD_FILE)):
            from ..state import holds  # which hardly any start needs

            before_boot = holds.let_start(self.name, self.directory, before_boot)
        spec = read_spec(system)
        shares = extra_file_systems or []
        writes = any(paths_written(record) for record in spec.file_systems + shares)
        if writes:
            from ..state import writers  # much code, of which a container that writes nowhere on the host needs none

            if not cleared:  # a start that is refused removes nothing of the last run, such as a reboot's mark
                writers.refuse_second(self.name, spec.file_systems + shares)
        if not cleared:
            self.stop(timeout)
        reap_left()
        remove_file(os.path.join(self.directory, configs.CONFIG_FILE + NEW))
        if writes:
            writers.claim(self, system, spec.file_systems, shares)
        try:
            return self._start(system, spec, wait, timeout, console, output, shares, before_boot)
        finally:
            if writes:
                self.give_up_claim()

    def _start(
        self,
        system: str,
        spec: Specification,
        wait: bool,
        timeout: float,
        console: str | None,
        output: int | None,
        extra: list[Mount],
        before_boot: Callable[[], None] | None,
    ) -> Status:
        """Start `system`, as `start` has it, when nobody else writes where it does."""
        from ..state import id_ranges
        from .start import Start

        config = configs.read_config(self.directory)
        remembered = dict(config)
        networking = None
        with AllocationLock():
            ids = id_ranges.identity_for(self.name, spec.private_users, config)
            if configs.MACHINE_ID not in config:
                config[configs.MACHINE_ID] = os.urandom(16).hex()
            if spec.network is not None:
                from .networking import Networking

                networking = Networking(self, system, spec, config)
            if config != remembered:
                configs.write_config(self.directory, config)
            configs.keep_configs()
        shared = extra + self._kept_journal(spec)
        said: list[str] = []
        if any(record.volume is not None for record in spec.file_systems):
            from ..state import volumes  # most containers have none

            said = volumes.prepare(self.directory, spec)
        notes = {"foreground": output is not None, "shares": bool(extra), "timeout": timeout}
        layer = None
        if spec.root.is_kept:
            from ..state import kept_layer

            layer = kept_layer.prepare(self.directory, spec)
        machine_id = str(config[configs.MACHINE_ID])
        starting = Start(
            self, system, spec, ids, machine_id, console, output, shared, notes, before_boot, networking, layer
        )
        starting.warnings += said
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
        """Remove what a failed start left. The next stop or start removes what the kernel does not let end yet."""
        try:
            self.clear(KILL_SECONDS)
        except LauncherError:
            pass  # why the start failed is what is to be said

    def _kept_journal(self, spec: Specification) -> list[Mount]:
        """Return the mount of the host's directory for a persistent journal; an empty list for a volatile one."""
        if spec.log != "persistent":
            return []
        source = os.path.join(self.directory, "journal")
        make_directory(source, 0o700)
        kept = Mount(device=source, mount_point="/var/log/journal", type="none", flags=["bind-mount"])
        kept.journal = True
        return [kept]

    def await_ready(self, timeout: float = 30.0) -> bool:
        """Wait for a systemd that was started without waiting, and note that it is ready. Return whether it is in time.

        The caller holds the lock.
        """
        from ..inside import questions

        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            try:
                answer = questions.capture(self, ["systemctl", "is-system-running", "--wait"], left).strip()
            except LauncherError:
                answer = ""
            if answer in BOOTED:
                self.write_record(dict(self.record() or {}, ready=True))
                return True
            time.sleep(PAUSE_BETWEEN_QUESTIONS)  # while it takes no question there is nothing to wait for

    # Stop.

    @explained("stop")
    def stop(self, timeout: float = 30.0) -> bool:
        """Ask PID 1 to stop, kill it after `timeout` seconds, and clear what is left. Return whether it ran.

        The caller holds the lock. The next stop, or a start, finishes a stop that was cut short.
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
        """Remove what an ended container left in memory: processes, control groups, runtime files.

        Args:
            timeout: seconds in which what is killed must end.

        Raises:
            LauncherError: something has not ended; what belongs to it is left for the next stop.
        """
        if self._is_cleared():
            reap_left()
            return
        record = self.record() or {}
        if record.get("machine"):
            from . import machined

            machined.unregister(self.name)
        process = self.process(ended=True)
        try:
            if not self._kill(process, timeout):
                raise LauncherError(
                    "container %s: processes in the control group %s do not end, though killed; see what they wait for"
                    % (self.name, self.cgroup.whole)
                )
            self.cgroup.remove()
            # It leaves its control group a moment before, and then waits until those who entered are let go of.
            if process is None:
                reap_left()
            elif not process.end(timeout):
                raise LauncherError(STAYS % (self.name, process.pid, ", ".join(process.unreaped()) or "unknown"))
        finally:
            if process is not None:
                process.close()
        if os.path.lexists(os.path.join(self.run_directory, NETWORK_FILE)):
            from . import networking

            networking.release(self.name)
        remove_entries(self.run_directory, RUNTIME)

    def _is_cleared(self) -> bool:
        """Return whether nothing is left: no runtime file, and no control group."""
        try:
            left = os.listdir(self.run_directory)
        except FileNotFoundError:
            left = []
        return not left and not self.cgroup.exists()

    def _kill(self, process: Process | None, timeout: float) -> bool:
        """Kill PID 1, if it is left, and all others. Return whether none is left after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        if process is not None:
            process.signal(KILL)
        # PID 1 ends after all others of its pid namespace, and so after whoever could hold a lock of the kernel's.
        if (process is None or process.wait(KILL_MOMENT)) and self.cgroup.kill(KILL_MOMENT):
            return True
        from . import fuse

        record = self.record() or {}
        while True:
            try:
                fuse.abort(record.get("uid_base", 0), record.get("uid_count", identity.COUNT))
            except OSError:
                pass  # then only what waits for such a file system is left
            if self._kill_each():
                return True
            if time.monotonic() >= deadline:
                return False

    def _kill_each(self) -> bool:
        """Kill what is left in the control groups, in a child that may be kept waiting. Return whether none is left."""

        def work() -> str:
            self.cgroup.kill_each()
            return "" if self.cgroup.wait_empty(PAUSE_BETWEEN_QUESTIONS) else "left"

        try:
            return not in_child(work, KILL_MOMENT, keep=(self.cgroup.hierarchy,))
        except TimeoutError:
            return False

    @explained("be removed")
    def remove(self) -> None:
        """Remove the stopped container: generations, kept journal, id range; never its volumes (V6), nor what it maps.

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
        """Return whether the host keeps anything of the container."""
        return any(os.path.lexists(os.path.join(self.directory, entry)) for entry in ON_DISK)

    # What its init says is the container's own word.

    def judge(self, timeout: float = 10.0) -> Judgement:
        """Return whether all that was declared runs; asked of systemd."""
        from ..inside import units

        return units.judge(self, timeout)

    def failed_units(self, timeout: float = 10.0) -> list[str]:
        """Return the names of the units that do not do what was declared."""
        return self.judge(timeout).units

    def outdated_units(self, timeout: float = 5.0) -> dict[str, Outdated]:
        """Return the units that run files of the store which the host has replaced or removed, by their names."""
        from ..inside import outdated

        return outdated.outdated_units(self, timeout)

    def log_tail(self, lines: int = 20, unit: str | None = None, timeout: float = 10.0) -> str:
        """Return the end of the journal, or of one unit's; with another init than systemd, of its output."""
        from ..inside import questions

        return questions.log_tail(self, lines, unit, timeout)


def start_and_leave(
    container: Container,
    system: str,
    extra_file_systems: list[Mount],
    timeout: float,
    explain: Callable[[Status], None],
    is_wanted: Callable[[], bool] = lambda: True,
    warning: str = "",
) -> None:
    """Start a container that is left running, and explain its status. One that cannot be explained is stopped again.

    Args:
        is_wanted: whether to start it at all; called with the lock held.
        warning: what to add to its warnings.
    """
    with container.lock(timeout):
        if is_wanted():
            status = container.start(system, True, timeout, extra_file_systems=extra_file_systems)
            if warning:
                status.warnings = [*status.warnings, warning]
            explain_or_stop(container, status, timeout, explain)


def explain_or_stop(container: Container, status: Status, timeout: float, explain: Callable[[Status], None]) -> None:
    """Explain the status of a container that was just started. What nobody was told of does not go on running."""
    try:
        explain(status)
    except BaseException:
        container.stop(timeout)
        raise
