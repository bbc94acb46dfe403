# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The OOM score that a process is given, by the rules of a kernel that is told of here (fs/proc/base.c)."""

from __future__ import annotations

import os
import subprocess

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import attributes
from ansible_collections.unshare.container.plugins.module_utils.launcher.attributes import Attributes, give_oom_score


class Kernel:
    """One process: its score, below what it cannot be written without the capability, and who writes."""

    def __init__(self, score: int, least: int, capable: bool) -> None:
        self.score = score
        self.least = least
        self.capable = capable

    def write(self, _pid: int, score: int) -> None:
        assert -1000 <= score <= 1000
        if score < self.least and not self.capable:
            raise PermissionError
        self.score = score
        if self.capable:
            self.least = score


@pytest.mark.parametrize("capable", [True, False])
@pytest.mark.parametrize(("score", "least"), [(0, 0), (500, 500), (500, 0), (0, -1000), (-500, -500), (-1000, -1000)])
@pytest.mark.parametrize("wanted", [-1000, -500, 0, 1, 500, 1000])
def test_it_is_given_and_held_or_a_warning_says_what_is_not(
    monkeypatch: pytest.MonkeyPatch, score: int, least: int, wanted: int, capable: bool
) -> None:
    kernel = Kernel(score, least, capable)
    monkeypatch.setattr(attributes, "_set_oom_score", kernel.write)
    monkeypatch.setattr(attributes, "_oom_score", lambda _pid: kernel.score)
    monkeypatch.setattr(attributes, "_has_host_resource", lambda: capable)
    warning = give_oom_score(7, wanted)
    if wanted < least and not capable:
        assert warning is not None
        assert f"it is {score}, and not {wanted}: who starts" in warning
        return
    assert kernel.score == wanted
    if kernel.least < wanted:
        assert warning is not None
        assert f"it is {wanted}, and root inside can lower it" in warning
    else:
        assert warning is None
    assert not (capable and warning)


def test_it_is_written_where_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what a process could go down to would be that of who made it."""
    written: list[bytes] = []
    with subprocess.Popen(["sleep", "60"]) as process:
        same = Attributes.of(process.pid)
        monkeypatch.setattr(attributes.os, "write", lambda _descriptor, text: written.append(text))
        same.give(process.pid)
        give_oom_score(process.pid, same.oom_score_adj or 0)
        process.kill()
    scores = [int(text) for text in written if not text.startswith(b"0x")]  # that is what a core dump holds
    assert scores[:2] == [same.oom_score_adj] * 2


def test_the_standard_leaves_it_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attributes, "_set_oom_score", lambda _pid, _score: pytest.fail("it was written"))
    child = os.fork()
    if child == 0:
        try:
            Attributes.standard().give(0)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
