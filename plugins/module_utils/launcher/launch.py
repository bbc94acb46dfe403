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

    caller                               init
    private mount namespace
    clone the init ────────────────────▶ waits for its ids
    write uid and gid maps ── "ids" ───▶ takes uid 0, makes its namespaces
    build the tree ◀─────── "namespaces" host name, loopback, gives up what it need not keep,
                                         takes its system-call filter
    mount proc, sysfs, cgroup2, masks
    pivot the root ───────── "root" ───▶ copies the mount namespace
    back to the host's                   makes its directories
    note PID and start time ─ "go" ────▶ runs `boot`

Each wait is a read from a pipe that ends with an error when the other side dies, so that no kill leaves a waiting
process. What fails in the init is reported through one close-on-exec pipe; its end without a report means that `boot`
runs (S14).
"""

from __future__ import annotations

import _signal
import fcntl
import gc
import os
import select
import time

from . import confine, kernel, mounts, root
from . import syscalls as sys
from .errors import LauncherError
from .excursion import Excursion, NoWayBack, Visit, in_child
from .identity import Identity
from .process import KILL, Process, milliseconds, reap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn, Tuple

    Pipe = Tuple[int, int]  # its read end and its write end

# The namespaces of a container (S4): those that a process gets at its birth only, and those that the init makes, while
# the caller builds; its mount namespace it makes when there is something to copy.
CLONED = sys.CLONE_NEWUSER | sys.CLONE_NEWPID
MADE = sys.CLONE_NEWIPC | sys.CLONE_NEWUTS | sys.CLONE_NEWCGROUP
FIRST_FREE = 64  # descriptors from here on are clear of the standard ones
TIOCSCTTY = 0x540E
OUTPUT_LOG = "/run/output.log"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"


class Launch:
    """One start of a container: what it needs beside the system.

    Args:
        system: directory of the system on the host.
        spec: its `spec.json`.
        identity: the container's ids.
        cgroup: descriptor of its delegated control group.
        staging: a directory of the host over which the tree is mounted, invisibly to the host.
        machine_id: 32 hexadecimal digits.
        notify_path: socket for the init's notification, or none.
        console: path of a pty for `/dev/console`, or none.
        output: descriptor that becomes PID 1's standard output and error (and input, when `console` is given);
            by default a file of the container's own, `OUTPUT_LOG`, which lasts as long as the container.
        extra_file_systems: further mount records (S11).
        tasks: how many tasks it may have, where its control group has no controller that counts them.

    Attributes:
        init: its first process, a child of the caller, once there is one.
        warnings: what the root was built without, a line each.
    """

    def __init__(
        self,
        system: str,
        spec: dict[str, Any],
        identity: Identity,
        cgroup: int,
        staging: str,
        machine_id: str,
        notify_path: str | None,
        console: str | None,
        output: int | None,
        extra_file_systems: list[dict[str, Any]],
        tasks: int | None = None,
    ) -> None:
        self.system = system
        self.spec = spec
        self.identity = identity
        self.cgroup = cgroup
        self.staging = staging
        self.machine_id = machine_id
        self.notify_path = notify_path
        self.console = console
        self.output = output
        self.extra_file_systems = extra_file_systems
        self.tasks = tasks
        self.filter_program = confine.read_filter(system)
        self.init: Process | None = None
        self.warnings: list[str] = []
        self.shared_network = bool(spec["shared_network"])
        self.made = MADE if self.shared_network else MADE | sys.CLONE_NEWNET
        self.nesting = bool(spec.get("security", {}).get("nesting", False))

    # The caller.

    def build(self, report: Pipe, go: Pipe, deadline: float) -> None:
        """Make the init, and the root that it takes; it then waits for a byte on `go`.

        What fails leaves `init` as it is then, for the caller to end.

        Args:
            report: where the init says what fails.
            deadline: until when (time.monotonic) a server may take to answer for a file system.
        """
        excursion = Excursion()
        if not excursion.possible():
            self._build_in_child(report, go, deadline)
            return
        collects = gc.isenabled()
        # A collection would touch, and so copy, every object that the two processes share.
        gc.disable()
        try:
            with excursion:
                self._build(report, go, deadline, sys.SIGCHLD)
        finally:
            if collects:
                gc.enable()

    def _build_in_child(self, report: Pipe, go: Pipe, deadline: float) -> None:
        """The same for a caller who would find no way back: a child builds, yet the init is the caller's own."""

        def work() -> str:
            failure = ""
            try:
                os.chdir("/")
                os.umask(0)
                sys.unshare(sys.CLONE_NEWNS)
                sys.make_private("/")
                self._build(report, go, deadline, sys.CLONE_PARENT)
            except Exception as error:
                failure = describe(error)
            return "\n".join(["%d" % (self.init.pid if self.init is not None else 0), failure] + self.warnings)

        try:
            said = in_child(work, deadline - time.monotonic())
        except TimeoutError:
            raise LauncherError("its root was not built in time; does a file system of the host hang?") from None
        pid, failure, *self.warnings = said.split("\n")
        if pid != "0":
            self.init = Process(int(pid), sys.pidfd_open(int(pid)))
        if failure:
            raise LauncherError(failure)

    def _build(self, report: Pipe, go: Pipe, deadline: float, relation: int) -> None:
        """Build it, in a mount namespace of this process's own.

        Args:
            relation: whose child the init is: `SIGCHLD` for this process's, `CLONE_PARENT` for that of its parent.
        """
        pipes: list[Pipe] = []
        try:
            for _number in range(3):
                pipes.append(os.pipe())
            ids, ready, built = pipes
            pid = self._clone(relation)
            if pid == 0:
                self._become_init(report, ids, ready, built, go)
            os.close(ready[1])
            pipes[1] = (ready[0], -1)
            self.init = init = self._pin(pid)
            self._write_id_maps(init.pid)
            write_all(ids[1], b"1")
            self._make_root(init, ready[0], deadline)
            write_all(built[1], b"1")
        except BaseException:
            if self.init is not None:
                self.init.signal(KILL)  # before it sees the pipes close, and says that
            raise
        finally:
            for descriptor in (descriptor for pipe in pipes for descriptor in pipe):
                if descriptor >= 0:
                    os.close(descriptor)

    @staticmethod
    def _pin(pid: int) -> Process:
        try:
            return Process(pid, sys.pidfd_open(pid))
        except OSError:
            os.kill(pid, KILL)
            reap(pid, 0)
            raise

    def _clone(self, relation: int) -> int:
        """Take the container's base id, keeping every capability (capabilities(7), securebits), and clone the init.

        The user namespace holds no more tasks than its owner's limit says when it is made (Linux 5.14).
        """
        base = self.identity.base
        sys.prctl(sys.PR_SET_SECUREBITS, sys.SECBIT_NO_SETUID_FIXUP)
        os.setresgid(-1, base, -1)
        os.setresuid(-1 if self.tasks is None else base, base, -1)
        soft, hard = sys.limit_of_tasks()
        if self.tasks is not None:
            sys.set_limit_of_tasks(min(self.tasks, hard), hard)
        try:
            if relation == sys.CLONE_PARENT:
                return sys.clone3(CLONED | sys.CLONE_PARENT, 0, self.cgroup)
            return sys.clone3(CLONED, sys.SIGCHLD, self.cgroup)
        finally:
            if self.tasks is not None:
                sys.set_limit_of_tasks(soft, hard)

    def _write_id_maps(self, init: int) -> None:
        for name in ("uid_map", "gid_map"):
            descriptor = os.open("/proc/%d/%s" % (init, name), os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(descriptor, self.identity.map_line.encode())
            finally:
                os.close(descriptor)

    def _make_root(self, init: Process, ready: int, deadline: float) -> None:
        opened: list[int] = []

        def keep(descriptor: int) -> int:
            opened.append(descriptor)
            return descriptor

        try:
            null = keep(kernel.open_null())
            id_map = notify = None
            if self.identity.maps_files:
                id_map = keep(os.open("/proc/%d/ns/user" % init.pid, os.O_RDONLY | os.O_CLOEXEC))
            if self.notify_path is not None:  # the root may be attached on top of it
                notify = keep(os.open(self.notify_path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC))
            tree = root.attach_root(self.staging)
            keep(tree.root)
            builder = root.Builder(tree, self, id_map, notify, deadline)
            builder.build()
            self.warnings = builder.warnings
            read_token(ready, "the container's first process ended before its namespaces were made", deadline)
            self._mount_kernel_file_systems(tree, init)
            if self.nesting:
                kernel.leave_bare(tree)
            else:
                kernel.restrict(tree, null)
            kernel.name_boot(tree)
            os.fchdir(tree.root)
            sys.pivot_root(".", ".")
            sys.unmount(".")
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def _mount_kernel_file_systems(self, tree: mounts.Tree, init: Process) -> None:
        """Mount what shows the container's own namespaces, having joined those that say so by the mounting process."""
        flags = (self.made | sys.CLONE_NEWPID) & ~sys.CLONE_NEWUTS

        def mount_all() -> None:
            kernel.mount_process_information(tree, init.pid, init.descriptor)
            kernel.mount_system(tree, self.shared_network)
            kernel.mount_control_groups(tree)
            for record in self.spec["file_systems"]:
                if record["type"] == "mqueue":
                    kernel.mount_message_queues(tree, record)

        def join_and_mount_all() -> None:
            sys.setns(init.descriptor, flags)
            mount_all()

        try:
            with Visit(init.descriptor, flags):
                mount_all()
        except NoWayBack:
            in_child(join_and_mount_all, keep=(tree.root, init.descriptor))

    # The init.

    def _become_init(self, report_pipe: Pipe, ids: Pipe, ready: Pipe, built: Pipe, go: Pipe) -> NoReturn:
        """Wait for each of the caller's steps, and run `boot`."""
        report = report_pipe[1]
        try:
            # The caller's ends: one kept here would hide the caller's death.
            for descriptor in (report_pipe[0], ids[1], ready[0], built[1], go[1]):
                os.close(descriptor)
            report = fcntl.fcntl(report, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE)
            read_token(ids[0], "the launcher ended before it gave the container its ids")
            os.setgroups([])
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
            sys.unshare(self.made)
            write_all(ready[1], b"1")
            os.setsid()
            sys.set_host_name(self.spec["host_name"])
            if not self.shared_network:
                sys.bring_loopback_up()
            reset_signals()
            confine.give_up(self.spec.get("security", {}))
            environment = self._environment()
            filtered = not self._makes_special_directories()
            if filtered:
                confine.filter_calls(self.filter_program)  # which takes a while, and the root is not there yet
            read_token(built[0], "the launcher ended before the container's root was built")
            sys.unshare(sys.CLONE_NEWNS)
            # Within the container alone. systemd leaves it to a container's manager, and needs it for credentials.
            sys.make_shared("/")
            os.chdir("/")
            self._make_directories()
            if not filtered:
                confine.filter_calls(self.filter_program)
            self._connect_standard_streams()
            os.umask(0o022)
            read_token(go[0], "the launcher ended before the container's start was recorded")
            # No descriptor of the host but the report, which exec closes (CVE-2024-21626).
            sys.close_range(3, report - 1)
            sys.close_range(report + 1)
            os.execve(root.SELF + "/boot", [root.SELF + "/boot"], environment)
        except BaseException as error:
            tell(report, "in the container: ", error)
            os._exit(1)

    def _makes_special_directories(self) -> bool:
        """Whether a directory has a bit (set-group-ID, mostly) that nobody can set once calls are filtered."""
        return any(int(entry["mode"], 8) & 0o6000 for entry in self.spec.get("directories", []))

    def _make_directories(self) -> None:
        """What the services need below directories that may be writable mappings: made as the container's own root."""
        os.umask(0)
        for entry in self.spec.get("directories", []):
            path = entry["path"]
            try:
                os.makedirs(path, 0o755, exist_ok=True)
                os.chown(path, entry.get("uid", 0), entry.get("gid", 0))
                os.chmod(path, int(entry["mode"], 8))
            except OSError as error:
                raise LauncherError("directory %s: cannot be made as declared: %s" % (path, error)) from error

    def _connect_standard_streams(self) -> None:
        output = self.output
        if output is None:
            output = os.open(OUTPUT_LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        output = fcntl.fcntl(output, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE)
        if self.console is not None:
            os.dup2(output, 0)
            fcntl.ioctl(0, TIOCSCTTY, 0)
        else:
            os.dup2(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)

    def _environment(self) -> dict[str, str]:
        environment = {
            "HOME": "/root",
            "TMPDIR": "/tmp",
            "PATH": PATH,
            "CONTAINER_SYSTEM": root.SELF,
            "container": "unshare",
            "container_uuid": self.machine_id,
        }
        if self.notify_path is not None:
            environment["NOTIFY_SOCKET"] = "/run/host/notify"
        if self.console is not None:
            environment["TERM"] = os.environ.get("TERM", "linux")
        environment.update(self.spec["init"].get("environment", {}))
        return environment


def reset_signals() -> None:
    """Undo what Python, or who called it, ignores or blocks: both would outlive exec."""
    for number in range(1, 32):
        if number not in (9, 19):
            _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, [])


def write_all(descriptor: int, data: bytes) -> None:
    """Write bytes to a pipe or file, whole."""
    while data:
        data = data[os.write(descriptor, data) :]


def read_token(descriptor: int, otherwise: str, deadline: float | None = None) -> None:
    """Wait for the other side's byte; its death instead, or nothing until the deadline, is an error: `otherwise`."""
    if deadline is not None:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(milliseconds(deadline - time.monotonic())):
            raise LauncherError("not in time: " + otherwise)
    if os.read(descriptor, 1) != b"1":
        raise LauncherError(otherwise)


def describe(error: BaseException) -> str:
    """An error in one line; one that nobody foresaw with its kind."""
    text = str(error) if isinstance(error, (LauncherError, OSError)) else "%s: %s" % (type(error).__name__, error)
    return text.replace("\n", " ")


def tell(report: int, where: str, error: BaseException) -> None:
    """Send an error to the caller, in one line."""
    try:
        write_all(report, ("error " + where + describe(error)).encode("utf-8", "replace") + b"\n")
    except OSError:
        pass
