# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host runs is never writable from inside: what a mapping's source really is, whatever it is called.

A place is a file system and a path in it, by the mount that a descriptor lies in: links, odd spellings, and bind mounts
elsewhere lead to the same place. What lies in an overlay has the places of its layers, too.
"""

from __future__ import annotations

import os
import sys

from . import devices, mount_table
from .errors import LauncherError
from .paths import RUN_DIRECTORY, STATE_DIRECTORY, read_text
from .targets import is_below, plain_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Tuple

    from .contract import Mount

    Place = Tuple[str, str]  # device (`major:minor`) of a file system, and a path in it

UNITS = "/etc/systemd/system"
RUNS = {
    STATE_DIRECTORY: "where the systems of all containers are kept, with the scripts that this host runs",
    RUN_DIRECTORY: "where what is known of all running containers is kept",
    UNITS: "where the units that this host runs are kept",
}
"""What the host runs, or goes by, as root: the path, and a clause that says what is there."""

SECRET = (STATE_DIRECTORY, RUN_DIRECTORY)
# Their source is a name of a server's, however it looks (`//server/share`).
REMOTE = ("9p", "afs", "ceph", "cifs", "lustre", "nfs", "nfs4", "orangefs", "smb3", "vboxsf", "virtiofs")
NAMED = REMOTE + ("zfs",)  # two with one source are one
DEVICE_OPTIONS = ("device", "journal_path", "logdev", "rtdev")  # name a further device (btrfs, ext4, xfs)
REMEDY = "root inside could have this host run programs of its own; keep what the container writes elsewhere"


class WritableSource(LauncherError):
    """What a container would write to is what the host runs, or would run as root. No option makes it a warning."""


def refusal_of_words(source: str) -> str | None:
    """Return why a container cannot write to a path of the host, as far as its words say, or None."""
    for path, what in RUNS.items():
        relation = _relation(plain_path(source), path)
        if relation:
            return "'%s' %s %s, %s: %s" % (source, relation, path, what, REMEDY)
    return None


def _relation(source: str, guarded: str) -> str | None:
    """How a path stands to one that is guarded."""
    if source == guarded:
        return "is"
    if is_below(guarded, source):
        return "contains"
    return "lies in" if is_below(source, guarded) else None


def interpreter(named: str = "") -> dict[str, str]:
    """Return the paths of this Python, of its library, and of one that is named, as `RUNS` has them."""
    what = "the Python by which this host runs the collection"
    paths = [path for path in (named, sys.executable) if path]
    found = dict.fromkeys(paths + [os.path.realpath(path) for path in paths], what)
    library = getattr(os, "__file__", None)
    if library:
        found[os.path.dirname(library)] = "the library of " + what
    return found


def paths_of(record: Mount, device: str) -> tuple[list[str], list[str]]:
    """Return the paths of this host that a file system writes to when it is mounted, and those that it only reads.

    Args:
        record: of a file system, no bind mount.
        device: its source.
    """
    kind, options = record.type, [option.partition("=") for option in (record.options or "").split(",")]
    if kind == "overlay":
        written = [value for name, _equals, value in options if name in ("upperdir", "workdir")]
        read = [value for name, _equals, value in options if name in ("lowerdir", "lowerdir+", "datadir+")]
        return _spelled(written), _spelled([part for value in read for part in (value, *value.split(":"))])
    if kind in NAMED:
        return [], []
    names = device.split(":") if kind == "bcachefs" else [device]
    names += [value for name, _equals, value in options if name in DEVICE_OPTIONS]
    return [plain_path(name) for name in names if name], []


def _spelled(values: list[str]) -> list[str]:
    """The paths that values of an overlay's options may mean; the kernel takes backslashes out of some of them."""
    return list(
        dict.fromkeys(plain_path(text) for value in values if value for text in (value, value.replace("\\", "")))
    )


class GuardedHost:
    """What is mounted on this host now, and where on it the things are that it runs.

    Args:
        runs: what it runs, as `RUNS` has it.
        secret: those of them in which secrets lie.
    """

    def __init__(self, runs: dict[str, str], secret: tuple[str, ...] = SECRET) -> None:
        self.runs = runs
        self.secret = secret
        self.mounts = mount_table.read()
        self._by_number = {mount.number: mount for mount in self.mounts}
        self._places: dict[str, list[Place]] = {}

    def refuse_writable(self, source: int, name: str) -> None:
        """Refuse to let a container write to what a descriptor names and what is mounted below it.

        Raises:
            WritableSource: that is, contains, or lies in something that the host runs.
        """
        self._refuse(self._reach(source), name)

    def warning(self, source: int, name: str) -> str | None:
        """Return what a container learns that may only read what a descriptor names, or None."""
        return self._warning(self._reach(source), name)

    def refuse_writable_file_system(self, record: Mount, device: str) -> None:
        """The same for a file system that is to be mounted, from a device or from what its options name."""
        self._refuse(self._reach_of_file_system(record, device, paths_of(record, device)[0]), device)

    def warning_of_file_system(self, record: Mount, device: str) -> str | None:
        """Return what a container learns by one that it may only read, or that only reads some of its directories."""
        written, read = paths_of(record, device)
        return self._warning(self._reach_of_file_system(record, device, written + read), device)

    def refuse_writable_mount(self, mount: int, kind: str, name: str) -> None:
        """The same as `refuse_writable` for a file system of a type that has been mounted and not attached yet."""
        reach = [(devices.numbers(os.fstat(mount).st_dev), "/")]
        if kind == "btrfs":  # each subvolume has a number of its own there
            for number in devices.members_of_btrfs(".", mount):
                reach += self._on(number)
        self._refuse(reach, name)

    def shown(self, source: int) -> list[tuple[str, str]]:
        """Return where a program with more rights than its caller's counts of what can be written by a descriptor.

        Returns:
            Paths, each of a directory that a mount without `nosuid` shows, wherever that is, and the path of the
            mapped directory: of what lies below that, root inside may have made the modes.
        """
        path = os.readlink("/proc/self/fd/%d" % source)
        return [(shown, path) for shown in self._shown(self._reach(source))]

    def shown_of_file_system(self, record: Mount, device: str) -> list[tuple[str, str]]:
        """The same for a file system that is to be mounted: where its devices, or what it writes to, are mounted."""
        reach = self._reach_of_file_system(record, device, [])
        for path in paths_of(record, device)[0]:
            number = devices.block_device(path)
            if record.type == "overlay":
                reach += self._places_of(path)
            elif number:
                reach += self._on(number)
        return [(shown, "") for shown in self._shown(reach)]

    def _shown(self, reach: list[Place]) -> list[str]:
        found = []
        for device, inner in reach:
            for mount in self.mounts:
                if mount.device != device or "nosuid" in mount.options:
                    continue
                if is_below(inner, mount.part):
                    found.append(plain_path("%s/%s" % (mount.point, inner[len(mount.part.rstrip("/")) :])))
                elif is_below(mount.part, inner):
                    found.append(mount.point)
        return list(dict.fromkeys(found))

    def _refuse(self, reach: list[Place], name: str) -> None:
        found = self._overlap(reach, tuple(self.runs))
        if found:
            message = "%s: %s %s, %s: %s" % (name, found[0], found[1], self.runs[found[1]], REMEDY)
            raise WritableSource(message)

    def _warning(self, reach: list[Place], name: str) -> str | None:
        found = self._overlap(reach, self.secret)
        return found and "%s: %s %s, so root inside can read the secrets of the containers there (keys, hashes)" % (
            name,
            found[0],
            found[1],
        )

    def _overlap(self, reach: list[Place], guarded: tuple[str, ...]) -> tuple[str, str] | None:
        for path in guarded:
            for device, inner in self._places_of(path):
                for other, reached in reach:
                    relation = _relation(reached, inner) if other == device else None
                    if relation:
                        return relation, path
        return None

    def _reach(self, source: int) -> list[Place]:
        """All places that can be reached from a directory, through what is mounted below it, too."""
        places, path = self._located(source, "", set())
        for mount in self.mounts:
            if mount.point != path and is_below(mount.point, path):
                places += self._in_mount(mount, mount.part, set())
        return places

    def _reach_of_file_system(self, record: Mount, device: str, paths: list[str]) -> list[Place]:
        """The places of paths, and all of the file systems on the devices that they name."""
        found = []
        for path in paths:
            number = devices.block_device(path)
            found += self._places_of(path) + (self._on(number) if number else [])
        if record.type in NAMED:
            same = [mount for mount in self.mounts if (mount.kind, mount.source) == (record.type, device)]
            found += [(mount.device, "/") for mount in same]
        return found

    def _on(self, number: str) -> list[Place]:
        """All of the mounted file systems that a block device is of use to."""
        mounted = {mount.device: mount for mount in self.mounts}
        return [
            (device, "/")
            for device, mount in mounted.items()
            if any(devices.holds(number, each) for each in devices.of_mount(mount))
        ]

    def _places_of(self, path: str) -> list[Place]:
        """The places of a path, whose last parts need not exist."""
        if path not in self._places:
            self._places[path] = self._find(path, set())
        return self._places[path]

    def _find(self, path: str, seen: set[Place]) -> list[Place]:
        rest: list[str] = []
        while True:
            try:
                descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
                break
            except OSError:
                if path == "/":
                    return []
                path, _slash, name = path.rstrip("/").rpartition("/")
                path = path or "/"
                rest.insert(0, name)
        try:
            return self._located(descriptor, "/".join(rest), seen)[0]
        finally:
            os.close(descriptor)

    def _located(self, descriptor: int, rest: str, seen: set[Place]) -> tuple[list[Place], str]:
        """The places of what lies below an open file, and that file's path."""
        number = ""
        for line in read_text("/proc/self/fdinfo/%d" % descriptor).split("\n"):
            if line.startswith("mnt_id:"):
                number = line.partition(":")[2].strip()
        mount = self._by_number.get(int(number)) if number else None
        path = os.readlink("/proc/self/fd/%d" % descriptor)
        if mount is None or not is_below(path, mount.point):
            # The root of a chroot(2) need not be a mount point, and then nothing is said of its mount.
            return [(devices.numbers(os.fstat(descriptor).st_dev), plain_path("%s/%s" % (path, rest)))], path
        inner = "%s/%s/%s" % (mount.part, path[len(mount.point.rstrip("/")) :], rest)
        return self._in_mount(mount, plain_path(inner), seen), path

    def _in_mount(self, mount: mount_table.MountTableEntry, inner: str, seen: set[Place]) -> list[Place]:
        """A path in a file system, and where an overlay keeps that."""
        place = (mount.device, inner)
        if place in seen:
            return []
        seen.add(place)
        found = [place]
        if mount.kind == "overlay":
            for directory, is_layer in _layers(mount.settings):
                found += self._find(plain_path(directory + "/" + inner) if is_layer else directory, seen)
        return found


def _layers(settings: str) -> list[tuple[str, bool]]:
    """The directories of an overlay, and whether each is a layer, in which files lie as in the overlay."""
    found = []
    for setting in settings.replace("\\,", "\0").split(","):
        name, _equals, value = setting.replace("\0", ",").partition("=")
        if name in ("upperdir", "workdir"):
            found.append((value, name == "upperdir"))
        elif name in ("lowerdir", "lowerdir+", "datadir+"):
            found += [(part.replace("\0", ":"), True) for part in value.replace("\\:", "\0").split(":") if part]
    return [(directory, is_layer) for directory, is_layer in found if directory.startswith("/")]
