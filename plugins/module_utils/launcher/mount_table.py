# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mounts of a mount namespace, from proc_pid_mountinfo(5). To read that asks no file system for anything."""

from __future__ import annotations

import os

READ_SIZE = 1 << 16
ESCAPES = (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\043", "#"), ("\\134", "\\"))


class MountTableEntry:
    """One mount.

    Attributes:
        number: what fdinfo calls `mnt_id`.
        parent: the number of the mount that it is mounted on.
        device: `major:minor` of the file system.
        part: the directory (or file) of the file system that is mounted.
        point: where.
        options: the mount's own (`ro`, `nosuid`).
        shared: whether what is mounted on it comes to copies of it in other mount namespaces.
        kind: the type of the file system.
        source: what it was mounted from, mostly a device.
        settings: the options of the file system.
    """

    def __init__(self, line: str) -> None:
        before, _separator, after = line.partition(" - ")
        number, parent, self.device, part, point, options, *tags = before.split(" ")
        self.shared = any(tag.startswith("shared:") for tag in tags)
        self.kind, source, settings = (after.split(" ") + ["", ""])[:3]
        self.number, self.parent = int(number), int(parent)
        self.part, self.point, self.source = unescape(part), unescape(point), unescape(source)
        self.options, self.settings = options.split(","), unescape(settings)


def unescape(text: str) -> str:
    """Return a word of a table that separates words by spaces."""
    if "\\" in text:
        for code, character in ESCAPES:
            text = text.replace(code, character)
    return text


def read(path: str = "/proc/self/mountinfo") -> list[MountTableEntry]:
    """Return the mounts of a mount namespace that are below a process's root."""
    return parse(_read(path, None))


def read_kind(kind: str) -> list[MountTableEntry]:
    """Return the mounts of one type of file system in this mount namespace. The lines of the others are not parsed."""
    mark = b" - %s " % kind.encode()  # no other field has a space in it
    return parse(b"\n".join(line for line in _read("/proc/self/mountinfo", None).split(b"\n") if mark in line))


def read_some(path: str, size: int) -> tuple[list[MountTableEntry], bool]:
    """Return the first mounts of another process's namespace, about `size` bytes of them, and whether these are all."""
    text = _read(path, size + 1)
    if len(text) <= size:
        return parse(text), True
    return parse(text[: text.rfind(b"\n", 0, size) + 1]), False


def _read(path: str, limit: int | None) -> bytes:
    """Return the file, or its beginning of at least `limit` bytes. The kernel gives it out a page at a time."""
    text = bytearray()
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while limit is None or len(text) < limit:
            part = os.read(descriptor, READ_SIZE)
            if not part:
                break
            text += part
    finally:
        os.close(descriptor)
    return bytes(text)


def parse(text: bytes) -> list[MountTableEntry]:
    """Return the mounts in the text of mountinfo.

    Lines end with `\\n` alone: a path has that escaped, but no other character at which a str would be split.
    """
    found = []
    for line in text.split(b"\n"):
        try:
            found.append(MountTableEntry(line.decode("utf-8", "surrogateescape")))
        except ValueError:
            continue  # the end, or a line of a kind that is not known
    return found


class Ways:
    """The ways that paths lead through a mount table, for who asks for many: one takes a look at each part of a path.

    Args:
        mounts: the mounts, in the order of the table.
    """

    def __init__(self, mounts: list[MountTableEntry]) -> None:
        numbers = {mount.number for mount in mounts}
        self._first: dict[str, MountTableEntry] = {}
        self._on: dict[int, dict[str, MountTableEntry]] = {}  # by the mount that they are mounted on, and their point
        for mount in mounts:
            if mount.parent not in numbers or mount.parent == mount.number:
                self._first.setdefault(mount.point, mount)
            else:
                self._on.setdefault(mount.parent, {}).setdefault(mount.point, mount)

    def of(self, path: str) -> list[MountTableEntry]:
        """Return the mounts that an absolute path without links leads through, in order.

        Of those on one point only the topmost counts.
        """
        beginnings = ["/", *(path[:end] for end in range(1, len(path)) if path[end] == "/"), path]
        found: list[MountTableEntry] = []
        beside = self._first
        while True:
            next_one = next((beside[point] for point in beginnings if point in beside), None)
            if next_one is None:
                return found
            if found and found[-1].point == next_one.point:
                found.pop()
            found.append(next_one)
            beside = self._on.get(next_one.number, {})


class Mounted:
    """An index of mounts by the directories above them, so that each question for a path is one look-up.

    Args:
        mounts: the mounts, in the order of the table.
    """

    def __init__(self, mounts: list[MountTableEntry]) -> None:
        self.mounts = mounts
        self._by_directory: dict[str, list[MountTableEntry]] = {}
        for mount in mounts:
            directory = mount.point
            while len(directory) > 1:
                directory = directory[: directory.rfind("/")] or "/"
                self._by_directory.setdefault(directory, []).append(mount)

    def of(self, path: str) -> list[MountTableEntry]:
        """Return the mounts below a path, an absolute and plain one, in the order of the table. None is at it."""
        return self._by_directory.get(path, [])


def way(mounts: list[MountTableEntry], path: str) -> list[MountTableEntry]:
    """Return the way of one path (`Ways`)."""
    return Ways(mounts).of(path)
