# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounts that would replace or hide files of the system, or its directories that a service needs to write to."""

from __future__ import annotations

import posixpath
import typing as t

from ..module_utils.launcher import targets
from ..module_utils.launcher.contract import Mount
from ..module_utils.launcher.targets import RUN, refusal_of_file
from . import etc_files
from .errors import DeclarationError
from .file_origins import Origins
from .operating_system import PATH
from .records import FileSystem

JOURNAL = "/var/log/journal"
_LINKS = 40  # as many as the kernel follows

MAPPED = frozenset((*targets.NETWORK_FILES, "/etc/profile", *(f"/etc/{name}" for name in etc_files.base_etc())))
"""Files that a mapping may replace: what the network needs, and what nothing in a declaration can change otherwise."""


class Mounts:
    """The mounts of a container, with their places in the declaration.

    :param mounted: what the launcher mounts, parents first.
    :param declared: the file systems of the operating system.
    :param store: where the store is mounted.
    :param places: those of mounts that are no file systems of the operating system, by mount points.
    """

    def __init__(
        self,
        mounted: t.Sequence[Mount],
        declared: t.Sequence[FileSystem],
        store: str,
        places: t.Mapping[str, str],
    ) -> None:
        self.mounted = mounted
        self.store = store
        of_system = {item.place: f"{PATH}.file_systems[{index}]" for index, item in reversed([*enumerate(declared)])}
        self._places = {**places, **of_system}

    def place(self, mount: Mount) -> str:
        """Return where a mount is declared."""
        of_others = "store.target" if mount.mount_point == self.store else f"{PATH}.services"
        return self._places.get(mount.mount_point, of_others)

    def of(self, path: str) -> Mount | None:
        """Return the mount that a path of the container lies in; none for its root."""
        above = [item for item in self.mounted if targets.is_below(path, item.mount_point)]
        return max(above, key=lambda item: len(item.mount_point)) if above else None


def refuse(files: dict[str, t.Any], mounts: Mounts, log: str, origins: Origins) -> None:
    """Refuse a file that a container cannot have, and a mount that would replace one, hide it, or be hidden.

    :param files: the files of the system by path.
    :param log: what is kept of the container's log, `persistent` or `volatile`.
    :raises DeclarationError: with the place of the mount.
    """
    for path in files:
        reason = refusal_of_file(path, mounts.store)
        if reason:
            raise DeclarationError(f"{PATH}.services", reason)
    for item in mounts.mounted:
        point = item.mount_point
        if point == RUN or point.startswith("/dev/"):
            continue  # /run is there before any file
        if log == "persistent" and targets.is_below(point, JOURNAL):
            raise DeclarationError(
                mounts.place(item),
                f"'{point}' would be hidden by the container's log, which `log: persistent` mounts at {JOURNAL}: "
                "use `log: volatile`, or another target",
            )
        below = [path for path in files if path.startswith(f"{point}/")]
        if below:
            raise DeclarationError(
                mounts.place(item),
                f"'{point}' hides {below[0]}, which {origins.of(below[0])} writes; map a deeper path",
            )
        replaced = next((path for path in _ways(point, files) if path in files and path not in MAPPED), None)
        if replaced is not None:
            origin = origins.of(replaced)
            said = f"'{point}'" if replaced == point else f"'{point}' leads to {replaced}, and"
            raise DeclarationError(
                mounts.place(item),
                f"{said} would replace {replaced}, which {origin} writes: use another target, or declare there what "
                "the file is to hold",
            )


def _ways(point: str, files: dict[str, t.Any]) -> list[str]:
    """Return a mount point, and each path that the system's own links make of it, the last first."""
    ways = [point]
    while len(ways) <= _LINKS:
        link = next(
            (path for path in (*reversed(targets.parents(ways[0])), ways[0]) if files.get(path, {}).get("link")), ""
        )
        if not link:
            break
        leads = posixpath.join(posixpath.dirname(link), files[link]["link"])
        ways.insert(0, targets.plain_path(posixpath.normpath(leads + ways[0][len(link) :])))
    return ways


def kept_directories(directories: list[dict[str, t.Any]], mounts: Mounts, origins: Origins) -> list[dict[str, t.Any]]:
    """Return the directories to make. In a read-only mount the mount point, and what every system has, are left out.

    What a service asks for below the root of such a mount has to be there already (`present`), for nobody makes it.

    :raises DeclarationError: data are to be kept in a read-only mount, or a directory be made in an empty one.
    """
    of_every_system = [item["path"] for item in etc_files.root_directories()]
    kept = []
    for item in directories:
        path = item["path"]
        mount = mounts.of(path)
        if mount is None or not mount.read_only:
            kept.append(item)
            continue
        if item.get("data") and mount.mount_point == mounts.store:
            raise DeclarationError(
                origins.of(path),
                f"keeps its data in {path}, which lies in the store, and that is read-only: use another",
            )
        if item.get("data"):
            raise DeclarationError(
                mounts.place(mount),
                f"'{mount.mount_point}' is read-only, and {origins.of(path)} keeps its data in {path}: make it "
                "writable (`writable: true` of a mapping), or map another directory there",
            )
        if mount.mount_point == path or path in of_every_system:
            continue
        if mount.is_tmpfs:
            raise DeclarationError(
                mounts.place(mount),
                f"'{mount.mount_point}' is read-only and empty, so that {path}, which {origins.of(path)} asks for, "
                "cannot be made: leave `read-only` out",
            )
        kept.append({**item, "present": True})
    return kept
