# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a hostile command does to the pipes, and to its own end, keeps nobody waiting and fills nobody's memory."""

from __future__ import annotations

import os
import selectors
import signal
import time
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.evaluation import run as evaluation
from ansible_collections.unshare.container.plugins.module_utils.evaluation.request import Request
from ansible_collections.unshare.container.tests.unit.plugins.module_utils.evaluation.parameters import parameters


@pytest.fixture
def run() -> t.Iterator[evaluation._Run]:
    """Yield a run whose processes a test makes up."""
    made = evaluation._Run(Request(parameters()), None, t.cast(t.Any, None), evaluation.Outcome(), None)
    yield made
    made.selector.close()


@pytest.fixture
def pipe() -> t.Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("name", ["output", "error", "report"])
def test_what_somebody_else_has_taken_from_a_pipe_is_not_waited_for(
    run: evaluation._Run, pipe: tuple[int, int], name: str
) -> None:
    read, _write = pipe
    callback = run._read_report if name == "report" else run._read_stream(name)
    run._watch(read, selectors.EVENT_READ, callback)
    assert not os.get_blocking(read)
    assert callback(read) is True


def test_what_is_kept_of_a_stream_is_bounded(
    run: evaluation._Run, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "OUTPUT_LIMIT", 8)
    read, write = pipe
    callback = run._read_stream("output")
    run._watch(read, selectors.EVENT_READ, callback)
    for said, kept, truncated in (
        (b"12345678", b"12345678", False),
        (b"9", b"12345678", True),
        (b"0", b"12345678", True),
    ):
        os.write(write, said)
        assert callback(read) is True
        assert (run.streams["output"], run.outcome.truncated) == (kept, truncated)


def test_a_process_that_does_not_end_is_waited_for_as_long_as_said() -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(7)
    os.close(read)
    begun = time.monotonic()
    assert evaluation.wait_for(child, 0.2) is None
    assert 0.2 <= time.monotonic() - begun < 2
    os.close(write)
    assert evaluation.wait_for(child, 10) == 7 << 8


def test_the_end_of_a_run_waits_for_no_process_that_cannot_be_killed(
    run: evaluation._Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "wait_for", lambda child, timeout: None)
    left: list[int] = []
    monkeypatch.setattr(evaluation, "leave", left.append)
    monkeypatch.setattr(run, "_kill", lambda builder: None)
    run.pid, run.go = 111, os.open("/dev/null", os.O_WRONLY)
    run._end(222)
    assert run.status == signal.SIGKILL
    assert left == [111, 222]
    assert [warning.partition(" was")[0] for warning in run.outcome.warnings] == ["process 111", "process 222"]
