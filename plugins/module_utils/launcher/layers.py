# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A tree, and over it a layer that takes what is written: one overlay, whose parts are named by descriptors alone.

The tree, and a layer on disk, are copied as mounts of their own, whose ids are mapped: root inside is their root. What
is written lies in the layer with the ids that the container has inside. An overlay cannot be mapped itself; its parts
can since Linux 5.19.
"""

from __future__ import annotations

import os

from . import mount_calls, mounts
from .errors import LauncherError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .memory import Options

UPPER, WORK = "upper", "work"
# Root inside writes the layer, and another tree may be below it one day. So nothing in it may say where else something
# is to be found, and no file of it may be content that lies below alone.
OPTIONS = (("redirect_dir", "nofollow"), ("index", "off"), ("metacopy", "off"), ("xino", "off"))
READ_ONLY = (
    "the overlay over %s can only be read: this kernel does not let it write to its layer, as overlays over id-mapped "
    "layers do since Linux 5.19"
)


def memory_layer(options: Options) -> int:
    """Return a new file system in memory for a layer, detached. Its files belong to who writes them."""
    return mounts.filesystem("tmpfs", options)


def mount(tree: int, layer: int, id_map: int | None, target: int, name: str, in_memory: bool) -> int:
    """Mount a tree under a layer at a directory, in this process's own mount namespace. Return the mount.

    The calling process has the container's root as its effective user, and keeps its capabilities: as whom an overlay
    is mounted, it writes its layer.

    Args:
        tree: descriptor of the tree's directory.
        layer: descriptor of the layer's directory; with `in_memory` of a detached file system, which is closed here.
        id_map: descriptor of the container's user namespace, or none where its ids are the host's.
        target: descriptor of a directory that gets it; the parts are mounted below it for a moment.
        name: the tree's path, for messages.

    Raises:
        LauncherError: the kernel cannot do that, or would only let it be read.
    """
    opened = [layer] if in_memory else []
    try:
        parts = mounts.tmpfs("0700", "64k", "16")
        opened.append(parts)
        mount_calls.move_mount(parts, target)
        lower = _copy(tree, mount_calls.MOUNT_ATTR_RDONLY, id_map, name)
        opened.append(lower)
        over = layer
        if not in_memory:
            over = _copy(layer, 0, id_map, name)
            opened.append(over)
        _attach(parts, "tree", lower)
        _attach(parts, "layer", over)
        for part in (UPPER, WORK):
            try:
                os.mkdir(part, 0o755, dir_fd=over)
            except FileExistsError:
                pass
        # The kernel takes nothing but paths; these are of this process's descriptors.
        place = "/proc/self/fd/%d"
        options: Options = [("lowerdir", place % lower)]
        options += [("%sdir" % part, (place + "/%s") % (over, part)) for part in (UPPER, WORK)]
        try:
            made = mounts.filesystem("overlay", options + list(OPTIONS))
        except OSError as error:
            message = (
                "%s: cannot be the root of a machine: the kernel mounts no overlay over it, with its ids mapped (%s); "
                "that takes Linux 5.19 or newer, and a tree and a state directory on ext4, xfs or btrfs"
            )
            raise LauncherError(message % (name, error.strerror)) from error
        # It may have fallen back to that without an error.
        if os.fstatvfs(made).f_flag & os.ST_RDONLY:
            os.close(made)
            raise LauncherError(READ_ONLY % name)
        mount_calls.move_mount(made, parts)
        return made
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _copy(directory: int, attributes: int, id_map: int | None, name: str) -> int:
    """Return a copy of the mount that a directory is in, from that directory on, with mapped ids."""
    try:
        return mounts.bind(directory, attributes, id_map, recursive=False)
    except OSError as error:
        message = "%s: cannot be the root of a machine: its file system cannot map ids (%s); put it on ext4, xfs, btrfs"
        raise LauncherError(message % (name, error.strerror)) from error


def _attach(parts: int, name: str, part: int) -> None:
    """Attach a part of the overlay: the kernel takes none that is nowhere mounted."""
    os.mkdir(name, 0o700, dir_fd=parts)
    place = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parts)
    try:
        mount_calls.move_mount(part, place)
    finally:
        os.close(place)
