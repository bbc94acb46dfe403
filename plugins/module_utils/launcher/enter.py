# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process in a running container: in its namespaces, its control group, and under the limits of its PID 1.

Until it has executed a program of the container's, the entering process is not dumpable: root inside can neither
trace it nor look through its descriptors at the host (CVE-2019-5736, CVE-2024-21626). As the kernel forgets that of a
dying process, which root inside can make it, it has no descriptor of the host's by the time it can be seen. What root
inside can do is to stop it, or to freeze the control group it gets into; so every wait for it has an end.

    caller      the host's root; reads what it must know of the container, from outside
    middle      its child in the container's control group: closes what it need not keep, takes the limits of PID 1,
                joins the namespaces, and so has the next process in the container's pid namespace
    command     by CLONE_PARENT the caller's child: gives up what PID 1 has not, then resolves the first path of the
                container's, imports nothing (`program`), and executes

"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import time

from . import confine, lookup, program
from . import syscalls as sys
from .account import ROOT, Account
from .attributes import UMASK, Attributes, reset_own
from .descriptors import keep_only
from .errors import LauncherError, NotRunning
from .excursion import in_child
from .handshake import tell, write_all
from .init import PATH, TIOCSCTTY
from .paths import read_text
from .process import KILL, PAUSE, leave, milliseconds
from .specification import read_spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from .container import Container

INSIDE = -1  # in place of a stream's descriptor: the container's own null device
ENTER_TIMEOUT = 30.0  # seconds until the command must run
REAP_TIMEOUT = 1.0  # seconds in which the end of a killed process must come to be known
CAPTURE_LIMIT = 1 << 20  # bytes of a captured answer; the rest is dropped
NAMESPACES = (
    sys.CLONE_NEWUSER
    | sys.CLONE_NEWNS
    | sys.CLONE_NEWPID
    | sys.CLONE_NEWIPC
    | sys.CLONE_NEWUTS
    | sys.CLONE_NEWCGROUP
    | sys.CLONE_NEWNET
)
ENTERED = "unshare.entered"  # the control group of entered processes: below the container's, beside its init's


class Entry:
    """What is needed to enter a container, taken from the host before anything of the container is touched.

    Raises:
        NotRunning: the container does not run.
    """

    def __init__(self, container: Container) -> None:
        process = container.process()
        if process is None:
            raise NotRunning("container %s: does not run; start it first" % container.name)
        self.process = process
        self.container = container
        system = str((container.record() or {}).get("system"))
        self.spec = read_spec(system)
        self.filter_program = confine.read_filter(system)

    def close(self) -> None:
        """Give back the descriptors of the host."""
        self.process.close()
        self.container.cgroup.close()

    def open_root(self) -> int:
        """Return the container's root directory, as a descriptor."""
        return lookup.open_root("/proc/%d/root" % self.process.pid)

    def host_id(self, user: str) -> int:
        """Return the host's uid of a user of the container, by the container's own account file.

        That is read by a process that can be given up: the file may be one of a file system of root inside.
        """
        base = int((self.container.record() or {}).get("uid_base", 0))
        if user in ROOT:
            return base
        root = self.open_root()
        try:
            said = in_child(lambda: str(Account.find(root, user).uid), ENTER_TIMEOUT, (root,))
        except TimeoutError:
            raise self._cannot_enter("its /etc/passwd was not read within %g s" % ENTER_TIMEOUT) from None
        except LauncherError as error:
            raise self._cannot_enter(str(error)) from None
        finally:
            os.close(root)
        return base + int(said)

    def _open_cgroup(self) -> int:
        parent = self.container.cgroup.open()
        try:
            try:
                os.mkdir(ENTERED, 0o755, dir_fd=parent)
            except FileExistsError:
                pass
            return os.open(ENTERED, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        finally:
            os.close(parent)

    def spawn(
        self,
        command: list[str] | None,
        user: str,
        streams: tuple[int, int, int],
        terminal: bool,
        environment: dict[str, str] | None = None,
        directory: str | None = None,
        timeout: float = ENTER_TIMEOUT,
    ) -> int:
        """Run a command, or the user's login shell when there is none; the PID of a child to wait for.

        Args:
            user: a name of the container's `/etc/passwd`, or a number.
            streams: descriptors for standard input, output and error, or `INSIDE`.
            terminal: the first stream is a pty that is to control the new session.
            environment: added to that of the user.
            directory: where to start; the user's home by default.
            timeout: seconds until the command must run.

        Raises:
            LauncherError: it does not run.
        """
        deadline = time.monotonic() + timeout
        try:
            limits = Limits(self.process.pid)
        except (ProcessLookupError, FileNotFoundError):
            raise self._cannot_enter("it does not run any more") from None
        cgroup = self._open_cgroup()
        report_read, report_write = os.pipe()
        middle = sys.clone3(0, sys.SIGCHLD, cgroup)
        if middle == 0:
            report = report_write
            try:
                sys.prctl(sys.PR_SET_DUMPABLE, 0)
                _forget_command_line()
                program.load_nothing_more()
                report, self.process.descriptor, *inside = keep_only(report, self.process.descriptor, *streams)
                limits.attributes.give(0)
                self._join()
                child = sys.clone3(sys.CLONE_PARENT)
                if child == 0:
                    self._become(command, user, inside, terminal, environment or {}, directory, limits.bound, report)
                write_all(report, b"pid %d\n" % child)
            except BaseException as error:
                tell(report, "", error)
                os._exit(1)
            os._exit(0)
        os.close(cgroup)
        os.close(report_write)
        return self._follow(report_read, middle, deadline)

    def _join(self) -> None:
        try:
            sys.setns(self.process.descriptor, NAMESPACES)
        except ProcessLookupError:
            raise LauncherError("it does not run any more") from None
        self.process.close()

    def _cannot_enter(self, why: str) -> LauncherError:
        return LauncherError("container %s: cannot enter: %s" % (self.container.name, why))

    def _follow(self, report: int, middle: int, deadline: float) -> int:
        """Read what the entering processes say until the command runs, or the deadline; the command's PID."""
        poll = select.poll()
        poll.register(report, select.POLLIN)
        said = b""
        late = False
        while True:
            late = not poll.poll(milliseconds(deadline - time.monotonic()))
            data = b"" if late else os.read(report, 65536)
            if not data:
                break
            said += data
        os.close(report)
        if late:
            os.kill(middle, KILL)
        os.waitpid(middle, 0)
        child, errors = 0, []
        for line in said.decode("utf-8", "replace").splitlines():
            kind, _separator, text = line.partition(" ")
            if kind == "pid" and text.isdigit() and _is_child(int(text)):
                child = int(text)
            else:
                errors.append(text)
        if late:
            errors.insert(0, "it was not let in in time; is a process or a control group inside stopped on purpose?")
        if errors or not child:
            if child:
                os.kill(child, KILL)
                _reap(child, time.monotonic() + REAP_TIMEOUT)
            raise self._cannot_enter(errors[0] if errors else "it ended meanwhile")
        return child

    def _become(
        self,
        command: list[str] | None,
        user: str,
        streams: list[int],
        terminal: bool,
        environment: dict[str, str],
        directory: str | None,
        bound: int,
        report: int,
    ) -> NoReturn:
        """Give up what PID 1 has not, and then go where the command is to run, and execute it."""
        try:
            os.setsid()
            os.setgroups([])
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
            confine.give_up(self.spec.get("security", {}), bound)
            confine.filter_calls(self.filter_program)
            os.chdir("/")
            root = lookup.open_root("/")
            if INSIDE in streams:
                null = program.open_null(root)
                streams = [null if stream == INSIDE else stream for stream in streams]
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
            if terminal:
                fcntl.ioctl(0, TIOCSCTTY, 0)
            account = Account.find(root, user)
            if account.uid or account.gid:
                os.setgroups(account.groups)
                os.setresgid(account.gid, account.gid, account.gid)
                os.setresuid(account.uid, account.uid, account.uid)
            directory = _change_directory(root, directory, account.home)
            variables = {"PATH": PATH, "LANG": "C.UTF-8", "container": "unshare"}
            variables.update(HOME=account.home, USER=account.name, LOGNAME=account.name, SHELL=account.shell)
            if terminal:
                variables["TERM"] = os.environ.get("TERM", "linux")
            variables.update(environment)
            if command is None:
                words = ["-" + os.path.basename(account.shell)]
                found = program.find(root, account.shell, words)
            elif "/" in command[0]:
                found = program.find(root, os.path.join(directory, command[0]), command)
            else:
                found = program.find_in_path(root, command[0], command, variables["PATH"])
            reset_own()
            os.umask(UMASK)
            found.execute(variables)
        except BaseException as error:
            tell(report, "", error)
        os._exit(1)


class Limits:
    """What a running container's PID 1 has, and who enters is to have, too.

    Attributes:
        attributes: its resource limits and scheduling.
        bound: the capabilities that its programs can have, as a bit mask.
    """

    def __init__(self, pid: int) -> None:
        self.attributes = Attributes.of(pid)
        self.bound = int(read_text("/proc/%d/status" % pid).partition("\nCapBnd:")[2].split(None, 1)[0], 16)


def _change_directory(root: int, asked: str | None, home: str) -> str:
    """Go to the directory that was asked for, or to the user's home, or else to the root; the path of it."""
    path = home if asked is None else asked
    try:
        descriptor = lookup.open_found(root, path, os.O_PATH | os.O_DIRECTORY)
        try:
            os.fchdir(descriptor)
        finally:
            os.close(descriptor)
        return path
    except OSError:
        if asked is not None:
            raise
        return "/"


def capture(container: Container, command: list[str], timeout: float) -> str:
    """What a command run as root in the container prints, for at most `timeout` seconds and 1 MiB.

    Raises:
        LauncherError: the container does not run, or the command cannot be run, or takes longer.
    """
    return ask(container, command, timeout)[1]


def ask(container: Container, command: list[str], timeout: float) -> tuple[int, str]:
    """The wait status of a command run as root in the container, and what it prints; limits and errors of `capture`."""
    deadline = time.monotonic() + timeout
    entry = Entry(container)
    read, write = os.pipe()
    try:
        variables = {"SYSTEMD_PAGER": "", "TERM": "dumb"}
        child = entry.spawn(command, "root", (INSIDE, write, INSIDE), False, variables, "/", timeout)
        os.close(write)
        write = -1
        pidfd = sys.pidfd_open(child)
        said, over = _read_all(read, deadline)
        # Who has closed its output may run on.
        over = over and _has_ended(pidfd, deadline)
        if not over:
            sys.pidfd_send_signal(pidfd, KILL)
        os.close(pidfd)
        status = _reap(child, max(deadline, time.monotonic() + REAP_TIMEOUT))
        if not over or status is None:
            raise LauncherError("container %s: %s did not answer in %g s" % (container.name, command[0], timeout))
        return status, said.decode("utf-8", "replace")
    finally:
        entry.close()
        os.close(read)
        if write >= 0:
            os.close(write)


def _has_ended(pidfd: int, deadline: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(milliseconds(deadline - time.monotonic())))


def _reap(child: int, deadline: float) -> int | None:
    """The wait status of a child that has ended; none when somebody inside traces it and so keeps that (ptrace(2))."""
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status
        if time.monotonic() >= deadline:
            leave(child)
            return None
        time.sleep(PAUSE)


def _is_child(pid: int) -> bool:
    """Whether this is a child of this process: what may be killed by its number, whoever told that."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _forget_command_line() -> None:
    """Blank this process's own `/proc/PID/cmdline`, which anybody inside may read: it is the host's business."""
    text = read_text("/proc/self/stat")
    fields = text[text.rfind(")") + 2 :].split()
    start, end = int(fields[45]), int(fields[46])  # arg_start, arg_end: the 48th and 49th of proc_pid_stat(5)
    if 0 < start < end:
        ctypes.memset(start, 0, end - start)


def _read_all(descriptor: int, deadline: float) -> tuple[bytes, bool]:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    said = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(int(left * 1000) + 1):
            return said, False
        data = os.read(descriptor, 65536)
        if not data:
            return said, True
        if len(said) < CAPTURE_LIMIT:
            said += data
