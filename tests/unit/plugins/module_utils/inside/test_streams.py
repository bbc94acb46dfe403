# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The streams of a command that enters: what root inside puts in their places keeps nobody out."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import re
import stat
import time
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.inside import streams, terminal
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError

NUMBERS = [each for count in range(4) for each in itertools.combinations(range(3), count)]


@pytest.mark.parametrize("numbers", NUMBERS, ids=str)
def test_every_stream_is_a_pipe_and_nothing_is_looked_up_inside(numbers: tuple[int, ...]) -> None:
    def open_root() -> int:
        raise AssertionError("the container's root was opened")

    pipes = streams.Pipes(*numbers)
    made = pipes.make("web", os.geteuid(), open_root)
    assert [stat.S_ISFIFO(os.fstat(number).st_mode) for number in made.inside] == [True] * 3
    modes = [fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE for number in made.inside]
    assert modes == [os.O_RDONLY, os.O_WRONLY, os.O_WRONLY]
    assert (made.shared.source is not None, len(made.shared.outputs)) == (pipes.with_input, pipes.outputs)
    if 0 not in numbers:
        assert os.read(made.inside[0], 1) == b""
    for number in (1, 2):
        if number in numbers:
            os.write(made.inside[number], b"x")
        else:
            with pytest.raises(BrokenPipeError):
                os.write(made.inside[number], b"x")
    for output in made.shared.outputs:
        assert os.read(output, 2) == b"x"
    for descriptor in [*made.inside, *made.shared.outputs, *filter(None, [made.shared.source])]:
        os.close(descriptor)


def open_for(monkeypatch: pytest.MonkeyPatch, error: t.Callable[[], t.Any]) -> str:
    """Open a pty for a container that fails to give one, and return the warning."""
    monkeypatch.setattr(terminal, "_open_in_container", lambda _root: error())
    monkeypatch.setattr(terminal, "OPEN_TIMEOUT", 0.3)
    root = os.open("/", os.O_PATH | os.O_DIRECTORY)
    try:
        master, slave, warning = terminal.open_for(root, "web", os.geteuid())
        os.write(master, b"through\n")
        assert os.isatty(slave)
        assert os.read(slave, 9) == b"through\n"
    finally:
        os.close(root)
    os.close(master)
    os.close(slave)
    return warning


def failing(error: BaseException) -> t.Callable[[], t.Any]:
    def fail() -> t.Any:
        raise error

    return fail


FAILURES: dict[str, tuple[t.Callable[[], t.Any], str]] = {
    "none left": (failing(OSError(errno.ENOSPC, "none")), "the container has no pty left, so"),
    "none left, before Linux 6": (failing(OSError(errno.EIO, "none")), "the container has no pty left, so"),
    "covered": (failing(FileNotFoundError(errno.ENOENT, "nothing there")), "/dev/pts of the container .*nothing there"),
    "a link": (failing(OSError(errno.ELOOP, "too many links")), "/dev/pts of the container .*too many links"),
    "nodev": (failing(PermissionError(errno.EACCES, "denied")), "/dev/pts of the container .*denied"),
    "another file": (failing(LauncherError("/dev/pts/ptmx of the container is not it")), ".* is not it, so"),
    "silent": (lambda: time.sleep(30), "/dev/pts of the container does not answer within 0.3 s, so"),
    "no pty's ends": (lambda: (0, 0), ".*so this is one of the host's"),
}


@pytest.mark.parametrize("what", FAILURES)
def test_whatever_keeps_the_containers_pty_from_being_opened_the_hosts_is_taken(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    error, words = FAILURES[what]
    if what == "no pty's ends":
        monkeypatch.setattr(terminal, "open_in_container", lambda _root, _seconds: (-1, -1))
    assert re.match(words, open_for(monkeypatch, error))


def test_without_a_pty_of_the_hosts_both_reasons_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "open_on_host", failing(OSError(errno.ENOSPC, "none on the host")))
    with pytest.raises(
        LauncherError, match=r"web: no pty is left on the host .*none on the host.*is not it; .*pty\.max"
    ):
        open_for(monkeypatch, failing(LauncherError("/dev/pts/ptmx of the container is not it")))
