# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of archives of volumes stand on: a container with a volume, what is in it, and what is asked."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import stat
import typing as t
from pathlib import Path

from ansible_collections.unshare.container.plugins.module_utils.launcher import volumes as launcher_volumes
from ansible_collections.unshare.container.plugins.module_utils.life.archiving_volumes import Archiving
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
from ansible_collections.unshare.container.plugins.module_utils.life.life_cycle import LifeCycle
from ansible_collections.unshare.container.plugins.module_utils.state import volume_archives
from ansible_collections.unshare.container.plugins.module_utils.state.tar_members import TAR_END, Member, padding
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout

from .conftest import Host, heard, write_system


def digest(container: str) -> dict[str, str]:
    """Return a digest of each entry of a container's volumes: kind, mode, owner, times, names, attributes, content."""
    found: dict[str, str] = {}
    links: dict[int, str] = {}

    def look(directory: int, path: str) -> None:
        while True:
            names = sorted(os.listdir(directory))
            deeper = None
            for name in names:
                status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                if stat.S_ISSOCK(status.st_mode):
                    continue
                here = f"{path}/{name}"
                said: list[t.Any] = [status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns]
                said.append(links.setdefault(status.st_ino, here) if not stat.S_ISDIR(status.st_mode) else "")
                opened = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=directory)
                file = f"/proc/self/fd/{opened}"
                if stat.S_ISLNK(status.st_mode):
                    said.append(os.readlink(name, dir_fd=directory))
                else:
                    said += [(each, os.getxattr(file, each)) for each in sorted(os.listxattr(file))]
                if stat.S_ISREG(status.st_mode):
                    said += [status.st_size, content(file)]
                os.close(opened)
                found[hashlib.sha256(os.fsencode(here)).hexdigest()] = repr(said)
                if stat.S_ISDIR(status.st_mode):
                    inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
                    if (len(names) == 2 and names == ["d", "end"]) or names == ["d"]:
                        deeper = inner, here  # no recursion: it is too deep for that
                    else:
                        look(inner, here)
            os.close(directory)
            if deeper is None:
                return
            directory, path = deeper

    top = data_of(container).parent
    look(os.open(top, os.O_RDONLY | os.O_DIRECTORY), "")
    return found


def content(file: str) -> str:
    """Return a digest of what is in a file, but the zeros of its holes, and where that is."""
    found = hashlib.sha256()
    with open(file, "rb") as opened:
        size, place = os.fstat(opened.fileno()).st_size, 0
        while place < size:
            try:
                place = os.lseek(opened.fileno(), place, os.SEEK_DATA)
            except OSError:
                break
            end = os.lseek(opened.fileno(), place, os.SEEK_HOLE)
            while place < end:
                part = os.pread(opened.fileno(), min(1 << 20, end - place), place)
                if part.strip(b"\0"):
                    found.update(b"%d %s" % (place, part))
                place += len(part)
    return found.hexdigest()


def reach(container: Container, state: str = "started", **options: t.Any) -> None:
    LifeCycle(Layout(), container.name, container, timeout=60, **options).reach(state)


def system(name: str, more: t.Sequence[dict[str, str]] = (), **options: t.Any) -> Path:
    """Write a system with the volume `data`, and more of them."""
    volumes = [{"name": "data", "path": "/srv/data"}, *more]
    return write_system({"host_name": name}, name, volumes=volumes, **options)


def data_of(container: str) -> Path:
    """Return the directory of a container's volume."""
    return Path(launcher_volumes.volume_directory(container, "data"))


def _archiving(name: str, path: Path, stop: bool, base: Path | None) -> Archiving:
    return Archiving(Layout(), name, str(path), stop, 60, None if base is None else str(base))


def export(
    name: str,
    path: Path,
    compression: str = "none",
    stop: bool = False,
    base: Path | None = None,
    check: bool = False,
) -> dict[str, t.Any]:
    """Do what the module does, and return its result with its warnings."""
    archiving = _archiving(name, path, stop, base)
    return {**archiving.export(compression, check), "warnings": heard(archiving.warnings)}


def restore(
    name: str,
    path: Path,
    other: str | None = None,
    replace: bool = False,
    stop: bool = False,
    check: bool = False,
    base: Path | None = None,
) -> dict[str, t.Any]:
    """Do what the module does, and return its result."""
    return _archiving(name, path, stop, base).restore(other, replace, check)


def fill(container: Container) -> Container:
    """Return the container, which does not run, with a volume in which little is."""
    Host.claim(container.name)
    path = data_of(container.name)
    path.mkdir(parents=True, mode=0o755)
    (path / "file").write_text("content\n" * 1000)
    (path / "directory").mkdir()
    (path / "directory/other").write_text("other")
    return container


@contextlib.contextmanager
def another(name: str) -> t.Iterator[Container]:
    """Yield a container that this host has not."""
    Host.claim(name)
    container = Container(name)
    try:
        yield container
    finally:
        LifeCycle(Layout(), name, container, remove_volumes=True).reach("absent")


def made_by_hand(container: str, path: Path, members: list[tuple[Member, bytes]], /, **manifest: t.Any) -> Path:
    """Write an archive whose checksum is right, whatever is in it."""
    said = {"format": 1, "container": container, "volumes": ["data"], **manifest}
    text = json.dumps(said).encode()
    stream = io.BytesIO()
    first = Member(volume_archives.ARCHIVE_MANIFEST, "0", size=len(text)), text
    for member, inside in [first, *members]:
        stream.write(member.head() + inside + padding(len(inside)))
    checksum = hashlib.sha256(stream.getvalue()).hexdigest().encode() + b"\n"
    last = Member(volume_archives.ARCHIVE_CHECKSUM, "0", size=len(checksum))
    path.write_bytes(stream.getvalue() + last.head() + checksum + padding(len(checksum)) + TAR_END)
    return path
