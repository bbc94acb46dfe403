# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""An archive of a container's volumes: a manifest, the volumes with the ids of the inside, and a checksum over both.

So it can be unpacked on any host, whatever ids the container has there. It is a tar archive of one kind only
(`tar_members`), perhaps compressed by a program.
"""

from __future__ import annotations

import json
import os
from typing import IO, Callable, Iterable

from ..launcher import kinds
from ..launcher.kinds import ContractError, ContractRecord
from . import increments, tar_members
from .archive_streams import Checksum, Damaged, Sink, compression_of, unpacked
from .helper import Helper, has_free_processor
from .increments import Base, Moment
from .packing import Packer
from .plain_files import plain_members
from .snapshot_record import CONSISTENCIES, READ_NOT_RUNNING, volume_name
from .tar_members import Member, TarKind
from .tar_reading import Members
from .unpacking import Examiner

ARCHIVE_FORMAT = 1
ARCHIVE_MANIFEST, ARCHIVE_CHECKSUM = b"unshare-archive.json", b"unshare-archive.sha256"
MANIFEST_LIMIT = 1 << 20


_TIME = kinds.integer(0, "is no time")


class ArchiveManifest(ContractRecord):
    """What an archive says of itself.

    Attributes:
        format: the number of its format.
        container: whose volumes it has.
        volumes: their names, in their order in it.
        system: the system that was current, by the name of its directory; empty without one.
        made: when, in seconds since 1970.
        state: what the container did meanwhile, of `CONSISTENCIES`.
        base: the SHA-256 of the archive that it adds to (`increments`); empty when it has all.
        boot, time, uptime: when it was begun to be read; the boot is empty when that tells nothing of later changes.
    """

    format: int
    container: str
    volumes: list[str]
    system: str = ""
    made: int = 0
    state: str = READ_NOT_RUNNING
    base: str = ""
    boot: str = ""
    time: int = 0
    uptime: int = 0

    KINDS = {
        "format": kinds.integer(1, "is no number of a format"),
        "container": kinds.container_name,
        "volumes": kinds.list_of(volume_name),
        "system": kinds.text_or_none,
        "made": _TIME,
        "state": kinds.choice(*CONSISTENCIES),
        "base": kinds.text_or_none,
        "boot": kinds.text_or_none,
        "time": _TIME,
        "uptime": _TIME,
    }

    @property
    def read_at(self) -> Moment:
        """Return when it was begun to be read."""
        return Moment(self.boot, self.time, self.uptime)

    def check_base(self, base: ArchiveManifest, digest: str) -> None:
        """Check that it adds to an archive, which has this digest.

        :raises Damaged: it adds to another.
        """
        if digest != self.base:
            raise Damaged(
                "it is an archive of %r, and another than the one to which that of `path` adds, whose SHA-256 is %s"
                % (base.container, self.base)
            )


class ArchivedVolume:
    """A volume in an archive.

    Attributes:
        name: its name.
        files: how many files, directories and links it has.
        bytes: of its files.
    """

    def __init__(self, name: str, files: int = 0, size: int = 0) -> None:
        self.name = name
        self.files = files
        self.bytes = size


class WrittenArchive:
    """What was written.

    Attributes:
        volumes: what of each.
        sockets: how many sockets were left out.
        digest: the SHA-256 of all of it, before it was compressed.
    """

    def __init__(self, volumes: list[ArchivedVolume], sockets: int, digest: str) -> None:
        self.volumes = volumes
        self.sockets = sockets
        self.digest = digest


def write(
    file: IO[bytes],
    manifest: ArchiveManifest,
    open_volume: Callable[[str], int],
    base: Base | None = None,
    compressed: bool = False,
) -> WrittenArchive:
    """Write an archive, which can be a base when its manifest says when it was read.

    :param open_volume: returns a descriptor of the directory of a volume.
    :param base: what need not be in it.
    :param compressed: whether a program compresses it meanwhile, which takes longer than all else.
    :raises TargetError, OSError: it cannot be written, or a volume cannot be read.
    """
    helped = plain_members if base is None else None
    busy = int(compressed)
    aside = has_free_processor(busy)
    with Helper(helped, busy) as helper, Checksum(aside) as checksum, Sink(file, checksum, aside) as sink:
        text = json.dumps(manifest.write(), sort_keys=True).encode() + b"\n"
        _put_file(sink, ARCHIVE_MANIFEST, text, manifest.made)
        packer = Packer(sink, helper, base)
        found = []
        for name in manifest.volumes:
            directory = open_volume(name)
            try:
                packer.pack(directory, name.encode(), bool(manifest.boot) and increments.is_noting(directory))
            finally:
                os.close(directory)
            found.append(ArchivedVolume(name, packer.files, packer.bytes))
        sink.flush()
        _put_file(sink, ARCHIVE_CHECKSUM, checksum.hexdigest().encode() + b"\n", manifest.made)
        sink.put(tar_members.TAR_END)
        sink.flush()
        return WrittenArchive(found, packer.sockets, checksum.hexdigest())


def _put_file(sink: Sink, path: bytes, text: bytes, made: int) -> None:
    member = Member(path, TarKind.FILE, 0o600, mtime=made * 10**9, size=len(text))
    sink.put(member.head() + text + tar_members.padding(len(text)))


class VolumesArchive:
    """An archive that is read, once, from its beginning to its end.

    :param file: its bytes, unpacked, without a buffer.
    :param checksum: is given all of it.
    :raises Damaged: it is none, is damaged, or is of a format that is not known here.
    :ivar manifest: what it says of itself.
    """

    def __init__(self, file: IO[bytes], checksum: Checksum) -> None:
        self._members = Members(file, checksum)
        self.manifest = self._read_manifest()

    @property
    def digest(self) -> str:
        """Return the SHA-256 of all of it, when all was read."""
        return self._members.whole()

    def _read_manifest(self) -> ArchiveManifest:
        try:
            member = self._members.next()
        except Damaged as error:
            raise Damaged("%s, or it is no archive of volumes" % error) from None
        if member is None or member.path != ARCHIVE_MANIFEST or member.kind != TarKind.FILE:
            raise Damaged("it does not begin with a manifest: it is no archive of volumes")
        text = self._small(member)
        try:
            given = json.loads(text)
            found = given.get("format") if isinstance(given, dict) else None
            if isinstance(found, int) and found > ARCHIVE_FORMAT:
                raise Damaged(
                    "it is of the format %d, and this version of the collection knows none above %d: use a newer one"
                    % (found, ARCHIVE_FORMAT)
                )
            manifest = ArchiveManifest.read(given)
        except (ValueError, RecursionError, ContractError) as error:
            raise Damaged("its manifest is damaged (%s)" % error) from None
        if len(set(manifest.volumes)) != len(manifest.volumes):
            raise Damaged("its manifest names a volume twice")
        return manifest

    def _small(self, member: Member) -> bytes:
        if member.size > MANIFEST_LIMIT or member.extents is not None:
            raise Damaged("its manifest is larger than %d bytes" % MANIFEST_LIMIT)
        return b"".join(map(bytes, self._members.content()))

    def read(self, use: Callable[[Member, Iterable[memoryview]], int]) -> list[ArchivedVolume]:
        """Call `use` with each member and its content, and hold all to the checksum. Return the volumes.

        :param use: returns how many bytes the member has, when it is a file.
        :raises Damaged: it is damaged, or a member can be in no volume. What was used of it is of no worth then.
        """
        volumes = {os.fsencode(name): ArchivedVolume(name) for name in self.manifest.volumes}
        while True:
            member = self._members.next()
            if member is None:
                raise Damaged("it ends without a checksum: it is cut off")
            if member.path == ARCHIVE_CHECKSUM:
                break
            volume = volumes.get(member.path.partition(b"/")[0])
            if volume is None:
                raise Damaged("a member of it is in no volume that its manifest names")
            volume.files += 1
            volume.bytes += use(member, self._members.content())
        checksum = self._members.checksum().encode() + b"\n"
        if self._small(member) != checksum:
            raise Damaged("its checksum is not that of its content: it is damaged")
        if self._members.next() is not None:
            raise Damaged("there is something after its checksum")
        if not all(volume.files for volume in volumes.values()):
            raise Damaged("a volume that its manifest names is missing")
        return list(volumes.values())


def is_archive(file: IO[bytes]) -> bool:
    """Return whether a file begins as an archive that is known here.

    :raises TargetError: the program that would unpack it is missing.
    """
    found = False
    try:
        with unpacked(file) as source, Checksum() as checksum:
            VolumesArchive(source, checksum)
            found = True
    except Damaged:
        pass  # also where all went well, since it was not read to its end
    return found


class BaseArchive:
    """An archive to which another adds, held to its checksum.

    :param file: without a buffer.
    :raises Damaged: it is damaged, or none that others can add to.
    :ivar manifest: what it says of itself.
    :ivar digest: its SHA-256.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        with Checksum() as checksum:
            archive = base_of(file, checksum)
            archive.read(Examiner(None).write)
            self.manifest, self.digest = archive.manifest, archive.digest

    def files(self) -> Base:
        """Return the files that it has."""
        self._file.seek(0)
        return Base(Members(self._file), self.manifest.read_at)


def base_of(file: IO[bytes], checksum: Checksum) -> VolumesArchive:
    """Begin to read an archive to which another adds.

    :raises Damaged: it is damaged, or none that others can add to.
    """
    if compression_of(file) != "none":
        raise Damaged("it is compressed, and no other archive can add to it: export it with compression: none")
    archive = VolumesArchive(file, checksum)
    if archive.manifest.base:
        raise Damaged("it has only what had changed since another archive: name that one, which has all")
    return archive
