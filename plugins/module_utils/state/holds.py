# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hold on a container that moves between two hosts: a note in its directory, which each start reads (V5).

Nobody starts a container that is held: no play, no boot, nobody by hand. The steps of a move change the note
(`life/move_steps` has their order); the one that is `admitted` goes with the first start, before a program of the
container runs. So it is known of each host whether the container may have run there. One that is `released` holds
nothing: it says what is still to run again, and goes when all of that was started.
"""

from __future__ import annotations

import os
import shlex

from ..launcher import data, kinds
from ..launcher.errors import Held
from ..launcher.kinds import ContractError, ContractRecord
from ..launcher.paths import HOLD_FILE, make_directory, read_text, remove_file, sync_directory, write_atomically

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

FORMAT = 1
"""The number of what is written here. A later one is not understood, and holds the container as well."""

HELD, GIVEN, RELEASED = "held", "given", "released"
EXPECTED, ADMITTED, WITHDRAWN = "expected", "admitted", "withdrawn"
FREE = (ADMITTED, RELEASED)
"""The states in which nothing keeps the container from being started."""

AGAIN = "Run the playbook move_container again, which finishes that"
SAID = {
    HELD: "it moves to %(peer)s, and does not start here meanwhile. " + AGAIN + "; or, to give it up, remove %(path)s",
    GIVEN: "it was moved to %(peer)s, and may have run there since, so that what it has here is old. " + AGAIN + ". If "
    "what it has there is not wanted, remove it there, and then %(path)s",
    RELEASED: "it has gone back from its move to %(peer)s, and may not run again yet. " + AGAIN + "; or start it, and "
    "remove %(path)s",
    EXPECTED: "it moves here from %(peer)s, and not all of its data have come. " + AGAIN + "; or, to give it up, "
    "remove it here with its volumes (state: absent, remove_volumes: true)",
    ADMITTED: "it moves here, and is about to be started; declare it for this host",
    WITHDRAWN: "it was to move here from %(peer)s, which has it as before. " + AGAIN + "; or remove what has come here "
    "(state: absent, remove_volumes: true)",
}
THEN = ". Then start what stopped with it: %s"
NOT_OF_THIS = (
    "container %s: no import of a move of this name (%s) is expected here, but noted is %s: another run has ended that "
    "move, or goes on with it; run the playbook move_container again"
)
UNREADABLE = (
    "%(path)s says that it moves between two hosts, and cannot be read: %(error)s. Look whether it runs on another "
    "host; if not, remove that file"
)


class Hold(ContractRecord):
    """What is noted on one host of a container that moves.

    Attributes:
        state: on the host that it leaves `HELD`, and then `GIVEN`, or `RELEASED`, when it is to run there again; on the
            other one `EXPECTED`, and then `ADMITTED`, or `WITHDRAWN`, after which no step of this move counts there.
        peer: the other host, as the inventory calls it.
        move: what tells this move from any other.
        ran: whether it ran when it was held, and is to run again when the move is given up.
        stopped_with: the units that stopped with it, since they require it, and are to run again with it.
    """

    state: str
    peer: str
    move: str
    ran: bool = False
    stopped_with: list[str] = []

    KINDS = {
        "state": kinds.choice(HELD, GIVEN, RELEASED, EXPECTED, ADMITTED, WITHDRAWN),
        "peer": kinds.text,
        "move": kinds.text,
        "ran": kinds.boolean,
        "stopped_with": kinds.list_of(kinds.text),
    }

    def then(self) -> str:
        """Return what is left to be done when the container runs again; empty for nothing."""
        return THEN % shlex.join(["systemctl", "start", *self.stopped_with]) if self.stopped_with else ""


def read(directory: str) -> Hold | None:
    """Return the hold on a container, or None when there is none.

    Args:
        directory: the container's on this host.

    Raises:
        ContractError: the note is damaged, or a later version has written it.
    """
    path = os.path.join(directory, HOLD_FILE)
    if not is_noted(directory):
        return None  # nor is there where something else is in the way of the directory
    text = read_text(path)
    try:
        fields = data.parse(text, path)
    except ValueError:
        raise ContractError("it is damaged") from None
    if fields.pop("format", None) != FORMAT:
        raise ContractError("another version of the collection has written it")
    return Hold.read(fields)


def is_noted(directory: str) -> bool:
    """Return whether anything is noted of a move, readable or not."""
    return os.path.lexists(os.path.join(directory, HOLD_FILE))


def write(directory: str, hold: Hold) -> None:
    """Note a hold, so that it lasts through a power failure. The caller has the locks of the container."""
    make_directory(directory, 0o700)
    text = data.format_flat({"format": FORMAT, **hold.write()})
    write_atomically(os.path.join(directory, HOLD_FILE), text, durable=True)
    sync_directory(os.path.dirname(directory))  # it may be the first of what this host has of the container


def lift(directory: str) -> None:
    """Remove a hold for good, if there is one."""
    remove_file(os.path.join(directory, HOLD_FILE))
    sync_directory(directory)


def refusal(directory: str) -> str | None:
    """Return why a container must not be started, with the way out; None for one that may be."""
    return _said(directory, FREE)


def told(directory: str) -> str | None:
    """Return what is noted of a container, with what is to be done; None for nothing."""
    return _said(directory, ())


def _said(directory: str, silent: tuple[str, ...]) -> str | None:
    """Return what is noted, for a person; None for nothing, and in these states."""
    path = os.path.join(directory, HOLD_FILE)
    try:
        hold = read(directory)
    except (ContractError, OSError) as error:
        return UNREADABLE % {"path": path, "error": error}
    if hold is None or hold.state in silent:
        return None
    return SAID[hold.state] % {"path": path, "peer": hold.peer} + hold.then()


def refuse(name: str, directory: str) -> None:
    """Refuse to start a container that is held.

    Args:
        name: the container's.
        directory: its directory on this host.

    Raises:
        Held: it is.
    """
    said = refusal(directory)
    if said is not None:
        raise Held("container %s: %s" % (name, said))


def refuse_import(name: str, directory: str, move: str | None) -> None:
    """Refuse to replace the volumes of a container that moves, but for the import of that move, while it is expected.

    Args:
        name: the container's.
        directory: its directory on this host.
        move: the name of the move to which the import belongs; None for one that belongs to none.

    Raises:
        Held: they are not to be replaced.
    """
    if move is None:
        refuse(name, directory)
        return
    try:
        found = read(directory)
    except ContractError:
        refuse(name, directory)
        raise
    if found is None or (found.state, found.move) != (EXPECTED, move):
        said = "nothing" if found is None else "%s (%s)" % (found.state, found.move)
        raise Held(NOT_OF_THIS % (name, move, said))


def let_start(name: str, directory: str, before_boot: Callable[[], None] | None) -> Callable[[], None]:
    """Return what a start does before a program of the container runs: from then on it has been started here.

    The note of one that is released stays: whoever has that started may yet be about to start what stopped with it.

    Args:
        name: the container's.
        directory: its directory on this host.
        before_boot: what else is to be done then.

    Raises:
        Held: it is not to be started.
    """
    refuse(name, directory)
    hold = read(directory)

    def begin() -> None:
        if hold is not None and hold.state == ADMITTED:
            lift(directory)
        if before_boot is not None:
            before_boot()

    return begin
