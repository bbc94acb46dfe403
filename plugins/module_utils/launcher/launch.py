# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The processes of a start, and how they wait for each other.

    caller      the module or `run-container`, host's root. While it builds it is in a private mount namespace
                (`excursion`; a caller who would find no way back lets a child build), with the container's base id as
                its effective id: what it makes belongs to the container's root, and the kernel charges that id for
                the namespaces
    init        its child in a new user and pid namespace and in the container's cgroup; it becomes PID 1

The caller mounts everything as the host's root and makes the result the root of its mount namespace; only then the init
takes a copy of that namespace into its own user namespace. Crossing that border locks every mount
(mount_namespaces(7)): nothing can be unmounted, remounted or looked under from inside (S13).

    caller                               init (the module `init`)
    private mount namespace
    clone the init ────────────────────▶ closes what it need not keep, waits for its ids
    write uid and gid maps
    set its limits ────────── "ids" ───▶ takes uid 0, makes its namespaces
    build the tree ◀─────── "namespaces" host name, loopback, gives up what it need not keep,
                                         takes its system-call filter
    mount proc, sysfs, cgroup2, masks
    pivot the root ───────── "root" ───▶ copies the mount namespace
    back to the host's                   makes its directories, finds its program
    note PID and start time ─ "go" ────▶ runs `boot`

What fails in the init is reported through one close-on-exec pipe; its end without a report means that `boot` runs
(S14).
"""

from __future__ import annotations

import gc
import os
import time

from . import kernel, linux, mount_calls, mounts, root
from .attributes import give_oom_score
from .errors import LauncherError
from .excursion import Excursion, NoWayBack, Visit, in_child
from .handshake import error_line, read_token, write_all
from .init import FirstProcess
from .loading import load_nothing_more
from .plan import CLONED, Plan
from .process import KILL, Process
from .records import DIVIDER
from .user_namespace import write_id_maps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Tuple

    from .machine_root import MachineRoot

    Pipe = Tuple[int, int]  # its read end and its write end


WORDS_TIMEOUT = 0.5  # seconds for a child to say what was not done in time


class Launch:
    """The processes of one start.

    Args:
        plan: what they make.

    Attributes:
        cloned: the process id of its first process, 0 before there is one.
        init: that process, a child of the caller.
        warnings: what the root was built without, a line each.
        mapped: what was found at the sources of its mappings, a line each (`mapped`).
        kind: that of its root.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.cloned = 0
        self.init: Process | None = None
        self.warnings: list[str] = []
        self.mapped: list[str] = []
        self.kind: type[root.DeclaredRoot] | type[MachineRoot] = root.DeclaredRoot

    # The caller.

    def build(self, report: Pipe, go: Pipe, deadline: float) -> None:
        """Make the init, and its root; the init then waits for a byte on `go`.

        After a failure `init` may be set: the caller ends it.

        Args:
            report: where the init reports failures.
            deadline: until when (time.monotonic) a server may take to answer for a file system.
        """
        excursion = Excursion()
        if excursion.possible():
            self._build_here(excursion, report, go, deadline)
        else:
            self._build_in_child(report, go, deadline)

    def _build_here(self, excursion: Excursion, report: Pipe, go: Pipe, deadline: float) -> None:
        collects = gc.isenabled()
        # A collection would touch, and so copy, every object that the two processes share.
        gc.disable()
        try:
            with excursion:
                self._build(report, go, deadline, linux.SIGCHLD)
        finally:
            if collects:
                gc.enable()

    def _build_in_child(self, report: Pipe, go: Pipe, deadline: float) -> None:
        """Build in a child, for a caller that could not come back; the init is the caller's own child all the same."""

        def work() -> str:
            failure = ""
            try:
                os.chdir("/")
                os.umask(0)
                linux.unshare(linux.CLONE_NEWNS)
                mount_calls.make_private("/")
                self._build(report, go, deadline, linux.CLONE_PARENT)
            except Exception as error:
                failure = error_line(error)
            return DIVIDER.join(["\n".join(["%d" % self.cloned, failure, *self.warnings]), "\n".join(self.mapped)])

        try:
            needed = (*report, *go, self.plan.cgroup, self.plan.output, self.plan.host_mounts)
            said = in_child(work, deadline - time.monotonic() + WORDS_TIMEOUT, needed)
        except TimeoutError:
            raise LauncherError("its root was not built in time; does a file system of the host hang?") from None
        said, _divider, noted = said.partition(DIVIDER)
        self.mapped = list(filter(None, noted.split("\n")))
        pid, failure, *self.warnings = said.split("\n")
        if pid != "0":
            self.init = Process.pin_child(int(pid))
        if failure:
            raise LauncherError(failure)

    def _build(self, report: Pipe, go: Pipe, deadline: float, relation: int) -> None:
        """Build it, in a mount namespace of this process's own.

        Args:
            relation: whose child the init is: `SIGCHLD` for this process's, `CLONE_PARENT` for that of its parent.
        """
        pipes: list[Pipe] = []
        noted = -1
        try:
            for _number in range(3):
                pipes.append(os.pipe())
            ids, ready, built = pipes
            self.kind = root.kind_of(self.plan.spec)
            if self.plan.spec.root.is_machine:
                noted = os.memfd_create("owners", os.MFD_CLOEXEC)
            first_process = FirstProcess(self.plan, noted)
            load_nothing_more()
            self.cloned = pid = self._clone(relation)
            if pid == 0:
                first_process.run(report[1], ids[0], ready[1], built[0], go[0])
            os.close(ready[1])
            pipes[1] = (ready[0], -1)
            self.init = init = Process.pin_child(pid)
            write_id_maps(init.pid, (self.plan.identity.map_line, self.plan.identity.map_line), False)
            self._give_attributes(init.pid)
            write_all(ids[1], b"1")
            self._make_root(init, ready[0], deadline, noted)
            write_all(built[1], b"1")
        except BaseException:
            if self.init is not None:
                self.init.signal(KILL)  # before it sees the pipes close, and says that
            raise
        finally:
            for descriptor in [noted, *(descriptor for pipe in pipes for descriptor in pipe)]:
                if descriptor >= 0:
                    os.close(descriptor)

    def _clone(self, relation: int) -> int:
        """Take the container's base id, keeping every capability (capabilities(7), securebits), and clone the init.

        The owner's limit on tasks when the user namespace is made bounds the tasks in it (Linux 5.14).
        """
        base = self.plan.identity.base
        linux.prctl(linux.PR_SET_SECUREBITS, linux.SECBIT_NO_SETUID_FIXUP)
        os.setresgid(-1, base, -1)
        os.setresuid(-1 if self.plan.tasks is None else base, base, -1)
        soft, hard = linux.get_limit(0, linux.RLIMIT_NPROC)
        if self.plan.tasks is not None:
            linux.set_limit(0, linux.RLIMIT_NPROC, min(self.plan.tasks, hard), hard)
        pid = -1
        try:
            if relation == linux.CLONE_PARENT:
                pid = linux.clone3(CLONED | linux.CLONE_PARENT, 0, self.plan.cgroup)
            else:
                pid = linux.clone3(CLONED, linux.SIGCHLD, self.plan.cgroup)
            return pid
        finally:
            if self.plan.tasks is not None and pid != 0:  # the init sets no limit: the caller may have set it already
                linux.set_limit(0, linux.RLIMIT_NPROC, soft, hard)

    def _make_root(self, init: Process, ready: int, deadline: float, noted: int) -> None:
        """Make the root of this mount namespace what the container is to see.

        Args:
            noted: descriptor of a file in memory in which a machine's root says which ids of accounts are others than
                declared, for the first process; negative with another root.
        """
        opened: list[int] = []

        def keep(descriptor: int) -> int:
            opened.append(descriptor)
            return descriptor

        try:
            null = keep(kernel.open_null())
            id_map = notify = None
            if self.plan.identity.maps_files:
                id_map = keep(os.open("/proc/%d/ns/user" % init.pid, os.O_RDONLY | os.O_CLOEXEC))
            if self.plan.notify_path is not None:  # the root may be attached on top of it
                notify = keep(os.open(self.plan.notify_path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC))
            network = None
            if self.plan.copies is not None:
                network = keep(os.open(self.plan.copies, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            source = root.Source(self.plan.spec.store)
            kind = self.kind(self.plan, source, noted)
            try:
                tree = kind.attach(id_map)
                keep(tree.root)
                builder = root.Builder(kind, tree, self.plan, source, id_map, notify, network, deadline)
                builder.build()
            finally:
                kind.close()
                source.close()
            self.warnings += builder.warnings
            self.mapped = builder.records.mapped
            read_token(ready, "the container's first process did not make its namespaces", deadline)
            for wire in self.plan.wires:
                wire.attach(init)
            self._mount_kernel_file_systems(tree, init)
            if self.plan.nesting:
                kernel.leave_bare(tree)
            else:
                kernel.restrict(tree, null)
            kernel.name_boot(tree)
            os.fchdir(tree.root)
            mount_calls.pivot_root(".", ".")
            mount_calls.unmount(".")
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def _give_attributes(self, init: int) -> None:
        """Give the init its limits and priorities, and warn about what cannot be given.

        The owner of its user namespace, which this process is by its effective id, may do so without CAP_SYS_RESOURCE.
        """
        lacking = self.plan.attributes.impose(init)
        self.warnings += filter(None, [lacking, give_oom_score(init, self.plan.spec.oom_score_adj)])

    def _mount_kernel_file_systems(self, tree: mounts.Tree, init: Process) -> None:
        """Mount the kernel's file systems; join the namespaces that a mount takes from the mounting process."""
        flags = (self.plan.made | linux.CLONE_NEWPID) & ~linux.CLONE_NEWUTS

        def mount_all() -> None:
            for wire in self.plan.wires:
                wire.set_inside()
            kernel.mount_process_information(tree, init.pid, init.descriptor)
            kernel.mount_system(tree, self.plan.shared_network)
            kernel.mount_control_groups(tree)
            for record in self.plan.spec.file_systems:
                if record.type == "mqueue":
                    kernel.mount_message_queues(tree, record)

        def join_and_mount_all() -> None:
            linux.setns(init.descriptor, flags)
            mount_all()

        try:
            with Visit(init.descriptor, flags):
                mount_all()
        except NoWayBack:
            in_child(join_and_mount_all, None, (tree.root, init.descriptor))
