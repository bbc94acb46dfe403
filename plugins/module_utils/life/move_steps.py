# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps by which a container moves between two hosts, and where a run that finds a move begun goes on (V5).

Each step is one change of the note that a host has of the move (`state/holds`). It is on the disk before the next step
begins, on whichever host:

    the old host     the new host    what is done before the next step
    -                -               the system is put on the new host, and looked at; the data are copied while it runs
    HELD             -               it is stopped; what has changed since is copied
    HELD             EXPECTED        the volumes are imported
    GIVEN            EXPECTED        nothing: from here on the new host decides
    GIVEN            ADMITTED        it is deployed there
    GIVEN            - (started)     it is seen to be well; then it is removed from the old host, the note last of all
    - (removed)      - (started)

Only the first start on the new host takes `ADMITTED` away, before a program of the container runs. So whoever finds one
of these rows knows where the container may have run last. It never starts where a note is, but for `ADMITTED` and
`RELEASED`; there is no row in which both hosts would start it, and from each a run goes on, or back:

- as long as it was not started on the new host it can go back. The new host goes to `WITHDRAWN` first, where nobody
  starts it, and which no step of a move of this name changes any more. Then the old host goes to `RELEASED`, which
  holds nothing, starts it and what stopped with it, and takes its note away; last the new one forgets it. A run that
  finds `GIVEN` and `WITHDRAWN` copies as from `HELD`. One that finds `RELEASED` copies as from the beginning, and when
  it goes back, the old host still knows what is to run again.
- once it was started there it may have promised somebody to keep something, so a run only goes on.

Every run that copies gives the move another name. A step that comes late, of a run that was killed, has another name
than the notes and is refused; or it takes the note of the new host for itself, and the run that goes on is refused.
The import is such a step, too.
"""

from __future__ import annotations

import os

from ..launcher import kinds
from ..launcher.kinds import ContractError, ContractRecord
from ..launcher.paths import HOLD_FILE
from ..state import holds
from ..state.holds import Hold
from ..state.target import TargetError

COPY, ADMIT, DEPLOY = "copy", "admit", "deploy"
"""The first step of a run: copy the data, or, when they are there, admit the container, or only deploy it, again."""

LEAVES = (holds.HELD, holds.GIVEN)
COMES = (holds.EXPECTED, holds.ADMITTED, holds.WITHDRAWN)

SAME = "container %r: %s and %s are the same host: name another one as move_to"
NOT_THERE = "container %r: %s has neither the container nor volumes of it: name the host that has it as move_from"
INCOMPLETE = (
    "container %r: %s has nothing of it any more, and %s not all of its data: a move between them was interrupted. "
    "Restore a backup, or remove what has come (state: absent, remove_volumes: true)"
)
OTHERS = (
    "container %r: on %s a move between that host and %s is not finished: finish it first, or, when the container is "
    "kept there, remove it there (state: absent, remove_volumes: true)"
)
BOTH = (
    "container %r: %s has it already, and not from a move (%s): remove that (state: absent, remove_volumes: true), or "
    "give one of the two another name"
)
LOST = (
    "container %r: was given to %s, which has nothing of it now. If what it has had there is lost, or was never "
    "wanted, remove %s on %s: then the container is there what it was"
)
OLD_LAUNCHER = (
    "container %r: %s on %s was written by a version of the collection whose run-container would start it while it "
    "moves: deploy it there once more, with this version and keep_generations: 1, before it moves"
)
LAYER = (
    "container %r: what is written to its root on %s lasts in a layer, and only volumes move: with move_keep=true the "
    "old host keeps it, and the new one begins with an empty one; or have a volume for what is to move"
)
SPACE = "container %r: %s has %d MB left on the file system of %s, and the move needs about %d MB there: make room"
MEGABYTE = 10**6


def _mapping(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ContractError("is not of type dict")
    return value


class MovePlace(ContractRecord):
    """The part of a container that is to move which one host has.

    Attributes:
        place: what tells this host from any other.
        path: where it keeps the container.
        container: whether it has the container itself, beside volumes.
        runs: whether that runs.
        volumes: the names of the volumes.
        filled: those of them in which something is.
        snapshots: the names of the snapshots.
        layer: whether what is written to its root is kept.
        holds_not: its systems whose launchers read no notes of a move, by their names. By hand the container can be
            started from each, also from that of a former generation.
        hold: what is noted of a move, as `Hold.write` has it; empty for nothing.
        size: bytes of an archive of the volumes, about.
        free: bytes that are free.
    """

    place: str
    path: str
    container: bool
    runs: bool
    volumes: list[str]
    filled: list[str]
    snapshots: list[str]
    layer: bool
    holds_not: list[str]
    hold: dict[str, object]
    size: int
    free: int

    KINDS = {
        "place": kinds.text,
        "path": kinds.text,
        "container": kinds.boolean,
        "runs": kinds.boolean,
        "volumes": kinds.list_of(kinds.text),
        "filled": kinds.list_of(kinds.text),
        "snapshots": kinds.list_of(kinds.text),
        "layer": kinds.boolean,
        "holds_not": kinds.list_of(kinds.text),
        "hold": _mapping,
        "size": kinds.count,
        "free": kinds.count,
    }

    def noted(self) -> Hold | None:
        """Return the hold, but none that was released: the container is where it was before its move."""
        hold = Hold.read(self.hold) if self.hold else None
        return None if hold is None or hold.state == holds.RELEASED else hold


class Move:
    """A move that was asked for.

    Attributes:
        name: the container's.
        old, new: the hosts, as the inventory calls them.
        keep: whether the old host keeps what it has.
    """

    def __init__(self, name: str, old: str, new: str, keep: bool = False) -> None:
        self.name = name
        self.old = old
        self.new = new
        self.keep = keep

    def first_step(self, there: MovePlace, here: MovePlace) -> str:
        """Return what a run does first, of `COPY`, `ADMIT` and `DEPLOY`.

        Args:
            there: what the old host has.
            here: what the new host has.

        Raises:
            TargetError: it cannot be moved; nothing was changed for it.
        """
        if there.place == here.place:
            raise TargetError(SAME % (self.name, self.old, self.new))
        leaves, comes = there.noted(), here.noted()
        if leaves is not None and (leaves.peer != self.new or leaves.state not in LEAVES):
            raise TargetError(OTHERS % (self.name, self.old, leaves.peer))
        if comes is not None and (comes.peer != self.old or comes.state not in COMES):
            raise TargetError(OTHERS % (self.name, self.new, comes.peer))
        if leaves is not None and leaves.state == holds.GIVEN:
            return self._given(leaves, comes, there, here)
        if not (there.container or there.volumes):
            if comes is not None:
                raise TargetError(INCOMPLETE % (self.name, self.old, self.new))
            if not here.container:
                raise TargetError(NOT_THERE % (self.name, self.old))
            return DEPLOY
        if comes is None:
            self._refuse_owner(here)
        self._refuse_data(there, here, leaves is None)
        return COPY

    def _refuse_owner(self, here: MovePlace) -> None:
        """Refuse a new host that has something of the container: a move that goes back would remove that."""
        found = "the container" if here.container else ""
        found = found or ("something in volume " + ", ".join(here.filled) if here.filled else "")
        found = found or ("snapshot " + ", ".join(here.snapshots) if here.snapshots else "")
        if found:
            raise TargetError(BOTH % (self.name, self.new, found))

    def _given(self, leaves: Hold, comes: Hold | None, there: MovePlace, here: MovePlace) -> str:
        if comes is not None and (comes.state, comes.move) == (holds.WITHDRAWN, leaves.move):
            self._refuse_data(there, here, False)
            return COPY
        if comes is not None:
            return ADMIT  # which is refused, and goes back, when a late step of another move has changed the note
        if not here.container:
            path = os.path.join(there.path, HOLD_FILE)
            raise TargetError(LOST % (self.name, self.new, path, self.old) + leaves.then())
        return DEPLOY

    def _refuse_data(self, there: MovePlace, here: MovePlace, first: bool) -> None:
        """Refuse data that cannot be moved.

        Args:
            first: whether they are copied once before the container is stopped, and then what has changed since, which
                may be all.
        """
        if there.holds_not:
            raise TargetError(OLD_LAUNCHER % (self.name, ", ".join(there.holds_not), self.old))
        if there.layer and not self.keep:
            raise TargetError(LAYER % (self.name, self.old))
        copies = 2 if first else 1
        # The new host unpacks each copy beside it.
        for host, place, needed in ((self.old, there, copies), (self.new, here, 2 * copies)):
            if place.free < needed * there.size:
                free, size = place.free // MEGABYTE, needed * there.size // MEGABYTE + 1
                raise TargetError(SPACE % (self.name, host, free, place.path, size))
