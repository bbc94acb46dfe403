# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sources of mappings that the host does not have: what keeps a container from starting, what it starts without.

An earlier task of the play may make them, which does nothing in check mode.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from ..launcher import mapped, mapping_ids, network_files, ownership
from ..launcher.identity import COUNT
from ..launcher.mapping_ids import MappingIds
from ..launcher.records import LEFT_OUT, not_shared
from ..launcher.targets import NETWORK_FILES
from .preflight_mounts import answers
from .store import open_bind_source

if TYPE_CHECKING:
    from ..launcher.contract import Mount, Specification
    from .facts import HostFacts

MISSING = "the source %s of the required mapping to %s does not exist"
REMEDY = (
    ": make it before (a directory by a task ansible.builtin.file with state: directory), or correct its path in the "
    "declaration"
)


def needed(said: str) -> str:
    """Return the warning of check mode for what `required` says."""
    return f"{said}. Without check mode a run is refused while it is missing"


def required(host: HostFacts, specification: Specification) -> list[str]:
    """Return which sources are missing that have to exist, each with a remedy."""
    return [
        MISSING % (mount.source, mount.mount_point) + REMEDY
        for mount in _sources(specification)
        if mount.required and not mount.mount_may_fail and _error(host, mount.source) == errno.ENOENT
    ]


def left_out(host: HostFacts, specification: Specification) -> list[str]:
    """Return what a start now would say of missing sources without which the container starts."""
    return [
        _said(mount)
        for mount in _sources(specification)
        if (mount.mount_may_fail or not mount.required)
        and answers(host, mount.source)
        and _error(host, mount.source) == errno.ENOENT
    ]


def of_those_there(host: HostFacts, specification: Specification) -> list[str]:
    """Return what a start now would say of sources that exist: of foreign owners, and of propagation."""
    said: list[str | None] = []
    for mount in _sources(specification):
        path = mount.source
        if path in NETWORK_FILES or not answers(host, path) or _error(host, path) is not None:
            continue
        if mount.propagation == "slave" and host.root == host.root.parent:
            said.append(not_shared(path))
        if not mount.read_only or mapping_ids.has_owner(mount):
            source = open_bind_source(host.root, path)
            try:
                said += _of_owners(mount, source)
            finally:
                os.close(source)
    return list(filter(None, said))


def _of_owners(mount: Mount, source: int) -> list[str | None]:
    """Return what a start says of the owners of a mapping's files, when its ids can be mapped."""
    status = os.fstat(source)
    disk = status.st_uid, status.st_gid
    if mapping_ids.refusal(mount, disk):
        return []  # it is given to its owner, or refused
    ids = MappingIds(COUNT, disk, mount.uid, mount.gid)
    return [mapping_ids.group_warning(mount, disk), ownership.foreign_warning(source, mount.source, ids)]


def impossible(host: HostFacts, specification: Specification) -> list[str]:
    """Return which sources lie below what is no directory, so that they are not left out, and a start ends there."""
    return [
        f"the source {mount.source} of the mapping to {mount.mount_point} cannot be there, for it lies below a file of "
        "the host: correct its path in the declaration"
        for mount in _sources(specification)
        if not mount.mount_may_fail and answers(host, mount.source) and _error(host, mount.source) == errno.ENOTDIR
    ]


def _said(mount: Mount) -> str:
    if network_files.is_followed(mount):
        return network_files.ABSENT % mount.source
    if mount.required:
        return mapped.MISSING_REQUIRED % (mount.source, mount.mount_point) + LEFT_OUT
    return mapped.MISSING % (mount.source, mount.mount_point)


def _sources(specification: Specification) -> list[Mount]:
    """Return the mappings: the bind mounts of what is the host's, but that of the store."""
    store = specification.store
    return [
        mount
        for mount in specification.file_systems
        if mount.is_bind and not mount.is_own and (mount.source, mount.mount_point) != (store.source, store.target)
    ]


def _error(host: HostFacts, path: str) -> int | None:
    """Return why the source of a mapping cannot be opened (errno(3)), or None. A start follows no link to it.

    It follows those to the host's network files.
    """
    try:
        os.close(host.open(path) if path in NETWORK_FILES else open_bind_source(host.root, path))
    except OSError as error:
        return error.errno
    return None
