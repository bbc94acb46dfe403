# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program nft(8), which is given commands for the host's packet filter (N8)."""

from __future__ import annotations

import os

from ..launcher.errors import LauncherError
from .distribution import DEBIAN_PACKAGES

OUTPUT_LIMIT = 1 << 24  # bytes of what nft says
PROGRAM = "nft"
DIRECTORIES = ("/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin")
MISSING = (
    "network: the program '%s' is missing on this host, which keeps containers apart and leads ports to them: install "
    "the package %s" % (PROGRAM, DEBIAN_PACKAGES.packet_filter)
)


def nft_program() -> str:
    """Return the path of nft. Raise LauncherError where it is missing."""
    for directory in DIRECTORIES:
        path = os.path.join(directory, PROGRAM)
        if os.access(path, os.X_OK):
            return path
    raise LauncherError(MISSING)


class Loading:
    """A transaction of nft(8) that goes on by itself, while its caller does other things.

    Args:
        text: the commands.
        held: descriptor of a lock that the program holds until it ends.
    """

    def __init__(self, text: str, held: int) -> None:
        path = nft_program()
        commands, self.said = os.memfd_create("nft-commands"), os.memfd_create("nft-errors")
        try:
            data = text.encode()
            while data:
                data = data[os.write(commands, data) :]
            os.lseek(commands, 0, os.SEEK_SET)
            actions = [
                (os.POSIX_SPAWN_DUP2, commands, 0),
                (os.POSIX_SPAWN_DUP2, self.said, 1),
                (os.POSIX_SPAWN_DUP2, self.said, 2),
                (os.POSIX_SPAWN_DUP2, held, 3),
            ]
            self.pid = os.posix_spawn(path, [path, "-f", "-"], {"LC_ALL": "C"}, file_actions=actions)
        except BaseException:
            os.close(self.said)
            raise
        finally:
            os.close(commands)

    def wait(self) -> str:
        """Wait until it has ended, and return its words, the first time. Raise LauncherError when it has failed."""
        if not self.pid:
            return ""
        pid, self.pid = self.pid, 0
        try:
            _pid, status = os.waitpid(pid, 0)
            text = os.pread(self.said, OUTPUT_LIMIT, 0).decode("utf-8", "replace")
        finally:
            os.close(self.said)
        if status:
            first = " ".join(text.split())[:400]
            raise LauncherError("network: nft has not taken the rules of the containers: %s" % (first or status))
        return text
