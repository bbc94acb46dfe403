# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program that loads the packet filter: where it is found, what it says, and the lock that it holds."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import nft
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError


def test_the_first_nft_that_can_be_run_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft, "DIRECTORIES", [str(tmp_path / name) for name in ("a", "b", "c")])
    with pytest.raises(LauncherError, match="install the package nftables"):
        nft.nft_program()
    for name, mode in (("a", 0o644), ("b", 0o755), ("c", 0o755)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "nft").write_text("")
        (tmp_path / name / "nft").chmod(mode)
    assert nft.nft_program() == str(tmp_path / "b/nft")


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the path of a program that is taken for nft."""
    path = tmp_path / "nft"
    monkeypatch.setattr(nft, "nft_program", lambda: str(path))
    path.touch(0o755)
    return path


def loading(program: Path, script: str, text: str = "table inet unshare\n") -> nft.Loading:
    program.write_text(f"#!/bin/sh\n{script}\n")
    with (program.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return nft.Loading(text, lock.fileno())


def is_held(program: Path) -> bool:
    with (program.parent / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_a_transaction_says_what_nft_says(program: Path) -> None:
    before = os.listdir("/proc/self/fd")
    asked = loading(program, 'echo "$@ $LC_ALL"; cat', "x" * 100000)
    assert asked.wait() == "-f - C\n" + "x" * 100000
    assert asked.wait() == ""
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_transaction_that_fails_says_why_once(program: Path) -> None:
    failing = loading(program, "echo 'Error: no' >&2; echo '  such thing'; exit 1")
    with pytest.raises(LauncherError, match="nft has not taken the rules of the containers: Error: no such thing$"):
        failing.wait()
    assert failing.wait() == ""
    with pytest.raises(LauncherError, match="containers: 256$"):
        loading(program, "exit 1").wait()


def test_a_transaction_holds_the_lock_until_its_end(program: Path) -> None:
    ends = program.parent / "ends"
    os.mkfifo(ends)
    going_on = loading(program, f"cat {ends} > /dev/null")
    assert is_held(program)
    ends.write_text("")
    going_on.wait()
    assert not is_held(program)


def test_a_transaction_that_cannot_begin_leaves_nothing_open(program: Path) -> None:
    before = os.listdir("/proc/self/fd")
    program.unlink()
    with pytest.raises(FileNotFoundError):
        nft.Loading("", 0)
    assert len(os.listdir("/proc/self/fd")) == len(before)
