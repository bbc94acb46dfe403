# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file systems and mappings of a system (C8, C10), mounted in the tree that its container is to see (S2, S3)."""

from __future__ import annotations

import errno
import os
import stat
import time

from . import (
    file_systems,
    guarded,
    kernel,
    linux,
    mapped,
    mapping_ids,
    mount_calls,
    mount_table,
    mounts,
    network_files,
    ownership,
    reachable,
    unmapped,
)
from .errors import LauncherError
from .excursion import in_child
from .mapping_ids import MappingIds
from .owners import Owners
from .paths import STATE_DIRECTORY
from .targets import IN_MEMORY, NETWORK_FILES, is_below, plain_path
from .user_namespace import make_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .contract import Mount
    from .plan import Plan

# Of the time that is left, the part that a mount which may fail can keep the start waiting for its server.
PATIENCE = 0.25
# Between the two lists that a child says.
DIVIDER = "\0"
NOT_SHARED = (
    "%s: is in no shared mount on the host, so what is mounted below it later is not seen inside, as propagation: "
    "slave asks for: mount --make-shared %s there"
)
LEFT_OUT = "; it is left out, as its declaration allows"


class Records:
    """The mounting of records of `spec.json`, one after the other.

    Args:
        tree: the root under construction.
        plan: what it is for: the specification and the ids.
        store: descriptor of the store on the host.
        id_map: descriptor of the container's user namespace, when shared files are to be id-mapped.
        deadline: until when (time.monotonic) a server may take to answer for a file system.
        warnings: where to say what was left out, a line each.
        network: descriptor of the directory that has the copies of the host's network files, or none.
        table: the host's mounts, where they have been read before: mounts of a container may be among them by now.

    Attributes:
        mapped: what was found at the sources of mappings, a line each (`mapped`).
        owners: the ids of accounts that are others than declared.
        disk: owner and group of the source on the host where a part of a mapping is mounted later; None for its own.
        strictly: the option for which no user of the host may reach what the container writes to, or "".
    """

    def __init__(
        self,
        tree: mounts.Tree,
        plan: Plan,
        store: int,
        id_map: int | None,
        deadline: float,
        warnings: list[str],
        network: int | None = None,
        table: list[mount_table.MountTableEntry] | None = None,
    ) -> None:
        self.tree = tree
        self.plan = plan
        self.store = store
        self.identity = plan.identity
        self.id_map = id_map
        self.deadline = deadline
        self.warnings = warnings
        self.network = network
        self.mapped: list[str] = []
        self.owners = Owners()
        self.disk: tuple[int, int] | None = None
        self.strictly = reachable.strictly_for(plan.spec)
        self._mounts = table
        self._of_others: list[str] | None = None
        self._host: guarded.GuardedHost | None = None
        self._served: list[str] = []

    def mount(self, record: Mount) -> None:
        """Mount a record, in a process that can be given up when a server may have to answer."""
        if not self._asks_a_server(record):
            self._mount(record)
            return
        self._served.append(record.mount_point)
        began = time.monotonic()
        seconds = self.deadline - began
        if record.mount_may_fail:
            seconds *= PATIENCE

        def work() -> str:
            warned, noted = len(self.warnings), len(self.mapped)
            self._mount(record)
            return "\n".join(self.warnings[warned:]) + DIVIDER + "\n".join(self.mapped[noted:])

        try:
            said = in_child(work, seconds, keep=(self.tree.root, self.store, self.id_map, self.plan.host_mounts))
        except TimeoutError:
            message = "%s: the file system of %s has not answered for %g s; does its server run?" % (
                record.mount_point,
                record.source,
                round(time.monotonic() - began, 1),
            )
            if not record.mount_may_fail:
                raise LauncherError(message) from None
            said = message + LEFT_OUT
        warnings, _divider, noted = said.partition(DIVIDER)
        self.warnings += filter(None, warnings.split("\n"))
        self.mapped += filter(None, noted.split("\n"))

    def _asks_a_server(self, record: Mount) -> bool:
        """Return whether something else than the kernel may have to answer, for the source or for the mount point."""
        device = record.source
        if record.propagation == "slave":
            return True  # it needs a process that can be in two mount namespaces
        if any(is_below(record.mount_point, point) for point in self._served):
            return True
        if not record.is_bind:
            if record.type not in mounts.OWN:
                return True
            if record.type in IN_MEMORY:
                return False
            written, read = file_systems.paths_of(record.type, device, record.options)
            # The kernel follows these, and somebody in another container may put a link on the way.
            return bool(written or read)
        if device == self.plan.spec.store.source:
            return False  # all of the host depends on it
        if self.network is not None and network_files.is_followed(record):
            return False
        return any(is_below(device, point) for point in self._foreign())

    def _foreign(self) -> list[str]:
        """Return where the host has mounted what something else than the kernel may have to answer for."""
        if self._of_others is None:
            self._mounts = mount_table.read() if self._mounts is None else self._mounts
            self._of_others = [mount.point for mount in self._mounts if mount.kind not in mounts.OWN]
        return self._of_others

    def _mount(self, record: Mount) -> None:
        """Mount a record. Where a failure is allowed, add a warning instead; a refusal is an error in any case."""
        try:
            if record.is_bind:
                self._bind(record)
            else:
                self._mount_file_system(record)
        except (guarded.WritableSource, mounts.ProtectedTarget):
            raise
        except LauncherError as error:
            if not record.mount_may_fail:
                raise
            self.warnings.append(str(error).replace("\n", " ") + LEFT_OUT)

    def _mount_file_system(self, record: Mount) -> None:
        point, device, kind = record.mount_point, record.source, record.type
        options = self.options(record)
        in_memory = kind in IN_MEMORY
        if record.is_tmpfs:
            options = self.plan.memory.options(point, options)
        if not in_memory:
            options.insert(0, ("source", device))
        read_only = record.read_only
        try:
            if not in_memory and not read_only:
                self._runs().refuse_writable_file_system(record, device)
            if not in_memory:
                self._warn(self._runs().warning_of_file_system(record, device))
            mount = mounts.filesystem(kind, options, mounts.attributes(record.flags))
            try:
                if not in_memory and not read_only:
                    self._runs().refuse_writable_mount(mount, kind, device)
                    self._warn(reachable.check_file_system(self._runs(), record, device, self.strictly))
                if self.id_map is not None and not in_memory:
                    mount_calls.mount_setattr(mount, 0, False, self.id_map)
            except (LauncherError, OSError):
                os.close(mount)
                raise
            self.tree.attach(mount, point)
        except OSError as error:
            message = "%s: cannot mount %s (%s): %s" % (point, device, kind, _reason(error))
            raise LauncherError(message) from error

    def _runs(self) -> guarded.GuardedHost:
        """Return what this host runs, and has mounted. It is looked up once, for the first record that needs it."""
        if self._host is None:
            python = guarded.interpreter(self.plan.spec.python)
            self._host = guarded.GuardedHost(dict(guarded.RUNS, **python), table=self._mounts)
        return self._host

    def _warn(self, warning: str | None) -> None:
        if warning:
            self.warnings.append(warning)

    def options(self, record: Mount) -> list[tuple[str, str | None]]:
        """Return a mount(8) option string as (name, value or None); turn the container's ids in it into the host's."""
        options: list[tuple[str, str | None]] = []
        for option in (record.options or "").split(","):
            name, equals, value = option.partition("=")
            if name == "newinstance" or not name:
                continue  # every devpts mount is its own since Linux 4.7
            if name in ("uid", "gid") and value.isdigit():
                own = self.owners.user if name == "uid" else self.owners.group
                value = str(self.identity.base + own(int(value)))
            options.append((name, value if equals else None))
        if record.type == "devpts":
            # Group tty, so that mode=620 means what it does on a host.
            options.append(("gid", str(self.identity.base + 5)))
            options = kernel.terminal_options(options)
        if "lazy-time" in record.flags:
            options.append(("lazytime", None))
        return options

    def _bind(self, record: Mount) -> None:
        """Bind a mapping (C10), or add a warning when its source does not exist (S3)."""
        path, point = record.source, record.mount_point
        if self.network is not None and network_files.is_followed(record):
            self._bind_copy(self.network, record)
            return
        try:
            if path == self.plan.spec.store.source:
                source = os.dup(self.store)
            else:
                source = mounts.open_source(path, path in NETWORK_FILES, STATE_DIRECTORY)
        except FileNotFoundError:
            if record.required:
                raise LauncherError(mapped.MISSING_REQUIRED % (path, point)) from None
            self.warnings.append(mapped.MISSING % (path, point))
            self._note(mapping_ids.with_own_ids(record, self.owners), "")
            return
        except LauncherError as error:
            raise LauncherError("%s: cannot bind there: %s" % (point, error)) from error
        except OSError as error:
            raise LauncherError("%s: cannot bind %s there: %s" % (point, path, error)) from error
        try:
            status = os.fstat(source)
            reason = refusal_of_source(status.st_mode)
            if reason:
                raise LauncherError("%s: cannot bind %s there: it %s" % (point, path, reason))
            attributes = mounts.attributes(record.flags)
            if path in NETWORK_FILES:
                # C11 has one of them writable for hosts on which it could not be bound otherwise. Here it can.
                attributes |= mount_calls.MOUNT_ATTR_RDONLY
            writable = not attributes & mount_calls.MOUNT_ATTR_RDONLY
            if writable and not record.is_own:
                self._runs().refuse_writable(source, path)
            if not record.is_own and path not in NETWORK_FILES and path != self.plan.spec.store.source:
                self._warn(self._runs().warning(source, path))
            if writable:
                attributes |= mount_calls.MOUNT_ATTR_NOSUID
                self._warn(reachable.check_bind(self._runs(), source, path, point, self.strictly))
            record = mapping_ids.with_own_ids(record, self.owners)
            ids = self._ids_of(record, source, status)
            if record.volume is not None:
                self._warn(ownership.give_volume(source, record.volume, self.owners))
            self.attach_bind(source, point, attributes, path, record, ids)
            if writable or mapping_ids.has_owner(record):
                self._warn(self._foreign_file(source, path, record, ids))
            if path != self.plan.spec.store.source:
                self._note(record, mapped.identity_of(status), ids.disk)
        except OSError as error:
            raise LauncherError("%s: cannot bind %s there: %s" % (point, path, _reason(error))) from error
        finally:
            os.close(source)

    def _ids_of(self, record: Mount, source: int, status: os.stat_result) -> MappingIds:
        """Return the ids of a mapping, which has those of this container; `status` is its source's (stat(2)).

        An empty directory of root's is given to whom it should belong inside.
        """
        count = self.identity.count
        for number in (record.uid, record.gid):
            if number is not None and number >= count:
                raise LauncherError(
                    "`owner` and `group` of the mapping: the container has the ids 0 to %d" % (count - 1)
                )
        disk = self.disk or (status.st_uid, status.st_gid)
        refusal = mapping_ids.refusal(record, disk)
        if refusal:
            if not ownership.give(source, status, record, self.plan.spec.directories):
                raise LauncherError(refusal)
            status = os.fstat(source)
            disk = status.st_uid, status.st_gid
        self._warn(mapping_ids.group_warning(record, disk))
        return MappingIds(count, disk, record.uid, record.gid)

    def _foreign_file(self, source: int, path: str, record: Mount, ids: MappingIds) -> str | None:
        """Return a warning where a file belongs to nobody inside, when ids there are those on the host."""
        if record.is_own or (self.id_map is None and self.identity.base):
            return None
        return ownership.foreign_warning(source, path, ids)

    def _bind_copy(self, directory: int, record: Mount) -> None:
        """Bind the copy of one of the host's network files. It belongs to the container's root without an id map."""
        name = os.path.basename(record.mount_point.rstrip("/"))
        source = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            # C11 has one of them writable for hosts on which it could not be bound otherwise. Here it can.
            attributes = mounts.attributes(record.flags) | mount_calls.MOUNT_ATTR_RDONLY
            mount = mounts.bind(source, attributes, None, recursive=False)
        finally:
            os.close(source)
        self.tree.attach(mount, record.mount_point, directory=False)

    def _note(self, record: Mount, identity: str, disk: tuple[int, int] | None = None) -> None:
        """Note what is at the source of a mapping of the host's; the launcher's own are nobody's to replace."""
        if not record.is_own:
            below = mapped.below(self._runs().mounted, record.source, self.plan.staging) if identity else {}
            self.mapped.append(mapped.Mapped(record, identity, below, disk).line())

    def _copy_on_host(self, path: str) -> int:
        """Return a copy of a mount that takes what the host mounts later below a path. Only for a process of its own.

        A copy that is made in this mount namespace would be nobody's peer: nothing propagates to or from here.
        """
        here = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            linux.setns(self.plan.host_mounts or 0, linux.CLONE_NEWNS, home=True)
            source = mounts.open_source(path, False, STATE_DIRECTORY)
            mount = mount_calls.open_tree(source, "", True)
            os.close(source)
            said = not_shared(path)
            if said and said not in self.warnings:
                self.warnings.append(said)
            linux.setns(here, linux.CLONE_NEWNS, home=True)
        finally:
            os.close(here)
        mount_calls.make_slave(mount)
        return mount

    def attach_bind(
        self,
        source: int,
        point: str,
        attributes: int,
        name: str,
        record: Mount | None = None,
        ids: MappingIds | None = None,
    ) -> None:
        """Bind what a descriptor names.

        Args:
            name: the path of the source.
            record: the mapping that it is, if it is one, with the ids of this container.
            ids: those of the mapping, where it has a map of its own.
        """
        later = record is not None and record.propagation == "slave" and self.plan.host_mounts is not None
        copy = (lambda: self._copy_on_host(name)) if later else None
        if linux.file_system_type(source) == linux.AUTOFS_SUPER_MAGIC:
            self._warn(unmapped.accept_automount(attributes, name, later))
        own = None if ids is None or ids.is_usual else make_user_namespace(ids.lines(self.identity.base))
        id_map = self.id_map if own is None else own
        try:
            mount = mounts.bind(source, attributes, id_map, copy=copy)
        except OSError as error:
            if id_map is None or error.errno not in (errno.EINVAL, errno.EPERM):
                raise
            self._warn(unmapped.accept_unmapped(source, attributes, name, self.plan, record))
            mount = mounts.bind(source, attributes, None, copy=copy)
        finally:
            if own is not None:
                os.close(own)
        self.tree.attach(mount, point, stat.S_ISDIR(os.fstat(source).st_mode))


def refusal_of_source(mode: int) -> str | None:
    """Return why what has this mode (stat(2)) cannot be the source of a mapping, to follow its name; else None."""
    if not stat.S_ISCHR(mode) and not stat.S_ISBLK(mode):
        return None
    return "is a device, and a mapping gives no access to devices: map the file or directory that the container needs"


def not_shared(path: str) -> str | None:
    """Return the warning for a path in no shared mount of this mount namespace, to which nothing propagates."""
    around = mount_table.way(mount_table.read(), plain_path(path))
    return None if any(entry.shared for entry in around[-1:]) else NOT_SHARED % (path, path)


def _reason(error: OSError) -> str:
    """Return the text of a mount's error, with what to do where the system's text does not say."""
    if error.errno != errno.EROFS:
        return str(error)
    return "%s: a read-only mount there has no such mount point: make it on the host, or use another" % error
