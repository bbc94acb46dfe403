# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The content of a tree: what belongs to one machine alone is taken out, the rest has a digest, which names the tree.

The digest is over the kind, mode, owner, extended attributes and content of all that is in the tree, and over no time:
two trees made of the same packages on two days are to be one. What packages make anew at each installation, and what
only one machine has, differs between them all the same. So it is taken out (`TAKEN_OUT`), or left out of the digest
where software needs that it is there (`NOT_COUNTED`).
"""

from __future__ import annotations

import ctypes
import errno
import fnmatch
import hashlib
import os
import re
import stat

from ..launcher import lookup, trees
from ..launcher.errors import LauncherError
from ..launcher.names import DIGITS
from ..state.tree_records import TreeFacts
from .entries import Budget, Refused, is_attribute_kept, shown_name
from .packages import distribution_of, packages_of

TAKEN_OUT = (
    "dev/*",  # each container makes its own devices
    "etc/ssh/ssh_host_*",  # keys that all containers of the tree would have
    "etc/.pwd.lock",
    "var/log/*",
    "var/cache/apt/*",
    "var/cache/apk/*",
    "var/cache/dnf/*",
    "var/cache/yum/*",
    "var/cache/debconf/*-old",
    "var/cache/ldconfig/aux-cache",
    "var/cache/man/*",
    "var/lib/apt/lists/*",
    "var/lib/dbus/machine-id",
    "var/lib/dpkg/*-old",
    "var/lib/dpkg/lock*",
    "var/lib/systemd/catalog/database",
    "var/lib/systemd/credential.secret",
    "var/lib/systemd/random-seed",
)
"""Patterns (fnmatch(3), "*" stands for "/" as well) of files that go. Directories stay: software needs them."""

EMPTIED = ("etc/machine-id",)
"""Files that become empty, which systemd takes for those of a machine that has not been started yet."""

NOT_COUNTED = ("etc/ssl/certs/ssl-cert-snakeoil.pem", "etc/ssl/private/ssl-cert-snakeoil.key")
"""A certificate for tests, which the package ssl-cert makes anew each time. So is its name's hash in etc/ssl/certs.

Whoever makes a tree may know the digest of somebody else's. So it counts as any file where it is no such certificate.
"""

ACCOUNTS = ("etc/shadow", "etc/shadow-")
"""Files in which the day stands on which an account was made (shadow(5)); that day does not count."""

CERTIFICATE, CERTIFICATE_LIMIT = b"-----BEGIN ", 1 << 16  # what a file of NOT_COUNTED begins with, and its bytes
ACCOUNTS_LIMIT = 1 << 22  # bytes of a file of accounts; each day of a larger one counts

OF_THE_TREE = ("etc", "usr", "dev", "proc", "sys", "run", "var")
"""Directories that a container makes or mounts over. As links they would lead elsewhere."""

READ_SIZE = 1 << 18
_hash_of_certificate = re.compile(r"etc/ssl/certs/[0-9a-f]{8}(\.[0-9]+)?")
_taken_out = re.compile("|".join(map(fnmatch.translate, TAKEN_OUT)))


class TreeContent:
    """A tree that was made, looked through once.

    :param root: its root directory, which nobody else has.
    :param budget: what it may hold; for what was written without one.
    :raises Refused: something is in it that can be in no tree.
    :raises OSError: it cannot be read, or what is to be taken out cannot.
    :ivar digest: by which it is stored.
    :ivar facts: what is told of it.
    """

    def __init__(self, root: str, budget: Budget) -> None:
        self.root = os.path.realpath(root)
        self._budget = budget
        self._lines: list[bytes] = []
        self._size = 0
        self._seen: dict[int, bytes] = {}  # digests of files with several names, by inode
        self._refuse_links()
        above, name = os.path.split(root)
        parent = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            trees.walk(parent, name, root, self._enter)
        except LauncherError as error:
            raise Refused(str(error)) from error
        finally:
            os.close(parent)
        digest = hashlib.sha256()
        for line in sorted(self._lines):
            digest.update(line)
        self.digest = digest.hexdigest()[:DIGITS]
        tree = lookup.open_root(root)
        try:
            packages, distribution = packages_of(tree), distribution_of(tree)
        finally:
            os.close(tree)
        self.facts = TreeFacts(size=self._size, files=len(self._lines), packages=packages, distribution=distribution)

    def _refuse_links(self) -> None:
        for name in OF_THE_TREE:
            path = os.path.join(self.root, name)
            if os.path.lexists(path) and not stat.S_ISDIR(os.lstat(path).st_mode):
                raise Refused(f"/{name} of it is a link or a file: a tree needs a directory there")
        if not os.path.lexists(os.path.join(self.root, "usr")):
            raise Refused("it has no /usr: it is no tree of a distribution")

    def _enter(self, descriptor: int) -> list[str]:
        path = os.readlink("/proc/self/fd/%d" % descriptor)[len(self.root) :].lstrip("/")
        self._add(path, descriptor, os.fstat(descriptor), b"")
        found = []
        for name in os.listdir(descriptor):
            below = f"{path}/{name}" if path else name
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                found.append(name)
            elif _taken_out.match(below):
                os.unlink(name, dir_fd=descriptor)
            else:
                self._look(descriptor, name, below, status)
        return found

    def _look(self, directory: int, name: str, path: str, status: os.stat_result) -> None:
        kind = stat.S_IFMT(status.st_mode)
        if kind in (stat.S_IFCHR, stat.S_IFBLK):
            raise Refused(f"{shown_name(path)} is a device, or a whiteout of overlayfs, and can be in no tree")
        if kind == stat.S_IFSOCK:
            os.unlink(name, dir_fd=directory)  # nobody listens
            return
        if kind == stat.S_IFLNK:
            target = os.readlink(name, dir_fd=directory)
            if target != os.path.basename(NOT_COUNTED[0]) or not _hash_of_certificate.fullmatch(path):
                self._add(path, -1, status, os.fsencode(target))
            return
        if kind != stat.S_IFREG:
            self._add(path, -1, status, b"")
            return
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=directory)
        try:
            if path in EMPTIED and status.st_size:
                if status.st_nlink > 1:
                    raise Refused(f"{path} is to be empty, and is a hard link to another file")
                os.truncate("/proc/self/fd/%d" % descriptor, 0)
                status = os.fstat(descriptor)
            size = status.st_size if status.st_ino not in self._seen else 0
            self._add(path, descriptor, status, self._digest(path, descriptor, status), size)
        finally:
            os.close(descriptor)

    def _digest(self, path: str, descriptor: int, status: os.stat_result) -> bytes:
        is_small = status.st_size <= CERTIFICATE_LIMIT
        if path in NOT_COUNTED and is_small and os.pread(descriptor, len(CERTIFICATE), 0) == CERTIFICATE:
            return b""
        if path in ACCOUNTS and status.st_size <= ACCOUNTS_LIMIT:
            with open(descriptor, "rb", closefd=False) as stream:
                return hashlib.sha256(_without_days(stream.read())).digest()
        known = self._seen.get(status.st_ino)
        if known is not None:
            return known
        self._size += status.st_size
        found = hashlib.sha256()
        while True:
            part = os.read(descriptor, READ_SIZE)
            if not part:
                break
            found.update(part)
        if status.st_nlink > 1:
            self._seen[status.st_ino] = found.digest()
        return found.digest()

    def _add(self, path: str, descriptor: int, status: os.stat_result, content: bytes, size: int = 0) -> None:
        self._budget.spend(path, size)
        said = [os.fsencode(path), b"%o %d %d" % (status.st_mode, status.st_uid, status.st_gid)]
        if descriptor >= 0:
            said += _attributes(descriptor)
        # Lengths before the parts, so that no two trees have one text.
        self._lines.append(b"".join(b"%d:%s," % (len(part), part) for part in [*said, content]))


def _attributes(descriptor: int) -> list[bytes]:
    """Return the extended attributes of an open file, after those that no tree has were removed."""
    try:
        names = sorted(os.listxattr(descriptor))
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        return []
    found = []
    for name in names:
        if is_attribute_kept(name):
            found += [os.fsencode(name), os.getxattr(descriptor, name)]
        elif not name.startswith("security."):  # labels are the host's, and are not part of the tree
            os.removexattr(descriptor, name)
    return found


def _without_days(text: bytes) -> bytes:
    """Return the text of shadow(5) without the days on which passwords were last changed."""
    lines = [line.split(b":") for line in text.split(b"\n")]
    return b"\n".join(b":".join(fields[:2] + [b""] * (len(fields) > 2) + fields[3:]) for fields in lines)


def synchronise(directory: str) -> None:
    """Bring all of a file system to its disk, before what was written there gets its name. Raise OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), directory)
    finally:
        os.close(descriptor)
