# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers of file systems in user space (FUSE): one of the host, and programs for root inside to be one."""

from __future__ import annotations

import os
import select
import struct
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import mount_calls

OPENING, OPEN, READ = 26, 14, 15
"""Questions of the kernel (linux/fuse.h): for the version of the protocol, for a file, and for what is in it."""

OPENED = struct.pack("<IIII", 7, 31, 0, 0) + struct.pack("<HHI", 1, 1, 1 << 16) + bytes(40)
"""The answer to the first question."""


def need_fuse() -> None:
    """Skip a test on a host that has no such file systems."""
    if not os.path.exists("/dev/fuse"):
        pytest.skip("this host has no FUSE")


def mounting(more: str = "") -> str:
    """Return the beginning of a program: it has mounted a file system at /tmp/own, whose questions `device` gives.

    :param more: further options of the mount.
    """
    return f"""
import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
os.mkdir("/tmp/own")
device = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={{device}},rootmode=40000,user_id=0,group_id=0{more}"
assert libc.mount(b"own", b"/tmp/own", b"fuse", 6, options.encode()) == 0, os.strerror(ctypes.get_errno())

def question():
    return struct.unpack_from("<IIQQ", os.read(device, 1 << 17))[1:]

def reply(unique, answer):
    os.write(device, struct.pack("<IiQ", 16 + len(answer), 0, unique) + answer)

def status(node):
    mode = 0o40755 if node == 1 else 0o100644
    return struct.pack("<6Q10I", node, 4096, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

opened = {OPENED!r}
answers = {{
    {OPENING}: lambda node: opened,
    1: lambda node: struct.pack("<4Q2I", 2, 0, 60, 60, 0, 0) + status(2),
    3: lambda node: struct.pack("<QII", 60, 0, 0) + status(node),
    {OPEN}: lambda node: struct.pack("<QII", 1, 0, 0),
}}
"""


def holding(definitions: str) -> str:
    """Return a program that never says what is in its file, and of which another process waits for that.

    :param definitions: of `hold(address)`, which has the kernel write to memory that is this file, and of `asked()`,
        which is called when the kernel waits for it.
    """
    return f"""{mounting()}
import mmap, time
{definitions}
if os.fork() == 0:
    memory = mmap.mmap(os.open("/tmp/own/file", os.O_RDONLY), 4096, access=mmap.ACCESS_COPY)
    hold(ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(memory))))
    os._exit(0)
while True:
    opcode, unique, node = question()
    if opcode == {READ}:
        asked()
        open("/data/ready", "x").close()
    elif opcode in answers:
        reply(unique, answers[opcode](node))
"""


class Silent:
    """A file system of the host whose server, this process, answers nothing once it is mounted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = {"fd": str(self.device), "rootmode": "040000", "user_id": "0", "group_id": "0"}
        context = mount_calls.fsopen("fuse")
        for name, value in options.items():
            mount_calls.fsconfig(context, mount_calls.FSCONFIG_SET_STRING, name, value)
        mount_calls.fsconfig(context, mount_calls.FSCONFIG_SET_FLAG, "allow_other")
        mount_calls.fsconfig(context, mount_calls.FSCONFIG_CMD_CREATE)
        mount = mount_calls.fsmount(context, 0)
        target = os.open(path, os.O_PATH | os.O_CLOEXEC)
        mount_calls.move_mount(mount, target)
        for descriptor in (context, mount, target):
            os.close(descriptor)
        self._answer_opening()

    def _answer_opening(self) -> None:
        request = os.read(self.device, 1 << 16)
        _length, opcode, unique = struct.unpack_from("<IIQ", request)
        assert opcode == OPENING
        os.write(self.device, struct.pack("<IiQ", 16 + len(OPENED), 0, unique) + OPENED)

    def await_question(self) -> None:
        """Wait until somebody waits for an answer."""
        poll = select.poll()
        poll.register(self.device, select.POLLIN)
        assert poll.poll(30_000)

    def abort(self) -> None:
        """End it; whoever waits for an answer gets an error."""
        os.close(self.device)
        self.device = -1

    def close(self) -> None:
        """Unmount it, and end it."""
        mount_calls.unmount(str(self.path))
        if self.device >= 0:
            self.abort()
