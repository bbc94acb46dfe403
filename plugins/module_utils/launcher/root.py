# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file tree that a container sees (S2, S3, S6), built by the host's root in a private mount namespace.

The builder's effective ids are the container's base id, so that everything it makes belongs to the container's root.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Any

from . import kernel, mounts
from . import syscalls as sys
from .errors import LauncherError
from .identity import Identity

# A root inside may fill these; the bounds are those of systemd for nested roots and temporary files.
ROOT_SIZE, ROOT_FILES = "10%", "400k"
RUN_SIZE, RUN_FILES = "20%", "800k"
TEMPORARY_SIZE, TEMPORARY_FILES = "10%", "1m"

SKELETON = ("bin", "dev", "etc", "home", "mnt", "opt", "proc", "root", "run", "srv", "sys", "tmp", "usr", "var")
STANDARD_LINKS = (("var/run", "/run"), ("var/lock", "/run/lock"))  # FHS 3.0; systemd calls others tainted
MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
# C11: these may be links on the host (resolv.conf mostly is), and nobody but the host's root changes them.
NETWORK_FILES = ("/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/services", "/etc/hosts")
SELF = "/run/current-system"
# Mounted by `kernel` once the container's namespaces exist, or part of every container.
NAMESPACED = ("mqueue", "proc", "sysfs", "cgroup2")


def attach_root(directory: str) -> mounts.Tree:
    """A tmpfs for `/`, at a directory of the host that only this mount namespace sees changed."""
    mount = mounts.tmpfs("0755", ROOT_SIZE, ROOT_FILES)
    target = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    sys.move_mount(mount, target)
    os.close(target)
    return mounts.Tree(mount)


def build(
    tree: mounts.Tree, system: str, spec: dict[str, Any], identity: Identity, id_map: int | None, run: Any
) -> list[str]:
    """Fill the tree with everything but the kernel's namespaced file systems; what was left out, a line each.

    Args:
        system: directory of the system on the host.
        spec: its `spec.json`.
        id_map: descriptor of the container's user namespace, when shared files are to be id-mapped.
        run: what this one start adds (`launch.Launch`): console, notification socket, machine id, extra mappings.
    """
    os.umask(0)
    root = tree.open("/", os.O_RDONLY | os.O_DIRECTORY)
    os.fchdir(root)
    os.close(root)
    for name in SKELETON:
        os.mkdir(name, 0o700 if name == "root" else 0o755)
    for name, target in STANDARD_LINKS:
        os.symlink(target, name)
    kernel.populate_devices(tree, run.console)
    quiet = sys.MOUNT_ATTR_NOSUID | sys.MOUNT_ATTR_NODEV
    tree.attach(mounts.tmpfs("0755", RUN_SIZE, RUN_FILES, quiet), "/run")
    tree.attach(mounts.tmpfs("1777", TEMPORARY_SIZE, TEMPORARY_FILES, quiet), "/tmp")
    _link_store(spec["store"])
    _copy_files(system, spec["files"], identity)
    _place("etc/machine-id", 0o444, (run.machine_id + "\n").encode())
    _place("run/host/container-manager", 0o444, b"unshare\n")
    warnings = _share_host_files(tree, spec, id_map)
    for record in spec["file_systems"] + run.extra_file_systems:
        if record["type"] not in NAMESPACED:
            warnings += _mount(tree, record, identity, id_map)
    if run.notify_path is not None:
        source = os.open(run.notify_path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        tree.attach(mounts.bind(source, 0, None, recursive=False), "/run/host/notify", directory=False)
        os.close(source)
    return warnings


def _link_store(store: dict[str, str]) -> None:
    """`/bin`, `/lib64` and the like, as far as the store has them (merged /usr)."""
    for name in MERGED:
        if os.path.isdir(os.path.join(store["source"], name)):
            if name in SKELETON:
                os.rmdir(name)
            os.symlink(os.path.join(store["target"].lstrip("/"), name), name)


def _parents(path: str) -> None:
    parent = os.path.dirname(path)
    if parent and not os.path.isdir(parent):
        _parents(parent)
        os.mkdir(parent, 0o755)


def _place(path: str, mode: int, content: bytes, uid: int | None = None, gid: int | None = None) -> None:
    """Write a file of the tree; nothing of a container's own state is mounted yet."""
    _parents(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        while content:
            content = content[os.write(descriptor, content) :]
        if uid is not None and gid is not None:
            os.fchown(descriptor, uid, gid)
            os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def _copy_files(system: str, files: dict[str, Any], identity: Identity) -> None:
    for path, entry in files.items():
        relative = path.lstrip("/")
        if "link" in entry:
            _parents(relative)
            os.symlink(entry["link"], relative)
        else:
            uid, gid = entry.get("uid", 0), entry.get("gid", 0)
            owned = (identity.base + uid, identity.base + gid) if uid or gid else (None, None)
            _place(relative, int(entry["mode"], 8), _read(os.path.join(system, "root", relative)), *owned)
    _place(SELF.lstrip("/") + "/boot", 0o555, _read(os.path.join(system, "boot")))


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        parts = []
        while True:
            part = os.read(descriptor, 1 << 20)
            if not part:
                return b"".join(parts)
            parts.append(part)
    finally:
        os.close(descriptor)


def _share_host_files(tree: mounts.Tree, spec: dict[str, Any], id_map: int | None) -> list[str]:
    """The short list of the software's own configuration, from the tree that the store is part of.

    Directories are bound read-only, files copied. They hold no secret, and what the system itself declares wins.
    """
    warnings = []
    beside = os.path.dirname(spec["store"]["source"].rstrip("/"))
    for path in spec.get("host_files", []):
        relative = path.lstrip("/")
        source = os.path.join(beside, relative) if beside else "/" + relative
        if os.path.lexists(relative) or not os.path.exists(source):
            continue
        if os.path.isdir(source):
            record = {"device": os.path.realpath(source), "mount_point": path, "flags": ["read-only"]}
            warnings += _bind(tree, record, id_map)
        else:
            _place(relative, stat.S_IMODE(os.stat(source).st_mode), _read(os.path.realpath(source)))
    return warnings


def _mount(tree: mounts.Tree, record: dict[str, Any], identity: Identity, id_map: int | None) -> list[str]:
    if "bind-mount" in record["flags"]:
        return _bind(tree, record, id_map)
    point = record["mount_point"]
    device = record["device"]
    if isinstance(device, dict):
        kind, value = next(iter(device.items()))
        device = "/dev/disk/by-%s/%s" % (kind, value)
    options = _options(record, identity)
    if record["type"] not in ("tmpfs", "devpts", "ramfs"):
        options.insert(0, ("source", device))
    try:
        mount = mounts.filesystem(record["type"], options, mounts.attributes(record["flags"]))
        if id_map is not None and record["type"] not in ("tmpfs", "devpts", "ramfs"):
            sys.mount_setattr(mount, 0, False, id_map)
        tree.attach(mount, point)
    except OSError as error:
        message = "%s: cannot mount %s (%s): %s" % (point, device, record["type"], error)
        if record.get("mount_may_fail"):
            return [message]
        raise LauncherError(message) from error
    return []


def _options(record: dict[str, Any], identity: Identity) -> list[tuple[str, str | None]]:
    """A mount(8) option string, in parts; ids in it are the container's own."""
    options: list[tuple[str, str | None]] = []
    for option in (record.get("options") or "").split(","):
        name, equals, value = option.partition("=")
        if name == "newinstance" or not name:
            continue  # every devpts mount is its own since Linux 4.7
        if name in ("uid", "gid") and value.isdigit():
            value = str(identity.base + int(value))
        options.append((name, value if equals else None))
    if record["type"] == "devpts":
        options.append(("gid", str(identity.base + 5)))  # group tty, so that mode=620 means what it does on a host
    if "lazy-time" in record["flags"]:
        options.append(("lazytime", None))
    return options


def _bind(tree: mounts.Tree, record: dict[str, Any], id_map: int | None) -> list[str]:
    """Bind a mapping (C10), or say that its source is not there (S3)."""
    source_path, point = record["device"], record["mount_point"]
    try:
        source = mounts.open_source(source_path, follow=source_path in NETWORK_FILES)
    except FileNotFoundError:
        if record.get("required"):
            raise LauncherError("%s: the source of the mapping to %s does not exist" % (source_path, point)) from None
        return ["%s: does not exist on the host, so %s is left out" % (source_path, point)]
    try:
        directory = stat.S_ISDIR(os.fstat(source).st_mode)
        attributes = mounts.attributes(record["flags"]) | sys.MOUNT_ATTR_NODEV
        if not attributes & sys.MOUNT_ATTR_RDONLY:
            attributes |= sys.MOUNT_ATTR_NOSUID
        warnings = []
        try:
            mount = mounts.bind(source, attributes, id_map)
        except OSError as error:
            if id_map is None or error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EPERM):
                raise
            mount = mounts.bind(source, attributes, None)
            warnings.append(
                "%s: its file system cannot map ids, so what belongs to root there belongs to nobody in the container"
                % source_path
            )
        tree.attach(mount, point, directory)
        return warnings
    except OSError as error:
        raise LauncherError("%s: cannot bind %s there: %s" % (point, source_path, error)) from error
    finally:
        os.close(source)
