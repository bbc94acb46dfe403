# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A start by hand: on a host with systemd, as a transient unit in machine.slice, which systemd-run(1) makes.

So the host stops the container in order when it shuts down, and knows what its processes belong to.

One that is left running is a service, which comes back when it has rebooted itself. Its program is the same
`run-container` as here, which has no other way to this process than a file: what it writes there is what this one says.
One in the foreground is a scope, around this very process, which stays its caller's child.
"""

from __future__ import annotations

import _signal
import itertools
import os

from ..host.unit_by_hand import TRANSIENT_UNITS, paths_of_host, scope_words, service_words, unit_by_hand
from ..launcher import limits
from ..launcher.errors import AlreadyRunning, LauncherError
from ..launcher.paths import RUN_DIRECTORY, RUNTIME_UNIT_DIRECTORY, read_text, remove_file
from ..launcher.process import unified_group
from ..launcher.specification import read_spec
from ..launcher.stop_signals import signal_number
from .container import explain_or_stop, start_and_leave

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from typing import Callable

    from ..launcher.contract import Mount
    from ..state.record import Status
    from .container import Container

BEGUN = "begun\n"  # what the unit's program writes first; without it there is no unit
PATIENCE = 30.0  # seconds that systemd-run may take longer than the unit's own limit
VIEWS = ("mnt", "net", "pid", "user", "ipc", "uts")
# What keeps a new scope until this process is there: it says which groups it is in, and an empty line.
KEEP = "cat /proc/self/cgroup; echo; exec cat"
NO_UNIT = (
    "container %s: runs in no unit of the host's systemd: %s; a host that shuts down does not stop it in order, and "
    "waits for it in vain"
)


def start(
    container: Container,
    system: str,
    extra_file_systems: list[Mount],
    options: list[str],
    timeout: float,
    explain: Callable[[Status], None],
    is_wanted: Callable[[], bool] = lambda: True,
) -> None:
    """Start a container that is left running, and explain its status. One that cannot be explained is stopped again.

    Args:
        extra_file_systems: further mount records.
        options: what stands for these on the command line.
        is_wanted: whether to start it at all; called with the lock held.

    Raises:
        AlreadyRunning, NotReady, LauncherError: as `Container.start`.
    """
    warning = ""
    if os.path.isdir(RUNTIME_UNIT_DIRECTORY):  # sd_booted(3)
        why_not = elsewhere()
        if not why_not:
            said = _begin(container, timeout, is_wanted)
            if not said:
                return
            why_not = _start_in_unit(container, system, extra_file_systems, options, timeout, said)
        if not why_not:
            with container.lock(timeout):
                explain_or_stop(container, container.status(), timeout, explain)
            return
        warning = NO_UNIT % (container.name, why_not)
    start_and_leave(container, system, extra_file_systems, timeout, explain, is_wanted, warning)


def elsewhere(of_host: str = "/proc/1", own: str = "/proc/self") -> str:
    """Return why a unit would not be what this process is, or why the host's systemd does not keep one; or ""."""
    try:
        for name in VIEWS:
            if not os.path.samefile("%s/ns/%s" % (of_host, name), "%s/ns/%s" % (own, name)):
                return "this process is in another namespace (%s) than systemd" % name
        if not os.path.samefile(of_host + "/root", own + "/root"):
            return "this process has another root directory than systemd"
        paths = _unit_paths(read_text(of_host + "/environ"))
    except OSError as error:
        return "what systemd sees is not to be seen here: %s" % error
    if TRANSIENT_UNITS not in paths and "" not in paths:
        return "its SYSTEMD_UNIT_PATH lacks %s, so that it forgets such a unit when it is reloaded" % TRANSIENT_UNITS
    return ""


def _unit_paths(environment: str) -> list[str]:
    """Return where systemd looks for units, by its environment; "" stands for the usual places (systemd.unit(5))."""
    name = "SYSTEMD_UNIT_PATH="
    found = [variable[len(name) :] for variable in environment.split("\0") if variable.startswith(name)]
    return found[0].split(":") if found else [""]


def _begin(container: Container, timeout: float, is_wanted: Callable[[], bool]) -> str:
    """Return a new file for what the unit's program says; "" when the container is not to be started.

    Raises:
        AlreadyRunning: it runs.
    """
    said = os.path.join(RUN_DIRECTORY, ".%s.%d" % (container.name, os.getpid()))
    with container.lock(timeout):
        if not is_wanted():
            return ""
        running = container.status()
        if running.state == "running":
            raise AlreadyRunning("container %s: already runs, as PID %s" % (container.name, running.pid))
        remove_file(said)
        os.close(os.open(said, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    return said


def _start_in_unit(
    container: Container, system: str, extra_file_systems: list[Mount], options: list[str], timeout: float, said: str
) -> str:
    """Start a container in a transient unit, and wait until it is ready. Return why there is no unit, or "".

    Raises:
        LauncherError: there was one, and in it the start has failed.
    """
    import subprocess

    unit = unit_by_hand(container.name)
    if os.path.exists(os.path.join(TRANSIENT_UNITS, unit)):
        _stop(unit)  # what is not gone yet, or waits to start again
    spec = read_spec(system)
    mounts = paths_of_host(spec, extra_file_systems)
    bounds = limits.read(container.directory)
    signal = signal_number(spec.init.stop_signal)
    command = service_words(container.name, system, ["--by-hand=" + said, *options], timeout, bounds, mounts, signal)
    try:
        done = run_silently(command, timeout + PATIENCE)
        failed, complaint = done.returncode != 0, done.stderr.decode("utf-8", "replace").strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        failed, complaint = True, "%s: %s" % (command[0], error)
    except BaseException:  # a signal came
        _stop(unit)
        raise
    finally:
        begun, message = _take(said)
    if message:
        raise LauncherError(message)
    if failed and begun:
        _stop(unit)
        raise LauncherError(
            "container %s: cannot be started as the unit %s: %s; journalctl --unit=%s says more"
            % (container.name, unit, complaint, unit)
        )
    return complaint or "systemd-run has failed" if failed else ""


def run_silently(command: list[str], seconds: float) -> subprocess.CompletedProcess[bytes]:
    """Run a command without input, and return how it has ended, with what it has said on standard error.

    A signal whose handler raises has it killed, also one that comes while it begins.

    Raises:
        OSError: it cannot be executed.
        subprocess.TimeoutExpired: it took longer than so many seconds, and was killed.
    """
    import subprocess

    null = subprocess.DEVNULL
    former = _signal.pthread_sigmask(_signal.SIG_BLOCK, [])

    def heed() -> None:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, former)

    def heed_in_child() -> None:
        for number in _signal.valid_signals():
            if callable(_signal.getsignal(number)):
                _signal.signal(number, _signal.SIG_DFL)  # as after exec
        heed()

    try:
        _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
        with subprocess.Popen(
            command, stdin=null, stdout=null, stderr=subprocess.PIPE, preexec_fn=heed_in_child
        ) as program:
            try:
                heed()
                complaint = program.communicate(timeout=seconds)[1]
            except BaseException:
                program.kill()
                program.wait()
                raise
    finally:
        heed()
    return subprocess.CompletedProcess(command, program.returncode, stderr=complaint)


def _stop(unit: str) -> None:
    """Stop a unit, and wait for that."""
    import subprocess

    null = subprocess.DEVNULL
    try:
        subprocess.run(["systemctl", "stop", unit], stdin=null, stdout=null, stderr=null, check=False)
    except OSError:
        pass  # then there is none


def _take(said: str) -> tuple[bool, str]:
    """Return whether the unit's program has run, and what it says about its failure. Remove the file."""
    text = read_text(said)
    remove_file(said)
    try:
        os.rmdir(RUN_DIRECTORY)
    except OSError:
        pass  # a container runs
    return text.startswith(BEGUN), text[len(BEGUN) :].strip()


def enter_scope(container: Container, system: str, extra_file_systems: list[Mount], timeout: float) -> None:
    """Move this process into a new scope, for a container that it will run in the foreground.

    Where it is the main process of a unit that was made for such, or systemd refuses, it stays where it is.
    """
    import subprocess

    if elsewhere() or _has_own_unit(container):
        return
    mounts = paths_of_host(read_spec(system), extra_file_systems)
    bounds = limits.read(container.directory)
    command = scope_words(container.name, ["sh", "-c", KEEP], timeout, bounds, mounts)
    pipe = subprocess.PIPE
    try:
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as keeper:
            try:
                lines = iter(keeper.stdout.readline, b"") if keeper.stdout is not None else iter(())
                said = itertools.takewhile(lambda line: line != b"\n", lines)
                group = unified_group(b"".join(said).decode("utf-8", "replace"))
                if group.endswith(".scope"):
                    container.cgroup.move_below_unit(group)
            finally:
                keeper.kill()
    except OSError:
        pass  # then it is stopped with what this process belongs to


def _has_own_unit(container: Container) -> bool:
    """Return whether this is the main process of a service whose control group is handed over to it (Delegate=)."""
    if os.environ.get("SYSTEMD_EXEC_PID") != str(os.getpid()):
        return False
    group = "/proc/self/fd/%d/%s" % (container.cgroup.hierarchy, unified_group(read_text("/proc/self/cgroup")))
    for name in ("trusted.delegate", "user.delegate"):
        try:
            if os.getxattr(group, name) == b"1":
                return True
        except OSError:
            pass  # which of them there is depends on the version of systemd
    return False


def tell_caller(said: str, text: str) -> None:
    """Tell the process that waits for the unit's start, if it still does."""
    try:
        descriptor = os.open(said, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(descriptor, text.encode("utf-8", "replace"))
    finally:
        os.close(descriptor)
