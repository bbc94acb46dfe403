# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A socket of netlink(7): errors, those of others, and more than it keeps."""

from __future__ import annotations

import errno

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import netlink_socket
from ansible_collections.unshare.container.tests.kernel_answers import KERNEL, SOMEBODY, acknowledgement, answering


def test_an_error_says_what_was_done_and_why_it_is_refused() -> None:
    asked = answering((acknowledgement(errno.EPERM, 1, "no right"), KERNEL))
    with pytest.raises(OSError, match=r"Operation not permitted \(no right\)") as caught:
        asked.set_mtu(3, 1400)
    assert (caught.value.errno, caught.value.filename) == (errno.EPERM, "set mtu 1400")


def test_nobody_else_answers_for_the_kernel() -> None:
    """Root inside a container can send to a socket in its network namespace."""
    forged = acknowledgement(errno.EPERM, 1)
    asked = answering((forged, SOMEBODY), (acknowledgement(0, 1), KERNEL))
    asked.set_up(3)
    assert asked.socket.answers == []


def test_answers_to_former_requests_are_passed_over() -> None:
    asked = answering((acknowledgement(errno.EPERM, 7), KERNEL), (acknowledgement(0, 1), KERNEL))
    asked.set_up(3)


def test_more_events_than_a_socket_keeps_are_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        code = errno.ENOBUFS

        def fileno(self) -> int:
            return 0

        def recv(self, _size: int) -> bytes:
            raise OSError(self.code, "")

    class Ready:
        def register(self, *_arguments: object) -> None:
            """Take any."""

        def poll(self, milliseconds: int) -> list[int]:
            return [1] if milliseconds else []

    monkeypatch.setattr(netlink_socket.select, "poll", Ready)
    listening = answering()
    listening.socket = Full()
    assert listening.await_event(1)
    assert not listening.await_event(-1)
    listening.socket.code = errno.EBADF
    with pytest.raises(OSError, match="Errno 9"):
        listening.await_event(1)
