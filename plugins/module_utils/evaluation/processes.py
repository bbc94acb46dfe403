# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The processes and namespaces of one command, and how they wait for each other.

    caller      the module, in the host's namespaces; it reads what the command says, and waits for its end
    builder     a fork of it in a private mount namespace (an ordinary user's: in a user namespace, too, in which the
                user may mount); with the command's id on the host as its effective id, if it is privileged
    first       a child of the builder, and by CLONE_PARENT of the caller, in the command's own namespaces: PID 1
    command     the first, or with a pid namespace its child: then the first reaps, and passes signals on

The builder makes the tree the root of its mount namespace; then the first takes a copy of that into the command's user
namespace, which locks it (mount_namespaces(7)).

    builder                              first                       caller
    clone the first ───────────────────▶ waits for its ids
    write uid and gid maps ── "ids" ───▶ takes the command's ids
    build the tree                       cgroup namespace, loopback
    ◀────────────────────── "ready"      waits for the tree
    mount proc and sysfs
    pivot the root ───────── "built" ──▶ copies the mount namespace
    ends                                 waits for its caller ◀───── knows its PID
                                         command: gives up capabilities, executes

Each wait is a read that ends when the other side dies. What fails is told through one close-on-exec pipe; its end
without an error means that the command runs (S14).
"""

from __future__ import annotations

import os
import signal
from typing import Any, NoReturn

from ..launcher import kernel, linux, lookup, mount_calls, program
from ..launcher.attributes import UMASK, reset_own
from ..launcher.descriptors import keep_only
from ..launcher.errors import LauncherError
from ..launcher.handshake import read_token, tell, write_all
from ..launcher.loading import load_nothing_more
from ..launcher.user_namespace import write_id_maps
from .confinement import CAP_KILL, Confinement, hide_memory
from .identity import Ids
from .request import Request
from .view import View, doing, errno_text

NAMESPACE_FLAGS = {
    "ipc": linux.CLONE_NEWIPC,
    "net": linux.CLONE_NEWNET,
    "pid": linux.CLONE_NEWPID,
    "user": linux.CLONE_NEWUSER,
    "uts": linux.CLONE_NEWUTS,
}


class Processes:
    """The processes of one command.

    Args:
        view: the tree that it sees; None without a mount namespace.
        streams: descriptors for its standard input (None: the null device), output and error.
    """

    def __init__(
        self, request: Request, view: View | None, ids: Ids, streams: tuple[int | None, int, int], caller: int
    ) -> None:
        self.request = request
        self.view = view
        self.ids = ids
        self.streams = streams
        self.caller = caller
        self.confinement = Confinement(request, not ids.privileged)

    def spawn(self) -> tuple[int, int, int]:
        """Make the builder. Return its PID, the pipe of its reports, and the pipe that lets the command go on."""
        report_read, report_write = os.pipe()
        go_read, go_write = os.pipe()
        builder = os.fork()
        if builder == 0:
            os.close(report_read)
            os.close(go_write)
            self._build(report_write, go_read)
        os.close(report_write)
        os.close(go_read)
        return builder, report_read, go_write

    # The builder.

    def _build(self, report: int, go: int) -> NoReturn:
        try:
            linux.end_with(self.caller)
            os.chdir("/")
            self._take_place()
            ids_read, ids_write = os.pipe()
            ready_read, ready_write = os.pipe()
            built_read, built_write = os.pipe()
            flags = sum(NAMESPACE_FLAGS.get(name, 0) for name in self.request.namespaces)
            with doing("namespaces: the kernel refuses to make them"):
                first = linux.clone3(flags | linux.CLONE_PARENT)
            if first == 0:
                self._become_first(report, ids_read, ready_write, built_read, go)
            for descriptor in (ids_read, ready_write, built_read, go):
                os.close(descriptor)
            write_all(report, b"pid %d\n" % first)
            if self.ids.user:
                with doing("ids: cannot map them"):
                    write_id_maps(first, self.ids.map_lines(), not self.ids.privileged)
            write_all(ids_write, b"1")
            if self.view is not None:
                self._make_tree(self.view, first, report, ready_read)
            write_all(built_write, b"1")
            os.close(report)
        except BaseException as error:
            tell(report, "", error)
            os._exit(1)
        os._exit(0)

    def _take_place(self) -> None:
        """Enter a private mount namespace, as the id that mounts are to belong to."""
        if self.view is not None:
            if self.ids.privileged:
                linux.unshare(linux.CLONE_NEWNS)
            else:
                uid, gid = self.ids.host
                with doing("namespaces: this host's kernel lets no ordinary user make them"):
                    linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNS)
                    own = ("%d %d 1\n" % (uid, uid), "%d %d 1\n" % (gid, gid))
                    write_id_maps(os.getpid(), own, True)
            mount_calls.make_private("/")
        if self.ids.user and self.ids.privileged:
            linux.prctl(linux.PR_SET_SECUREBITS, linux.SECBIT_NO_SETUID_FIXUP)
            uid, gid = self.ids.owner(self.request.guest_uid, self.request.guest_gid)
            os.setresgid(-1, gid, -1)
            os.setresuid(-1, uid, -1)
            # What belongs to the command's id is made by this process, and dies with it when the caller does.
            linux.end_with(self.caller)

    def _make_tree(self, view: View, first: int, report: int, ready: int) -> None:
        null = kernel.open_null() if self.ids.privileged else None
        pidfd = linux.pidfd_open(first)
        tree = view.build()
        for warning in view.warnings:
            write_all(report, b"warning " + warning.replace("\n", " ").encode("utf-8", "replace") + b"\n")
        read_token(ready, "the command's first process ended before its namespaces were made")
        view.mount_kernel(tree, first, pidfd)
        view.finish(tree, null)

    # The first process.

    def _become_first(self, report: int, ids: int, ready: int, built: int, go: int) -> NoReturn:
        try:
            load_nothing_more()
            report, ids, ready, built, go, *streams = keep_only(report, ids, ready, built, go, *self.streams)
            read_token(ids, "the launcher ended before it gave the command its ids")
            if self.ids.user:
                self.confinement.take_ids()
            linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
            if self.request.has("cgroup"):
                linux.unshare(linux.CLONE_NEWCGROUP)
            os.setsid()
            if self.request.has("net"):
                linux.bring_loopback_up()
            if self.view is not None:
                write_all(ready, b"1")
            read_token(built, "the launcher ended before the command's root was built")
            if self.view is not None:
                linux.unshare(linux.CLONE_NEWNS)
            hide_memory()
            read_token(go, "the launcher ended before the command ran")
            if self.request.has("pid") and not self.request.child_is_pid1:
                child = os.fork()
                if child:
                    be_first_process(child)
            self._execute(streams)
        except BaseException as error:
            tell(report, "", error)
        os._exit(1)

    def _execute(self, streams: list[int]) -> None:
        """Give up what the command may not have, and execute it."""
        if not self.ids.user:
            self.confinement.take_ids()
        self.confinement.apply()
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        root = lookup.open_root("/")
        with doing("chdir: %s" % self.request.directory):
            directory = lookup.open_found(root, self.request.directory, os.O_PATH | os.O_DIRECTORY)
            os.fchdir(directory)
        with doing("standard streams"):
            for number, stream in enumerate(streams):
                os.dup2(program.open_own_null(root) if stream < 0 else stream, number)
        name = self.request.argv[0]
        reset_own()
        os.umask(UMASK)
        try:
            program.find(root, name, self.request.argv).execute(self.request.environment)
        except OSError as error:
            raise LauncherError("%s: cannot be executed: %s" % (name, errno_text(error))) from error


def be_first_process(child: int) -> NoReturn:
    """Act as PID 1 of a pid namespace: pass signals on to the command, reap orphans, end with the command."""
    linux.close_range(0)
    linux.capset(CAP_KILL, CAP_KILL, 0)
    every = set(range(1, signal.NSIG)) - {signal.SIGKILL, signal.SIGSTOP, 32, 33}
    signal.pthread_sigmask(signal.SIG_BLOCK, every)
    while True:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                os._exit(1)
            if pid == 0:
                break
            if pid == child:
                os._exit(exit_code(status))
        number: Any = signal.sigwait(every)
        if number != signal.SIGCHLD:
            try:
                os.kill(child, number)
            except ProcessLookupError:
                pass


def exit_code(status: int) -> int:
    """Return the exit code of a process: 128 plus the signal's number when a signal killed it (E1)."""
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
