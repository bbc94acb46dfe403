# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Export and import of a container's volumes (V5).

An export is written aside, and gets its name when all of it is on the disk. An import is unpacked aside and held to its
checksum while the container may still run. Then all volumes are exchanged by one rename, so that a failure, or a kill,
at any moment leaves the old ones or the new ones whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from pathlib import Path
from typing import IO, Any, Iterable, Iterator

from ..host.boot import Boot
from ..launcher import linux
from ..launcher.paths import NEW, make_directory, remove_entries, remove_file, sync_directory
from ..launcher.volumes import SNAPSHOTS, VOLUMES
from ..state import restoring, volume_archives, volumes
from ..state.renaming import put_in_place
from ..state.snapshots import write_out
from ..state.tar_members import TAR_PART, Damaged, Member
from ..state.target import Layout, TargetError, explain
from ..state.unpacking import Unpacker, checked
from ..state.volume_archives import ArchivedVolume, ArchiveManifest, VolumesArchive, WrittenArchive
from ..state.volumes import IMPORTING
from .at_rest import AtRest
from .container import Container
from .starting import starter

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
UNFINISHED_RESTORE = (
    "container %r: a restore of the snapshot %s was interrupted, and would take the place of these volumes at the next "
    "start: finish it first (container_snapshot, state: restored)"
)
SOCKETS = "%d sockets are in no archive: their services make them anew"


class Archiving:
    """The export or the import of the volumes of one container.

    :param path: of the archive on this host.
    :param stop: whether the container is stopped for it, and started again afterwards if it ran.
    :param timeout: seconds for its stop, its start, and to wait for another run; None for those of its unit.
    """

    def __init__(self, layout: Layout, name: str, path: str, stop: bool, timeout: float | None) -> None:
        self.layout = layout
        self.name = name
        self.path = path
        container = Container(name)
        boot = Boot(layout, name, container, timeout=timeout)
        self.rest = AtRest(layout, container, starter(container, boot.systemd), stop, boot.timeout)
        self.directory = str(layout.container(name))
        self._found: list[str] = []

    @property
    def warnings(self) -> list[str]:
        """Return what the user is to be told."""
        return self._found + self.rest.warnings

    # Export.

    def export(self, compression: str, check: bool) -> dict[str, Any]:
        """Write the archive. Return the result of a module.

        :param check: whether to find out only what could not be done.
        :raises TargetError, LauncherError, OSError: it cannot be written; what had its path is what it was.
        """
        names = volumes.volume_names(self.directory)
        if not names:
            self._lack("container %r has no volumes on this host: nothing can be exported" % self.name, check)
        parent = self._parent(check)
        result: dict[str, Any] = {"changed": True, "name": self.name, "path": self.path}
        if check:
            return {**result, "volumes": [{"name": name} for name in names]}
        began = time.monotonic()
        with self.rest.lock(), self.rest.reading() as state:
            self._refuse_unfinished()
            manifest = self._manifest(volumes.volume_names(self.directory), state)
            try:
                written, digest, size = self._write(parent, manifest, compression)
            except OSError as error:
                raise TargetError("path: %s cannot be written: %s" % (self.path, explain(error))) from error
        if written.sockets:
            self._found.append(SOCKETS % written.sockets)
        self.rest.tell_start("%s: is written" % self.path)
        return {
            **result,
            "checksum": "sha256:" + digest,
            "size": size,
            "seconds": round(time.monotonic() - began, 3),
            "paused_seconds": round(self.rest.seconds, 3),
            **_told(manifest, written.volumes),
        }

    def _manifest(self, names: list[str], state: str) -> ArchiveManifest:
        current = self.layout.current_system(self.name)
        return ArchiveManifest(
            format=volume_archives.ARCHIVE_FORMAT,
            container=self.name,
            volumes=names,
            system=current.name if current is not None else "",
            made=int(time.time()),
            state=state,
        )

    def _lack(self, said: str, check: bool) -> None:
        """Raise TargetError for what is missing; in check mode warn, for an earlier task may make it."""
        if not check:
            raise TargetError(said)
        self._found.append(said)

    def _parent(self, check: bool) -> str:
        """Return the archive's directory. Raise TargetError unless it, and those above, are root's alone to write.

        Whoever else writes there could have us write elsewhere, or exchange the backup.
        """
        if not os.path.isabs(self.path) or self.path.endswith("/"):
            raise TargetError("path: %r is no absolute path of a file" % self.path)
        parent = os.path.dirname(os.path.normpath(self.path))
        if not os.path.isdir(parent):
            self._lack("path: the directory %s is not there: make it" % parent, check)
            return parent
        above = os.path.realpath(parent)
        while True:
            status = os.stat(above)
            others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and (
                above == os.path.realpath(parent) or not status.st_mode & stat.S_ISVTX
            )
            if status.st_uid != 0 or others:
                raise TargetError("path: others than root can write to %s: name another directory" % above)
            if above == "/":
                break
            above = os.path.dirname(above)
        if os.path.lexists(self.path) and not stat.S_ISREG(os.lstat(self.path).st_mode):
            raise TargetError("path: %s is there, and is no file" % self.path)
        return parent

    def _write(self, parent: str, manifest: ArchiveManifest, compression: str) -> tuple[WrittenArchive, str, int]:
        aside = os.path.join(parent, os.path.basename(self.path) + NEW)
        directory = os.open(parent, _DIRECTORY & ~os.O_NOFOLLOW)
        try:
            remove_file(aside)
            with _unnamed(parent, aside) as file:
                with volume_archives.compressed(file, compression) as compressed:
                    written = volume_archives.write(compressed, manifest, self._open_volume)
                os.fsync(file.fileno())
                digest = written.digest if compression == "none" else _digest_of(file)
                size = os.fstat(file.fileno()).st_size
                if not os.path.lexists(aside):
                    os.link("/proc/self/fd/%d" % file.fileno(), os.path.basename(aside), dst_dir_fd=directory)
            Path(aside).rename(self.path)
            os.fsync(directory)
            return written, digest, size
        except BaseException:
            remove_file(aside)
            raise
        finally:
            os.close(directory)

    def _refuse_unfinished(self) -> None:
        """Raise TargetError while volumes are to be replaced by those of a snapshot, which the next start finishes."""
        former = restoring.noted(os.path.join(self.directory, SNAPSHOTS))
        if former is not None and former.ready:
            raise TargetError(UNFINISHED_RESTORE % (self.name, former.snapshot))

    def _open_volume(self, name: str) -> int:
        return os.open(os.path.join(self.directory, VOLUMES, name), _DIRECTORY)

    # Import.

    def restore(self, other: str | None, replace: bool, check: bool) -> dict[str, Any]:
        """Unpack the archive, and have its volumes be the container's. Return the result of a module.

        :param other: the container whose archive it may be; by default this one.
        :param replace: whether volumes in which something is are replaced.
        :param check: whether to find out only whether it could be done.
        :raises TargetError, LauncherError, OSError: it cannot be done; the volumes are what they were.
        """
        began = time.monotonic()
        if check and not os.path.lexists(self.path):
            self._lack("path: %s is not there" % self.path, check)
            return {"changed": True, "name": self.name, "path": self.path}
        with self._opened() as file, self.rest.lock():
            self._refuse_unfinished()
            if not check:
                remove_entries(self.directory, (IMPORTING,))
            try:
                with volume_archives.unpacked(file) as source:
                    archive = VolumesArchive(source)
                    self._refuse(archive.manifest, other, replace)
                    found = archive.read(lambda member, _content: _check(member)) if check else self._unpack(archive)
            except BaseException as error:
                if not check:
                    remove_entries(self.directory, (IMPORTING,))
                if isinstance(error, Damaged):
                    raise TargetError("path: %s is refused: %s" % (self.path, error)) from None
                raise
            finally:
                with contextlib.suppress(OSError):
                    os.rmdir(self.directory)  # of a container that this host has not
            size, digest = os.fstat(file.fileno()).st_size, _digest_of(file)
            if not check:
                with self.rest.stopped():
                    self._exchange()
                remove_entries(self.directory, (IMPORTING,))
                self.rest.tell_start("container %s: has the volumes of the archive" % self.name)
        result = {"changed": True, "name": self.name, "path": self.path, "checksum": "sha256:" + digest, "size": size}
        if not check:
            result["seconds"] = round(time.monotonic() - began, 3)
            result["paused_seconds"] = round(self.rest.seconds, 3)
        return {**result, **_told(archive.manifest, found)}

    @contextlib.contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        if not os.path.isabs(self.path):
            raise TargetError("path: %r is no absolute path" % self.path)
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise TargetError("path: %s cannot be read: %s" % (self.path, error.strerror)) from None
        with open(descriptor, "rb", buffering=TAR_PART) as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise TargetError("path: %s is no file" % self.path)
            yield file

    def _refuse(self, manifest: ArchiveManifest, other: str | None, replace: bool) -> None:
        """Refuse an archive that is not meant, or not to take the place of what is there. Raise TargetError."""
        if manifest.container != (other or self.name):
            raise TargetError(
                "path: %s is an archive of the container %r, and not of %r: name that as `container`, if it is meant"
                % (self.path, manifest.container, other or self.name)
            )
        self.rest.refuse()
        for name in volumes.volume_names(self.directory):
            descriptor = self._open_volume(name)
            try:
                if linux.is_root_of_mount(descriptor):
                    raise TargetError("volume %s: something is mounted there: unmount it" % name)
                filled = bool(os.listdir(descriptor))
            finally:
                os.close(descriptor)
            if filled and name not in manifest.volumes:
                raise TargetError(
                    "volume %s: is not in the archive, and something is in it: move that away, or remove it" % name
                )
            if filled and not replace:
                raise TargetError("volume %s: something is in it; replace: true has it replaced" % name)

    def _unpack(self, archive: VolumesArchive) -> list[ArchivedVolume]:
        """Unpack all of it aside, and bring it to the disk. Return the volumes."""
        aside = os.path.join(self.directory, IMPORTING)
        make_directory(self.directory, 0o700)
        os.mkdir(aside, 0o700)
        with Unpacker(aside) as unpacker:
            found = archive.read(unpacker.write)
        write_out(Path(aside))
        return found

    def _exchange(self) -> None:
        put_in_place(Path(self.directory, IMPORTING), Path(self.directory, VOLUMES))
        sync_directory(self.directory)


@contextlib.contextmanager
def _unnamed(parent: str, aside: str) -> Iterator[IO[bytes]]:
    """Yield a new file that has no name, so that nothing is left of it; where that cannot be, one with a name."""
    try:
        descriptor = os.open(parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(aside, flags, 0o600)
    os.fchmod(descriptor, 0o600)
    with open(descriptor, "wb+", buffering=TAR_PART) as file:
        yield file


def _digest_of(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    offset = 0
    while True:
        part = os.pread(file.fileno(), TAR_PART, offset)
        if not part:
            return digest.hexdigest()
        digest.update(part)
        offset += len(part)


def _check(member: Member) -> None:
    checked(member)


def _told(manifest: ArchiveManifest, found: Iterable[ArchivedVolume]) -> dict[str, Any]:
    """Return what a module's result says of the archive."""
    return {
        "container": manifest.container,
        "system": manifest.system,
        "made": manifest.made,
        "consistent": manifest.state,
        "volumes": [{"name": volume.name, "files": volume.files, "bytes": volume.bytes} for volume in found],
    }
