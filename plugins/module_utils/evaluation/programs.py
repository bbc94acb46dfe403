# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Search for programs and files, and for what programs load beside their libraries."""

from __future__ import annotations

import errno
import os
import re
import stat
from typing import Iterable

from ..launcher.errors import LauncherError

SWITCH = "/etc/nsswitch.conf"
PYTHON_LIBRARY = re.compile(r"(?:python|pypy)(\d+\.\d+)[a-z]?")
"""The name of a directory that is Python's own library."""


def open_regular(path: str) -> int:
    """Open a regular file for reading. To open any other file may block, or have an effect.

    Raises:
        OSError: it cannot be read, or is no regular file (`EINVAL`).
    """
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "is no regular file", path)
        return os.open("/proc/self/fd/%d" % descriptor, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    finally:
        os.close(descriptor)


def find_program(name: str, search_path: str) -> str:
    """Return the path of a program; look a name without a slash up in `search_path`.

    Raises:
        LauncherError: there is none.
    """
    if "/" in name:
        return name
    for directory in search_path.split(":"):
        path = os.path.join(directory, name)
        if directory.startswith("/") and os.path.isfile(path) and os.stat(path).st_mode & 0o111:
            return path
    raise LauncherError("%s: no such program in %s" % (name, search_path or "an empty PATH"))


def switch_modules(path: str = SWITCH) -> list[str]:
    """Return the libraries that the C library loads for the sources that nsswitch.conf(5) names."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read(1 << 16).split("\n")
    except OSError:
        lines = []
    services: list[str] = []
    for line in lines or ["hosts: files dns"]:
        _database, _colon, sources = line.split("#", 1)[0].partition(":")
        services += re.findall(r"\w+", re.sub(r"\[[^]]*\]?", " ", sources))
    return ["libnss_%s.so.2" % service for service in dict.fromkeys(services)]


def read_home(configuration: str) -> str | None:
    """Return the directory of a virtual environment's interpreter, from its `pyvenv.cfg`."""
    with open(open_regular(configuration), encoding="utf-8", errors="replace") as file:
        for line in file.read(1 << 16).split("\n"):
            key, _equals, value = line.partition("=")
            if key.strip() == "home":
                return value.strip()
    return None


def python_libraries(prefixes: Iterable[str], version: str) -> list[str]:
    """Return Python's library directories below some prefixes: those of one version such as 3.11, or all."""
    found = []
    for prefix in prefixes:
        for library in ("lib", "lib64"):
            parent = os.path.join(prefix, library)
            for name in sorted(os.listdir(parent)) if os.path.isdir(parent) else ():
                wanted = PYTHON_LIBRARY.fullmatch(name)
                if wanted and (wanted.group(1) == version or "." not in version):
                    found.append(os.path.join(parent, name))
    return found
