# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""An archive of a container's volumes: a manifest, the volumes with the ids of the inside, and a checksum over both.

So it can be unpacked on any host, whatever ids the container has there. It is a tar archive of one kind only
(`tar_members`), perhaps compressed by a program.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
from typing import IO, Callable, Iterable, Iterator

from ..launcher import kinds, linux
from ..launcher.data import is_integer
from ..launcher.kinds import ContractError, ContractRecord
from ..launcher.process import KILL
from . import tar_members
from .packing import Packer
from .snapshot_record import CONSISTENCIES, READ_NOT_RUNNING
from .tar_members import TAR_PART, Damaged, Member, Members, TarKind
from .target import TargetError

ARCHIVE_FORMAT = 1
ARCHIVE_MANIFEST, ARCHIVE_CHECKSUM = b"unshare-archive.json", b"unshare-archive.sha256"
MANIFEST_LIMIT = 1 << 20
COMPRESSIONS = {
    "none": ((), (), b""),
    "gzip": (("gzip", "-3", "-n", "-c"), ("gzip", "-dc"), b"\x1f\x8b"),
    "zstd": (("zstd", "-T0", "-3", "-q", "-c"), ("zstd", "-dcq"), b"\x28\xb5\x2f\xfd"),
}
"""The programs that compress and unpack, and what a compressed file begins with."""


def _format(value: object) -> int:
    if not isinstance(value, int) or not is_integer(value) or value < 1:
        raise ContractError("is no number of a format")
    return value


def _time(value: object) -> int:
    if not isinstance(value, int) or not is_integer(value) or value < 0:
        raise ContractError("is no time")
    return value


class ArchiveManifest(ContractRecord):
    """What an archive says of itself.

    Attributes:
        format: the number of its format.
        container: whose volumes it has.
        volumes: their names, in their order in it.
        system: the system that was current, by the name of its directory; empty without one.
        made: when, in seconds since 1970.
        state: what the container did meanwhile, of `CONSISTENCIES`.
    """

    format: int
    container: str
    volumes: list[str]
    system: str = ""
    made: int = 0
    state: str = READ_NOT_RUNNING

    KINDS = {
        "format": _format,
        "container": kinds.container_name,
        "volumes": kinds.list_of(kinds.text),
        "system": kinds.text_or_none,
        "made": _time,
        "state": kinds.choice(*CONSISTENCIES),
    }


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


def write(file: IO[bytes], manifest: ArchiveManifest, open_volume: Callable[[str], int]) -> WrittenArchive:
    """Write an archive.

    :param open_volume: returns a descriptor of the directory of a volume.
    :raises TargetError, OSError: it cannot be written, or a volume cannot be read.
    """
    digest = hashlib.sha256()

    def put(part: bytes) -> None:
        digest.update(part)
        file.write(part)

    text = json.dumps(manifest.write(), sort_keys=True).encode() + b"\n"
    _put_file(put, ARCHIVE_MANIFEST, text, manifest.made)
    packer = Packer(put)
    found = []
    for name in manifest.volumes:
        directory = open_volume(name)
        try:
            packer.pack(directory, name.encode())
        finally:
            os.close(directory)
        found.append(ArchivedVolume(name, packer.files, packer.bytes))
    _put_file(put, ARCHIVE_CHECKSUM, digest.hexdigest().encode() + b"\n", manifest.made)
    put(tar_members.TAR_END)
    file.flush()
    return WrittenArchive(found, packer.sockets, digest.hexdigest())


def _put_file(put: Callable[[bytes], None], path: bytes, text: bytes, made: int) -> None:
    member = Member(path, TarKind.FILE, 0o600, mtime=made * 10**9, size=len(text))
    put(member.head() + text + tar_members.padding(len(text)))


class VolumesArchive:
    """An archive that is read, once, from its beginning to its end.

    :param file: its bytes, unpacked.
    :raises Damaged: it is none, is damaged, or is of a format that is not known here.
    :ivar manifest: what it says of itself.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._digest = hashlib.sha256()
        self._members = Members(file, self._digest.update)
        self.manifest = self._read_manifest()

    def _read_manifest(self) -> ArchiveManifest:
        member = self._members.next()
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
        return b"".join(self._members.content())

    def read(self, use: Callable[[Member, Iterable[bytes]], None]) -> list[ArchivedVolume]:
        """Call `use` with each member and its content, and hold all to the checksum. Return the volumes.

        :raises Damaged: it is damaged, or a member can be in no volume. What was used of it is of no worth then.
        """
        volumes = {name: ArchivedVolume(name) for name in self.manifest.volumes}
        while True:
            for _part in self._members.content():
                pass
            before = self._digest.copy()
            member = self._members.next()
            if member is None:
                raise Damaged("it ends without a checksum: it is cut off")
            if member.path == ARCHIVE_CHECKSUM:
                break
            name = os.fsdecode(member.path.partition(b"/")[0])
            if name not in volumes:
                raise Damaged("a member of it is in no volume that its manifest names")
            volumes[name].files += 1
            volumes[name].bytes += member.size if member.kind == TarKind.FILE else 0
            use(member, self._members.content())
        if self._small(member) != before.hexdigest().encode() + b"\n":
            raise Damaged("its checksum is not that of its content: it is damaged")
        if self._members.next() is not None:
            raise Damaged("there is something after its checksum")
        if not all(volume.files for volume in volumes.values()):
            raise Damaged("a volume that its manifest names is missing")
        return list(volumes.values())


@contextlib.contextmanager
def compressed(file: IO[bytes], compression: str) -> Iterator[IO[bytes]]:
    """Yield a file, what is written to which comes compressed to `file`.

    :raises TargetError: the program is missing, or has failed.
    """
    command = COMPRESSIONS[compression][0]
    if not command:
        yield file
        file.flush()
        return
    program = _begun(command, subprocess.PIPE, file)
    pipe = program.stdin
    try:
        if pipe is None:
            raise TargetError("%s cannot be written to" % command[0])
        try:
            yield pipe
            pipe.close()
        except BrokenPipeError:
            pass  # it has failed, which its status says
        if program.wait():
            raise TargetError("%s has failed with status %d: is the disk full?" % (command[0], program.returncode))
    finally:
        _end(program, pipe)


@contextlib.contextmanager
def unpacked(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """Yield the bytes of an archive, unpacked by the program that its beginning asks for.

    :raises TargetError: the program is missing.
    :raises Damaged: it says that the file is damaged.
    """
    beginning = os.pread(file.fileno(), 8, 0)
    command = next((each[1] for each in COMPRESSIONS.values() if each[2] and beginning.startswith(each[2])), ())
    if not command:
        yield file
        return
    program = _begun(command, file, subprocess.PIPE)
    pipe = program.stdout
    try:
        if pipe is None:
            raise TargetError("the output of %s cannot be read" % command[0])
        try:
            yield pipe
        except Damaged as error:
            if program.poll():
                raise Damaged("%s cannot unpack it (%s)" % (command[0], error)) from None
            raise
        if pipe.read(1) or program.wait():
            raise Damaged("%s cannot unpack it to its end" % command[0])
    finally:
        _end(program, pipe)


def _begun(command: tuple[str, ...], stdin: IO[bytes] | int, stdout: IO[bytes] | int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command,
            bufsize=TAR_PART,
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: linux.prctl(linux.PR_SET_PDEATHSIG, KILL),
        )
    except FileNotFoundError:
        raise TargetError("needs the program %s, which this host has not: install it" % command[0]) from None


def _end(program: subprocess.Popen[bytes], pipe: IO[bytes] | None) -> None:
    program.kill()
    program.wait()
    if pipe is not None:
        with contextlib.suppress(OSError):
            pipe.close()
