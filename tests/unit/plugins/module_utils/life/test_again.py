# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a container that has rebooted itself is started again: the command line, without a container."""

from __future__ import annotations

import contextlib
import subprocess
import types
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.life import again


@pytest.mark.parametrize(("timeout", "words"), [(1000000.0, "1000000"), (1234567.125, "1234567.125"), (0.001, "0.001")])
def test_a_time_limit_is_written_as_digits(monkeypatch: pytest.MonkeyPatch, timeout: float, words: str) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], **_options: t.Any) -> t.Any:
        asked.append(command)
        return types.SimpleNamespace(returncode=0, stderr=b"")

    monkeypatch.setattr(subprocess, "run", run)
    container: t.Any = types.SimpleNamespace(
        name="web",
        lock=lambda _timeout: contextlib.nullcontext(),
        record=lambda: {"system": "/system", "timeout": timeout},
        is_to_come_back=lambda: True,
        status=lambda: types.SimpleNamespace(state="running"),
    )
    assert again.bring_back(container)
    assert asked == [["/system/run-container", "--again", f"--timeout={words}"]]
