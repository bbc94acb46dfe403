# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Select the directories of a system's declaration that lie in the launcher's own part of the root tree.

The builder of the tree makes these (`root`), where nothing of the container's own storage is mounted yet, and nobody
else can be. The first process makes the others (`init`), as root inside and one step of a path at a time: they lie in
what is mounted, or in what a link may lead to.
"""

from __future__ import annotations

from .targets import MERGED, RUN, STANDARD_LINKS, TEMPORARY, parents, plain_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .contract import Directory, Mount, Specification

UNMADE = "directory %s: cannot be made as declared: %s"
MOUNTED_LATER = ("/dev", "/proc", "/sys")  # by the launcher itself, or a file system of their own
LINKS = ["/" + name for name in (*dict(STANDARD_LINKS), *MERGED)]


def divide(spec: Specification, records: list[Mount]) -> tuple[list[Directory], list[Directory]]:
    """Return the directories that the builder makes, and those that the first process makes.

    Args:
        records: all mounts of the start.
    """
    if spec.root.is_machine:
        return [], list(spec.directories)  # its tree, or a layer that root inside has written, has links anywhere
    links = {*LINKS, *(path for path, file in spec.files.items() if file.link is not None)}
    points = {plain_path(record.mount_point) for record in records if not _is_own(record)}
    if any(_is_at_or_below(point, links) for point in points):
        return [], list(spec.directories)  # nobody knows here where that is mounted
    occupied = {*MOUNTED_LATER, spec.store.target, *points, *links, *spec.files, *spec.host_files}
    built: list[Directory] = []
    left: list[Directory] = []
    for entry in spec.directories:
        (left if _is_at_or_below(plain_path(entry.path), occupied) else built).append(entry)
    return built, left


def _is_own(record: Mount) -> bool:
    """Return whether a record only says how one of the two is mounted that every tree has from the beginning."""
    return record.is_tmpfs and record.mount_point in (RUN, TEMPORARY)


def _is_at_or_below(path: str, places: set[str]) -> bool:
    return path in places or any(above in places for above in parents(path))
