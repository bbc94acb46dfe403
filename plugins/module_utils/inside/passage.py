# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The processes that enter a running container, until one of them executes the command (`enter` is their caller).

middle      in the container's control group: closes what it need not keep, takes the limits of PID 1, joins the
            namespaces, and so has the next process in the container's pid namespace
command     by CLONE_PARENT the caller's child: gives up what PID 1 has not, then resolves the first path of the
            container's, imports nothing (`program`), and executes when the caller has given it the scheduling of PID 1

Root inside has a say in the scheduling of PID 1. So the processes on the way in have none that is worse than PID 1's
was when it began, and neither have the host's own questions.

Whenever a process changes its ids or its user namespace, the kernel makes it dumpable where `fs.suid_dumpable` is 1.
So it is made not dumpable after each change, and becomes root inside before it can be seen there.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os

from ..launcher import confine, linux, lookup, program
from ..launcher.attributes import UMASK, Attributes, reset_own
from ..launcher.descriptors import keep_only
from ..launcher.errors import LauncherError
from ..launcher.handshake import read_token, tell, write_all
from ..launcher.loading import load_nothing_more
from ..launcher.paths import read_text
from ..launcher.trees import identity
from .account import Account

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from ..launcher.contract import Security
    from ..launcher.process import Process

INSIDE = -1  # in place of a stream's descriptor: the container's own null device
ENDED = "it does not run any more"
CAN_RUN = b"ready\n"  # the report of a command that waits for nothing but its caller
NO_TASKS = "it has as many tasks as its limit `tasks_max` lets it have; end some inside, or stop it"
NOT_ROOT = "its PID 1 is in a user namespace that has no root; restart it"
JOINED = (  # that are joined as the host's root, before the user namespace
    linux.CLONE_NEWNS
    | linux.CLONE_NEWPID
    | linux.CLONE_NEWIPC
    | linux.CLONE_NEWUTS
    | linux.CLONE_NEWCGROUP
    | linux.CLONE_NEWNET
)


# ioctl_nsfs(2): _IO(0xb7, 2). The kernel of ppc64le numbers requests without data otherwise.
NS_GET_PARENT = 0xB702 | (0x20000000 if linux.MACHINE == "ppc64le" else 0)


class InheritedLimits:
    """The limits that a process takes over from the container's PID 1 when it enters.

    Attributes:
        attributes: resource limits and scheduling.
        on_the_way: the same until the command can run, with the caller's OOM score.
        bound: the capabilities that its programs can have, as a bit mask.
        filtered: whether it has a system-call filter.
    """

    def __init__(self, pid: int) -> None:
        self.attributes = Attributes.of_entering(pid)
        self.on_the_way = self.attributes.raised(int(read_text("/proc/self/oom_score_adj")))
        status = read_text("/proc/%d/status" % pid)
        if not status:
            raise ProcessLookupError(pid)
        self.bound = int(status.partition("\nCapBnd:")[2].split(None, 1)[0], 16)
        self.filtered = confine.is_filtered(status)

    def raise_scheduling(self) -> None:
        """Let the command have no worse scheduling than PID 1 was started with."""
        self.attributes = self.attributes.raised(self.attributes.oom_score_adj)


class Passage:
    """The way of one command into a container, made in the middle process.

    Args:
        process: PID 1 of the container.
        security: that of its system's specification.
        filter_program: its system-call filter, or none.
        limits: what PID 1 has.
        report: descriptor on which the caller is told of what fails, and of the command's PID.
        wait: descriptor from which a byte comes when the command may run, and none when it was given up.
    """

    def __init__(
        self,
        process: Process,
        security: Security,
        filter_program: bytes | None,
        limits: InheritedLimits,
        report: int,
        wait: int,
    ) -> None:
        self.process = process
        self.security = security
        self.filter_program = filter_program
        self.limits = limits
        self.report = report
        self.wait = wait

    def go(
        self,
        command: list[str] | None,
        user: str,
        streams: tuple[int, int, int],
        terminal: bool,
        environment: dict[str, str],
        directory: str | None,
    ) -> NoReturn:
        """Join the container's namespaces, and start the command's process there; the arguments are as of `spawn`."""
        try:
            _hide()
            _forget_command_line()
            load_nothing_more()
            wanted = (self.report, self.wait, self.process.descriptor, *streams)
            self.report, self.wait, self.process.descriptor, *inside = keep_only(*wanted)
            self.limits.on_the_way.give(0)
            self._join()
            self._become_root()
            try:
                child = linux.clone3(linux.CLONE_PARENT)
            except BlockingIOError:
                raise LauncherError(NO_TASKS) from None
            if child == 0:
                self._become(command, user, inside, terminal, environment, directory)
            write_all(self.report, b"pid %d\n" % child)
        except BaseException as error:
            tell(self.report, "", error)
            os._exit(1)
        os._exit(0)

    def _join(self) -> None:
        """Join the user namespace of the start, which PID 1 may have left, and the others in which PID 1 is."""
        try:
            users = _open_user_namespace(self.process.pid)
            linux.setns(self.process.descriptor, JOINED)
        except (FileNotFoundError, ProcessLookupError):
            raise LauncherError(ENDED) from None
        linux.setns(users, linux.CLONE_NEWUSER)
        _hide()
        os.close(users)
        self.process.close()

    @staticmethod
    def _become_root() -> None:
        try:
            os.setgroups([])
            _take_ids(0, 0)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EINVAL):
                raise
            raise LauncherError(NOT_ROOT) from None

    def _become(
        self,
        command: list[str] | None,
        user: str,
        streams: list[int],
        terminal: bool,
        environment: dict[str, str],
        directory: str | None,
    ) -> NoReturn:
        """Give up what PID 1 lacks, change to the command's directory, and execute the command."""
        try:
            os.setsid()
            # The filter first, for it takes a capability that PID 1 may have given up; and the keys before that.
            confine.leave_session_keyring()
            confine.filter_calls(self.filter_program)
            confine.give_up(self.security, self.limits.bound)
            os.chdir("/")
            root = lookup.open_root("/")
            if INSIDE in streams:
                null = program.open_own_null(root)
                streams = [null if stream == INSIDE else stream for stream in streams]
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
            if terminal:
                fcntl.ioctl(0, linux.TIOCSCTTY, 0)
            account = Account.find(root, user)
            if account.uid or account.gid:
                _hand_over(account.uid)
                os.setgroups(account.groups)
                _take_ids(account.uid, account.gid)
            directory = _change_directory(root, directory, account.home)
            variables = {"PATH": program.SEARCH_PATH, "LANG": "C.UTF-8", "container": "unshare"}
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
            write_all(self.report, CAN_RUN)
            read_token(self.wait, "the caller has given it up")
            found.execute(variables)
        except BlockingIOError:  # where the kernel counts the tasks of the user namespace
            tell(self.report, "", LauncherError(NO_TASKS))
        except BaseException as error:
            tell(self.report, "", error)
        os._exit(1)


def _hide() -> None:
    """Let nobody inside trace this process, or look into its memory and its descriptors."""
    linux.prctl(linux.PR_SET_DUMPABLE, 0)


def _take_ids(uid: int, gid: int) -> None:
    """Take a user and a group as the ids of this process. Stay hidden."""
    os.setresgid(gid, gid, gid)
    _hide()
    os.setresuid(uid, uid, uid)
    _hide()


def _open_user_namespace(pid: int) -> int:
    """Return a descriptor of the user namespace that a start has made for its PID 1.

    PID 1 may be in another by now. The ancestor of that whose parent is the caller's own is the one. Where there is
    none, the one in which PID 1 is has to do.
    """
    opened = [os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC)]
    try:
        own = identity(opened[0])
        opened.append(os.open("/proc/%d/ns/user" % pid, os.O_RDONLY | os.O_CLOEXEC))
        wanted = opened[-1]
        while True:
            try:
                opened.append(fcntl.ioctl(opened[-1], NS_GET_PARENT))
            except PermissionError:  # not below the caller's own
                break
            if identity(opened[-1]) == own:
                wanted = opened[-2]
                break
        return os.dup(wanted)
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _hand_over(uid: int) -> None:
    """Give the user the standard streams that belong to root inside, so that /dev/stdout opens (proc_pid_fd(5))."""
    for number in (0, 1, 2):
        try:
            os.fchown(number, uid, -1)
        except PermissionError:
            pass  # it is not root's: the null device, or one that was not made for this command


def _change_directory(root: int, asked: str | None, home: str) -> str:
    """Change to the directory asked for, else to the user's home, else to the root; return its path."""
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


def _forget_command_line() -> None:
    """Blank this process's own `/proc/PID/cmdline`: anybody inside may read it, and it is the host's."""
    text = read_text("/proc/self/stat")
    fields = text[text.rfind(")") + 2 :].split()
    start, end = int(fields[45]), int(fields[46])  # arg_start, arg_end: the 48th and 49th of proc_pid_stat(5)
    if 0 < start < end:
        ctypes.memset(start, 0, end - start)
