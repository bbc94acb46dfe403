# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What attempts are made of: how they are named, and the system calls that Python has no function for.

An attempt gives `ok` when it got through, the name of the errno when it was refused, or what it saw.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import sys
from collections.abc import Callable

Attempt = Callable[[], object]
ATTEMPTS: dict[str, Attempt] = {}
ROWS: dict[str, str] = {}
"""For each attempt the row of the table that it counts for (`rows.ROWS`)."""
FACTS: dict[str, Attempt] = {}
"""Questions that nobody refuses, whose answers are checked outside."""
HOST = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
"""What the tests planted on the host."""
LIBC = ctypes.CDLL(None, use_errno=True)
X32 = 0x40000000
NEWNS, NEWUSER, NEWPID, NEWNET = 0x20000, 0x10000000, 0x20000000, 0x40000000
MS_REMOUNT, MS_BIND, MS_MOVE = 32, 4096, 8192
FILE = "/tmp/probe"


def add(row: str, name: str, function: Attempt) -> None:
    """Note an attempt, and the row of the table that it counts for."""
    ATTEMPTS[name] = function
    ROWS[name] = row


def attempt(row: str, name: str) -> Callable[[Attempt], Attempt]:
    """Return a decorator that does the same."""

    def register(function: Attempt) -> Attempt:
        add(row, name, function)
        return function

    return register


def tell(name: str, function: Attempt) -> None:
    """Note a question."""
    FACTS[name] = function


def check(result: int) -> int:
    """Return the result of a C function; OSError when it failed."""
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def call(number: int, *arguments: object) -> int:
    """Make a system call by its number."""
    LIBC.syscall.restype = ctypes.c_long
    return check(LIBC.syscall(ctypes.c_long(number), *arguments))


def mount(source: str | None, target: str, kind: str | None, flags: int = 0, data: str | None = None) -> None:
    """Mount as mount(2) does."""
    words = [word.encode() if word is not None else None for word in (source, target, kind)]
    check(LIBC.mount(*words, ctypes.c_ulong(flags), data.encode() if data else None))


def unmount(path: str) -> None:
    """Unmount lazily."""
    check(LIBC.umount2(path.encode(), 2))


def unshare(flags: int) -> None:
    """Leave namespaces for new ones."""
    check(LIBC.unshare(flags))


def touch(path: str = FILE) -> str:
    """Make a file; its path."""
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
    return path


def opened(path: str, flags: int = os.O_WRONLY) -> None:
    """Open a file, and do nothing to it."""
    os.close(os.open(path, flags))


def run(function: Attempt) -> object:
    """Return the word for one attempt, made in a child."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            result = function()
            answer = result if isinstance(result, (str, dict)) else "ok"
        except OSError as error:
            answer = errno.errorcode.get(error.errno or 0, str(error))
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(write, json.dumps(answer).encode())
        os._exit(0)
    os.close(write)
    said = b""
    while part := os.read(read, 65536):
        said += part
    os.close(read)
    status = os.waitpid(child, 0)[1]
    return json.loads(said) if said else f"killed {status}"
