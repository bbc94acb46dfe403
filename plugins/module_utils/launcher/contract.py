# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract between controller and launcher: the records of `spec.json`, which both sides import.

The controller makes the records and writes them, and the launcher reads the same ones. Each field, flag, signal and
default is defined here alone. A field that a record does not have is an error on both sides. A field that has its
default is left out of the file.

To add a field: name it in the class of its record, with its default, and in that class's `KINDS`; set it where the
controller makes the record (`plugin_utils/system_files`), and read it where the launcher needs it.
"""

from __future__ import annotations

from . import file_systems, kinds, targets, volumes
from .data import is_integer
from .kinds import ContractError, ContractRecord
from .needs import Credential, Device, Port
from .root_options import Root
from .stop_signals import signal_name
from .store import Store
from .volumes import Volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .network_records import Network

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
# Never back to the host: what a container mounts is nobody else's.
PROPAGATIONS = ("private", "slave")


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


def _format(value: object) -> int:
    if not is_integer(value) or value != FORMAT:
        raise ContractError("is %r, and this launcher reads %d" % (value, FORMAT))
    return FORMAT


def _network(value: object) -> Network:
    from .network_records import Network  # most containers have none, and its import takes its time

    return Network.read(value)


class Init(ContractRecord):
    """The program that `boot` executes, the container's PID 1.

    Attributes:
        argv: its path inside, and its arguments.
        environment: variables beside those that every PID 1 has.
        ready: `notify` if it reports by sd_notify(3) that it is ready, `exec` if it is ready as soon as it runs.
        stop_signal: the signal that asks it to stop.
        systemd: whether it is systemd, so that it has units and a journal.
    """

    argv: list[str]
    environment: dict[str, str] = {}
    ready: str = "exec"
    stop_signal: str = "SIGTERM"
    systemd: bool = False

    KINDS = {
        "argv": kinds.list_of(kinds.text_or_none),
        "environment": kinds.variables,
        "ready": kinds.choice("exec", "notify"),
        "stop_signal": signal_name,
        "systemd": kinds.boolean,
    }

    def check(self) -> None:
        if not self.argv:
            raise ContractError("names no program").within("argv")
        self.at("argv[0]", kinds.path, self.argv[0])


class Security(ContractRecord):
    """The exceptions from the usual isolation; `docs/security.md` says what each gives up.

    Attributes:
        set_user_id: whether set-user-ID files can be made, as in a machine, which is declared by its root.
    """

    no_new_privileges: bool = False
    nesting: bool = False
    fuse: bool = False
    set_user_id: bool = False

    KINDS = {
        "no_new_privileges": kinds.boolean,
        "nesting": kinds.boolean,
        "fuse": kinds.boolean,
        "set_user_id": kinds.boolean,
    }


class Mount(ContractRecord):
    """A file system that is mounted before PID 1 runs (S2), or a bind mount of the host's (C10).

    Attributes:
        device: a path of the host, a name that the type understands, or a mapping of `uuid` or `label`.
        mount_point: the place in the container.
        flags: some of `FLAGS`.
        options: of the file system, as mount(8) takes them.
        required: whether the source of a bind mount must exist (S3).
        mount_may_fail: whether the container starts without it.
        propagation: whether what the host mounts below a bind mount later is seen inside (`slave`), or not (`private`).
        uid, gid: whose the source's owner's and group's is inside; none for their own numbers. Of bind mounts.
        volume: the volume whose directory is mounted, or none.
        journal: whether it is the kept journal's directory; never read from a file.
    """

    device: str | dict[str, str]
    mount_point: str
    type: str
    flags: list[str] = []
    options: str | None = None
    required: bool = False
    mount_may_fail: bool = False
    propagation: str = "private"
    uid: int | None = None
    gid: int | None = None
    volume: Volume | None = None

    KINDS = {
        "device": _device,
        "mount_point": kinds.path,
        "type": kinds.text,
        "flags": kinds.list_of(_flag),
        "options": kinds.text,
        "required": kinds.boolean,
        "mount_may_fail": kinds.boolean,
        "propagation": kinds.choice(*PROPAGATIONS),
        "uid": kinds.identifier,
        "gid": kinds.identifier,
        "volume": Volume.read,
    }

    journal = False

    @property
    def is_own(self) -> bool:
        """Return whether it is a directory that the launcher makes for the container, and keeps."""
        return self.journal or self.volume is not None

    @property
    def source(self) -> str:
        """Return the source of the mount: a path or a name."""
        if isinstance(self.device, str):
            return self.device
        kind, value = next(iter(self.device.items()))
        return "/dev/disk/by-%s/%s" % (kind, value)

    @property
    def is_bind(self) -> bool:
        """Return whether it is a bind mount."""
        return "bind-mount" in self.flags

    @property
    def is_tmpfs(self) -> bool:
        """Return whether it is a new tmpfs."""
        return self.type == "tmpfs" and not self.is_bind

    @property
    def read_only(self) -> bool:
        """Return whether the mount is read-only."""
        return "read-only" in self.flags

    def check(self) -> None:
        if self.is_bind:
            self.at("device", kinds.source, self.device)
            self.refuse("type", None if self.type == "none" else "a bind mount has the type 'none'")
            return
        if self.propagation != "private":
            raise ContractError("is for bind mounts", refused=True).within("propagation")
        for name in ("uid", "gid"):
            self.refuse(name, None if getattr(self, name) is None else "is for bind mounts")
        if self.volume is not None:
            raise ContractError("is a directory, and so a bind mount").within("volume")
        self.refuse("type", targets.refusal_of_type(self.type))
        if self.is_tmpfs and self.read_only and targets.plain_path(self.mount_point) == targets.RUN:
            self.refuse("flags", "/run cannot be read-only: the container's init writes there")
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
    """A directory that a start makes, perhaps in a mapping.

    Attributes:
        mode: in octal digits.
        account: the name of the account with this uid, for messages.
        data: whether a service keeps there what is to outlive the container.
        made_once: what is made there at the first start and should stay, in words for messages.
        present: whether it lies in a read-only mount, and so has to be there already: nobody makes it.
    """

    path: str
    mode: str = "0755"
    uid: int = 0
    gid: int = 0
    account: str = ""
    data: bool = False
    made_once: str = ""
    present: bool = False

    KINDS = {
        "path": kinds.path,
        "mode": kinds.mode,
        "uid": kinds.identifier,
        "gid": kinds.identifier,
        "account": kinds.text,
        "data": kinds.boolean,
        "made_once": kinds.text,
        "present": kinds.boolean,
    }


class Specification(ContractRecord):
    """The specification of a system, `spec.json`: everything that a start needs to know.

    Attributes:
        format: of this file.
        name: the container's.
        host_name: what PID 1 finds as such.
        store: the software.
        init: the program.
        root: what its `/` is made of.
        shared_network: whether it has the host's network.
        network: the interfaces of its own network; none for a loopback alone.
        private_users: `auto`, `identity`, or the first of its ids on the host.
        oom_score_adj: by how much the kernel sooner kills a process of the container when the host's memory ends, or
            later (proc_pid_oom_score_adj(5)).
        log: whether the journal is `volatile` or `persistent`.
        security: the exceptions.
        devices: of the host, in the order in which they were declared.
        credentials: for its PID 1.
        file_systems: in the order in which they are mounted.
        files: by their paths inside.
        directories: in the order in which they are made.
        host_files: paths, taken from the tree that the store is part of.
        ports: of the host, on which services listen; none with a network of its own.
        launcher: fingerprint of the launcher beside this file.
        python: path of the interpreter that runs that.
        filter_digest: SHA-256 of the system-call filter beside this file in hexadecimal digits; empty where the host
            could make none.
    """

    format: int
    name: str
    host_name: str
    store: Store
    init: Init
    root: Root = Root()
    shared_network: bool = False
    network: Network | None = None
    private_users: str | int = "auto"
    oom_score_adj: int = 0
    log: str = "volatile"
    security: Security = Security()
    devices: list[Device] = []
    credentials: list[Credential] = []
    file_systems: list[Mount] = []
    files: dict[str, File] = {}
    directories: list[Directory] = []
    host_files: list[str] = []
    ports: list[Port] = []
    launcher: str = ""
    python: str = ""
    filter_digest: str = ""

    KINDS = {
        "format": _format,
        "name": kinds.container_name,
        "host_name": kinds.text,
        "store": Store.read,
        "init": Init.read,
        "root": Root.read,
        "shared_network": kinds.boolean,
        "network": _network,
        "private_users": kinds.private_users,
        "oom_score_adj": kinds.oom_score,
        "log": kinds.choice("volatile", "persistent"),
        "security": Security.read,
        "devices": kinds.list_of(Device.read),
        "credentials": kinds.list_of(Credential.read),
        "file_systems": kinds.list_of(Mount.read),
        "files": kinds.mapping_of(kinds.path, File.read),
        "directories": kinds.list_of(Directory.read),
        "host_files": kinds.list_of(kinds.path),
        "ports": kinds.list_of(Port.read),
        "launcher": kinds.text,
        "python": kinds.text,
        "filter_digest": kinds.text,
    }

    def check(self) -> None:
        if self.network is not None and self.shared_network:
            self.refuse("network", "names interfaces, and the container has the host's network")
        if self.security.set_user_id and not self.root.is_machine:
            self.refuse("security.set_user_id", "is for a machine, whose files no user of the host can reach")
        for name in self.files:
            reason = targets.refusal_of_file(name, self.store.target)
            if reason:
                self.refuse("files[%s]" % name, reason)
        directories = self._directories_of_files()
        for number, mount in enumerate(self.file_systems):
            where = "file_systems[%d].mount_point" % number
            if mount.volume is not None and mount.device != volumes.volume_directory(self.name, mount.volume.name):
                raise ContractError("is no directory of this volume").within("file_systems[%d].device" % number)
            if mount.is_tmpfs and targets.is_run(mount.type, mount.mount_point, mount.options):
                continue  # it is there before any file
            if not self._is_store(mount):
                self.refuse(where, targets.refusal_of_place(mount.mount_point, self.store.target))
            self.refuse(where, _hides(mount.mount_point, directories))
        points = [mount.mount_point for mount in self.file_systems]
        for number, device in enumerate(self.devices):
            self.refuse("devices[%d].target" % number, device.refusal_beside(self.devices[:number], points))

    def _is_store(self, mount: Mount) -> bool:
        place = (mount.mount_point, mount.device)
        return place == (self.store.target, self.store.source) and mount.is_bind and mount.read_only

    def with_tree(self, content: str) -> Specification:
        """Return the specification whose store is of a tree by its name, with the content that the name leads to."""
        store = Store.of_tree(self.store.tree, content)
        mounts = [
            mount.replacing(device=store.source) if self._is_store(mount) else mount for mount in self.file_systems
        ]
        return self.replacing(store=store, file_systems=mounts)

    def hidden_file(self, point: str) -> str | None:
        """Return why a mount at a point would hide one of the system's files, naming the file; else None."""
        return _hides(point, self._directories_of_files())

    def _directories_of_files(self) -> dict[str, str]:
        """Return the directories that hold the system's files, each with its first file."""
        found: dict[str, str] = {}
        for name in self.files:
            for above in targets.parents(targets.plain_path(name)):
                found.setdefault(above, name)
        return found


def _hides(point: str, directories: dict[str, str]) -> str | None:
    place = targets.plain_path(point)
    form = "'%s' would hide %s, which the system brings itself: use a deeper path"
    return form % (place, directories[place]) if place in directories else None
