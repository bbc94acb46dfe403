# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks whether users of the host could run, with root's rights, what root inside leaves in writable storage.

The system-call filter refuses to make set-user-ID programs, but overlayfs, mounted inside, copies one up in the kernel.
With `security.nesting`, openat2(2) makes one, and in a machine so does chmod(2). With the first, overlayfs copies up a
file capability, too, since root inside then has CAP_SETFCAP, and the id map turns the container's root into the host's.
Three things protect users of the host: a directory above the storage, which root inside cannot change, keeps them away;
`nosuid` takes the program's rights; `noexec` prevents that it runs.
"""

from __future__ import annotations

import errno
import os
import stat
import struct

from . import guarded, linux, mount_table, mounts
from .targets import is_below

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .contract import Mount, Specification

REMEDY = (
    "let a directory above it (its parent for one; its own mode is for root inside to change) belong to root and have "
    "mode 0700, or keep it on a file system mounted nosuid or noexec"
)
# acl(5) as the kernel has it in an extended attribute: a version, then entries of a tag, permissions and an id.
ACL = "system.posix_acl_access"
USER, GROUP_OBJ, GROUP, MASK = 0x02, 0x04, 0x08, 0x10
EXECUTE = 1


def strictly_for(specification: Specification) -> str:
    """Return the option for which no user of the host may reach what a container writes to; or "" for none."""
    if specification.security.nesting:
        return "security.nesting"
    return "root: machine" if specification.root.is_machine else ""


def check_bind(host: guarded.GuardedHost, source: int, name: str, point: str, strictly: str) -> str | None:
    """Return a warning when users of the host can reach a directory that a container is to write to, or None.

    Args:
        host: what is mounted there.
        source: a descriptor of what is mapped; in what is no directory nothing can be made.
        name: its path, for the text.
        point: where the container has it.
        strictly: the option for which it may not be so, or "".

    Raises:
        guarded.WritableSource: with that, instead of the warning.
    """
    if not stat.S_ISDIR(os.fstat(source).st_mode):
        return None
    return _said(host, host.shown(source), name, point, strictly)


def check_file_system(host: guarded.GuardedHost, record: Mount, device: str, strictly: str) -> str | None:
    """Return the same as `check_bind` for a file system that the container mounts, and that the host mounts, too."""
    return _said(host, host.shown_of_file_system(record, device), device, record.mount_point, strictly)


def _said(host: guarded.GuardedHost, shown: list[tuple[str, str]], name: str, point: str, strictly: str) -> str | None:
    way = next((path for path, mapped in shown if _is_reachable(host, path, mapped)), None)
    if way is None:
        return None
    known = "" if way == name else " as %s" % way
    if strictly:
        raise guarded.WritableSource(
            "%s: with %s it cannot be writable at %s, for users of this host can reach it%s, and root "
            "inside could leave programs there that run with rights of the host's root; %s"
            % (name, strictly, point, known, REMEDY)
        )
    return (
        "%s: users of this host can reach it%s, so root inside could leave set-user-ID programs of the host's root "
        "there for them; %s" % (name, known, REMEDY)
    )


def _is_reachable(host: guarded.GuardedHost, path: str, mapped: str) -> bool:
    """Return whether users other than root can reach a path, through each directory above it.

    Args:
        host: its mounts tell whether a server might have to be waited for; such a path counts as reachable.
        path: of a directory.
        mapped: a directory whose mode, and all modes below, root inside can change; or "".
    """
    if not mapped or not is_below(path, mapped):
        way = mount_table.way(host.mounts, path)
        if not all(mount.point == "/" or mount.kind in mounts.OWN for mount in way[:-1]):
            return True  # its server may let anybody in, and may not answer
    while path != "/":
        path = os.path.dirname(path)
        if mapped and is_below(path, mapped):
            continue
        try:
            if not lets_users_in(path):
                return False
        except FileNotFoundError:
            return False  # hidden by another mount, or gone
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            return True  # somebody has put a link there meanwhile, which is not followed
    return True


def lets_users_in(directory: str) -> bool:
    """Return whether the owner, the group, an ACL or the mode lets users other than root pass a directory."""
    descriptor = linux.openat2(linux.AT_FDCWD, directory, os.O_PATH, linux.RESOLVE_NO_SYMLINKS)
    try:
        return _lets_users_in(descriptor)
    finally:
        os.close(descriptor)


def _lets_users_in(directory: int) -> bool:
    status = os.fstat(directory)
    if status.st_uid != 0 or status.st_mode & stat.S_IXOTH:
        return True  # an owner can change the mode
    if not status.st_mode & stat.S_IXGRP:
        return False  # where there is an ACL, these bits are its mask
    entries = _acl("/proc/self/fd/%d" % directory)
    if not entries:
        return status.st_gid != 0
    return any(
        permissions & EXECUTE and (status.st_gid if tag == GROUP_OBJ else number) != 0
        for tag, permissions, number in entries
        if tag in (USER, GROUP_OBJ, GROUP)
    )


def _acl(path: str) -> list[tuple[int, int, int]]:
    """Return the entries of a directory's ACL as (tag, permissions, id); an empty list without an ACL."""
    try:
        value = os.getxattr(path, ACL)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return []
        raise
    return list(struct.iter_unpack("<HHI", value[4:]))
