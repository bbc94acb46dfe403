# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller hands to the launcher: the records of `spec.json`, which both sides import.

The controller makes the records and writes them, the launcher reads the same ones; a field, a flag, a signal or a
default stands here alone. A field that a record does not have is an error on both sides. A field to which the class has
a default is left out of the file while it has that.

To add a field: name it in the class of its record, with its default, and in that class's `KINDS`; set it where the
controller makes the record (`plugin_utils/system_files`), and read it where the launcher needs it.
"""

from __future__ import annotations

from . import file_systems, kinds, targets
from .data import is_integer
from .kinds import ContractError, ContractRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FORMAT = 2
# What a file system can be mounted with. A container's mounts are shared among its own namespaces, whatever is asked.
FLAGS = (
    "read-only",
    "bind-mount",
    "no-suid",
    "no-dev",
    "no-exec",
    "no-atime",
    "no-diratime",
    "strict-atime",
    "lazy-time",
)
# The C library keeps the first two real-time signals for itself.
REAL_TIME_MINIMUM, REAL_TIME_MAXIMUM = 34, 64
SIGNALS = {
    "SIGHUP": 1,
    "SIGINT": 2,
    "SIGQUIT": 3,
    "SIGKILL": 9,
    "SIGUSR1": 10,
    "SIGUSR2": 12,
    "SIGTERM": 15,
    "SIGCONT": 18,
    "SIGWINCH": 28,
    "SIGPWR": 30,
}


def signal_number(name: str) -> int:
    """Return the number of a signal by which an init can be asked to stop.

    Args:
        name: as `kill -l` has it, with SIG; `SIGRTMIN+n` and `SIGRTMAX-n` included.

    Raises:
        ContractError: it is none.
    """
    kind, number = name[:9], name[9:]
    if kind in ("SIGRTMIN+", "SIGRTMAX-") and number.isascii() and number.isdigit():
        found = REAL_TIME_MINIMUM + int(number) if kind == "SIGRTMIN+" else REAL_TIME_MAXIMUM - int(number)
        if REAL_TIME_MINIMUM <= found <= REAL_TIME_MAXIMUM:
            return found
    elif name in SIGNALS:
        return SIGNALS[name]
    known = ", ".join(SIGNALS)
    raise ContractError("%r is no signal to stop an init by: use one of %s, SIGRTMIN+n, SIGRTMAX-n" % (name, known))


def _signal(value: object) -> str:
    signal_number(kinds.text(value))
    return kinds.text(value)


def _flag(value: object) -> str:
    if not isinstance(value, str) or value not in FLAGS:
        raise ContractError("%r is no flag; known are %s" % (value, ", ".join(FLAGS)))
    return value


def _device(value: object) -> str | dict[str, str]:
    if not isinstance(value, dict):
        return kinds.text(value)
    if len(value) != 1 or next(iter(value)) not in ("uuid", "label"):
        raise ContractError("is neither a path nor a UUID nor a label")
    if "/" in kinds.text(next(iter(value.values()))):
        raise ContractError("%r is neither a UUID nor a label" % value)
    return value


def _private_users(value: object) -> str | int:
    if value in ("auto", "identity") and isinstance(value, str):
        return value
    if not isinstance(value, int) or not is_integer(value):
        raise ContractError("is neither 'auto' nor 'identity' nor a number")
    return value


def _oom_score(value: object) -> int:
    if not isinstance(value, int) or not is_integer(value) or not -1000 <= value <= 1000:
        raise ContractError("%s is no number from -1000 to 1000" % ascii(value)[:40])
    return value


def _format(value: object) -> int:
    if not is_integer(value) or value != FORMAT:
        raise ContractError("is %r, and this launcher reads %d" % (value, FORMAT))
    return FORMAT


class Store(ContractRecord):
    """The software that a container runs, shared by the host.

    Attributes:
        source: directory of the host.
        target: where the container has it.
    """

    source: str
    target: str

    KINDS = {"source": kinds.source, "target": kinds.path}

    def check(self) -> None:
        self.refuse("target", targets.refusal_of_place(self.target))


class Init(ContractRecord):
    """The program that `boot` becomes, the container's PID 1.

    Attributes:
        argv: its path inside, and its arguments.
        environment: variables beside those that every PID 1 has.
        ready: whether it says by sd_notify(3) that it is ready (`notify`), or is as soon as it runs (`exec`).
        stop_signal: by which it is asked to stop.
        systemd: whether it is systemd, so that it has units and a journal.
    """

    argv: list[str]
    environment: dict[str, str] = {}
    ready: str = "exec"
    stop_signal: str = "SIGTERM"
    systemd: bool = False

    KINDS = {
        "argv": kinds.list_of(kinds.text),
        "environment": kinds.variables,
        "ready": kinds.choice("exec", "notify"),
        "stop_signal": _signal,
        "systemd": kinds.boolean,
    }

    def check(self) -> None:
        if not self.argv:
            raise ContractError("names no program").within("argv")


class Security(ContractRecord):
    """What of the isolation is another than usual; `docs/security.md` says what each gives up."""

    no_new_privileges: bool = False
    nesting: bool = False

    KINDS = {"no_new_privileges": kinds.boolean, "nesting": kinds.boolean}


class Mount(ContractRecord):
    """A file system that is mounted before PID 1 runs (S2), or a bind mount of the host's (C10).

    Attributes:
        device: a path of the host, a name that means something to the type, or a mapping of `uuid` or `label`.
        mount_point: where the container has it.
        flags: some of `FLAGS`.
        options: of the file system, as mount(8) takes them.
        required: whether the source of a bind mount has to be there (S3).
        mount_may_fail: whether the container starts without it.
        own: whether it is a directory of the launcher's own. No file says that.
    """

    device: str | dict[str, str]
    mount_point: str
    type: str
    flags: list[str] = []
    options: str | None = None
    required: bool = False
    mount_may_fail: bool = False

    KINDS = {
        "device": _device,
        "mount_point": kinds.path,
        "type": kinds.text,
        "flags": kinds.list_of(_flag),
        "options": kinds.text,
        "required": kinds.boolean,
        "mount_may_fail": kinds.boolean,
    }

    own = False

    @property
    def source(self) -> str:
        """What is mounted: a path or a name."""
        if isinstance(self.device, str):
            return self.device
        kind, value = next(iter(self.device.items()))
        return "/dev/disk/by-%s/%s" % (kind, value)

    @property
    def is_bind(self) -> bool:
        """Whether it is a bind mount."""
        return "bind-mount" in self.flags

    @property
    def is_tmpfs(self) -> bool:
        """Whether it is a new tmpfs."""
        return self.type == "tmpfs" and not self.is_bind

    @property
    def read_only(self) -> bool:
        """Whether nothing can be written by it."""
        return "read-only" in self.flags

    def check(self) -> None:
        if self.is_bind:
            self.at("device", kinds.source, self.device)
            self.refuse("type", None if self.type == "none" else "a bind mount has the type 'none'")
            return
        self.refuse("type", targets.refusal_of_type(self.type))
        self.refuse("device", file_systems.refusal_of_device(self.type, self.source))
        self.refuse("options", file_systems.refusal_of_options(self.type, self.options or ""))


class File(ContractRecord):
    """A file of the system: a link, or one whose content lies below `root/` in the system's directory.

    Attributes:
        link: where it leads, if it is one; all else is of other files.
        mode: in octal digits.
        uid: its owner inside.
        secret: whether its content is to be shown to nobody.
    """

    link: str | None = None
    mode: str = "0644"
    uid: int = 0
    gid: int = 0
    secret: bool = False

    KINDS = {
        "link": kinds.text,
        "mode": kinds.mode,
        "uid": kinds.identifier,
        "gid": kinds.identifier,
        "secret": kinds.boolean,
    }


class Directory(ContractRecord):
    """A directory that the first process makes, where a mapping may be by then.

    Attributes:
        mode: in octal digits.
        account: the name of the account with this uid, for messages.
        data: whether a service keeps there what is to outlive the container.
    """

    path: str
    mode: str = "0755"
    uid: int = 0
    gid: int = 0
    account: str = ""
    data: bool = False

    KINDS = {
        "path": kinds.path,
        "mode": kinds.mode,
        "uid": kinds.identifier,
        "gid": kinds.identifier,
        "account": kinds.text,
        "data": kinds.boolean,
    }


class Specification(ContractRecord):
    """`spec.json`: what a system is started from.

    Attributes:
        format: of this file.
        name: the container's.
        host_name: what PID 1 finds as such.
        store: the software.
        init: the program.
        shared_network: whether it has the host's network, or a loopback of its own.
        private_users: `auto`, `identity`, or the first of its ids on the host.
        oom_score_adj: by how much the kernel sooner kills a process of the container when the host's memory ends, or
            later (proc_pid_oom_score_adj(5)).
        log: whether the journal is `volatile` or `persistent`.
        security: the exceptions.
        file_systems: in the order in which they are mounted.
        files: by their paths inside.
        directories: in the order in which they are made.
        host_files: paths, taken from the tree that the store is part of.
        launcher: fingerprint of the launcher beside this file.
        python: path of the interpreter that runs that.
    """

    format: int
    name: str
    host_name: str
    store: Store
    init: Init
    shared_network: bool = False
    private_users: str | int = "auto"
    oom_score_adj: int = 0
    log: str = "volatile"
    security: Security = Security()
    file_systems: list[Mount] = []
    files: dict[str, File] = {}
    directories: list[Directory] = []
    host_files: list[str] = []
    launcher: str = ""
    python: str = ""

    KINDS = {
        "format": _format,
        "name": kinds.container_name,
        "host_name": kinds.text,
        "store": Store.read,
        "init": Init.read,
        "shared_network": kinds.boolean,
        "private_users": _private_users,
        "oom_score_adj": _oom_score,
        "log": kinds.choice("volatile", "persistent"),
        "security": Security.read,
        "file_systems": kinds.list_of(Mount.read),
        "files": kinds.mapping_of(kinds.path, File.read),
        "directories": kinds.list_of(Directory.read),
        "host_files": kinds.list_of(kinds.path),
        "launcher": kinds.text,
        "python": kinds.text,
    }

    def check(self) -> None:
        for name in self.files:
            reason = targets.refusal_of_file(name, self.store.target)
            if reason:
                self.refuse("files[%s]" % name, reason)
        directories = self._directories_of_files()
        for number, mount in enumerate(self.file_systems):
            where = "file_systems[%d].mount_point" % number
            if mount.is_tmpfs and targets.is_run(mount.type, mount.mount_point, mount.options):
                continue  # it is there before any file
            if not self._is_store(mount):
                self.refuse(where, targets.refusal_of_place(mount.mount_point, self.store.target))
            self.refuse(where, _hides(mount.mount_point, directories))

    def _is_store(self, mount: Mount) -> bool:
        place = (mount.mount_point, mount.device)
        return place == (self.store.target, self.store.source) and mount.is_bind and mount.read_only

    def hidden_file(self, point: str) -> str | None:
        """Return which of the system's files a mount at a point would hide, as a reason against it, or None."""
        return _hides(point, self._directories_of_files())

    def _directories_of_files(self) -> dict[str, str]:
        """Return the directories in which the system's files are, each with the first of these."""
        found: dict[str, str] = {}
        for name in self.files:
            for above in targets.parents(targets.plain_path(name)):
                found.setdefault(above, name)
        return found


def _hides(point: str, directories: dict[str, str]) -> str | None:
    place = targets.plain_path(point)
    form = "'%s' would hide %s, which the system brings itself: use a deeper path"
    return form % (place, directories[place]) if place in directories else None


def upgrade(written: dict[str, Any]) -> dict[str, Any]:
    """Return what a former version wrote in the form of today: a system of its time may run while this one looks."""
    mounts = written.get("file_systems")
    if written.get("format") != 1 or not isinstance(mounts, list):
        return written
    return dict(written, format=FORMAT, file_systems=[_upgrade_mount(mount) for mount in mounts])


def _upgrade_mount(mount: Any) -> Any:
    if not isinstance(mount, dict) or not isinstance(mount.get("flags"), list):
        return mount
    gone = ("check", "create_mount_point", "needed_for_boot")
    kept = {key: value for key, value in mount.items() if key not in gone and value is not None}
    kept["flags"] = [flag for flag in mount["flags"] if flag not in ("remount", "shared")]
    return dict(kept, type="none") if "bind-mount" in kept["flags"] else kept
