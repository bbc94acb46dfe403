# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Getting a file from its place on this host, or from a URL, and holding it to its checksum before it is read."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import urllib.error
import urllib.parse
import urllib.request
from typing import IO, Callable

from ..state.target import TargetError, explain

ALGORITHMS = {"sha256": 64, "sha384": 96, "sha512": 128}
"""The digests that a checksum can be of, with their lengths in hexadecimal digits."""

SCHEMES = ("http", "https", "ftp")
PART = 1 << 20
SILENCE = 60.0
"""Seconds after which a server that says nothing is given up."""


def check_checksum(checksum: str, place: str) -> str:
    """Return a checksum, ALGORITHM:DIGITS. Raise TargetError when it is none."""
    algorithm, _colon, digits = checksum.partition(":")
    if len(digits) != ALGORITHMS.get(algorithm) or not re.fullmatch("[0-9a-fA-F]+", digits):
        known = ", ".join(ALGORITHMS)
        raise TargetError(f"{place}: {checksum!r} is no checksum: write sha256:DIGITS, in hexadecimal ({known})")
    return f"{algorithm}:{digits.lower()}"


def check_url(url: str, place: str) -> str:
    """Return a URL. Raise TargetError when nothing can be fetched by it."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError as error:
        raise TargetError(f"{place}: {url!r} is no URL ({error})") from None
    if parts.scheme not in SCHEMES or not parts.netloc or re.search(r"[\s\x00-\x1f]", url):
        raise TargetError(f"{place}: {without_password(url)!r} is no URL of {', '.join(SCHEMES)}")
    return url


def without_password(url: str) -> str:
    """Return a URL without the name and password, and the query, that may be in it."""
    return re.sub(r"\?.*", "", re.sub(r"//[^/@]*@", "//", url))


def opened(path: str, place: str) -> IO[bytes]:
    """Return a file of this host, open. Raise TargetError when there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise TargetError(f"{place}: {path} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise TargetError(f"{place}: {path} is no file")
    return open(descriptor, "rb")


def held_to(file: IO[bytes], checksum: str, what: str) -> None:
    """Compare a file with its checksum. It is at its beginning afterwards.

    :param what: what it is called, for the error.
    :raises TargetError: it is another one.
    """
    algorithm, _colon, expected = checksum.partition(":")
    digest = hashlib.new(algorithm)
    file.seek(0)
    while True:
        part = file.read(PART)
        if not part:
            break
        digest.update(part)
    file.seek(0)
    if digest.hexdigest() != expected:
        raise TargetError(
            f"{what}: has the checksum {algorithm}:{digest.hexdigest()}, and not {checksum}: it is another file, cut "
            "off, or was exchanged"
        )


def fetched(url: str, checksum: str, path: str, limit: int, place: str) -> IO[bytes]:
    """Fetch a file to a new path of this host, and return it, open, once it has its checksum.

    :param limit: how many bytes it may have.
    :raises TargetError: it cannot be fetched, is too large, or another one.
    """
    shown = without_password(url)
    request = urllib.request.Request(url, headers={"User-Agent": "unshare.container", "Accept-Encoding": "identity"})
    file = open(path, "xb+")  # noqa: SIM115  the caller closes it
    try:
        try:
            with urllib.request.build_opener().open(request, timeout=SILENCE) as answer:
                _receive(answer.read, file, limit, f"{place}: {shown}")
        except urllib.error.HTTPError as error:
            raise TargetError(f"{place}: {shown} cannot be fetched: {error.code} {error.reason}") from None
        except urllib.error.URLError as error:
            raise TargetError(f"{place}: {shown} cannot be fetched: {error.reason}") from None
        except (OSError, ValueError) as error:
            reason = explain(error) if isinstance(error, OSError) else str(error)
            raise TargetError(f"{place}: {shown} cannot be fetched: {reason}") from None
        held_to(file, checksum, f"{place}: {shown}")
    except BaseException:
        file.close()
        raise
    return file


def _receive(read: Callable[[int], bytes], file: IO[bytes], limit: int, what: str) -> None:
    size = 0
    while True:
        part = read(PART)
        if not part:
            return
        size += len(part)
        if size > limit:
            raise TargetError(f"{what}: is larger than {limit} bytes: set size_limit to more if it is meant to be")
        file.write(part)
