# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is mounted in this mount namespace, from proc_pid_mountinfo(5), which asks no file system for anything."""

from __future__ import annotations

import os

READ_SIZE = 1 << 16
_ESCAPES = (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\043", "#"), ("\\134", "\\"))


class Mount:
    """One mount.

    Attributes:
        number: what fdinfo calls `mnt_id`.
        device: `major:minor` of the file system.
        part: the directory (or file) of the file system that is mounted.
        point: where.
        options: the mount's own (`ro`, `nosuid`).
        kind: the type of the file system.
        source: what it was mounted from, mostly a device.
        settings: the options of the file system.
    """

    def __init__(self, line: str) -> None:
        before, _separator, after = line.partition(" - ")
        number, _parent, self.device, part, point, options = before.split(" ")[:6]
        self.kind, source, settings = (after.split(" ") + ["", ""])[:3]
        self.number = int(number)
        self.part, self.point, self.source = _unescape(part), _unescape(point), _unescape(source)
        self.options, self.settings = options.split(","), _unescape(settings)


def _unescape(text: str) -> str:
    if "\\" in text:
        for code, character in _ESCAPES:
            text = text.replace(code, character)
    return text


def read() -> list[Mount]:
    """Return the mounts of this mount namespace that this process's root shows. The file comes a page at a time."""
    descriptor = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = part = os.read(descriptor, READ_SIZE)
        while part:
            part = os.read(descriptor, READ_SIZE)
            text += part
    finally:
        os.close(descriptor)
    return [Mount(line) for line in text.decode("utf-8", "surrogateescape").splitlines()]
