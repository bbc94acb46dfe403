# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The paths of this host that are in the record of a file system: as its source, and in its options."""

from __future__ import annotations

from .targets import plain_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .contract import Mount

# Their source is the path of a device or a directory.
ON_PATHS = (
    "bcachefs btrfs ecryptfs erofs exfat ext2 ext3 ext4 f2fs hfs hfsplus iso9660 jfs minix msdos nilfs2 ntfs3 reiserfs "
    "squashfs udf vfat xfs"
).split()
# Their source is a name of a server's, however it looks (`//server/share`).
REMOTE = ("9p", "afs", "ceph", "cifs", "lustre", "nfs", "nfs4", "orangefs", "smb3", "vboxsf", "virtiofs")
NAMED = REMOTE + ("zfs",)  # two mounts with the same source are the same
# Options of an overlay that name directories.
LAYERS_WRITTEN, LAYERS_READ = ("upperdir", "workdir"), ("lowerdir", "lowerdir+", "datadir+")
DEVICE_OPTIONS = ("device", "journal_path", "logdev", "rtdev")  # name a further device (btrfs, ext4, xfs)

RELATIVE = "'%s' must begin with '/': the kernel would look for it in the directory of the process that mounts it"


def refusal_of_device(kind: str, device: str) -> str | None:
    """Return why no file system of a type is mounted from a device, or None where one is."""
    if kind not in ON_PATHS:
        return None
    return _refusal(device.split(":") if kind == "bcachefs" else [device])


def refusal_of_options(kind: str, options: str) -> str | None:
    """Return why a file system of a type is not mounted with options, or None where it is."""
    found = _split(options)
    if kind == "overlay":
        return _refusal(_values(found, LAYERS_WRITTEN) + _layers(_values(found, LAYERS_READ)))
    return None if kind in NAMED else _refusal(_values(found, DEVICE_OPTIONS))


def _refusal(paths: list[str]) -> str | None:
    return next((RELATIVE % path for path in paths if path[:1] != "/"), None)


def paths_of(record: Mount, device: str) -> tuple[list[str], list[str]]:
    """Return the paths of this host that a file system writes to when it is mounted, and those that it only reads.

    Args:
        record: of a file system, no bind mount.
        device: its source.
    """
    kind, options = record.type, _split(record.options or "")
    if kind == "overlay":
        read = _values(options, LAYERS_READ)
        return _spelled(_values(options, LAYERS_WRITTEN)), _spelled(read + _layers(read))
    if kind in NAMED:
        return [], []
    names = device.split(":") if kind == "bcachefs" else [device]
    return [plain_path(name) for name in names + _values(options, DEVICE_OPTIONS) if name[:1] == "/"], []


def _split(options: str) -> list[tuple[str, str]]:
    return [(name, value) for name, _equals, value in (option.partition("=") for option in options.split(","))]


def _values(options: list[tuple[str, str]], names: tuple[str, ...]) -> list[str]:
    return [value for name, value in options if name in names]


def _layers(values: list[str]) -> list[str]:
    """The directories in values of an overlay's options; a backslash makes a colon one of a name."""
    parts = [part for value in values for part in value.replace("\\:", "\0").split(":")]
    return [part.replace("\0", "\\:") for part in parts if part]


def _spelled(values: list[str]) -> list[str]:
    """The paths that values of an overlay's options may mean; the kernel takes backslashes out of some of them."""
    return list(
        dict.fromkeys(plain_path(text) for value in values for text in (value, value.replace("\\", "")) if text)
    )
