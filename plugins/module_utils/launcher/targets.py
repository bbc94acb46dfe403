# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The places where nothing can be mounted or written, because a container needs them: one table for both sides.

The controller asks it of a declaration, and the launcher again of `spec.json` and of `--share` and `--expose`.
"""

from __future__ import annotations

# C11: these may be links on the host (resolv.conf mostly is), and nobody but the host's root changes them.
NETWORK_FILES = ("/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/services", "/etc/hosts")
STORE = "/usr"
# Directories of the root that are links into a store at /usr. The launcher makes them.
MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
STANDARD_LINKS = (("var/run", "../run"), ("var/lock", "../run/lock"))  # FHS 3.0; systemd calls others tainted
# The nodes of a container's /dev, but for its console, and the links, with what they lead to.
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
FUSE = "fuse"  # only where it is asked for
NO_FUSE = "security.fuse: this host has no /dev/fuse; load its module: modprobe fuse"
CONSOLE = "console"
DEVICE_LINKS = {
    "ptmx": "pts/ptmx",
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "core": "/proc/kcore",
}
# What else of it each container has for itself: directories, and a file.
OWN_OF_DEV = ("pts", "shm", "mqueue", "hugepages", "kmsg", "log", "initctl")
# What PID 1 finds its credentials in.
CREDENTIALS = "/run/host/credentials"
# The kernel's file systems of which a container has its own, by where it has them.
OWN_TYPES = {"proc": "/proc", "sysfs": "/sys", "cgroup2": "/sys/fs/cgroup", "cgroup": "/sys/fs/cgroup"}
# Those that are new and empty with each mount.
IN_MEMORY = ("tmpfs", "devpts", "ramfs")
# Each container has a tmpfs there. One that is declared says what options it has.
RUN, TEMPORARY, SHARED_MEMORY = "/run", "/tmp", "/dev/shm"

_KERNELS = "which is the kernel's own and the container makes itself"
_LINK = "which is a link that the container makes itself: name the directory that it leads to"
_NEEDED = "a part of the store that all programs need"
_NODE = "which the container makes itself"


class Target:
    """A path that is protected.

    Attributes:
        path: absolute, in its plain form.
        reason: why, to follow the path's name.
        below: whether what lies in it is protected as well.
        above: whether what contains it is, too. A mount there would hide it.
    """

    def __init__(self, path: str, reason: str, below: bool = False, above: bool = True) -> None:
        self.path = path
        self.reason = reason
        self.below = below
        self.above = above


OUTPUT_LOG = "/run/output.log"
TARGETS = (
    Target("/proc", _KERNELS, below=True),
    Target("/sys", _KERNELS, below=True),
    Target("/dev", "which the container makes itself"),
    Target("/run", "which the container makes itself, empty at each start: map what lies in it"),
    Target("/run/current-system", "which holds the program that the container starts with", below=True),
    Target("/run/host", "where the launcher tells the container's init about itself", below=True),
    Target(OUTPUT_LOG, "which takes what the container's first process says", below=True),
    Target("/run/systemd", "which belongs to the container's systemd", below=True),
    Target("/var/run", _LINK, below=True, above=False),
    Target("/var/lock", _LINK, below=True, above=False),
) + tuple(Target("/dev/" + name, _NODE, below=True, above=False) for name in (*DEVICES, FUSE, CONSOLE, *DEVICE_LINKS))


def _of_store(store: str) -> list[Target]:
    """Return what a store at this path protects: itself, what the init and every program needs, the links to it."""
    reason = "which is the store, the software that the container runs"
    found = [Target(store, reason, above=True)]
    found += [Target("%s/%s" % (store, name), _NEEDED) for name in MERGED]
    found.append(Target(store + "/lib/systemd", "a part of the store that the container's init needs", below=True))
    if store == STORE:
        found += [Target("/" + name, "which is a link into the store", below=True, above=False) for name in MERGED]
    return found


class _Index:
    """The protected paths, indexed for look-up: a start asks for each of its files and mounts.

    Attributes:
        at: the targets by their paths.
        hidden: by each directory that contains a target which may not be hidden, the first such.
    """

    def __init__(self, targets: list[Target]) -> None:
        self.at: dict[str, Target] = {}
        self.hidden: dict[str, Target] = {}
        for target in targets:
            self.at.setdefault(target.path, target)
            for above in parents(target.path) if target.above else ():
                self.hidden.setdefault(above, target)


_known: dict[str, _Index] = {}


def _protected(store: str | None) -> _Index:
    """Return what is protected in a container with this store."""
    key = plain_path(store) if store else ""
    if key not in _known:
        _known[key] = _Index([*TARGETS, *(_of_store(key) if key else ())])
    return _known[key]


def plain_path(path: str) -> str:
    """Return an absolute path without redundant parts (`//`, `/./`, a slash at its end)."""
    if "//" not in path and "/." not in path and path[-1:] != "/" and path[:1] == "/":
        return path
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def parents(path: str) -> list[str]:
    """Return the directories that contain a path in its plain form, the nearest first, without the root."""
    found = []
    end = path.rfind("/")
    while end > 0:
        path = path[:end]
        found.append(path)
        end = path.rfind("/")
    return found


def is_below(path: str, directory: str) -> bool:
    """Return whether a path is the directory or lies below it, by the text of both."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def refusal_of_place(path: str, store: str | None = None) -> str | None:
    """Return why nothing can be mounted at a path, or None when something can.

    Args:
        path: absolute, in any form, without `..`.
        store: where the store is mounted; without it only what every container has is looked at.
    """
    place = plain_path(path)
    if place == "/":
        return "'/' is the container's own root, and nothing can be mounted there"
    index = _protected(store)
    if place in index.at:
        return "nothing can be mounted at '%s', %s" % (place, index.at[place].reason)
    if store and _is_of_an_architecture(place, plain_path(store)):
        return "nothing can be mounted at '%s', %s" % (place, _NEEDED)
    for above in parents(place):
        target = index.at.get(above)
        if target and target.below:
            return "'%s' lies in %s, %s" % (place, target.path, target.reason)
    if place in index.hidden:
        target = index.hidden[place]
        return "'%s' would hide %s, %s" % (place, target.path, target.reason)
    return None


def _is_of_an_architecture(place: str, store: str) -> bool:
    """Return whether a path is one of a store's directories of libraries, such as lib/x86_64-linux-gnu."""
    directory, _slash, name = place.rpartition("/")
    return directory == store + "/lib" and "-linux-" in name


def refusal_of_file(path: str, store: str) -> str | None:
    """Return why the system can bring no file at a path, or None when it can."""
    place = plain_path(path)
    if is_below(place, plain_path(store)):
        return "'%s' lies in the store (%s), which is read-only and hides it" % (place, plain_path(store))
    if is_below(place, "/dev"):
        return "'%s' lies in /dev, %s" % (place, _NODE)
    if place.startswith(CREDENTIALS + "/"):
        return None  # which has a file system of its own
    # A link of /var leads a file to where it is meant to be.
    return None if is_below(place, "/var/run") or is_below(place, "/var/lock") else refusal_of_place(place, store)


def refusal_of_device(path: str) -> str | None:
    """Return why a path is that of no device that a container can be given, by its text, or None."""
    place = plain_path(path)
    if not is_below(place, "/dev") or place == "/dev":
        return "'%s' does not lie in /dev, where devices are" % place
    if any(is_below(place, "/dev/" + name) for name in OWN_OF_DEV):
        return "'%s' lies in a part of /dev that is each container's own" % place
    return None


def refusal_of_type(kind: str) -> str | None:
    """Return why no file system of a type can be mounted, or None when one can."""
    own = OWN_TYPES.get(kind)
    return "a container has its own %s at %s, and no other" % (kind, own) if own else None


def is_run(kind: str, path: str, options: str | None) -> bool:
    """Return whether a file system is a tmpfs with options for the `/run` that every container has."""
    return kind == "tmpfs" and plain_path(path) == RUN and bool(options)


def is_containers_own(kind: str, path: str, options: str | None = None) -> bool:
    """Return whether every container makes its own file system of a type at a path; the machine's is left out."""
    own = {"/proc": ("proc",), "/sys": ("sysfs",), "/dev": ("devtmpfs", "tmpfs"), RUN: ("tmpfs",)}
    return kind in own.get(plain_path(path), ()) and not is_run(kind, path, options)
