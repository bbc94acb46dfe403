# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check of the directories that a container's services need: whose they are, and whether they last."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..launcher import linux, ownership, targets
from ..launcher.identity import COUNT
from ..launcher.mapping_ids import MappingIds
from .preflight_mounts import answers, is_missing
from .store import open_bind_source

if TYPE_CHECKING:
    from ..launcher.contract import Directory, Mount, Specification
    from .facts import HostFacts


def owners(host: HostFacts, specification: Specification) -> list[str]:
    """Return which directories of the host belong to another than the account that they are declared for.

    Owners that have no id inside are a container's own, perhaps, on a file system that cannot map ids: the start knows.
    """
    problems: list[str] = []
    for entry in specification.directories:
        mount = _mount_of(host, specification, entry.path)
        if mount is None or not mount.is_bind or mount.read_only or mount.mount_may_fail:
            continue
        path = mount.source.rstrip("/") + entry.path[len(mount.mount_point.rstrip("/")) :]
        try:
            directory = _open(host, path)
        except OSError:
            continue  # it is made, or what is wrong is said elsewhere
        try:
            status, source = os.fstat(directory), _source(host, mount)
            ids = MappingIds(COUNT, source, mount.uid, mount.gid)
            if status.st_uid < COUNT or ids.users.inside(status.st_uid) is not None:
                of_source = (status.st_uid, status.st_gid) == source
                said = ownership.refusal(entry, status, directory, path, of_source, ids)
                problems += filter(None, [said])
        finally:
            os.close(directory)
    return problems


def lost_data(host: HostFacts, specification: Specification) -> list[str]:
    """Return which data of a service lie in memory, so that they are gone when the container ends, keys among them.

    A tmpfs that is declared for just that directory says that it is meant.
    """
    warnings = []
    for entry in specification.directories:
        if not entry.data and not entry.made_once:
            continue
        mount = _mount_of(host, specification, entry.path)
        in_memory = not specification.root.is_kept if mount is None else mount.type in targets.IN_MEMORY
        if not in_memory or (mount is not None and targets.plain_path(mount.mount_point) == entry.path):
            continue
        warnings.append(_said(entry))
    return warnings


def missing(host: HostFacts, specification: Specification) -> list[str]:
    """Return which directories have to be there already, in what the host shares read-only, and are not."""
    problems = []
    for entry in specification.directories:
        mount = _mount_of(host, specification, entry.path) if entry.present else None
        if mount is None or not mount.is_bind or mount.mount_may_fail or not answers(host, mount.source):
            continue
        rest = entry.path[len(mount.mount_point.rstrip("/")) :]
        if is_missing(host, mount.source, rest):
            there = f"{mount.source.rstrip('/')}{rest}"
            problems.append(
                f"the directory {entry.path} of {entry.account or 'a service'} cannot be made: {mount.source} is "
                f"shared read-only, and has no {rest[1:]}: make {there} on the host, or name another directory"
            )
    return problems


def _said(entry: Directory) -> str:
    if entry.data or not entry.made_once:
        kept = f"what {entry.account or 'a service'} keeps there"
    else:
        kept = f"what is made there at the first start, {entry.made_once},"
    return (
        f"{entry.path}: {kept} lies in memory, and is lost whenever the "
        "container stops or restarts: keep it in a volume (volumes: true, or "
        f"volumes: [{{name: data, path: {entry.path}}}]), or map a directory of the host there; "
        "where it need not last, declare a tmpfs at this path (file_systems)"
    )


def _mount_of(host: HostFacts, specification: Specification, path: str) -> Mount | None:
    """Return the mount that a path of the container lies in; none for its root. Mappings that are left out are none."""
    found = None
    for mount in specification.file_systems:
        point = targets.plain_path(mount.mount_point)
        optional = mount.is_bind and not mount.is_own and not mount.required
        left_out = optional and _is_missing(host, mount.source)
        if not targets.is_below(path, point) or left_out:
            continue
        if found is None or len(point) >= len(targets.plain_path(found.mount_point)):
            found = mount
    return found


def _is_missing(host: HostFacts, path: str) -> bool:
    return answers(host, path) and not host.exists(path)


def _source(host: HostFacts, mount: Mount) -> tuple[int, int]:
    """Return owner and group of the source of a mapping.

    :raises OSError: as `_open`.
    """
    source = open_bind_source(host.root, mount.source)
    try:
        status = os.fstat(source)
        return status.st_uid, status.st_gid
    finally:
        os.close(source)


def _open(host: HostFacts, path: str) -> int:
    """Return a readable descriptor of a directory of the host.

    :raises OSError: it does not exist or is none, a link is on the way, or a server might have to be waited for.
    """
    if not answers(host, path):
        raise OSError("is not looked at")
    source = open_bind_source(host.root, path)
    try:
        resolve = linux.RESOLVE_IN_ROOT | linux.RESOLVE_NO_SYMLINKS
        return linux.openat2(source, ".", os.O_RDONLY | os.O_DIRECTORY, resolve)
    finally:
        os.close(source)
