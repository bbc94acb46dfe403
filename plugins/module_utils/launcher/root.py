# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file tree that a container sees (S2, S3, S6), built by the host's root in a private mount namespace.

The building process has the container's base id as its effective ids, so that every file it makes belongs to the
container's root.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from . import credentials, kernel, lookup, memory, mount_calls, mount_units, mounts, nodes
from .declared_root import DeclaredRoot, read_file
from .errors import LauncherError
from .records import Records
from .source import Source
from .targets import CREDENTIALS, DEVICES, FUSE, NETWORK_FILES, NO_FUSE, OUTPUT_LOG, RUN, TEMPORARY, plain_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .contract import File, Mount, Specification
    from .machine_root import MachineRoot
    from .plan import Plan

SELF = "/run/current-system"
READ_SIZE = 1 << 16
PERMISSIONS = 0o777
SHARED_LIMIT = 1 << 24  # bytes of a file beside the store that are copied into each container
# Mounted by `kernel` once the container's namespaces exist.
NAMESPACED = ("mqueue",)


def kind_of(spec: Specification) -> type[DeclaredRoot] | type[MachineRoot]:
    """Return the kind of root that a container has. Nobody can ask that between entering and executing."""
    if not spec.root.is_machine:
        return DeclaredRoot
    from .machine_root import MachineRoot  # most containers are none, and its import takes its time

    return MachineRoot


class Builder:
    """The construction of a root tree, with everything but the kernel's namespaced file systems.

    Args:
        kind: what the root is made of, which says how files get there.
        tree: the root.
        plan: what it is for: system, spec, identity, console, machine id, extra mappings.
        source: its store on the host.
        id_map: descriptor of the container's user namespace, when shared files are to be id-mapped.
        notify: descriptor (O_PATH) of the socket for the init's notification, or none.
        network: descriptor of the directory that has the copies of the host's network files, or none.
        deadline: until when (time.monotonic) a server may take to answer for a file system, and files be read.

    Attributes:
        warnings: what was left out, a line each.
        records: what mounts the mappings.
    """

    def __init__(
        self,
        kind: DeclaredRoot | MachineRoot,
        tree: mounts.Tree,
        plan: Plan,
        source: Source,
        id_map: int | None,
        notify: int | None,
        network: int | None,
        deadline: float,
    ) -> None:
        self.kind = kind
        self.tree = tree
        self.plan = plan
        self.source = source
        self.identity = plan.identity
        self.notify = notify
        self.deadline = deadline
        self.warnings: list[str] = []
        self.records = Records(tree, plan, source.store, id_map, deadline, self.warnings, network)
        self._shared: list[str] = []  # the directories of the store's tree that are mounted

    def build(self) -> None:
        """Build the tree; the working directory is its root afterwards."""
        spec = self.plan.spec
        os.umask(0)
        os.fchdir(self.tree.root)
        self.kind.lay_out()
        self.records.owners = owners = self.kind.owners
        kernel.populate_devices(self.tree, self.plan.console, self._devices(), early_log=spec.init.systemd)
        self.warnings += nodes.populate(self.tree, spec.devices, self.identity.base, owners)
        mounted = self._mount_own()
        self.kind.link_store()
        if self.plan.output is None:
            self.kind.place(OUTPUT_LOG.lstrip("/"), 0o600, b"")
        self._copy_files(spec.files)
        self.kind.place("etc/machine-id", 0o444, (self.plan.machine_id + "\n").encode())
        self.kind.place("run/host/container-manager", 0o444, b"unshare\n")
        self._share_host_files(spec)
        self.kind.make_directories(self.plan.built)
        records = spec.file_systems + self.plan.extra_file_systems
        if spec.init.systemd:
            self._tell_of_mounts([TEMPORARY, *(record.mount_point for record in records), *self._shared])
        for record in records:
            if record.is_bind and record.mount_point in NETWORK_FILES:
                self.kind.make_mount_point(record.mount_point.lstrip("/"))
            if record.type not in NAMESPACED and record not in mounted:
                self.records.mount(record)
        if self.plan.credentials:
            credentials.attach(self.tree, self.plan.credentials)
        if self.notify is not None:
            mount = mounts.bind(self.notify, mount_calls.MOUNT_ATTR_RDONLY, None, recursive=False)
            self.tree.attach(mount, "/run/host/notify", directory=False)

    def _devices(self) -> tuple[str, ...]:
        """Return the names of the container's devices."""
        if not self.plan.spec.security.fuse:
            return DEVICES
        if not os.path.exists("/dev/" + FUSE):
            self.warnings.append(NO_FUSE)
        return (*DEVICES, FUSE)

    def _mount_own(self) -> list[Mount]:
        """Mount `/run` and `/tmp`, and return the records that say how: both are there before anything is in them."""
        # In a less privileged mount namespace these attributes are locked, and systemd-nspawn takes them from a bind
        # mount of a directory of its own there. Nobody inside can make a device, or a file of an id out of its range.
        own = (
            (RUN, memory.RUN_OPTIONS, self.plan.nesting),
            (TEMPORARY, memory.TEMPORARY_OPTIONS, False),
        )
        mounted = []
        for point, defaults, bare in own:
            attributes = 0 if bare else mount_calls.MOUNT_ATTR_NOSUID
            declared = [item for item in self.plan.spec.file_systems if item.mount_point == point and item.is_tmpfs]
            options: list[tuple[str, str | None]] = []
            for record in declared[-1:]:
                options = self.records.options(record)
                attributes |= mounts.attributes(record.flags)
            options = self.plan.memory.options(point, memory.with_defaults(options, defaults))
            try:
                self.tree.attach(mounts.filesystem("tmpfs", options, attributes, nodes=bare), point)
            except OSError as error:
                raise LauncherError("%s: cannot mount a tmpfs: %s" % (point, error)) from error
            mounted += declared
        return mounted

    def _copy_files(self, files: dict[str, File]) -> None:
        for path, entry in files.items():
            if path.startswith(CREDENTIALS + "/"):
                continue
            relative = path.lstrip("/")
            if entry.link is not None:
                self.kind.link(relative, entry.link)
            else:
                content = read_file(os.path.join(self.plan.system, "root", relative))
                self.kind.place(relative, int(entry.mode, 8), content, entry.uid, entry.gid)
        self.kind.place(SELF.lstrip("/") + "/boot", 0o555, read_file(os.path.join(self.plan.system, "boot")))

    def _share_host_files(self, spec: Specification) -> None:
        """Share the listed configuration of the software, from the tree that the store is part of.

        Directories are bound read-only, files copied. They hold no secret, and what the system itself declares wins.
        """
        for path in spec.host_files:
            if path not in spec.files and not self.kind.is_made(path):
                self._share_host_file(path)

    def _share_host_file(self, path: str) -> None:
        try:
            source = lookup.open_below(self.source.tree, path)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            return  # the tree has none, or a link to nothing of its own
        try:
            status = os.fstat(source)
            if stat.S_ISDIR(status.st_mode):
                self.records.attach_bind(source, path, mount_calls.MOUNT_ATTR_RDONLY, path)
                self._shared.append(path)
            elif stat.S_ISREG(status.st_mode):
                content = _read_shared(source, path, self.deadline)
                self.kind.place(path.lstrip("/"), stat.S_IMODE(status.st_mode) & PERMISSIONS, content)
        finally:
            os.close(source)

    def _tell_of_mounts(self, points: list[str]) -> None:
        """Tell the container's systemd what it cannot unmount, before anything of a container's own is mounted."""
        self.kind.place(mount_units.FILE.lstrip("/"), 0o644, mount_units.TEXT)
        for path in mount_units.drop_ins(map(plain_path, points)):
            # The system may have settings of its own for that unit.
            self.kind.link_unless_there(path.lstrip("/"), mount_units.LOCKED)


def _read_shared(source: int, path: str, deadline: float) -> bytes:
    """Return the content of a file of the store's tree, which `source` names.

    Root inside another container may be able to write to it at any time, so what is read is bounded, and not the size
    that the file has before.

    Raises:
        LauncherError: it is larger than the limit, or was not read by the deadline (time.monotonic).
    """
    descriptor = os.open("/proc/self/fd/%d" % source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = bytearray()
        while True:
            if time.monotonic() > deadline:
                raise LauncherError("%s of the store's tree: was not read in time" % path)
            part = os.read(descriptor, min(READ_SIZE, SHARED_LIMIT + 1 - len(content)))
            content += part
            if len(content) > SHARED_LIMIT:
                raise LauncherError("%s of the store's tree: is larger than %d bytes" % (path, SHARED_LIMIT))
            if not part:
                return bytes(content)
    finally:
        os.close(descriptor)
