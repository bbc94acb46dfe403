# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The store as a container will see it: is a program there, and can it be run?

Paths are those inside the container. They are looked up on the host where the specification puts them: in the files of
the system, in what is bound from the host, and in the tree beside the store; links are followed as they will be inside,
so that `/etc/alternatives` of an unpacked tree leads into that tree and not into the host's.
"""

from __future__ import annotations

import fnmatch
import os
import posixpath
import stat
from pathlib import Path
from typing import Any

from .target import TargetError

SEARCHED = ("bin", "sbin", "libexec", "games")
"""Where a program named without a directory is looked for, below the store."""

MERGED = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
"""Directories of the root that are links into a store at `/usr`."""

LINKS_FOLLOWED = 40
"""As many as the kernel follows before it says ELOOP."""


class View:
    """The paths of a container, on the host.

    :param specification: `system.spec`: its store, and its file systems bound from the host.
    :param files: `system.files`, the files that the system brings itself.
    :param host_files: `system.host_files`, what it takes from the tree beside the store.
    :param root: where the host's own tree is; another than `/` in tests.
    """

    def __init__(
        self,
        specification: dict[str, Any],
        files: dict[str, Any],
        host_files: list[str],
        root: Path = Path("/"),
    ) -> None:
        self.root = root
        store = specification.get("store") or {}
        self.source = str(store.get("source") or "/usr")
        self.target = str(store.get("target") or "/usr")
        self.files = files
        self.binds = {self.target: self.source}
        beside = posixpath.dirname(self.source)
        for path in host_files:
            self.binds[path] = posixpath.join(beside, path[1:])
        for mount in specification.get("file_systems") or []:
            device = mount.get("device")
            if "bind-mount" in (mount.get("flags") or []) and isinstance(device, str):
                self.binds[str(mount["mount_point"])] = device

    def on_host(self, path: str) -> str | None:
        """Where `path` of the container is on the host, without following its last link; None when nowhere."""
        above = path
        while above not in ("/", ""):
            if above in self.binds:
                return posixpath.normpath(posixpath.join(self.binds[above], posixpath.relpath(path, above)))
            above = posixpath.dirname(above)
        return None

    def is_program(self, path: str) -> bool:
        """Whether `path`, absolute, leads to a regular file that may be executed."""
        pending = [part for part in reversed(path.split("/")) if part]
        reached, links = "/", 0
        while pending:
            part = pending.pop()
            if part == "..":
                reached = posixpath.dirname(reached)
                continue
            reached = posixpath.join(reached, part) if part != "." else reached
            link = self._link(reached)
            if link is not None:
                links += 1
                if links > LINKS_FOLLOWED:
                    return False
                reached = "/" if link.startswith("/") else posixpath.dirname(reached)
                pending += [part for part in reversed(link.split("/")) if part]
        return self._executable(reached)

    def find(self, program: str) -> bool:
        """Whether `program` can be run: an absolute path, in which a part may be a pattern, or a name to search for."""
        if "/" in program:
            return program.startswith("/") and any(self.is_program(path) for path in self._expand(program))
        return any(self.is_program(posixpath.join(self.target, directory, program)) for directory in SEARCHED)

    def _real(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def _expand(self, path: str) -> list[str]:
        """The paths that `path` may mean: itself, or all that fit its pattern (`/usr/lib/postgresql/*/bin/x`)."""
        before, star, after = path.partition("*")
        if not star:
            return [path]
        directory, beginning = before.rsplit("/", 1)
        rest, slash, remaining = after.partition("/")
        place = self.on_host(directory)
        try:
            names = sorted(os.listdir(self._real(place))) if place else []
        except OSError:
            names = []
        fitting = fnmatch.filter(names, beginning + star + rest)
        return [found for name in fitting for found in self._expand(f"{directory}/{name}{slash}{remaining}")]

    def _link(self, path: str) -> str | None:
        entry = self.files.get(path)
        if entry is not None:
            return entry.get("link")
        if path in MERGED and self.target == "/usr":
            return posixpath.join("usr", path[1:])
        place = self.on_host(path)
        if place is None:
            return None
        if place in self.binds.values():
            return None  # the source of a bind mount is followed by the mount, not by a walk inside
        try:
            return os.readlink(self._real(place))
        except OSError:
            return None

    def _executable(self, path: str) -> bool:
        entry = self.files.get(path)
        if entry is not None:
            return "link" not in entry and int(str(entry.get("mode", "0644")), 8) & 0o111 != 0
        place = self.on_host(path)
        if place is None:
            return False
        try:
            mode = os.stat(self._real(place)).st_mode
        except OSError:
            return False
        return stat.S_ISREG(mode) and mode & 0o111 != 0


def missing_programs(view: View, programs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of `programs` (service, program, package) that the container could not run, in their order."""
    return [entry for entry in programs if not view.find(str(entry["program"]))]


def check_programs(view: View, programs: list[dict[str, Any]]) -> None:
    """Raise TargetError naming every service whose program is missing, the program, and its package if known."""
    missing = missing_programs(view, programs)
    if not missing:
        return
    lines = []
    for entry in missing:
        package = entry.get("package")
        remedy = f"install the package {package}" if package else "install it, or map it into the container"
        lines.append(f"service {entry['service']} runs {entry['program']}, which is not there: {remedy}")
    raise TargetError(
        f"the store {view.source} lacks programs; nothing was changed. "
        + "; ".join(lines)
        + " (the role does so by itself with system_container_install_packages: true)"
    )
