# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The standard streams of a command that enters a container: pipes, or a pty. A courier has the host's ends of them."""

from __future__ import annotations

import os

from ..launcher.courier import Shared, set_size
from . import terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable


class Made:
    """Streams, made in the courier.

    Args:
        inside: the command's standard input, output and error: descriptors.
        shared: the host's ends.
    """

    def __init__(self, inside: tuple[int, int, int], shared: Shared) -> None:
        self.inside = inside
        self.shared = shared


class Pipes:
    """A pipe for each standard stream, of which the host has the other end of some; that of the others is closed.

    So nothing is looked up inside for them, which root inside could keep from being found. They belong to root inside,
    and entering gives them to the command's user.

    Args:
        numbers: of the streams whose other end the host has.
    """

    is_terminal = False

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers
        self.with_input = 0 in numbers
        self.outputs = len(numbers) - self.with_input

    def make(self, _name: str, base: int, _open_root: Callable[[], int]) -> Made:
        """Make them; the arguments are as of `Terminal.make`."""
        inside = []
        shared = Shared(None, [])
        for number in range(3):
            read, write = os.pipe()
            os.fchown(read, base, base)
            theirs, ours = (read, write) if number == 0 else (write, read)
            inside.append(theirs)
            if number not in self.numbers:
                os.close(ours)
            elif number == 0:
                shared.source = ours
            else:
                shared.outputs.append(ours)
        return Made((inside[0], inside[1], inside[2]), shared)


class Terminal:
    """A new pty for all three.

    Args:
        size: of its window.
    """

    is_terminal = True
    with_input = True
    outputs = 1

    def __init__(self, size: bytes) -> None:
        self.size = size

    def make(self, name: str, base: int, open_root: Callable[[], int]) -> Made:
        """Open it.

        Args:
            name: the container.
            base: the host's id of its root.
            open_root: opens its root directory.
        """
        root = open_root()
        try:
            master, slave, warning = terminal.open_for(root, name, base)
        finally:
            os.close(root)
        if any(self.size):
            set_size(master, self.size)
        return Made((slave, slave, slave), Shared(master, [master], master, warning))
