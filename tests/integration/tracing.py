# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What our code does in a container: a trace of its system calls, and a look at its descriptors as it runs."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import re
import stat
import struct
import subprocess
import sys
import time
import typing as t
from pathlib import Path

CALL = re.compile(r"^(?P<name>\w+)\((?P<arguments>.*?)\)? += (?P<result>\S+)")
TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')
EXECUTE = ("execve", "execveat")
CROSSING = ("setns", "unshare")


class Process:
    """The system calls of one traced process that take a path, or change its namespaces."""

    def __init__(self, path: Path) -> None:
        self.calls: list[tuple[str, str, str]] = []
        for line in path.read_text(errors="replace").splitlines():
            found = CALL.match(line)
            if found:
                self.calls.append((found["name"], found["arguments"], found["result"]))

    def _index(self, wanted: t.Callable[[str, str, str], bool]) -> int | None:
        return next((number for number, call in enumerate(self.calls) if wanted(*call)), None)

    def inside(self) -> list[tuple[str, str]]:
        """Return the calls with a path between entering a container's mount namespace and the program.

        There are none when the process enters no container. A process that only goes there and back, without a program,
        does not.
        """
        ends = self._index(lambda name, _arguments, result: name in EXECUTE and result == "0")
        begins = self._index(lambda name, arguments, _result: name in CROSSING and "CLONE_NEWNS" in arguments)
        calls = self.calls[:ends]
        if begins is not None:
            calls = self.calls[begins + 1 : ends]
        return [(name, text) for name, arguments, _result in calls for text in self._paths(name, arguments)]

    @staticmethod
    def _paths(name: str, arguments: str) -> list[str]:
        """Return the paths that a call is given; the content of a link is an answer."""
        texts = TEXT.findall(arguments)
        return texts[:1] if name.startswith("readlink") or name in EXECUTE else texts

    @property
    def crosses(self) -> bool:
        """Return whether the process enters a mount namespace itself."""
        return self._index(lambda name, arguments, _result: name in CROSSING and "CLONE_NEWNS" in arguments) is not None

    @property
    def executes(self) -> bool:
        """Return whether the process executes a program by descriptor: only one that has come to a container does."""
        return self._index(lambda name, _arguments, result: name == "execveat" and result == "0") is not None


def trace(directory: Path, *command: str, **options: t.Any) -> list[Process]:
    """Run a command of the host's under strace; all processes that come of it, up to the first program each runs."""
    prefix = directory / "trace"
    strace = ["strace", "-ff", "-s", "4096", "-e", "trace=%file,setns,unshare", "-e", "signal=none", "-o", str(prefix)]
    result = subprocess.run([*strace, *command], capture_output=True, text=True, timeout=120, **options)
    assert result.returncode == 0, result.stderr
    return [Process(path) for path in sorted(directory.glob("trace.*"))]


class Step(t.NamedTuple):
    """A step of a traced Python process: the function it is in, and what it has open."""

    process: int
    function: str
    descriptors: dict[int, tuple[int, int, int]]
    """By number: file type, device, inode."""


class Steps:
    """Records each call of a Python function in forks of this process, through memory that they share.

    Nothing that this does opens a file, so that it can go on in a container. Each process has a part of the memory of
    its own, by its number, for several may run at a time.
    """

    PARTS = 61
    SIZE = 1 << 24
    HIGHEST = 256
    HEADER = 8

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, self.PARTS * self.SIZE)
        self.parent = os.getpid(), os.getppid()

    @contextlib.contextmanager
    def recording(self) -> t.Iterator[None]:
        """Record what forks of this process do; not what it does itself."""
        sys.setprofile(self._note)
        try:
            yield
        finally:
            sys.setprofile(None)

    def _note(self, frame: t.Any, event: str, _argument: t.Any) -> None:
        if (os.getpid(), os.getppid()) == self.parent or event not in ("call", "return"):
            return
        found = []
        for number in range(self.HIGHEST):
            try:
                fcntl.fcntl(number, fcntl.F_GETFD)
                status = os.fstat(number)
            except OSError:
                continue
            found.append(struct.pack("<IIQQ", number, stat.S_IFMT(status.st_mode), status.st_dev, status.st_ino))
        name = f"{event} {frame.f_code.co_name}".encode()[:60]
        entry = struct.pack("<QIH60s", time.monotonic_ns(), os.getpid(), len(found), name) + b"".join(found)
        number = os.getpid()
        part = (0 if number == 1 else 1 + number % (self.PARTS - 1)) * self.SIZE  # an init is 1 whatever others are
        used = self._used(part)
        assert used + len(entry) <= self.SIZE, "too many steps"
        self.memory[part + used : part + used + len(entry)] = entry
        self.memory[part : part + self.HEADER] = struct.pack("<q", used + len(entry))

    def _used(self, part: int) -> int:
        return max(self.HEADER, struct.unpack("<q", self.memory[part : part + self.HEADER])[0])

    def all(self) -> list[Step]:
        """Return the steps recorded so far, in their order."""
        found = [item for part in range(0, self.PARTS * self.SIZE, self.SIZE) for item in self._of(part)]
        return [step for _moment, step in sorted(found, key=lambda item: item[0])]

    def _of(self, part: int) -> list[tuple[int, Step]]:
        steps, place = [], part + self.HEADER
        end = part + self._used(part)
        while place < end:
            moment, process, count, name = struct.unpack("<QIH60s", self.memory[place : place + 74])
            place += 74
            descriptors = {}
            for _number in range(count):
                number, kind, device, inode = struct.unpack("<IIQQ", self.memory[place : place + 24])
                descriptors[number] = (kind, device, inode)
                place += 24
            steps.append((moment, Step(process, name.rstrip(b"\0").decode(), descriptors)))
        return steps
