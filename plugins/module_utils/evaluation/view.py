# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file tree that a single command sees: its closure, its mappings, a few files, and nothing else (E2, E4).

It is made by whoever runs the command, in a private mount namespace, before the command's own user namespace gets a
copy of that: so the command cannot take any of it apart (S13).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Iterator

from ..launcher import guarded, kernel, linux, mount_calls, mounts, targets
from ..launcher.errors import LauncherError
from ..launcher.loading import load_nothing_more
from ..launcher.targets import NETWORK_FILES, parents
from ..launcher.user_namespace import make_user_namespace
from .closure import Closure
from .identity import Ids
from .request import Mapping, Request, RequestedFile, RequestedFileSystem

# What a command may fill; the root holds no more than the files that were asked for, unless it is writable.
ROOT_SIZE, ROOT_FILES = "10%", "400k"
TEMPORARY_SIZE, TEMPORARY_FILES = "10%", "400k"
ROOT = (0, 0)
QUIET = mount_calls.MOUNT_ATTR_NOSUID
# A process that waits for a FUSE server which waits for it cannot be killed.


class View:
    """The file tree of one command.

    Attributes:
        warnings: what could not be made as a user may expect.
    """

    def __init__(self, request: Request, closure: Closure, ids: Ids) -> None:
        self.request = request
        self.closure = closure
        self.ids = ids
        self.warnings: list[str] = []
        self._id_maps: dict[tuple[str, str], int] = {}
        self._host: guarded.GuardedHost | None = None
        hidden = request.hidden()
        closure.prune(hidden)
        for path in request.files:
            self._refuse_conflict(path)
        self.files = {**self._accounts(), **request.files}
        for path in list(self.files):
            if path not in request.files and set(parents(path) + [path]) & ({*hidden} | closure.directories):
                del self.files[path]

    def _refuse_conflict(self, path: str) -> None:
        for parent in parents(path):
            if parent in self.closure.directories:
                raise LauncherError("files: %s: lies in %s, which is shared read-only with the host" % (path, parent))
            if parent in self.closure.links:
                raise LauncherError("files: %s: lies in %s, which is a symbolic link on this host" % (path, parent))

    def _accounts(self) -> dict[str, RequestedFile]:
        """Return the files that name the command's ids, and this machine."""
        uid, gid = self.request.guest_uid, self.request.guest_gid
        nobody = 65534
        users = {0: "root:x:0:0:root:/:/bin/sh", nobody: "nobody:x:65534:65534:nobody:/:/usr/sbin/nologin"}
        users.setdefault(uid, "guest:x:%d:%d:guest:/:/bin/sh" % (uid, gid))
        groups = {0: "root:x:0:", nobody: "nogroup:x:65534:"}
        groups.setdefault(gid, "guest:x:%d:" % gid)
        texts = {
            "/etc/passwd": "".join(users[number] + "\n" for number in sorted(users)),
            "/etc/group": "".join(groups[number] + "\n" for number in sorted(groups)),
        }
        if self.request.has("net"):
            texts["/etc/hosts"] = "127.0.0.1 localhost\n::1 localhost\n"
        return {path: RequestedFile(text.encode(), 0o644, None) for path, text in texts.items()}

    # Made by the builder.

    def build(self) -> mounts.Tree:
        """Make the tree, on top of this mount namespace's root, where no path leads."""
        os.umask(0)
        self._make_id_maps()
        with doing("/"):
            mount = mounts.tmpfs("0755", ROOT_SIZE, ROOT_FILES, QUIET)
            target = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            mount_calls.move_mount(mount, target)
            os.close(target)
        tree = mounts.Tree(mount)
        self._prepare(tree)
        for path, file in sorted(self.files.items()):
            with doing("files: %s" % path):
                self._place(tree, path, file)
        for path, link in sorted(self.closure.links.items()):
            with doing("closure: %s" % path):
                self._place(tree, path, RequestedFile(b"", 0, link))
        for path in sorted(self.closure.directories | self.closure.files):
            self._bind(tree, path, path, False, "brought in" if path in self.closure.brought else "closure")
        for path in NETWORK_FILES if not self.request.has("net") else ():
            if os.path.exists(path) and path not in self.request.hidden() and path not in self.closure.paths():
                self._bind(tree, os.path.realpath(path), path, False, "network file")
        self._mount_asked(tree)
        for descriptor in self._id_maps.values():
            os.close(descriptor)
        return tree

    def _make_id_maps(self) -> None:
        """Make the user namespaces for id-mapped mounts, before the tree hides this namespace's root."""
        owners = {ROOT}
        for mapping in self.request.mappings:
            with contextlib.suppress(OSError, LauncherError):  # told of when it is mounted
                status = _status(mapping.source)
                owners.add((status.st_uid, status.st_gid))
        for owner in owners:
            lines = self.ids.file_map_lines(owner)
            if lines is not None and lines not in self._id_maps:
                with doing("ids: cannot map files to them"):
                    self._id_maps[lines] = make_user_namespace(lines)

    def _prepare(self, tree: mounts.Tree) -> None:
        with doing("/dev, /tmp"):
            for path in ("/dev", "/proc", "/sys"):
                os.close(tree.target(path, True))
            kernel.populate_devices(tree, None, targets.DEVICES)
            noexec = mount_calls.MOUNT_ATTR_NOSUID | mount_calls.MOUNT_ATTR_NOEXEC
            terminals = kernel.terminal_options([("mode", "620"), ("ptmxmode", "666")])
            tree.attach(mounts.filesystem("devpts", terminals, noexec), "/dev/pts")
            tree.attach(mounts.tmpfs("1777", TEMPORARY_SIZE, TEMPORARY_FILES, QUIET), "/dev/shm")
            tree.attach(mounts.tmpfs("1777", TEMPORARY_SIZE, TEMPORARY_FILES, QUIET), "/tmp")

    @staticmethod
    def _place(tree: mounts.Tree, path: str, file: RequestedFile) -> None:
        directory, name = os.path.split(path)
        parent = tree.target(directory, True)
        try:
            if file.link is not None:
                os.symlink(file.link, name, dir_fd=parent)
                return
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(name, flags, file.mode, dir_fd=parent), "wb") as target:
                target.write(file.content)
        finally:
            os.close(parent)

    def _mount_asked(self, tree: mounts.Tree) -> None:
        """Mount the mappings and file systems that were asked for, parents before children."""
        steps: list[tuple[str, Mapping | RequestedFileSystem]] = [
            (entry.target, entry) for entry in self.request.mappings
        ]
        steps += [(entry.mount_point, entry) for entry in self.request.file_systems]
        for place, step in sorted(steps, key=lambda step: step[0].count("/")):
            if isinstance(step, Mapping):
                self._bind(tree, step.source, place, step.writable, "mapping")
                continue
            options = [self._option(text) for text in step.options.split(",") if text]
            with doing("%s: cannot mount a %s" % (place, step.type)):
                mount = mounts.filesystem(step.type, options, QUIET | mounts.attributes(step.flags))
                tree.attach(mount, place)

    def _option(self, text: str) -> tuple[str, str | None]:
        """Return a file system's option as name and value; turn the command's ids in it into the host's."""
        name, equals, value = text.partition("=")
        if name in ("uid", "gid") and value.isdigit() and self.ids.user:
            position = ("uid", "gid").index(name)
            value = str(int(value) - self.ids.guest[position] + self.ids.host[position])
        return name, value if equals else None

    def _bind(self, tree: mounts.Tree, path: str, place: str, writable: bool, what: str) -> None:
        attributes = QUIET if writable else QUIET | mount_calls.MOUNT_ATTR_RDONLY
        with doing("%s: cannot bind %s at %s" % (what, path, place)):
            source = mounts.open_source(path, follow=False)
            try:
                if what == "mapping":
                    self._check_source(source, path, writable)
                status = os.fstat(source)
                # What is the host's root's, and was asked for, looks like the command's own. Of what the content of
                # files brought in, the command can read what everybody on the host can.
                owner = {"mapping": (status.st_uid, status.st_gid), "brought in": None}.get(what, ROOT)
                mount = self._copy(source, attributes, owner, path if writable else None)
                tree.attach(mount, place, stat.S_ISDIR(status.st_mode))
            finally:
                os.close(source)

    def _check_source(self, source: int, path: str, writable: bool) -> None:
        """Refuse a writable mapping of what the host runs; warn where the command can read secrets."""
        if self._host is None:
            # Who is not root runs what is theirs by their own rights, which the command has anyway.
            python = guarded.interpreter() if self.ids.privileged else {}
            self._host = guarded.GuardedHost(dict(guarded.RUNS, **python))
        if writable:
            self._host.refuse_writable(source, path)
        warning = self._host.warning(source, path)
        if warning:
            self.warnings.append(warning)

    def _copy(self, source: int, attributes: int, owner: tuple[int, int] | None, writable: str | None) -> int:
        """Return a detached copy of a mount, id-mapped so that the command owns the owner's files.

        A file system that cannot map ids is copied without a map; a warning says so when the command is to write there.
        """
        lines = self.ids.file_map_lines(owner) if owner is not None else None
        if lines is not None:
            try:
                return mounts.bind(source, attributes, self._id_maps.get(lines))
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EPERM):
                    raise
            if writable is not None:
                self.warnings.append("%s: its file system cannot map ids, so others' rights apply" % writable)
        return mounts.bind(source, attributes, None)

    def mount_kernel(self, tree: mounts.Tree, first: int, pidfd: int) -> None:
        """Mount /proc and /sys of the command's own namespaces, or the host's, read-only, where it shares those.

        Args:
            first: the first process in those namespaces, which `pidfd` pins.
        """
        read_only = kernel.QUIET | mount_calls.MOUNT_ATTR_RDONLY
        if self.request.has("pid"):
            with doing("/proc: cannot mount that of the command's processes"):
                kernel.mount_process_information(tree, first, pidfd)
        else:
            self._share(tree, "/proc", read_only)
        if self.request.has("net"):
            linux.setns(pidfd, linux.CLONE_NEWNET)
            try:
                kernel.mount_system(tree, False)
            except OSError as error:
                # The kernel may refuse it to an ordinary user (part of the host's is hidden); few programs miss it.
                if self.ids.privileged or error.errno != errno.EPERM:
                    raise LauncherError("/sys: cannot mount: %s" % errno_text(error)) from error
        else:
            self._share(tree, "/sys", read_only)

    @staticmethod
    def _share(tree: mounts.Tree, path: str, attributes: int) -> None:
        with doing(path):
            source = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                tree.attach(mounts.bind(source, attributes, None), path)
            finally:
                os.close(source)

    def finish(self, tree: mounts.Tree, null: int | None) -> None:
        """Mask what a command has no use for, make the root read-only, and pivot into the tree."""
        if null is not None:
            with doing("/proc, /sys: cannot hide what is the host's"):
                kernel.restrict(tree, null)
        with doing("/"):
            if not self.request.writable_root:
                mount_calls.mount_setattr(tree.root, mount_calls.MOUNT_ATTR_RDONLY, False)
            os.fchdir(tree.root)
            load_nothing_more()
            mount_calls.pivot_root(".", ".")
            mount_calls.unmount(".")


def _status(path: str) -> os.stat_result:
    """Return the status of the source of a mapping, to which no link leads."""
    descriptor = mounts.open_source(path, follow=False)
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def errno_text(error: OSError) -> str:
    """Return an error as the name of its number and its meaning."""
    name = errno.errorcode.get(error.errno or 0, "error %s" % error.errno)
    call = " in %s" % error.filename if error.filename else ""
    return "%s (%s)%s" % (name, error.strerror, call)


@contextlib.contextmanager
def doing(what: str) -> Iterator[None]:
    """Turn an OSError into an error that says what was being done (S14)."""
    try:
        yield
    except OSError as error:
        raise LauncherError("%s: %s" % (what, errno_text(error))) from error
    except LauncherError as error:
        raise LauncherError("%s: %s" % (what, error)) from error
