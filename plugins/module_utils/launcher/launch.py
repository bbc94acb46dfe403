# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The processes of a start, and how they wait for each other.

    caller      the module or `run-container`; host's root, in the host's namespaces; stays when the others have gone
    builder     a fork of it in a private mount namespace, with the container's base id as its effective id: what it
                makes belongs to the container's root, and the kernel charges that id for the namespaces
    init        a child of the builder in a new user, pid, ipc, uts (and net) namespace and in the container's cgroup;
                it becomes PID 1

The builder mounts everything as the host's root and makes the result the root of its mount namespace; only then the
init takes a copy of that namespace into its own user namespace. Crossing that border locks every mount
(mount_namespaces(7)): nothing can be unmounted, remounted or looked under from inside (S13).

    builder                              init                        caller
    unshare mount namespace
    clone the init ────────────────────▶ waits for its ids
    write uid and gid maps ── "ids" ───▶ takes uid 0
    build the tree                       cgroup namespace, loopback
    ◀────────────────────── "namespaces" host name
    mount proc, sysfs, cgroup2, masks
    pivot the root ───────── "root" ───▶ copies the mount namespace
    ends                                 waits for its record ◀───── notes PID and start time
                                         gives up privileges, runs `boot`

Each wait is a read from a pipe that ends with an error when the other side dies, so that no kill leaves a waiting
process. What fails is reported through one close-on-exec pipe; its end without a report means that `boot` runs (S14).
"""

from __future__ import annotations

import _signal
import fcntl
import gc
import os

from . import confine, kernel, mounts, root
from . import syscalls as sys
from .errors import LauncherError
from .identity import Identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

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
        staging: an empty directory of the host over which the tree is mounted, invisibly to the host.
        machine_id: 32 hexadecimal digits.
        notify_path: socket for the init's notification, or none.
        console: path of a pty for `/dev/console`, or none.
        output: descriptor that becomes PID 1's standard output and error (and input, when `console` is given);
            by default a file of the container's own, `OUTPUT_LOG`, which lasts as long as the container.
        extra_file_systems: further mount records (S11).
        tasks: how many tasks it may have, where its control group has no controller that counts them.
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
        self.shared_network = bool(spec["shared_network"])
        self.nesting = bool(spec.get("security", {}).get("nesting", False))

    def namespaces(self) -> int:
        """The namespaces that the init is cloned into (S4); its cgroup and mount namespaces it makes later."""
        flags = sys.CLONE_NEWUSER | sys.CLONE_NEWPID | sys.CLONE_NEWIPC | sys.CLONE_NEWUTS
        return flags if self.shared_network else flags | sys.CLONE_NEWNET

    # The builder.

    def build(self, report: int, go: int) -> NoReturn:
        """The life of the builder, called in a fork of the caller; the init reads its release from `go`."""
        # A collection would touch, and so copy, every object of the caller's; these processes end before they need one.
        gc.disable()
        try:
            os.chdir("/")
            sys.unshare(sys.CLONE_NEWNS)
            sys.make_private("/")
            self._take_base_id()
            ids_read, ids_write = os.pipe()
            ready_read, ready_write = os.pipe()
            root_read, root_write = os.pipe()
            init = sys.clone3(self.namespaces() | sys.CLONE_PARENT, 0, self.cgroup)
            if init == 0:
                for descriptor in (ids_write, ready_read, root_write):
                    os.close(descriptor)
                self._become_init(report, ids_read, ready_write, root_read, go)
            for descriptor in (ids_read, ready_write, root_read, go):
                os.close(descriptor)
            write_all(report, b"pid %d\n" % init)
            self._write_id_maps(init)
            write_all(ids_write, b"1")
            self._make_root(init, report, ready_read)
            write_all(root_write, b"1")
            write_all(report, b"built\n")
            os.close(report)
        except BaseException as error:
            tell(report, "", error)
            os._exit(1)
        os._exit(0)

    def _take_base_id(self) -> None:
        """Act with the container's base id, and keep every capability doing so (capabilities(7), securebits)."""
        sys.prctl(sys.PR_SET_SECUREBITS, sys.SECBIT_NO_SETUID_FIXUP)
        os.setresgid(-1, self.identity.base, -1)
        os.setresuid(-1, self.identity.base, -1)
        if self.tasks is not None:
            self._bound_tasks(self.tasks)

    def _bound_tasks(self, tasks: int) -> None:
        """Let the user namespace that is made next hold no more tasks (its owner's RLIMIT_NPROC, Linux 5.14)."""
        import resource

        os.setresuid(self.identity.base, -1, -1)
        hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
        resource.setrlimit(resource.RLIMIT_NPROC, (tasks if hard < 0 else min(tasks, hard), hard))

    def _write_id_maps(self, init: int) -> None:
        for name in ("uid_map", "gid_map"):
            descriptor = os.open("/proc/%d/%s" % (init, name), os.O_WRONLY | os.O_CLOEXEC)
            os.write(descriptor, self.identity.map_line.encode())
            os.close(descriptor)

    def _make_root(self, init: int, report: int, ready: int) -> None:
        null = kernel.open_null()
        id_map = None
        if self.identity.maps_files:
            id_map = os.open("/proc/%d/ns/user" % init, os.O_RDONLY | os.O_CLOEXEC)
        pidfd = sys.pidfd_open(init)
        tree = root.attach_root(self.staging)
        builder = root.Builder(tree, self, id_map)
        builder.build()
        for warning in builder.warnings:
            write_all(report, b"warning " + warning.replace("\n", " ").encode() + b"\n")
        read_token(ready, "the container's first process ended before its namespaces were made")
        self._mount_kernel_file_systems(tree, init, pidfd, null)
        sys.pivot_root(".", ".")
        sys.unmount(".")

    def _mount_kernel_file_systems(self, tree: mounts.Tree, init: int, pidfd: int, null: int) -> None:
        """Mount what shows the container's own namespaces, having joined those that say so by the mounting process."""
        kernel.mount_process_information(tree, init, pidfd)
        namespaces = sys.CLONE_NEWIPC | sys.CLONE_NEWCGROUP
        sys.setns(pidfd, namespaces if self.shared_network else namespaces | sys.CLONE_NEWNET)
        kernel.mount_system(tree, self.shared_network)
        kernel.mount_control_groups(tree)
        for record in self.spec["file_systems"]:
            if record["type"] == "mqueue":
                kernel.mount_message_queues(tree, record)
        if not self.nesting:
            kernel.restrict(tree, null)

    # The init.

    def _become_init(self, report: int, ids: int, ready: int, built: int, go: int) -> NoReturn:
        report = fcntl.fcntl(report, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE)
        try:
            read_token(ids, "the launcher ended before it gave the container its ids")
            os.setgroups([])
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
            if self.tasks is not None:
                import resource

                hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
                resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))
            sys.unshare(sys.CLONE_NEWCGROUP)
            write_all(ready, b"1")
            os.setsid()
            sys.set_host_name(self.spec["host_name"])
            if not self.shared_network:
                sys.bring_loopback_up()
            read_token(built, "the launcher ended before the container's root was built")
            sys.unshare(sys.CLONE_NEWNS)
            # Within the container alone. systemd leaves it to a container's manager, and needs it for credentials.
            sys.make_shared("/")
            os.chdir("/")
            self._make_directories()
            read_token(go, "the launcher ended before the container's start was recorded")
            self._connect_standard_streams(report)
            reset_signals()
            confine.apply(self.spec.get("security", {}), self.filter_program)
            os.umask(0o022)
            os.execve(root.SELF + "/boot", [root.SELF + "/boot"], self._environment())
        except BaseException as error:
            tell(report, "in the container: ", error)
            os._exit(1)

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

    def _connect_standard_streams(self, report: int) -> None:
        """No descriptor of the host but the report, which exec closes (CVE-2024-21626)."""
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
        sys.close_range(3, report - 1)
        sys.close_range(report + 1)

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


def read_token(descriptor: int, otherwise: str) -> None:
    """Wait for the other side's byte; its death instead is an error that says `otherwise`."""
    if os.read(descriptor, 1) != b"1":
        raise LauncherError(otherwise)


def tell(report: int, where: str, error: BaseException) -> None:
    """Send an error to the caller, in one line."""
    text = str(error) if isinstance(error, (LauncherError, OSError)) else "%s: %s" % (type(error).__name__, error)
    line = "error " + where + text.replace("\n", " ")
    try:
        write_all(report, line.encode("utf-8", "replace") + b"\n")
    except OSError:
        pass
