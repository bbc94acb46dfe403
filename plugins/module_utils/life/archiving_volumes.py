# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Export and import of a container's volumes (V5).

An export is written aside, and gets its name when all of it is on the disk. An import is unpacked aside and held to its
checksum while the container may still run. Then all volumes are exchanged by one rename, so that a failure, or a kill,
at any moment leaves the old ones or the new ones whole. Either may have a base, an archive that has what is unchanged
since it was made (`state/increments`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from pathlib import Path
from typing import IO, Any, ContextManager, Iterable, Iterator

from ..host.boot import Boot
from ..launcher.errors import Held
from ..launcher.paths import remove_entries, sync_directory
from ..launcher.volumes import SNAPSHOTS, VOLUMES
from ..state import archive_files, archive_streams, holds, increments, quotas, restoring, volume_archives, volumes
from ..state.archive_streams import Checksum, Damaged
from ..state.file_writing import write_small
from ..state.helper import Helper
from ..state.increments import Moment
from ..state.renaming import put_in_place
from ..state.snapshot_record import READ_FROZEN
from ..state.snapshots import write_out
from ..state.target import Layout, TargetError, explain, make_private_directory
from ..state.unpacking import Examiner, Unpacker
from ..state.volume_archives import ArchivedVolume, ArchiveManifest, BaseArchive, VolumesArchive, WrittenArchive
from ..state.volumes import IMPORTING
from .at_rest import AtRest
from .container import Container
from .starting import starter

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
OF_BASE = ".base"
"""The directory that the base is unpacked into, beside the volumes that are made of it; no volume has such a name."""

UNFINISHED_RESTORE = (
    "container %r: a restore of the snapshot %s was interrupted, and would take the place of these volumes at the next "
    "start: finish it first (container_snapshot, state: restored)"
)
SOCKETS = "%d sockets are in no archive: their services make them anew"
ALL_WRITTEN = "base: the archive has all files, also those that are as they were, because %s"
OTHER_CONTAINER = "it is an archive of the container %r, and not of %r"
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
FULL = "%s: no space is left to unpack the archive beside the volumes (%s); nothing was changed: make room"
NOT_UNPACKED = "%s: the archive cannot be unpacked beside the volumes (%s); nothing was changed"
NO_VOLUME = "volume %s: %s is no directory that can be read: %s; to have it on another disk, mount that there"
OTHER_FILE = "path: %s is there, and is no archive of volumes that is known here: name another path, or remove it"
NEEDS_BASE = "path: %s has only what had changed since another archive was made: name that one as `base`"
NEEDS_NO_BASE = "base: %s is named for nothing: %s has all; leave `base` out"


class Archiving:
    """The export or the import of the volumes of one container.

    :param path: of the archive on this host.
    :param stop: whether the container is stopped for it, and started again afterwards if it ran.
    :param timeout: seconds for its stop, its start, and to wait for another run; None for those of its unit.
    :param base: path of the archive that has what is not in this one; None for an archive that has all.
    """

    def __init__(
        self, layout: Layout, name: str, path: str, stop: bool, timeout: float | None, base: str | None = None
    ) -> None:
        self.layout = layout
        self.name = name
        self.path = path
        self.base = base
        container = Container(name)
        boot = Boot(layout, name, container, timeout=timeout)
        self.rest = AtRest(layout, container, starter(container, boot.systemd), stop, boot.timeout)
        self.directory = str(layout.container(name))
        self._found: list[str] = []

    @property
    def warnings(self) -> list[str]:
        """Return what the user is to be told."""
        return self._found + self.rest.warnings

    def _lack(self, said: str, check: bool) -> None:
        """Raise TargetError for what is missing; in check mode warn, for an earlier task may make it."""
        if not check:
            raise TargetError(said)
        self._found.append(said)

    def _refuse_unfinished(self) -> None:
        """Raise TargetError while volumes are to be replaced by those of a snapshot, which the next start finishes."""
        former = restoring.noted(os.path.join(self.directory, SNAPSHOTS))
        if former is not None and former.ready:
            raise TargetError(UNFINISHED_RESTORE % (self.name, former.snapshot))

    def _refuse_moving(self, move: str | None, check: bool) -> None:
        """Raise LauncherError while the container moves; in check mode warn, for a task may be about to finish that."""
        try:
            holds.refuse_import(self.name, self.directory, move)
        except Held as error:
            if not check:
                raise
            self._found.append(str(error))

    def _refuse_larger(self, found: list[str]) -> None:
        """Raise TargetError for what was found of volumes that would hold more than they may."""
        if found:
            raise TargetError("path: %s is refused: %s" % (self.path, "; ".join(found)))

    def _open_volume(self, name: str) -> int:
        path = os.path.join(self.directory, VOLUMES, name)
        try:
            return os.open(path, _DIRECTORY)
        except OSError as error:
            raise TargetError(NO_VOLUME % (name, path, error.strerror)) from error

    def _opened_base(self, check: bool) -> ContextManager[IO[bytes] | None]:
        """Return the file of the base; None without one."""
        if self.base is not None and check and not os.path.lexists(self.base):
            self._lack("base: %s is not there" % self.base, check)
        elif self.base is not None:
            return archive_files.opened(self.base, "base")
        return contextlib.nullcontext()

    def there(self, exported: bool) -> list[str]:
        """Return a line about each thing that an export, or an import, would replace."""
        if not exported:
            return volumes.volume_names(self.directory)
        return ["an archive of %d bytes" % os.stat(self.path).st_size] if os.path.isfile(self.path) else []

    # Export.

    def export(self, compression: str, check: bool) -> dict[str, Any]:
        """Write the archive. Return the result of a module.

        :param check: whether to find out only what could not be done.
        :raises TargetError, LauncherError, OSError: it cannot be written; what had its path is what it was.
        """
        names = volumes.volume_names(self.directory)
        if not names:
            self._lack("container %r has no volumes on this host: nothing can be exported" % self.name, check)
        self.rest.warn_of_missing()
        parent = archive_files.parent_of(self.path)
        if os.path.isdir(parent):
            archive_files.check_place(self.path, str(self.layout.containers))
            self._refuse_other_file()
        else:
            self._lack("path: the directory %s is not there: make it" % parent, check)
        began = time.monotonic()
        with self._opened_base(check) as file:
            base = self._base(file) if file is not None else None
            result: dict[str, Any] = {"changed": True, "name": self.name, "path": self.path}
            if base is not None:
                result["base"] = "sha256:" + base.digest
            if check:
                return {**result, "volumes": [{"name": name} for name in names]}
            if compression == "none" and base is None:
                write_out(Path(self.directory))  # so that little is left to write while the container stands still
            with self.rest.lock(), self.rest.reading() as state:
                self._refuse_unfinished()
                manifest = self._manifest(state, base, compression)
                try:
                    written, size = self._write(manifest, compression, base)
                except OSError as error:
                    raise TargetError("path: %s cannot be written: %s" % (self.path, explain(error))) from error
        if written.sockets:
            self._found.append(SOCKETS % written.sockets)
        self.rest.tell_start("%s: is written" % self.path)
        return {
            **result,
            "checksum": "sha256:" + written.digest,
            "size": size,
            "seconds": round(time.monotonic() - began, 3),
            "paused_seconds": round(self.rest.seconds, 3),
            **_told(manifest, written.volumes),
        }

    def _refuse_other_file(self) -> None:
        """Raise TargetError when the archive would take the place of something else. An empty file may be a place."""
        if os.path.lexists(self.path):
            with archive_files.opened(self.path, "path") as file:
                if os.fstat(file.fileno()).st_size and not volume_archives.is_archive(file):
                    raise TargetError(OTHER_FILE % self.path)

    def _base(self, file: IO[bytes]) -> BaseArchive:
        """Return the archive to which the export adds. Raise TargetError for one that cannot be it."""
        if self.base is not None and os.path.realpath(self.base) == os.path.realpath(self.path):
            raise TargetError("base: %s is what the export would replace: give them different paths" % self.base)
        with self._as_option("base"):
            found = BaseArchive(file)
            if found.manifest.container != self.name:
                raise Damaged(OTHER_CONTAINER % (found.manifest.container, self.name))
        return found

    def _manifest(self, state: str, base: BaseArchive | None, compression: str) -> ArchiveManifest:
        """Return what the archive says of itself, from the moment on at which it is read."""
        names = volumes.volume_names(self.directory)
        current = self.layout.current_system(self.name)
        manifest = ArchiveManifest(
            format=volume_archives.ARCHIVE_FORMAT,
            container=self.name,
            volumes=names,
            system=current.name if current is not None else "",
            made=int(time.time()),
            state=state,
            base=base.digest if base is not None else "",
        )
        if base is not None or compression != "none":
            return manifest
        if state == READ_FROZEN:
            write_out(Path(self.directory))
        boot, now, uptime = Moment.now()
        return manifest.replacing(boot=boot, time=now, uptime=uptime)

    def _write(
        self, manifest: ArchiveManifest, compression: str, base: BaseArchive | None
    ) -> tuple[WrittenArchive, int]:
        """Write the archive. Return what was written, and the size of the file."""
        kept = None
        if base is not None:
            doubt = base.manifest.read_at.doubt(Moment.now()) or increments.doubt(self.directory)
            if doubt:
                self._found.append(ALL_WRITTEN % doubt)
            else:
                kept = base.files()
        with archive_files.new_file(self.path) as file:
            with archive_streams.compressed(file, compression) as sink:
                written = volume_archives.write(sink, manifest, self._open_volume, kept, compression != "none")
            return written, os.fstat(file.fileno()).st_size

    # Import.

    def restore(self, other: str | None, replace: bool, check: bool, move: str | None = None) -> dict[str, Any]:
        """Unpack the archive, and have its volumes be the container's. Return the result of a module.

        :param other: the container whose archive it may be; by default this one.
        :param replace: whether volumes in which something is are replaced.
        :param move: the name of the move to which it belongs; None when it belongs to none.
        :param check: whether to find out only whether it could be done.
        :raises TargetError, LauncherError, OSError: it cannot be done; the volumes are what they were.
        """
        began = time.monotonic()
        result: dict[str, Any] = {"changed": True, "name": self.name, "path": self.path}
        if check and not os.path.lexists(self.path):
            self._lack("path: %s is not there" % self.path, check)
            return result
        with archive_files.opened(self.path, "path") as file, self._opened_base(check) as base, self.rest.lock():
            if self.base is not None and base is None:
                return result
            self._refuse_moving(move, check)
            self._refuse_unfinished()
            if not check:
                for left in volumes.clear(self.directory):
                    raise TargetError(left)
            try:
                helped = None if check else write_small
                with self._as_option("path"), Helper(helped) as helper, contextlib.ExitStack() as stack:
                    source = stack.enter_context(archive_streams.unpacked(file))
                    archive = VolumesArchive(source, stack.enter_context(Checksum()))
                    self._refuse(archive.manifest, other)
                    self._refuse_replacing(archive.manifest, replace)
                    found = self._examine(archive, base) if check else self._unpack(archive, helper, base)
                    digest = archive.digest
                size = os.fstat(file.fileno()).st_size
                if not check:
                    write_out(Path(self.directory, IMPORTING))
                    aside = os.path.join(self.directory, IMPORTING)
                    self._refuse_larger(quotas.larger_trees(self.directory, aside, archive.manifest.volumes))
                    with self.rest.stopped():
                        self._refuse_replacing(archive.manifest, replace)  # who ran until now may have written
                        self._exchange()
            finally:
                if not check:
                    self._found += volumes.clear(self.directory)  # what was replaced, or was to replace it
                with contextlib.suppress(OSError):
                    os.rmdir(self.directory)  # of a container that this host has not
            self.rest.tell_start("container %s: has the volumes of the archive" % self.name)
        result.update(checksum="sha256:" + digest, size=size)
        if archive.manifest.base:
            result["base"] = "sha256:" + archive.manifest.base
        if not check:
            result["seconds"] = round(time.monotonic() - began, 3)
            result["paused_seconds"] = round(self.rest.seconds, 3)
        return {**result, **_told(archive.manifest, found)}

    def _refuse(self, manifest: ArchiveManifest, other: str | None) -> None:
        """Refuse an archive that is not meant, or a container that is not to be stopped. Raise TargetError."""
        if manifest.container != (other or self.name):
            raise TargetError(
                "path: %s is an archive of the container %r, and not of %r: name that as `container`, if it is meant"
                % (self.path, manifest.container, other or self.name)
            )
        if manifest.base and self.base is None:
            raise TargetError(NEEDS_BASE % self.path)
        if self.base is not None and not manifest.base:
            raise TargetError(NEEDS_NO_BASE % (self.base, self.path))
        self.rest.refuse()

    def _refuse_replacing(self, manifest: ArchiveManifest, replace: bool) -> None:
        """Refuse volumes whose place the archive's are not to take, or cannot. Raise TargetError or LauncherError."""
        there = volumes.volume_names(self.directory)
        volumes.refuse_mounts(self.directory, there)
        for name in there:
            descriptor = self._open_volume(name)
            try:
                filled = bool(os.listdir(descriptor))
            finally:
                os.close(descriptor)
            if filled and name not in manifest.volumes:
                raise TargetError(
                    "volume %s: is not in the archive, and something is in it: move that away, or remove it" % name
                )
            if filled and not replace:
                raise TargetError("volume %s: something is in it; replace: true has it replaced" % name)

    def _examine(self, archive: VolumesArchive, base: IO[bytes] | None) -> list[ArchivedVolume]:
        """Find out whether all of it could be unpacked. Return the volumes."""
        files = None
        if base is not None:
            with self._as_option("base"):
                found = BaseArchive(base)
                archive.manifest.check_base(found.manifest, found.digest)
                files = found.files()
        examiner = Examiner(files)
        examined = archive.read(examiner.write)
        self._refuse_larger(quotas.larger(self.directory, examiner.data))
        return examined

    def _unpack(self, archive: VolumesArchive, helper: Helper, base: IO[bytes] | None) -> list[ArchivedVolume]:
        """Unpack all of it aside. Return the volumes."""
        aside = os.path.join(self.directory, IMPORTING)
        try:
            return self._unpack_to(aside, archive, helper, base)
        except OSError as error:
            said = FULL if error.errno in NO_SPACE else NOT_UNPACKED
            raise TargetError(said % (self.directory, explain(error))) from error

    def _unpack_to(
        self, aside: str, archive: VolumesArchive, helper: Helper, base: IO[bytes] | None
    ) -> list[ArchivedVolume]:
        make_private_directory(Path(self.directory))
        os.mkdir(aside, 0o700)
        of_base = None
        if base is not None:
            of_base = os.path.join(aside, OF_BASE)
            os.mkdir(of_base, 0o700)
            with self._as_option("base"), Checksum() as checksum:
                found = volume_archives.base_of(base, checksum)
                with Unpacker(of_base, helper) as unpacker:
                    found.read(unpacker.write)
                archive.manifest.check_base(found.manifest, found.digest)
        with Unpacker(aside, helper, of_base) as unpacker:
            unpacked = archive.read(unpacker.write)
        remove_entries(aside, (OF_BASE,))
        return unpacked

    def _exchange(self) -> None:
        put_in_place(Path(self.directory, IMPORTING), Path(self.directory, VOLUMES))
        sync_directory(self.directory)

    @contextlib.contextmanager
    def _as_option(self, option: str) -> Iterator[None]:
        """Have the error of an archive that is damaged name the option by which it was given."""
        try:
            yield
        except Damaged as error:
            path = self.path if option == "path" else self.base
            raise TargetError("%s: %s is refused: %s" % (option, path, error)) from None


def _told(manifest: ArchiveManifest, found: Iterable[ArchivedVolume]) -> dict[str, Any]:
    """Return what a module's result says of the archive."""
    return {
        "container": manifest.container,
        "system": manifest.system,
        "made": manifest.made,
        "consistent": manifest.state,
        "volumes": [{"name": volume.name, "files": volume.files, "bytes": volume.bytes} for volume in found],
    }
