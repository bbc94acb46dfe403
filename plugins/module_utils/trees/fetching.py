# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Getting a file from its place on this host, or from a URL, and holding it to its checksum before it is read."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import re
import stat
import urllib.error
import urllib.parse
import urllib.request
from typing import IO, Any, Callable

from ..state.target import TargetError, explain

ALGORITHMS = {"sha256": 64, "sha384": 96, "sha512": 128}
"""The digests that a checksum can be of, with their lengths in hexadecimal digits."""

SCHEMES = ("http", "https", "ftp")
PART = 1 << 20
SILENCE = 60.0
"""Seconds after which a server that says nothing is given up."""

ATTEMPTS = 5
"""Connections that one run makes for a file, each of which has brought something of it."""

LONGEST_REASON = 200
"""Characters of a reason that the network gives."""

PARTIAL, BEYOND_ITS_END = 206, 416
"""What a server answers that sends a part of a file, and one whose file has no such part (RFC 9110)."""


class Interrupted(TargetError):
    """A file cannot be fetched now, and what has come of it is kept."""


class _Lost(Exception):
    """A connection has not brought what it was to bring."""


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
    return re.sub(r"\?.*", "", re.sub(r"//[^/?#]*@", "//", url))


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


def digest_of(file: IO[bytes], checksum: str) -> str:
    """Return the checksum of a file, by the algorithm of another one. The file is at its beginning afterwards."""
    algorithm = checksum.partition(":")[0]
    digest = hashlib.new(algorithm)
    file.seek(0)
    while True:
        part = file.read(PART)
        if not part:
            break
        digest.update(part)
    file.seek(0)
    return f"{algorithm}:{digest.hexdigest()}"


def held_to(file: IO[bytes], checksum: str, what: str) -> None:
    """Compare a file with its checksum. It is at its beginning afterwards.

    :param what: what it is called, for the error.
    :raises TargetError: it is another one.
    """
    found = digest_of(file, checksum)
    if found != checksum:
        raise TargetError(
            f"{what}: has the checksum {found}, and not {checksum}: it is another file, cut off, or was exchanged"
        )


def fetched(url: str, checksum: str, file: IO[bytes], limit: int, place: str) -> None:
    """Fetch what a file lacks. What is there already, of a run that was interrupted, is not fetched again.

    :param checksum: which the file is held to afterwards. When what was there does not lead to it, all is fetched anew.
    :param limit: how many bytes it may have.
    :raises Interrupted: it cannot be fetched now, and what is there is worth keeping.
    :raises TargetError: it cannot be fetched, or is too large.
    :raises OSError: it cannot be written.
    """
    what = f"{place}: {without_password(url)}"
    was_there = file.seek(0, os.SEEK_END) > 0
    _complete(url, file, limit, what)
    if was_there and digest_of(file, checksum) != checksum:
        file.truncate(0)
        _complete(url, file, limit, what)


def _complete(url: str, file: IO[bytes], limit: int, what: str) -> None:
    """Fetch what a file lacks, also when the connection is lost on the way, as long as each brings something."""
    for attempt in range(ATTEMPTS):
        before = file.seek(0, os.SEEK_END)
        try:
            _fetch(url, file, limit, what)
            return
        except _Lost as error:
            reason = " ".join(str(error).split())[:LONGEST_REASON]  # perhaps the server's words
            there = file.seek(0, os.SEEK_END)
            if there > before and attempt + 1 < ATTEMPTS:
                continue
            if there:
                said = f"{there} bytes of it are kept, and the next run goes on from there"
                raise Interrupted(f"{what} cannot be fetched: {reason}; {said}") from None
            raise TargetError(f"{what} cannot be fetched: {reason}") from None


def _fetch(url: str, file: IO[bytes], limit: int, what: str) -> None:
    """Fetch what a file lacks by one connection. Raise _Lost when that does not bring all of it."""
    headers = {"User-Agent": "unshare.container", "Accept-Encoding": "identity"}
    there = file.seek(0, os.SEEK_END)
    if there:
        headers["Range"] = f"bytes={there}-"
    try:
        answer = urllib.request.build_opener().open(_request(url, headers), timeout=SILENCE)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == BEYOND_ITS_END:
            return  # it is there whole, or it is another one, which its checksum tells
        raise _Lost(f"{error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise _Lost(str(error.reason)) from None
    except (OSError, http.client.HTTPException) as error:  # urllib passes on what goes wrong with the answer
        raise _Lost(_said(error)) from None
    with answer:
        if not _goes_on(answer, there):
            file.truncate(0)
            there = 0
        promised = answer.headers.get("Content-Length", "")
        _receive(_reading(answer), file, there, limit, what)
    received = file.seek(0, os.SEEK_END) - there
    if promised.isdigit() and received < int(promised):
        raise _Lost(f"the connection has ended after {received} of {promised} bytes")


def _request(url: str, headers: dict[str, str]) -> urllib.request.Request:
    """Return a request. A name and password in the URL are for that server alone, and for none that it leads to."""
    parts = urllib.parse.urlsplit(url)
    said, at, host = parts.netloc.rpartition("@")
    if not at or parts.scheme not in ("http", "https"):  # of FTP, urllib reads them itself
        return urllib.request.Request(url, headers=headers)
    request = urllib.request.Request(urllib.parse.urlunsplit(parts._replace(netloc=host)), headers=headers)
    user, _colon, password = said.partition(":")
    pair = b":".join(map(urllib.parse.unquote_to_bytes, (user, password)))
    request.add_unredirected_header("Authorization", "Basic " + base64.b64encode(pair).decode("ascii"))
    return request


def _goes_on(answer: Any, there: int) -> bool:
    """Return whether the answer of a server begins behind so many bytes that are there."""
    said = answer.headers.get("Content-Range", "") if getattr(answer, "status", None) == PARTIAL else ""
    return there > 0 and said.startswith(f"bytes {there}-")


def _reading(answer: Any) -> Callable[[int], bytes]:
    """Return what reads an answer, and raises _Lost when the network fails."""

    def read(size: int) -> bytes:
        try:
            part: bytes = answer.read(size)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise _Lost(_said(error)) from None
        return part

    return read


def _said(error: Exception) -> str:
    """Return what an error of the network says, which may be nothing but its kind."""
    return (explain(error) if isinstance(error, OSError) else str(error)) or type(error).__name__


def _receive(read: Callable[[int], bytes], file: IO[bytes], size: int, limit: int, what: str) -> None:
    while True:
        part = read(PART)
        if not part:
            return
        size += len(part)
        if size > limit:
            raise TargetError(f"{what}: is larger than {limit} bytes: set size_limit to more if it is meant to be")
        while part:
            part = part[file.write(part) :]
