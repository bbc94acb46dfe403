# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The packages and the distribution of a tree, read from its files; nothing of the tree is run.

Whoever made the tree wrote these files. Each is opened below the tree's root, and read up to a limit.
"""

from __future__ import annotations

import collections
import os
import shlex
import shutil
import stat
import subprocess
from typing import Iterable, Iterator

from ..launcher import lookup
from ..state.tree_records import plain_words

DPKG = ("var/lib/dpkg/status",)
APK = ("lib/apk/db/installed", "usr/lib/apk/db/installed")
RPM = ("usr/lib/sysimage/rpm", "var/lib/rpm")
RELEASES = ("etc/os-release", "usr/lib/os-release")
WORDS = ("ID", "VERSION_ID", "PRETTY_NAME")
"""What is told of os-release(5)."""

SIZE_LIMIT, WORD_LIMIT, SECONDS = 1 << 26, 200, 60
PARAGRAPHS_LIMIT, PARAGRAPH_LIMIT = 200_000, 1 << 20  # paragraphs of a database, and characters of one
WORDS_LIMIT = 1 << 20  # characters of all names and versions; a machine with 20,000 packages has as many


def packages_of(root: int) -> dict[str, str]:
    """Return the versions of a tree's packages by their names; none where no database can be read.

    :param root: descriptor of its root.
    """
    for path in DPKG:
        text = _read(root, path)
        if text:
            return from_dpkg(text)
    for path in APK:
        text = _read(root, path)
        if text:
            return from_apk(text)
    return _from_rpm(root)


def distribution_of(root: int) -> dict[str, str]:
    """Return some words of a tree's os-release(5), by lower-case names."""
    for path in RELEASES:
        text = _read(root, path)
        if text:
            return from_os_release(text)
    return {}


def from_dpkg(text: str) -> dict[str, str]:
    """Return the installed packages in the text of dpkg's status; one of several architectures has that in its name."""
    found: list[tuple[str, str, str]] = []
    for paragraph in _paragraphs(text):
        fields = dict(line.partition(": ")[::2] for line in paragraph.split("\n") if line[:1] not in ("", " ", "\t"))
        name, version = fields.get("Package", ""), fields.get("Version", "")
        if name and version and fields.get("Status", "install ok installed").endswith(" installed"):
            found.append((name[:WORD_LIMIT], fields.get("Architecture", "")[:WORD_LIMIT], version[:WORD_LIMIT]))
    count = collections.Counter(name for name, _architecture, _version in found)
    return _bounded((f"{name}:{kind}" if count[name] > 1 else name, version) for name, kind, version in found)


def from_apk(text: str) -> dict[str, str]:
    """Return the packages in the text of apk's database."""
    found = []
    for paragraph in _paragraphs(text):
        fields = dict(line.partition(":")[::2] for line in paragraph.split("\n"))
        if fields.get("P") and fields.get("V"):
            found.append((fields["P"][:WORD_LIMIT], fields["V"][:WORD_LIMIT]))
    return _bounded(found)


def _paragraphs(text: str) -> Iterator[str]:
    """Yield the parts of a text between empty lines, up to a limit."""
    start = 0
    for _number in range(PARAGRAPHS_LIMIT):
        end = text.find("\n\n", start)
        yield text[start : min(end if end >= 0 else len(text), start + PARAGRAPH_LIMIT)]
        if end < 0:
            return
        start = end + 2


def _bounded(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return names with their versions, as far as they fit in the facts of a tree."""
    found: dict[str, str] = {}
    left = WORDS_LIMIT
    for given in pairs:
        name, version = map(plain_words, given)
        left -= len(name) + len(version)
        if left < 0:
            break
        found[name] = version
    return found


def from_os_release(text: str) -> dict[str, str]:
    """Return some words of an os-release(5)."""
    found = {}
    for line in text.split("\n"):
        name, equals, value = line.partition("=")
        if not equals or name not in WORDS:
            continue
        try:
            words = shlex.split(value)
        except ValueError:
            continue
        if words and words[0]:
            found[name.lower()] = plain_words(words[0][:WORD_LIMIT])
    return found


def _from_rpm(root: int) -> dict[str, str]:
    """Return the packages of rpm's database, where this host has an rpm that can read it."""
    program = shutil.which("rpm")
    for path in RPM if program else ():
        try:
            directory = lookup.open_below(root, path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue
        try:
            said = subprocess.run(
                [
                    str(program),
                    "--dbpath",
                    "/proc/self/fd/%d" % directory,
                    "-qa",
                    "--qf",
                    "%{NAME} %{VERSION}-%{RELEASE}\n",
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=SECONDS,
                pass_fds=(directory,),
                check=False,
            )
        except (OSError, subprocess.SubprocessError):
            continue
        finally:
            os.close(directory)
        lines = said.stdout.decode("utf-8", "replace").split("\n")
        words = (line.partition(" ") for line in lines)
        found = _bounded((name[:WORD_LIMIT], version[:WORD_LIMIT]) for name, space, version in words if space)
        if found:
            return found
    return {}


def _read(root: int, path: str) -> str:
    """Return the text of a regular file of the tree; nothing when there is none, or it is too large."""
    try:
        descriptor = lookup.open_below(root, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return ""
    with open(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > SIZE_LIMIT:
            return ""
        return stream.read(SIZE_LIMIT).decode("utf-8", "replace")
