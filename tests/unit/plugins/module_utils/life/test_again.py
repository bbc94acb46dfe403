# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a container that has rebooted itself is started again: the command line, without a container."""

from __future__ import annotations

import contextlib
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.life import again


@pytest.mark.parametrize(("timeout", "words"), [(1000000.0, "1000000"), (999999.125, "999999.125"), (0.001, "0.001")])
def test_a_time_limit_is_written_as_digits(tmp_path: Path, timeout: float, words: str) -> None:
    launcher = tmp_path / "run-container"
    launcher.write_text('#!/bin/sh\necho "$@" >"${0%/*}/asked"\n')
    launcher.chmod(0o755)
    container: t.Any = types.SimpleNamespace(
        name="web",
        lock=lambda _timeout: contextlib.nullcontext(),
        record=lambda: {"system": str(tmp_path), "timeout": timeout},
        is_to_come_back=lambda: True,
        status=lambda: types.SimpleNamespace(state="running"),
    )
    assert again.bring_back(container)
    assert (tmp_path / "asked").read_text() == f"--again --timeout={words}\n"
