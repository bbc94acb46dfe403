# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The standard streams of a command that enters a container: pipes, or a pty. A courier has the host's ends of them."""

from __future__ import annotations

import os

from ..launcher.courier import Shared, set_size
from . import terminal
from .passage import INSIDE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable


class Made:
    """Streams, made in the courier.

    Args:
        inside: the command's standard input, output and error: descriptors, or `INSIDE`.
        shared: the host's ends.
    """

    def __init__(self, inside: tuple[int, int, int], shared: Shared) -> None:
        self.inside = inside
        self.shared = shared


class Pipes:
    """A pipe for each of some standard streams; the others are the container's own null device.

    They belong to root inside, and entering gives them to the command's user.

    Args:
        numbers: of the streams that have one.
    """

    is_terminal = False

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers
        self.with_input = 0 in numbers
        self.outputs = len(numbers) - self.with_input

    def make(self, _name: str, base: int, _open_root: Callable[[], int]) -> Made:
        """Make them; the arguments are as of `Terminal.make`."""
        inside = [INSIDE, INSIDE, INSIDE]
        shared = Shared(None, [])
        for number in self.numbers:
            read, write = os.pipe()
            if number == 0:
                inside[0], shared.source = read, write
            else:
                inside[number] = write
                shared.outputs.append(read)
            os.fchown(read, base, base)
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
