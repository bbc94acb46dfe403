# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sizes of volumes, as the file systems of this host keep them (V3): by a project, or by a subvolume."""

from __future__ import annotations

import contextlib
import os

from ..launcher import linux, trees
from ..launcher.errors import LauncherError
from ..launcher.paths import make_directory, remove_tree
from ..launcher.volumes import SIZING, VOLUMES
from . import volume_sizes
from .btrfs_quotas import SubvolumeQuota
from .directory_quota import DirectoryQuota, size_text
from .project_quotas import ProjectQuota

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable, Iterator

    from ..launcher.contract import Specification
    from .volume_sizes import VolumeSize

KINDS: dict[int, type[DirectoryQuota]] = {
    0xEF53: ProjectQuota,  # ext4
    0x58465342: ProjectQuota,  # xfs
    0x9123683E: SubvolumeQuota,
}
"""What keeps sizes, by the number of a file system's type (statfs(2))."""

QUOTA_OF_ROOT = (
    "with private_users: identity root inside is the host's root, whom no quota holds: let the container have ids of "
    "its own (auto)"
)
UNFILTERED = (
    "root inside could leave the limit of a btrfs, as the system has no filter of system calls that keeps it from "
    "making subvolumes: install libseccomp, and stage the system again, with this version of the collection"
)
NOT_KEPT = "volume %s: its size of %s is not kept: %s"
LARGER = (
    "the volume %s would hold %s, more than its size of %s, so that nothing could be written to it: declare a larger "
    "one, and deploy, before"
)
TOO_MUCH = "volume %s: holds %s, more than its size of %s: nothing can be written before something is removed"


@contextlib.contextmanager
def opened(path: str) -> Iterator[DirectoryQuota]:
    """Yield the quota of a directory, or of the nearest one above that is there."""
    path = os.path.realpath(os.path.dirname(path)) + "/" + os.path.basename(path)
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield KINDS.get(linux.file_system_type(descriptor), DirectoryQuota)(descriptor, path)
    finally:
        os.close(descriptor)


def refusal(quota: DirectoryQuota, identity: bool, filtered: bool) -> str | None:
    """Return why a volume of a container cannot be kept to a size, with the way out; None where it can.

    Args:
        quota: that of the volume.
        identity: whether root inside is the host's root.
        filtered: whether the container has a filter of system calls.
    """
    if identity:
        return QUOTA_OF_ROOT
    return quota.refusal() or (UNFILTERED if quota.needs_filter() and not filtered else None)


def enforce(directory: str, specification: Specification) -> list[str]:
    """Have the volumes of a container that is about to start keep to their sizes. Return warnings.

    The container does not run, and the caller holds its lock.

    Args:
        directory: the container's on the host, with the directories of its volumes.

    Raises:
        LauncherError: a size cannot be kept, and must be.
    """
    warnings = []
    sizes = volume_sizes.read(directory)
    for mount in specification.file_systems:
        volume = mount.volume
        if volume is not None and volume.name in sizes:
            size = sizes[volume.name]
            try:
                warnings += _enforce(directory, volume.name, size, specification)
            except (LauncherError, OSError) as error:
                said = NOT_KEPT % (volume.name, size_text(size.size), error)
                if not size.may_fail:
                    raise LauncherError(said) from error
                warnings.append(said)
    return warnings


def _enforce(directory: str, name: str, size: VolumeSize, specification: Specification) -> list[str]:
    path = os.path.join(directory, VOLUMES, name)
    with opened(path) as quota:
        reason = refusal(quota, specification.private_users == "identity", bool(specification.filter_digest))
        if reason:
            raise LauncherError(reason)
        if not quota.is_enlisted():
            aside = os.path.join(directory, SIZING)
            make_directory(aside, 0o700)
            try:
                quota.enlist(aside)
            finally:
                remove_tree(aside)
    with opened(path) as quota:  # which may be another directory now
        if quota.limit() != size.size:
            quota.set_limit(size.size)
        used = quota.used()
    return [TOO_MUCH % (name, size_text(used), size_text(size.size))] if used > size.size else []


def larger(directory: str, found: dict[str, int]) -> list[str]:
    """Return what is to be said of what is to be in a container's volumes, and is more than their sizes.

    Args:
        directory: the container's on the host.
        found: how many bytes of the disk are to be in each volume, by its name.
    """
    said = []
    for name, size in sorted(volume_sizes.read(directory).items()):
        if found.get(name, 0) <= size.size:
            continue
        with opened(os.path.join(directory, VOLUMES, name)) as quota:
            if quota.refusal() is None and quota.counts_blocks():
                said.append(LARGER % (name, size_text(found[name]), size_text(size.size)))
    return said


def larger_trees(directory: str, above: str, names: Iterable[str]) -> list[str]:
    """Return what `larger` says of directories that are to be a container's volumes. Those without a size are not read.

    Args:
        directory: the container's on the host.
        above: path of the directory that they are in.
        names: theirs, which are those of the volumes.

    Raises:
        LauncherError: something is mounted in one.
    """
    sizes = volume_sizes.read(directory)
    return larger(directory, {name: _disk_size(os.path.join(above, name)) for name in names if name in sizes})


def _disk_size(path: str) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return trees.tree_size(descriptor, path)
    finally:
        os.close(descriptor)


def differing(directory: str, sizes: dict[str, VolumeSize]) -> list[str]:
    """Return the names of a container's volumes that are enlisted, and whose limits are other than these.

    Args:
        directory: the container's on the host.
    """
    found = []
    for name, path in _enlisted(directory):
        with opened(path) as quota:
            if quota.limit() != _bytes(sizes, name) and quota.refusal() is None:
                found.append(name)
    return found


def set_limits(directory: str, sizes: dict[str, VolumeSize]) -> None:
    """Set, or lift, the limits of those volumes that are enlisted. The container may run. Raise OSError."""
    for name in differing(directory, sizes):
        with opened(os.path.join(directory, VOLUMES, name)) as quota:
            quota.set_limit(_bytes(sizes, name))


def not_enlisted(directory: str, sizes: dict[str, VolumeSize]) -> list[str]:
    """Return the names of the volumes that are there, have one of these sizes, and get it at the next start."""
    there = [name for name in sizes if os.path.isdir(os.path.join(directory, VOLUMES, name))]
    enlisted = [name for name, _path in _enlisted(directory)]
    return [name for name in there if name not in enlisted]


def _bytes(sizes: dict[str, VolumeSize], name: str) -> int:
    return sizes[name].size if name in sizes else 0


def _enlisted(directory: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the path of each enlisted volume."""
    above = os.path.join(directory, VOLUMES)
    try:
        names = sorted(os.listdir(above))
    except FileNotFoundError:
        return
    for name in names:
        path = os.path.join(above, name)
        if os.path.isdir(path) and not os.path.islink(path):
            with opened(path) as quota:
                enlisted = quota.is_enlisted()
            if enlisted:
                yield name, path
