# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a container's processes give up: capabilities by their numbers, in every variant."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import confine, contract, linux
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.specification import read_outline, read_spec
from ansible_collections.unshare.container.plugins.module_utils.state.systems import Systems
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout

from ..target_helpers import content
from .forks import in_fork

# linux/capability.h
DROPPED = {16, 17, 25, *range(29, 41)}
SETFCAP = 31
LAST = 40
BOUNDING_DROP, NO_NEW_PRIVILEGES, AMBIENT, CLEAR_ALL = 24, 38, 47, 4  # linux/prctl.h

Calls = list[tuple[t.Any, ...]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Return the calls made of the kernel, which knows capabilities up to `LAST`."""
    made: Calls = []

    def prctl(option: int, second: int = 0, third: int = 0) -> int:
        made.append((option, second))
        return 0

    def drop(number: int) -> bool:
        if number <= LAST:
            made.append((BOUNDING_DROP, number))
        return number <= LAST

    monkeypatch.setattr(confine.linux, "drop_from_bounding_set", drop)
    monkeypatch.setattr(confine.linux, "prctl", prctl)
    monkeypatch.setattr(confine.linux, "capset", lambda *sets: made.append(("capset", *sets)))
    monkeypatch.setattr(confine.linux, "join_new_session_keyring", lambda: made.append(("keyring",)))
    return made


@pytest.mark.parametrize(
    ("security", "dropped", "last"),
    [
        ({}, DROPPED, ()),
        ({"nesting": True}, DROPPED - {SETFCAP}, ()),
        ({"no_new_privileges": True}, DROPPED, ((NO_NEW_PRIVILEGES, 1),)),
        ({"nesting": True, "no_new_privileges": True}, DROPPED - {SETFCAP}, ((NO_NEW_PRIVILEGES, 1),)),
    ],
)
def test_what_is_given_up(calls: Calls, security: dict[str, bool], dropped: set[int], last: tuple[t.Any, ...]) -> None:
    confine.give_up(contract.Security(**security))
    kept = sum(1 << number for number in range(64) if number not in dropped)
    bounding = [(BOUNDING_DROP, number) for number in sorted(dropped)]
    assert calls == [("keyring",), *bounding, (AMBIENT, CLEAR_ALL), ("capset", kept, kept, 0), *last]


def test_what_lies_outside_a_bound_is_given_up_as_well(calls: Calls) -> None:
    confine.give_up(contract.Security(), bound=1 << 5 | 1 << 16)
    assert ("capset", 1 << 5, 1 << 5, 0) in calls
    assert {call[1] for call in calls if call[0] == BOUNDING_DROP} == set(range(LAST + 1)) - {5}


def test_a_capability_that_the_kernel_does_not_know_is_no_error_and_a_refusal_is() -> None:
    def work() -> None:
        assert not linux.drop_from_bounding_set(63)
        assert linux.drop_from_bounding_set(LAST)
        os.setresuid(65534, 65534, 65534)
        with pytest.raises(PermissionError, match="PR_CAPBSET_DROP"):
            linux.drop_from_bounding_set(LAST)

    assert in_fork(work) == 0


def test_keyrings_that_are_refused_are_none(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise PermissionError(errno.EPERM, "keyctl()")

    monkeypatch.setattr(confine.linux, "join_new_session_keyring", refuse)
    confine.give_up(contract.Security())
    assert calls[-1][0] == "capset"


@pytest.mark.parametrize("seccomp_filter", [None, b"filter"])
def test_a_system_says_whether_it_has_a_filter(tmp_path: Path, seccomp_filter: bytes | None) -> None:
    system = str(Systems(Layout(tmp_path)).write(content(), seccomp_filter))
    for written in (read_spec(system), read_outline(system)):
        assert bool(written.filter_digest) == (seccomp_filter is not None)
        assert confine.read_filter(system, written.filter_digest) == seccomp_filter


def make_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, t.Callable[[Path], object]] = {
    "is missing": Path.unlink,
    "is damaged: .*": lambda path: os.truncate(path, 0),
    "is damaged: it is not .*": lambda path: os.truncate(path, 8),
    "is damaged: it is not the .*": lambda path: path.write_bytes(b"retlif"),
    "cannot be read: Is a directory": make_a_directory,
}


@pytest.mark.parametrize("said", DAMAGES)
def test_a_filter_that_is_not_whole_is_an_error(tmp_path: Path, said: str) -> None:
    system = Systems(Layout(tmp_path)).write(content(), b"filter")
    DAMAGES[said](system / "seccomp.bpf")
    with pytest.raises(LauncherError, match=rf"^{system}/seccomp\.bpf: {said}; stage the system again$"):
        confine.read_filter(str(system), read_spec(str(system)).filter_digest)


@pytest.mark.parametrize("absent", [(), ("_sha2",), ("_sha2", "_sha256")])
def test_a_filter_is_known_by_its_content(monkeypatch: pytest.MonkeyPatch, absent: tuple[str, ...]) -> None:
    for module in absent:
        monkeypatch.setitem(sys.modules, module, None)
    assert confine.digest_of(b"filter") == hashlib.sha256(b"filter").hexdigest()


def test_an_empty_filter_is_not_no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[bytes] = []
    monkeypatch.setattr(confine.linux, "load_seccomp_filter", loaded.append)
    for filter_program in (None, b"", b"filter"):
        confine.filter_calls(filter_program)
    assert loaded == [b"", b"filter"]


@pytest.mark.parametrize(("mode", "expected"), [(0, False), (1, False), (2, True)])
def test_who_is_filtered_is_known(mode: int, expected: bool) -> None:
    status = f"Name:\tSeccomp:\nNoNewPrivs:\t0\nSeccomp:\t{mode}\nSeccomp_filters:\t2\n"
    assert confine.is_filtered(status) is expected
