# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections to a server that may be hostile: what its answer costs is bounded, in time and in memory.

`http.client` bounds a line and a header. It bounds neither how long a server takes over them, nor how many interim
answers and trailers there are, nor what it reads at once when a server says so (a chunk of -1 bytes, the body of a
redirection). So what it reads from goes through `_Paced`, and the body of a redirection is not read at all.
"""

from __future__ import annotations

import base64
import http.client
import io
import time
import urllib.parse
import urllib.request
from typing import Any

SILENCE = 60.0
"""Seconds after which a server that says nothing is given up."""

SLOWEST = 1 << 10
"""Bytes a second that a server must bring on average, once it has had the time of `SILENCE`."""

AT_ONCE = 1 << 23
"""Bytes of a connection that are read for one question to it: those of its headers, or of a part of its content."""


def answer_to(url: str, headers: dict[str, str]) -> Any:
    """Return the answer of a server, open. Its `read` raises OSError, ValueError or HTTPException.

    :param url: perhaps with a user's name and password, which no other server gets.
    :raises OSError, ValueError, ArithmeticError, http.client.HTTPException: there is none.
    """
    parts = urllib.parse.urlsplit(url)
    user, has_user, host = parts.netloc.rpartition("@")
    secret = ""
    if has_user and parts.scheme in ("http", "https"):  # urllib would look for a host of that name
        url = urllib.parse.urlunsplit(parts._replace(netloc=host))
        secret = base64.b64encode(urllib.parse.unquote_to_bytes(user)).decode("ascii")
    request = urllib.request.Request(url, headers=headers)
    if secret:
        request.add_unredirected_header("Authorization", f"Basic {secret}")
    return urllib.request.build_opener(_Http, _Https, _Redirects).open(request, timeout=SILENCE)


class _Paced(io.RawIOBase):
    """What a server sends, as it comes."""

    def __init__(self, source: io.RawIOBase) -> None:
        super().__init__()
        self._source = source
        self._begun = time.monotonic()
        self._received = self._asked = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read some bytes. Raise OSError when they come too slowly, or are more than were asked for."""
        count = self._source.readinto(buffer)
        self._received += count or 0
        self._asked += count or 0
        taken = time.monotonic() - self._begun
        if taken > SILENCE and self._received < taken * SLOWEST:
            raise OSError(f"the server has sent {self._received} bytes in {taken:.0f} s, which is too slow")
        if self._asked > AT_ONCE:
            raise OSError("the server sends headers, or parts of its answer, without an end")
        return count

    def readall(self) -> bytes:
        """Refuse to hold all of it in memory. Raise OSError."""
        raise OSError("the server sends a part whose length is none")

    def ask(self) -> None:
        """Let so much be read as for one question."""
        self._asked = 0

    def close(self) -> None:
        self._source.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    """The answer of a server."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._paced = _Paced(self.fp.detach())
        self.fp = io.BufferedReader(self._paced)

    def read(self, amt: int | None = None) -> bytes:
        self._paced.ask()
        return super().read(amt)


class _Bounded(urllib.request.AbstractHTTPHandler):
    """What opens connections whose answers are bounded."""

    def do_open(self, http_class: Any, req: Any, **http_conn_args: Any) -> Any:
        def connected(*arguments: Any, **options: Any) -> Any:
            made = http_class(*arguments, **options)
            made.response_class = _Answer
            return made

        return super().do_open(connected, req, **http_conn_args)


class _Http(_Bounded, urllib.request.HTTPHandler):
    """By http."""


class _Https(_Bounded, urllib.request.HTTPSHandler):
    """By https, with the host's certificates."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """What follows redirections, and reads nothing of them but their headers."""

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        fp.close()
        found: Any = super().http_error_302(req, io.BytesIO(), code, msg, headers)
        return found

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302
