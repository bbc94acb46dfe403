# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The socket on which a container's init reports that it is ready (sd_notify(3)).

Root inside can send files with its messages (unix(7), SCM_RIGHTS). The process that closes a file last waits as long as
the closing takes, and root inside decides that: a connection that lingers, a file system in user space. So this process
neither takes a message with files nor closes the socket while such a message is left in it. Children do that, and can
be killed.
"""

from __future__ import annotations

import os

from .errors import LauncherError
from .excursion import close_in_child, in_child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MESSAGE_LIMIT = 4096  # bytes of a message; the rest is dropped
DROP_SECONDS = 0.5  # in which a message with files is to be taken


class Notification:
    """The notification socket at a path, for a uid of the host."""

    def __init__(self, path: str, owner: int) -> None:
        import socket

        self.socket: Any = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self.socket.bind(path)
            os.chown(path, owner, owner)
            os.chmod(path, 0o600)
        except BaseException:
            self.socket.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor, for a poll."""
        return int(self.socket.fileno())

    def take(self) -> list[bytes]:
        """Return the lines of the next message; an empty list when there is none."""
        message, has_files = self._look()
        if has_files:
            self._drop()
        elif message is not None:
            self.socket.recv(1)
        return [] if message is None else message.split(b"\n")

    def close(self) -> None:
        """Take no more messages, and drop those that are left, whatever they carry."""
        import socket

        self.socket.shutdown(socket.SHUT_RD)  # from now on none is added
        message, has_files = self._look()
        while message is not None and not has_files:
            self.socket.recv(1)
            message, has_files = self._look()
        if has_files:
            close_in_child(self.socket.detach())
        else:
            self.socket.close()

    def _look(self) -> tuple[bytes | None, bool]:
        """Return the next message, if any, without taking it, and whether it carries files."""
        import socket

        try:
            message, _data, flags, _address = self.socket.recvmsg(MESSAGE_LIMIT, 0, socket.MSG_PEEK)
        except BlockingIOError:
            return None, False
        return message, bool(flags & socket.MSG_CTRUNC)

    def _drop(self) -> None:
        """Let a child take the next message."""

        def take() -> str:
            self.socket.recv(1)
            return ""

        try:
            in_child(take, DROP_SECONDS, (self.fileno(),))
        except (TimeoutError, LauncherError):
            pass  # it was killed while it waited, and may have taken the message
