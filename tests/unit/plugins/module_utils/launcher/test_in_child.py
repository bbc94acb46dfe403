# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a child of the launcher says, whole and in time."""

from __future__ import annotations

import signal
import time

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import excursion
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 1 << 20])
def test_an_answer_of_any_size_comes_whole(size: int) -> None:
    assert excursion.in_child(lambda: "x" * size, 20) == "x" * size


def test_an_error_of_any_size_comes_whole() -> None:
    def fail() -> str:
        raise LauncherError("y" * 200000)

    with pytest.raises(LauncherError) as caught:
        excursion.in_child(fail, 20)
    assert str(caught.value) == "y" * 200000


def test_one_that_does_not_end_is_given_up() -> None:
    def wait() -> str:
        signal.pause()
        return ""

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        excursion.in_child(wait, 0.2)
    assert time.monotonic() - began < 5
