# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The same by the other system-call interfaces of x86-64 machines, which a filter must know, too."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Callable

from .common import LIBC, X32, add, call, tell, touch


def low_memory(content: bytes) -> int:
    LIBC.mmap.restype = ctypes.c_void_p
    address = LIBC.mmap(None, ctypes.c_size_t(4096), 7, 0x20 | 0x2 | 0x40, -1, ctypes.c_long(0))
    ctypes.memmove(address, content, len(content))
    return int(address)


def compatible(number: int, *arguments: int) -> int:
    """Make a system call of the 32-bit ABI, from this 64-bit process (int 0x80), and return its result."""
    code = b"\x53"  # push rbx
    for opcode, value in zip((b"\xb8", b"\xbb", b"\xb9", b"\xba", b"\xbe"), (number, *arguments), strict=False):
        code += opcode + struct.pack("<I", value & 0xFFFFFFFF)
    code += b"\xcd\x80\x5b\xc3"  # int 0x80; pop rbx; ret
    result = ctypes.CFUNCTYPE(ctypes.c_int)(low_memory(code))()
    if result < 0:
        raise OSError(-result, "")
    return result


if os.uname().machine == "x86_64":
    AT = -100
    calls: tuple[tuple[str, int, tuple[object, ...]], ...] = (
        ("chmod", 15, ("path", 0o4755)),
        ("fchmod", 94, ("descriptor", 0o4755)),
        ("fchmodat", 306, (AT, "path", 0o4755)),
        ("fchmodat2", 452, (AT, "path", 0o4755, 0)),
        ("open", 5, ("new", 0o101, 0o4755)),
        ("openat", 295, (AT, "new", 0o101, 0o4755)),
        ("creat", 8, ("new", 0o4755)),
        ("mknod", 14, ("new", stat.S_IFREG | 0o4755, 0)),
        ("mknodat", 297, (AT, "new", stat.S_IFREG | 0o4755, 0)),
        ("openat2", 437, (AT, "new", 0, 24)),
        ("io_uring_setup", 425, (1, 0)),
        ("socketcall", 102, (1, "internet")),
        ("socket", 359, (40, 1, 0)),
        ("keyctl", 288, (0, -3, 1)),
        ("bpf", 357, (0, 0, 0)),
        ("perf_event_open", 336, (0, 0, -1, -1)),
        ("open_by_handle_at", 342, (-1, 0, 0)),
        ("kexec_load", 283, (0, 0, 0, 0)),
        ("init_module", 128, (0, 0, 0)),
        ("syslog", 103, (3, 0, 0)),
        ("settimeofday", 79, (0, 0)),
    )
    for name, number, words in calls:

        def in_32_bits(number: int = number, arguments: tuple[object, ...] = words) -> str:
            old, new = touch("/tmp/compatible"), "/tmp/compatible-new"
            if os.path.exists(new):
                os.unlink(new)
            given: dict[object, Callable[[], int]] = {
                "path": lambda: low_memory(old.encode() + b"\0"),
                "new": lambda: low_memory(new.encode() + b"\0"),
                "descriptor": lambda: os.open(old, os.O_RDWR),
                "internet": lambda: low_memory(struct.pack("<III", 2, 1, 0)),
            }
            compatible(number, *(given[word]() if word in given else int(str(word)) for word in arguments))
            return "ok"

        row = "set-user-ID" if len(words) > 1 and words[0] in ("path", "new", "descriptor", AT) else "devices"
        add(row, "32 bits: " + name, in_32_bits)
    tell("32 bits are answered", lambda: "yes" if compatible(20) == os.getpid() else "no")
    add("set-user-ID", "x32: chmod", lambda: call(X32 | 90, touch().encode(), 0o4755))
