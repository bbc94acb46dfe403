# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shares of the host without mapped ids: an automount point, and a file system whose ids the kernel cannot map.

A start warns of what such a share lacks, and refuses one that cannot be what was declared.
"""

from __future__ import annotations

import os

from . import linux, mapping_ids, mount_calls
from .errors import LauncherError
from .paths import STATE_DIRECTORY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .contract import Mount
    from .plan import Plan

LATER = (
    "%s: is an automount point with nothing mounted on it, and what is mounted below it later is not seen inside: map "
    "what is to be mounted, or declare the mapping with propagation: slave"
)
WRITABLE_LATER = (
    "%s: is an automount point with nothing mounted on it, and what is mounted there later could not map ids, so "
    "nobody inside could write to it: see why it is not mounted now, or map what is to be mounted"
)


def accept_automount(attributes: int, name: str, later: bool) -> str | None:
    """Return what a share of an automount point lacks that nothing is mounted on; None for nothing.

    Args:
        attributes: those of the mount.
        name: the path of the source.
        later: whether it sees what is mounted below it later.

    Raises:
        LauncherError: it is to be written to.
    """
    if not attributes & mount_calls.MOUNT_ATTR_RDONLY:
        raise LauncherError(WRITABLE_LATER % name)
    return None if later else LATER % name


def accept_unmapped(source: int, attributes: int, name: str, plan: Plan, record: Mount | None) -> str | None:
    """Return a warning about a share without an id map, or None.

    It is never shared with the host's own ids instead: root inside would be root there.

    Args:
        source: a descriptor (`O_PATH`) of it.
        attributes: those of the mount.
        name: the path of the source.
        record: the mapping with the ids of this container, if it is one.

    Raises:
        LauncherError: nobody inside could write to it, and it is to be written to, or it would not be whose its
            mapping says.
    """
    first, count = plan.identity.base, plan.identity.count
    status = os.fstat(source)
    if record is not None and mapping_ids.has_owner(record):
        if is_as_declared(record, status, first):
            return None
        raise LauncherError(mapping_ids.CANNOT_MAP % name)
    if linux.file_system_type(source) == linux.AUTOFS_SUPER_MAGIC:
        return None  # it has no files; what is mounted on it has its own
    if attributes & mount_calls.MOUNT_ATTR_RDONLY:
        message = "%s: its file system cannot map ids, so root's files there belong to nobody inside" % name
        if name == plan.spec.store.source:
            message += "; su, sudo and other set-user-ID programs do not work"
        return message
    if name == os.path.join(STATE_DIRECTORY, "containers", plan.spec.name, "journal"):
        os.chown("/proc/self/fd/%d" % source, first, first)  # the launcher's own directory
    elif not first <= status.st_uid < first + count:
        message = (
            "%s: its file system cannot map ids, so nobody inside could write to it; share it read-only, "
            "or put it on ext4, xfs or btrfs"
        )
        raise LauncherError(message % name)
    return None


def is_as_declared(record: Mount, status: os.stat_result, base: int) -> bool:
    """Return whether the source of a mapping belongs without an id map to whom it should belong inside.

    Args:
        base: the first id of the container on the host.
    """
    return all(
        declared is None or own == base + declared
        for declared, own in ((record.uid, status.st_uid), (record.gid, status.st_gid))
    )
