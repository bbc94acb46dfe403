# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The protection of what the host runs: it is never writable from inside, whatever name a mapping uses for it.

A *place* is a file system and a path in it, by the mount that a descriptor lies in. Links, odd spellings, and bind
mounts elsewhere all lead to the same place. A file in an overlay also has the places of the overlay's layers. The
overlay only reads the lower ones: nothing that is written to it gets there.
"""

from __future__ import annotations

import errno
import os
import sys

from . import devices, linux, lookup, mount_table
from .errors import LauncherError
from .file_systems import LAYERS_READ, LAYERS_WRITTEN, NAMED, paths_of
from .paths import (
    CODE_DIRECTORY,
    CONFIGS_FILE,
    NAMES_DIRECTORY,
    RUN_DIRECTORY,
    RUNTIME_UNIT_DIRECTORY,
    STATE_DIRECTORY,
    UNIT_DIRECTORY,
)
from .targets import is_below, plain_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Iterable, Tuple

    from .contract import Mount

    Place = Tuple[str, str]  # device (`major:minor`) of a file system, and a path in it
    Reach = Dict[Place, bool]  # places, and whether what is written comes there

RUNS = {
    STATE_DIRECTORY: "where the systems of all containers are kept, with the scripts that this host runs",
    RUN_DIRECTORY: "where what is known of all running containers is kept",
    CODE_DIRECTORY: "where the code is kept by which this host runs the collection",
    CONFIGS_FILE: "where this host looks up which ids and addresses are taken",
    NAMES_DIRECTORY: "where the names are kept by which containers know each other",
    UNIT_DIRECTORY: "where the units that this host runs are kept",
    RUNTIME_UNIT_DIRECTORY: "where the units are kept that this host runs until it reboots",
}
"""The paths that the host runs, or depends on, as root, each with a clause that says what is there."""

SECRET = (STATE_DIRECTORY, RUN_DIRECTORY, CONFIGS_FILE)
RIGHTLESS = frozenset(("nosuid", "noexec"))  # options of a mount whose programs run with no more rights, or not at all
LINK_OF_PROC = "'%s' passes through a link of /proc, or through too many, which is not followed: remove that link"
REMEDY = "root inside could have this host run programs of its own; keep what the container writes elsewhere"


class WritableSource(LauncherError):
    """A writable path that the host runs, or would run as root. No option makes this a warning."""


def refusal_of_words(source: str) -> str | None:
    """Return why a container cannot write to a path of the host, judged by the path's text alone, or None."""
    for path, what in RUNS.items():
        relation = relation_of(plain_path(source), path)
        if relation:
            return "'%s' %s %s, %s: %s" % (source, relation, path, what, REMEDY)
    return None


def relation_of(source: str, guarded: str) -> str | None:
    """Return how a path stands to one that is guarded, by its words, or None."""
    if source == guarded:
        return "is"
    if is_below(guarded, source):
        return "contains"
    return "lies in" if is_below(source, guarded) else None


def interpreter(named: str = "") -> dict[str, str]:
    """Return the paths of this Python, of its library, and of the Python that is named, in the form of `RUNS`."""
    what = "the Python by which this host runs the collection"
    paths = [path for path in (named, sys.executable) if path]
    found = dict.fromkeys(paths + [os.path.realpath(path) for path in paths], what)
    library = getattr(os, "__file__", None)
    if library:
        found[os.path.dirname(library)] = "the library of " + what
    return found


class GuardedHost:
    """The mounts of this host now, and where on them the things are that the host runs.

    Args:
        runs: what it runs, as `RUNS` has it.
        secret: those of them in which secrets lie.
        table: the mounts, where they have been read before.

    Attributes:
        mounts: the mounts.
        mounted: the same, by where they are.
    """

    def __init__(
        self,
        runs: dict[str, str],
        secret: tuple[str, ...] = SECRET,
        table: list[mount_table.MountTableEntry] | None = None,
    ) -> None:
        self.runs = runs
        self.secret = secret
        self.mounts = mount_table.read() if table is None else table
        self.mounted = mount_table.Mounted(self.mounts)
        self._by_number = {mount.number: mount for mount in self.mounts}
        self._places: dict[str, Reach] = {}

    def refuse_writable(self, source: int, name: str) -> None:
        """Refuse a writable share of what a descriptor names and what is mounted below it.

        Raises:
            WritableSource: that is, contains, or lies in something that the host runs.
        """
        self._refuse(self._reach(source), name)

    def written(self, source: int) -> list[Place]:
        """Return the places that can be written by a descriptor, including those of mounts below it."""
        return _written(self._reach(source))

    def places(self, descriptor: int) -> list[Place]:
        """Return the places of what a descriptor names, also those that are only read there."""
        found: Reach = {}
        self._add_open(found, descriptor, "", True)
        return [*found]

    def warning(self, source: int, name: str) -> str | None:
        """Return what a container learns when it may read what a descriptor names, or None."""
        return self._warning(self._reach(source), name)

    def refuse_writable_file_system(self, record: Mount, device: str) -> None:
        """Refuse, as `refuse_writable`, a file system to mount, from a device or from what its options name."""
        self._refuse(
            self._reach_of_file_system(record, device, paths_of(record.type, device, record.options)[0]), device
        )

    def warning_of_file_system(self, record: Mount, device: str) -> str | None:
        """Return what a container learns by a file system, counting directories that it only reads, or None."""
        written, read = paths_of(record.type, device, record.options)
        return self._warning(self._reach_of_file_system(record, device, written + read), device)

    def refuse_writable_mount(self, mount: int, kind: str, name: str) -> None:
        """Refuse a file system that has been mounted and not attached yet, as `refuse_writable`."""
        reach = {(devices.numbers(os.fstat(mount).st_dev), "/"): True}
        if kind == "btrfs":  # each subvolume has a number of its own there
            for number in devices.members_of_btrfs(".", mount):
                reach.update(self._on(number))
        self._refuse(reach, name)

    def shown(self, source: int) -> list[tuple[str, str]]:
        """Return where programs that a descriptor lets somebody write could run with more rights than their caller's.

        Returns:
            Pairs of paths: a directory that a mount without `nosuid` or `noexec` shows, and the mapped directory. Root
            inside may have set the modes of what lies below the latter.
        """
        path = os.readlink("/proc/self/fd/%d" % source)
        return [(shown, path) for shown in self._shown(self._reach(source))]

    def shown_of_file_system(self, record: Mount, device: str) -> list[tuple[str, str]]:
        """Return as `shown`, for a file system to mount, where its devices, or what it writes to, are mounted."""
        reach = self._reach_of_file_system(record, device, [])
        for path in paths_of(record.type, device, record.options)[0]:
            number = devices.block_device(path)
            if record.type == "overlay":
                _join(reach, self._places_of(path))
            elif number:
                reach.update(self._on(number))
        return [(shown, "") for shown in self._shown(reach)]

    def _shown(self, reach: Reach) -> list[str]:
        found = []
        for device, inner in _written(reach):
            for mount in self.mounts:
                if mount.device != device or not RIGHTLESS.isdisjoint(mount.options):
                    continue
                if is_below(inner, mount.part):
                    found.append(plain_path("%s/%s" % (mount.point, inner[len(mount.part.rstrip("/")) :])))
                elif is_below(mount.part, inner):
                    found.append(mount.point)
        return list(dict.fromkeys(found))

    def _refuse(self, reach: Reach, name: str) -> None:
        found = self._overlap(_written(reach), tuple(self.runs))
        if found:
            message = "%s: %s %s, %s: %s" % (name, found[0], found[1], self.runs[found[1]], REMEDY)
            raise WritableSource(message)

    def _warning(self, reach: Reach, name: str) -> str | None:
        found = self._overlap(reach, self.secret)
        return found and "%s: %s %s, so root inside can read the secrets of the containers there (keys, hashes)" % (
            name,
            found[0],
            found[1],
        )

    def _overlap(self, reach: Iterable[Place], guarded: tuple[str, ...]) -> tuple[str, str] | None:
        for path in guarded:
            for device, inner in self._places_of(path):
                for other, reached in reach:
                    relation = relation_of(reached, inner) if other == device else None
                    if relation:
                        return relation, path
        return None

    def _reach(self, source: int) -> Reach:
        """Return all places that can be reached from a directory, including mounts below it."""
        reach: Reach = {}
        path = self._add_open(reach, source, "", True)
        for mount in self.mounted.of(path):
            self._add(reach, mount, mount.part, True)
        return reach

    def _reach_of_file_system(self, record: Mount, device: str, paths: list[str]) -> Reach:
        """Return the places of paths, and all of the file systems on the devices that the paths name."""
        reach: Reach = {}
        for path in paths:
            number = devices.block_device(path)
            _join(reach, self._places_of(path))
            reach.update(self._on(number) if number else {})
        if record.type in NAMED:
            same = [mount for mount in self.mounts if (mount.kind, mount.source) == (record.type, device)]
            reach.update({(mount.device, "/"): True for mount in same})
        return reach

    def _on(self, number: str) -> Reach:
        """Return the roots of the mounted file systems that use a block device."""
        mounted = {mount.device: mount for mount in self.mounts}
        return {
            (device, "/"): True
            for device, mount in mounted.items()
            if any(devices.holds(number, each) for each in devices.of_mount(mount))
        }

    def _places_of(self, path: str) -> Reach:
        """Return the places of a path, whose last parts need not exist."""
        if path not in self._places:
            self._places[path] = {}
            self._add_path(self._places[path], path, True)
        return self._places[path]

    def _add_path(self, reach: Reach, path: str, written: bool) -> None:
        rest: list[str] = []
        while True:
            try:
                descriptor = lookup.open_on_host(path)
                break
            except OSError as error:
                if error.errno == errno.ELOOP:
                    raise LauncherError(LINK_OF_PROC % path) from error
                if path == "/":
                    return
                path, _slash, name = path.rstrip("/").rpartition("/")
                path = path or "/"
                rest.insert(0, name)
        try:
            self._add_open(reach, descriptor, "/".join(rest), written)
        finally:
            os.close(descriptor)

    def _add_open(self, reach: Reach, descriptor: int, rest: str, written: bool) -> str:
        """Add the places of `rest` below an open file; return that file's path."""
        mount = self._by_number.get(linux.mount_table_number(descriptor))
        path = os.readlink("/proc/self/fd/%d" % descriptor)
        if mount is None or not is_below(path, mount.point):
            # The root of a chroot(2) need not be a mount point, and then nothing is said of its mount.
            _join(reach, {(devices.numbers(os.fstat(descriptor).st_dev), plain_path("%s/%s" % (path, rest))): written})
            return path
        inner = "%s/%s/%s" % (mount.part, path[len(mount.point.rstrip("/")) :], rest)
        self._add(reach, mount, plain_path(inner), written)
        return path

    def _add(self, reach: Reach, mount: mount_table.MountTableEntry, inner: str, written: bool) -> None:
        """Add a path in a file system, and the place where an overlay stores it."""
        place = (mount.device, inner)
        if place in reach and reach[place] >= written:
            return
        reach[place] = written
        if mount.kind == "overlay":
            for directory, part in _layers(mount.settings):
                path = directory if part == "workdir" else plain_path(directory + "/" + inner)
                self._add_path(reach, path, written and part in LAYERS_WRITTEN)


def _join(reach: Reach, more: Reach) -> None:
    for place, written in more.items():
        reach[place] = written or reach.get(place, False)


def _written(reach: Reach) -> list[Place]:
    return [place for place, written in reach.items() if written]


def _layers(settings: str) -> list[tuple[str, str]]:
    """Return an overlay's directories, each with its option's name.

    Files lie in each of them as they do in the overlay, except in a `workdir`. Relative paths, which a mount command of
    the host may have used, are left out: nobody knows what they meant.
    """
    found = []
    for setting in settings.replace("\\,", "\0").split(","):
        name, _equals, value = setting.replace("\0", ",").partition("=")
        if name in LAYERS_WRITTEN:
            found.append((value, name))
        elif name in LAYERS_READ:
            found += [(part.replace("\0", ":"), name) for part in value.replace("\\:", "\0").split(":") if part]
    return [(directory, name) for directory, name in found if directory.startswith("/")]
