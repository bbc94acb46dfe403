# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writing a stored tree as one archive, to be taken to where others get it from.

It lies where trees are kept, in a directory that is named by the tree's content, until all of it was taken away.
`state/trees` removes what nobody goes on with.
"""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import tarfile
from functools import partial
from typing import IO, Any

from ..launcher import linux
from ..launcher.errors import LauncherError
from ..launcher.kinds import ContractError
from ..launcher.paths import read_text, remove_tree, write_atomically
from ..state.target import Layout, TargetError, exclusive, explain
from ..state.tree_records import TreeArchive, parsed, record_text
from ..state.trees import ARCHIVED, LIMIT, Trees
from . import entries, fetching
from .archives import ATTRIBUTE, DIGITS_LIMIT, many_digits
from .copying import put_all
from .entries import Refused, TreeEntry
from .sources import WHITEOUT

FILE, DESCRIPTION_FILE = "file", "archive.json"
COMPRESSORS = {
    ".tar": (),
    ".tar.gz": ("gzip", "-6", "-n", "-c"),
    ".tar.xz": ("xz", "-T0", "-6", "-c"),
    ".tar.zst": ("zstd", "-T0", "-9", "-q", "-c"),
}
"""The programs that compress an archive, by the ends of its name."""

_TYPES = {
    entries.DIRECTORY: tarfile.DIRTYPE,
    entries.FILE: tarfile.REGTYPE,
    entries.SYMBOLIC_LINK: tarfile.SYMTYPE,
    entries.HARD_LINK: tarfile.LNKTYPE,
    entries.FIFO: tarfile.FIFOTYPE,
}


class StoredArchive:
    """The archive of a tree of this host.

    :param content: the tree's.
    :param form: the end of the archive's name, one of `COMPRESSORS`.
    :param timeout: seconds to wait for another run that makes it.
    """

    def __init__(self, layout: Layout, content: str, form: str, timeout: float) -> None:
        self.trees = Trees(layout)
        self.content = content
        self.form = form
        self.timeout = timeout
        self.directory = layout.trees / (ARCHIVED + content + form.replace(".", "-"))

    def made(self) -> TreeArchive:
        """Return what it is, after it was made, unless it is there already.

        :raises TargetError: it cannot be made; nothing is left of it.
        """
        with exclusive(self.directory, self.timeout):
            known = self._known()
            if known is not None:
                return known
            is_made = False
            try:
                found = self._make()
                is_made = True
                return found
            except (OSError, LauncherError) as error:
                reason = explain(error) if isinstance(error, OSError) else str(error)
                raise TargetError(f"the archive of the tree cannot be made: {reason}") from error
            finally:
                if not is_made:
                    remove_tree(str(self.directory))

    def piece(self, offset: int, length: int) -> bytes:
        """Return a piece of it. Raise OSError."""
        descriptor = os.open(self.directory / FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            return os.pread(descriptor, length, offset)
        finally:
            os.close(descriptor)

    def remove(self) -> None:
        """Remove it: all of it was taken away. Raise LauncherError, OSError."""
        remove_tree(str(self.directory))

    def _known(self) -> TreeArchive | None:
        try:
            text = read_text(str(self.directory / DESCRIPTION_FILE), LIMIT)
            found = TreeArchive.read(parsed(text)) if text else None
            there = (self.directory / FILE).stat().st_size
        except (ContractError, OSError):
            return None  # of a run that died
        return found if found is not None and found.size == there else None

    def _make(self) -> TreeArchive:
        path = self.directory / FILE
        top = os.open(self.trees.path(self.content), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with open(path, "wb+") as file:
                _write(top, file, COMPRESSORS[self.form])
                file.flush()
                os.fsync(file.fileno())
                size, checksum = file.seek(0, os.SEEK_END), fetching.digest_of(file, "sha256:")
        finally:
            os.close(top)
        found = TreeArchive(checksum=checksum, size=size, content=self.content, facts=self.trees.facts(self.content))
        write_atomically(str(self.directory / DESCRIPTION_FILE), record_text(found), durable=True)
        return found


def _write(top: int, file: IO[bytes], command: tuple[str, ...]) -> None:
    """Write an open directory to a file, through a program. Raise Refused, OSError."""
    if not command:
        _pack(top, file)
        return
    try:
        program = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=file,
            preexec_fn=partial(linux.end_with, os.getpid()),
        )
    except FileNotFoundError:
        raise TargetError(f"needs the program {command[0]}, which this host has not: install it") from None
    with program:
        try:
            if program.stdin is not None:
                _pack(top, program.stdin)
                program.stdin.close()
        except BrokenPipeError:
            _close(program.stdin)  # it has failed, which its status says
        except BaseException:
            program.kill()
            _close(program.stdin)  # or what it has not read yet would be the error
            raise
    if program.returncode:
        raise TargetError(f"{command[0]} has failed with status {program.returncode}; is the disk full?")


def _close(file: IO[bytes] | None) -> None:
    """Close what a program that has ended was to read."""
    if file is not None:
        with contextlib.suppress(BrokenPipeError):
            file.close()


def _pack(top: int, file: IO[bytes]) -> None:
    with tarfile.open(
        fileobj=file, mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape"
    ) as tar:

        def put(entry: TreeEntry) -> None:
            content: Any = _Content(entry) if entry.kind == entries.FILE else None
            tar.addfile(_member(entry), content)
            setattr(tar, "members", [])  # noqa: B010  which would keep all of them, and typeshed lacks

        put_all(top, put)


def _refuse_unreadable(entry: TreeEntry) -> None:
    """Refuse what a host would not read from an archive as it is in the tree: better here than on each of them."""
    said = ""
    if entry.path.rpartition("/")[2].startswith(WHITEOUT):
        said = "has the name of a whiteout, as a layer of an image has them"
    if many_digits.search(os.fsencode(entry.target)):
        said = f"is a link to a name with more than {DIGITS_LIMIT} digits in a row"
    for attribute, value in entry.attributes.items():
        if any(each == "=" or "\udc80" <= each <= "\udcff" for each in attribute):
            said = f"has the attribute {entries.shown_name(attribute)}, whose name has a '=' or is no UTF-8"
        elif many_digits.search(value):
            said = f"has the attribute {entries.shown_name(attribute)} with more than {DIGITS_LIMIT} digits in a row"
    if said:
        raise Refused(f"the archive of the tree cannot be made: {entries.shown_name(entry.path)} {said}")


def _member(entry: TreeEntry) -> tarfile.TarInfo:
    if entry.kind not in _TYPES:
        raise Refused(f"{entries.shown_name(entry.path)} is a {entry.kind}, and can be in no tree")
    _refuse_unreadable(entry)
    member = tarfile.TarInfo(entry.path or ".")
    member.type = _TYPES[entry.kind]
    member.mode, member.uid, member.gid = stat.S_IMODE(entry.mode), entry.uid, entry.gid
    member.mtime = int(entry.mtime)
    member.size = entry.size
    member.linkname = entry.target
    member.pax_headers = {
        ATTRIBUTE + name: value.decode("utf-8", "surrogateescape") for name, value in entry.attributes.items()
    }
    return member


class _Content:
    """The content of a file, as `tarfile` reads it."""

    def __init__(self, entry: TreeEntry) -> None:
        self._entry = entry

    def read(self, size: int) -> bytes:
        """Return so many bytes; fewer at the file's end, which `tarfile` refuses."""
        parts = []
        while size and self._entry.read is not None:
            part = self._entry.read(size)
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)
