# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What PID 1 says while it starts goes to a file in memory, whose end is in the message when the start fails."""

from __future__ import annotations

import errno
import os
import subprocess
import time
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.identity import Identity
from ansible_collections.unshare.container.plugins.module_utils.launcher.process import reap_left
from ansible_collections.unshare.container.plugins.module_utils.life import start

BASE = 0x60000000
SIZE = 4 << 20


@pytest.fixture
def starting() -> t.Iterator[start.Start]:
    """Return a start that has nothing open yet, and close what it has opened."""
    found = start.Start.__new__(start.Start)
    found.container = types.SimpleNamespace(name="web")  # type: ignore[assignment]
    found.ids = Identity(BASE, 65536, False)
    found.init = found.notification = found.cgroup = found.host_mounts = found.own_output = found.networking = None
    yield found
    found.close()


@pytest.fixture
def written(starting: start.Start, tmp_path: Path) -> t.Callable[[bytes], start.Start]:
    """Return a function that gives a start whose PID 1 has written something."""

    def write(text: bytes) -> start.Start:
        (tmp_path / "output").write_bytes(text)
        starting.own_output = os.open(tmp_path / "output", os.O_RDWR)
        return starting

    return write


Written = t.Callable[[bytes], start.Start]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"", ""),
        (b" \n\n", ""),
        (b"no such unit\n", "; its output ends:\nno such unit"),
        (
            b"".join(b"%d\n" % number for number in range(30)),
            "; its output ends:\n" + "\n".join(map(str, range(10, 30))),
        ),
        (b"\xff\x00\x1b[31m\n", "; its output ends:\n\ufffd\x00\x1b[31m"),
        (b"a" * 100_000 + b"\nlast", "; its output ends:\n" + "a" * (65536 - 5) + "\nlast"),
    ],
    ids=["nothing", "nothing to see", "a line", "its last lines", "no text", "its last bytes"],
)
def test_the_end_of_the_output_is_in_the_message(written: Written, text: bytes, shown: str) -> None:
    assert written(text)._failure("ended before it was ready") == (
        "container web: PID 1 ended before it was ready" + shown
    )


def test_a_start_without_such_a_file(starting: start.Start) -> None:
    assert starting._failure("was not ready") == "container web: PID 1 was not ready"


def test_a_file_that_is_longer_than_what_is_in_it(written: Written, tmp_path: Path) -> None:
    found = written(b"text")
    os.truncate(tmp_path / "output", 1 << 40)
    assert found._failure("ended").startswith("container web: PID 1 ended")
    os.truncate(tmp_path / "output", 0)
    assert found._failure("ended") == "container web: PID 1 ended"


def test_a_file_that_is_held(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it longer than the time limit, nor is anybody left."""
    monkeypatch.setattr(start, "OUTPUT_SECONDS", 0.2)
    monkeypatch.setattr(start, "end_of", lambda _output: time.sleep(60))
    children = Path("/proc/thread-self/children")
    before = children.read_text()
    began = time.monotonic()
    assert written(b"text")._failure("ended") == "container web: PID 1 ended"
    assert time.monotonic() - began < 10
    reap_left()  # who was killed may not have ended yet
    while children.read_text() != before and time.monotonic() - began < 10:
        reap_left()
    assert children.read_text() == before


def test_a_file_that_cannot_be_read(written: Written) -> None:
    found = written(b"text")
    read, write = os.pipe()
    os.close(write)
    assert found.own_output is not None
    os.dup2(read, found.own_output)
    os.close(read)
    assert found._failure("ended") == "container web: PID 1 ended"


@pytest.mark.root
def test_the_file_has_no_name_and_is_bounded(starting: start.Start) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    starting.own_output = output = starting._make_output()
    assert Path("/proc/self/mountinfo").read_text() == before
    status = os.fstat(output)
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (BASE, BASE, 0o600)
    assert os.write(output, b"x" * (SIZE + 1)) == SIZE
    with pytest.raises(OSError, match=f"Errno {errno.ENOSPC}"):
        os.write(output, b"x")
    assert start.end_of(output) == "x" * start.OUTPUT_LIMIT


@pytest.mark.root
def test_programs_that_open_it_again_write_behind_each_other(starting: start.Start) -> None:
    starting.own_output = output = starting._make_output()
    script = "echo one; echo two >> /dev/stderr; exec echo three"
    subprocess.run(["sh", "-c", script], stdout=output, stderr=output, check=True, user=BASE, group=BASE)
    assert start.end_of(output) == "one\ntwo\nthree\n"
