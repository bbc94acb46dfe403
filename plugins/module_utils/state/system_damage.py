# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The check of a system on the disk against its manifest, which lists every file that was written.

The manifest, `manifest.json`, lies in the system's directory. It finds what disks, restores and people do to files. It
is no protection, for only the host's root can write there.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any, List

from .target import explain

MANIFEST = "manifest.json"
NO_MANIFEST = f"{MANIFEST} is missing"
MANIFEST_MODE = 0o600
ITSELF = "."
"""The name of the system's own directory in its manifest."""

SHOWN = 5
"""The number of damages of a system that an error names."""

READ_SIZE = 1 << 16
KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}

ManifestEntry = List[Any]
"""A file's entry: kind, mode in octal digits, owner, group, size in bytes, SHA-256 of the content or a link's target.

Size and content are None where there is none, and in the manifest's own entry.
"""


def manifest(directory: Path, name: str) -> str:
    """Return the text of the manifest of the system that was written in `directory`, to be called `name`.

    :raises OSError: a file of it cannot be read.
    """
    entries = _look(str(directory))
    for path, entry in entries.items():
        if entry[0] == "file":
            entry[5] = _digest(str(directory), path)
    owner, group = entries[ITSELF][2:4]
    entries[MANIFEST] = ["file", f"{MANIFEST_MODE:04o}", owner, group, None, None]
    return json.dumps({"system": name, "entries": entries}, sort_keys=True, separators=(",", ":")) + "\n"


def damages(directory: Path) -> list[str]:
    """Return how the system in `directory` differs from what was written, a phrase each."""
    place = str(directory)
    try:
        if not stat.S_ISDIR(os.lstat(place).st_mode):
            return [f"{directory.name} is no directory"]
        found = _look(place)
    except OSError as error:
        return [explain(error)]
    try:
        expected = _read(place)
    except FileNotFoundError:
        return [NO_MANIFEST]
    except OSError as error:
        return [f"{MANIFEST} cannot be read ({error.strerror})"]
    except ValueError as error:
        return [f"{MANIFEST} is damaged ({error})"]
    result = []
    for path in sorted({*expected, *found}):
        said = _compare(place, path, expected.get(path), found.get(path))
        if said:
            result.append(f"{'its directory' if path == ITSELF else path} {said}")
    return result


def summary_of_damages(found: list[str]) -> str:
    """Return the first of the damages found, and how many there are besides, as one phrase."""
    more = [f"{len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return ", ".join(found[:SHOWN] + more)


def _read(place: str) -> dict[str, ManifestEntry]:
    """Return the entries of the manifest of the system `place`.

    :raises OSError, ValueError: there is none, or none that can be read.
    """
    path = os.path.join(place, MANIFEST)
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise ValueError("it is no file")
    with open(path, "rb") as stream:
        value = json.loads(stream.read())
    if not isinstance(value, dict) or not isinstance(value.get("entries"), dict):
        raise ValueError("it is no manifest")
    entries: dict[str, ManifestEntry] = value["entries"]
    if not all(isinstance(entry, list) and len(entry) == 6 for entry in entries.values()):
        raise ValueError("it is no manifest")
    if value.get("system") != os.path.basename(place):
        raise ValueError("it is that of another system")
    return entries


def _look(place: str) -> dict[str, ManifestEntry]:
    """Return what is in the directory `place`, by path relative to it. Follow no link, and open no file."""
    entries = {ITSELF: _entry(place, os.lstat(place))}
    pending = [""]
    while pending:
        above = pending.pop()
        with os.scandir(os.path.join(place, above)) as found:
            for item in found:
                entry = _entry(item.path, item.stat(follow_symlinks=False))
                entries[above + item.name] = entry
                if entry[0] == "directory":
                    pending.append(f"{above}{item.name}/")
    return entries


def _entry(path: str, status: os.stat_result) -> ManifestEntry:
    kind = KINDS.get(stat.S_IFMT(status.st_mode), "special file")
    size = status.st_size if kind == "file" else None
    target = os.readlink(path) if kind == "link" else None
    return [kind, f"{stat.S_IMODE(status.st_mode):04o}", status.st_uid, status.st_gid, size, target]


def _compare(place: str, path: str, expected: ManifestEntry | None, found: ManifestEntry | None) -> str | None:
    """Return how what was found at a path differs from what was written there, or None."""
    if expected is None:
        return "does not belong there"
    if found is None:
        return "is missing"
    kind, mode, owner, group, size, content = expected
    if found[0] != kind:
        return f"is a {found[0]} instead of a {kind}"
    if found[1] != mode:
        return f"has mode {found[1]} instead of {mode}"
    if found[2:4] != [owner, group]:
        return f"belongs to {found[2]}:{found[3]} instead of {owner}:{group}"
    if size is not None and found[4] != size:
        return f"has {found[4]} bytes instead of {size}"
    if kind == "link":
        return None if found[5] == content else "leads elsewhere"
    if kind == "file" and path != MANIFEST:
        try:
            if _digest(place, path) != content:
                return "has other content"
        except OSError as error:
            return f"cannot be read ({error.strerror})"
    return None


def _digest(place: str, path: str) -> str:
    """Return the SHA-256 of a file of the system `place`. Raise OSError."""
    digest = hashlib.sha256()
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(os.path.join(place, path), flags)
    try:
        while True:
            part = os.read(descriptor, READ_SIZE)
            if not part:
                return digest.hexdigest()
            digest.update(part)
    finally:
        os.close(descriptor)
