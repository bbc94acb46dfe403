# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Traps for whoever enters: what a process of the host might load, read or run on its way, made the attacker's.

`lay` mounts file systems of its own over the directories that Python and the C library load from, tries each trap, and
then tells which files of them somebody opened. To be looked at is enough: nothing of the container's belongs there.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import struct
import sys

from .common import HOST, LIBC, check, mount

EVIL = """
import posix
text = open("/proc/self/status").read()
descriptor = posix.open("/tmp/evidence", posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND, 0o666)
posix.write(descriptor, (__name__ + " " + " ".join(text.split()) + "\\n").encode())
"""
IN_OPEN, IN_ONLYDIR = 0x20, 0x01000000
FILES = ("/etc/ld.so.preload", "/etc/ld.so.cache", "/etc/nsswitch.conf", "/etc/locale.alias", "/etc/host.conf")
GCONV = ("/usr/lib/x86_64-linux-gnu/gconv", "/usr/lib64/gconv", "/usr/lib/locale", "/usr/share/locale")
NAMES = ("sitecustomize", "usercustomize", "library", "launcher", "ansible_collections", "evil")


def plant(directory: str, modules: list[str]) -> None:
    """Fill an empty directory with Python modules, packages and `.pth` files that leave evidence."""
    for name in modules:
        with open(f"{directory}/{name}.py", "w") as file:
            file.write(EVIL)
    os.makedirs(f"{directory}/encodings", exist_ok=True)
    for name in ("__init__", "idna", "utf_8", "ascii", "latin_1"):
        with open(f"{directory}/encodings/{name}.py", "w") as file:
            file.write(EVIL)
    with open(f"{directory}/evil.pth", "w") as file:
        file.write("import evil\n")


def overmount(directory: str) -> bool:
    """Mount an empty file system there, where the directory is or can be made; whether it is."""
    try:
        os.makedirs(directory, exist_ok=True)
        mount("none", directory, "tmpfs")
    except OSError:
        return False
    return True


def directories() -> list[str]:
    """Return where some Python, or this one's host, might look for modules."""
    found = {path for path in HOST["paths"] if path.startswith("/")}
    for place in ("/usr/lib", "/usr/local/lib"):
        names = os.listdir(place) if os.path.isdir(place) else []
        found |= {f"{place}/{name}" for name in names if name.startswith("python")}
    # Outer ones first: what is mounted on them hides the inner ones.
    return sorted(found)


def lay() -> None:
    """Lay the traps, print `laid`, which, and which work; when the input ends, the paths that were opened."""
    watch = check(LIBC.inotify_init1(os.O_NONBLOCK))
    modules = sorted({*sys.stdlib_module_names, *NAMES} - set(sys.builtin_module_names))
    for path in FILES:
        if not os.path.exists(path):
            open(path, "w").close()
    watched: dict[int, str] = {}

    def look_at(path: str, mask: int = IN_OPEN) -> None:
        watched[check(LIBC.inotify_add_watch(watch, path.encode(), mask))] = path

    overmount("/usr/local/lib")  # else nothing can be made there
    planted = []
    for directory in directories():
        if overmount(directory):
            plant(directory, modules)
            planted.append(directory)
    inner = [path for directory in planted for path, _directories, _files in os.walk(directory)]
    for path in inner:
        look_at(path, IN_OPEN | IN_ONLYDIR)
    look_at("/etc")
    for path in GCONV:
        if overmount(path):
            look_at(path, IN_OPEN | IN_ONLYDIR)
    caught = [directory for directory in planted if try_trap(directory)]
    seen = {os.path.dirname(path) for path in opened(watch, watched)}
    print("laid", json.dumps({"traps": planted, "caught": sorted(seen.intersection(caught))}), flush=True)
    sys.stdin.read()
    print(json.dumps(sorted(opened(watch, watched))))


def try_trap(directory: str) -> bool:
    """Import a module from there, as this process that has begun before; whether it left evidence, which is removed."""
    sys.dont_write_bytecode = True
    sys.path[:] = [directory]
    sys.modules.pop("evil", None)
    importlib.invalidate_caches()
    importlib.import_module("evil")
    with contextlib.suppress(FileNotFoundError):
        os.unlink("/tmp/evidence")
        return True
    return False


def opened(watch: int, watched: dict[int, str]) -> set[str]:
    """Return what was opened below the watched directories, or that so much was that nobody knows."""
    found: set[str] = set()
    while True:
        try:
            data = os.read(watch, 1 << 16)
        except BlockingIOError:
            return found
        position = 0
        while position < len(data):
            number, _mask, _cookie, length = struct.unpack_from("iIII", data, position)
            name = data[position + 16 : position + 16 + length].rstrip(b"\0").decode()
            found.add(os.path.join(watched.get(number, "overflow"), name))
            position += 16 + length
