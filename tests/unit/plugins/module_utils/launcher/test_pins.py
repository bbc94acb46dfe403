# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A number that no process has can be pinned to none; what else fails is an error."""

from __future__ import annotations

import errno
import os

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import linux
from ansible_collections.unshare.container.plugins.module_utils.launcher.process import Process


@pytest.mark.parametrize("number", [errno.ESRCH, errno.EINVAL, errno.ENOENT])
def test_no_process(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """What pidfd_open(2) says of a number that is gone, or is that of a thread, has changed with the kernel."""

    def fail(_pid: int) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(linux, "pidfd_open", fail)
    assert Process.pin(7) is None


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EPERM, errno.ENOSYS])
def test_another_error(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(_pid: int) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(linux, "pidfd_open", fail)
    with pytest.raises(OSError) as raised:
        Process.pin(7)
    assert raised.value.errno == number


def test_a_process() -> None:
    found = Process.pin(os.getpid())
    assert found is not None
    found.close()
