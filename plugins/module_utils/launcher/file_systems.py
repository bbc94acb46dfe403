# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The paths of this host in the record of a file system: its source, and those in its options."""

from __future__ import annotations

from .targets import plain_path

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


# Options of mount(8) that are a mount's, and those that say when or by whom it is mounted. (The rest of those that
# every file system takes, such as `sync`, the kernel knows by these names.)
_FLAGS = {
    "ro": "read-only",
    "nosuid": "no-suid",
    "nodev": "no-dev",
    "noexec": "no-exec",
    "noatime": "no-atime",
    "nodiratime": "no-diratime",
    "strictatime": "strict-atime",
    "lazytime": "lazy-time",
}
_OPPOSITES = {
    "rw": "read-only",
    "suid": "no-suid",
    "dev": "no-dev",
    "exec": "no-exec",
    "atime": "no-atime",
    "diratime": "no-diratime",
    "relatime": "strict-atime",
    "nostrictatime": "strict-atime",
    "nolazytime": "lazy-time",
}
_CONTRARY = {"no-atime": "strict-atime", "strict-atime": "no-atime"}
_NOT_THE_KERNELS = ("defaults", "auto", "noauto", "nofail", "_netdev", "nouser", "norelatime", "silent", "loud")


def split_options(kind: str, flags: list[str], options: str) -> tuple[list[str], str]:
    """Return the flags of a mount, and the options that are left for its file system.

    Args:
        kind: its type. What lies on a device has to know that it is read-only.
        flags: those that it has beside its options, as records have them.
        options: as mount(8) takes them; of two that contradict each other the last one counts.
    """
    found: list[str] = []
    left = []
    for option in flags + options.split(","):
        name = option.partition("=")[0]
        if option in flags or (name in _FLAGS and name == option):
            flag = _FLAGS.get(option, option)
            found = [other for other in found if other not in (flag, _CONTRARY.get(flag))] + [flag]
            left += ["ro"] if option == "ro" and kind != "tmpfs" else []
        elif name in _OPPOSITES and name == option:
            found = [flag for flag in found if flag != _OPPOSITES[name]]
            left = [other for other in left if (other, option) != ("ro", "rw")]
        elif name not in _NOT_THE_KERNELS and name != "comment" and name[:2] not in ("x-", "X-") and option:
            left.append(option)
    return found, ",".join(left)


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


def paths_of(kind: str, device: str, options: str | None) -> tuple[list[str], list[str]]:
    """Return the paths of this host that a mounted file system writes to, and those that it only reads.

    Args:
        kind: its type; it is no bind mount.
        device: its source.
        options: those that it is mounted with, as mount(8) takes them.
    """
    found = _split(options or "")
    if kind == "overlay":
        read = _values(found, LAYERS_READ)
        return _spelled(_values(found, LAYERS_WRITTEN)), _spelled(read + _layers(read))
    if kind in NAMED:
        return [], []
    names = device.split(":") if kind == "bcachefs" else [device]
    return [plain_path(name) for name in names + _values(found, DEVICE_OPTIONS) if name[:1] == "/"], []


def _split(options: str) -> list[tuple[str, str]]:
    return [(name, value) for name, _equals, value in (option.partition("=") for option in options.split(","))]


def _values(options: list[tuple[str, str]], names: tuple[str, ...]) -> list[str]:
    return [value for name, value in options if name in names]


def _layers(values: list[str]) -> list[str]:
    """Return the directories in the values of an overlay's options. A backslash makes a colon part of a name."""
    parts = [part for value in values for part in value.replace("\\:", "\0").split(":")]
    return [part.replace("\0", "\\:") for part in parts if part]


def _spelled(values: list[str]) -> list[str]:
    """Return the paths that the values of an overlay's options may mean: the kernel removes some backslashes."""
    return list(
        dict.fromkeys(plain_path(text) for value in values for text in (value, value.replace("\\", "")) if text)
    )
