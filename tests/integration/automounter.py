# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""An automounter for the tests: a process that mounts a file system of memory when somebody asks for it (autofs)."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import struct
import subprocess
import typing as t
from pathlib import Path

from ansible_collections.unshare.container.tests import mountinfo

AUTOFS_IOC_READY, AUTOFS_IOC_FAIL = 0x9360, 0x9361
PACKET = struct.Struct("=iiIIQIIIII")  # struct autofs_v5_packet, without the name
PACKET_SIZE = 304
DIRECT = 5  # autofs_ptype_missing_direct
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def automounter(place: Path, direct: bool, answers: bool = True, mode: str = "1777") -> t.Iterator[Path]:
    """Have what is at a place, or below it, mounted when it is asked for; each has a file `there`.

    Args:
        direct: whether the place itself is mounted, or the names in it.
        answers: whether it answers at all.
        mode: of what is mounted.
    """
    place.mkdir(exist_ok=True)
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(ready)
            os.setpgid(0, 0)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            _serve(place, direct, answers, mode, told)
        finally:
            os._exit(1)
    os.close(told)
    try:
        assert os.read(ready, 1) == b"1", "autofs cannot be mounted"
        yield place
    finally:
        os.close(ready)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for line in reversed(mountinfo.lines()):
            point = line.split(" ")[4]
            if point == str(place) or point.startswith(f"{place}/"):
                _libc.umount2(point.encode(), 2)


def _serve(place: Path, direct: bool, answers: bool, mode: str, told: int) -> None:
    requests, pipe = os.pipe()
    kind = "direct" if direct else "indirect"
    options = f"fd={pipe},pgrp={os.getpgid(0)},minproto=5,maxproto=5,{kind}"
    done = _libc.mount(b"test-automounter", os.fsencode(place), b"autofs", 0, options.encode())
    if done:
        return
    os.close(pipe)
    root = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    os.write(told, b"1")
    while True:
        packet = os.read(requests, PACKET_SIZE)
        if len(packet) < PACKET.size:
            return
        if not answers:
            continue
        _version, kind_of, token, *_rest, length = PACKET.unpack(packet[: PACKET.size])
        name = packet[PACKET.size : PACKET.size + length].decode()
        target = place if kind_of == DIRECT else place / name
        if kind_of != DIRECT:
            target.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode={mode}", "test-automounter", target], check=True)
        (target / "there").touch()
        fcntl.ioctl(root, AUTOFS_IOC_READY, token)
