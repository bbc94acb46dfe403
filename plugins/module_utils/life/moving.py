# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps that one of two hosts takes for a container that moves between them; `move_steps` has the order."""

from __future__ import annotations

import contextlib
import os
import shlex
from pathlib import Path
from typing import Iterator, Sequence

from ..host.boot import Boot
from ..launcher import trees
from ..launcher.errors import LauncherError
from ..launcher.kinds import ContractError
from ..launcher.paths import remove_entries
from ..launcher.process import boot_id
from ..launcher.volumes import VOLUMES
from ..state import holds, volumes
from ..state.holds import Hold
from ..state.systems import Systems
from ..state.target import Layout, TargetError, message_of
from ..state.volumes import IMPORTING
from . import strangers
from .at_rest import AtRest
from .container import Container
from .move_steps import COMES, OLD_LAUNCHER, MovePlace
from .starting import starter

MEMBER = 2048  # bytes of an archive that a file takes beside its content, about
HOLDS_MODULE = "library/state/holds.py"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

NOT_NOTED = (
    "container %r: no move of this name (%s) is noted here, but %s: another run has ended it, or goes on with it; see "
    "what that says, and run the playbook again"
)
RUNS = "container %r: runs, and is to be stopped for its move; run the playbook again"
NOT_COME = (
    "container %r: not all of its data are here, but another run of its move has removed volume %s again: run the "
    "playbook again, once at a time"
)
NOT_STARTED = "%s\nContainer %r does not run again. Mend that, and run this again, or start it%s"
NOT_AGAIN = (
    "container %r: runs again, but %s, which requires it and stopped with it, does not: %s\nMend that, and start it: "
    "systemctl start %s"
)
NO_SYSTEM = "container %r: nothing holds it any more, but it has no system here: deploy it%s"
IN_THE_WAY = "container %r: this host has it already, and not from a move: remove it here, with its volumes"


class Moving:
    """A container of this host that moves to another one, or from one.

    :param peer: the other host, as the inventory calls it.
    :param timeout: seconds for its stop, its start, and to wait for another run; None for those of its unit.
    :ivar warnings: for the user.
    """

    def __init__(self, layout: Layout, name: str, peer: str, timeout: float | None) -> None:
        self.layout = layout
        self.name = name
        self.peer = peer
        self.container = Container(name)
        boot = Boot(layout, name, self.container, timeout=timeout)
        self.timeout = boot.timeout
        self.starter = starter(self.container, boot.systemd)
        self.rest = AtRest(layout, self.container, self.starter, False, self.timeout)
        self.directory = str(layout.container(name))
        self.warnings: list[str] = []

    def look(self) -> MovePlace:
        """Return what this host has of the container. Change nothing."""
        hold = self._noted()
        names = volumes.volume_names(self.directory)
        there = os.statvfs(_nearest(self.layout.state))
        return MovePlace(
            place=_place(self.layout.state),
            path=self.directory,
            container=self._has_container(),
            runs=self.rest.runs(),
            volumes=names,
            filled=self._filled(names),
            snapshots=volumes.snapshot_names(self.directory),
            layer=os.path.isdir(os.path.join(self.directory, "layer")),
            holds_not=self._without_holds(),
            hold=hold.write() if hold is not None else {},
            size=sum(_archive_size(os.path.join(self.directory, VOLUMES), name) for name in names),
            free=there.f_bavail * there.f_frsize,
        )

    # On the host that it leaves.

    def volumes(self) -> list[str]:
        """Return the names of its volumes on this host."""
        return volumes.volume_names(self.directory)

    def hold(self, move: str, withdrawn: str | None, check: bool) -> tuple[bool, Hold]:
        """Have the container not run, and nobody start it. Return whether that changes anything, and what is noted.

        One that was given to the new host is taken back only when that has withdrawn it.

        :param move: the name of the move, also of one that is noted already: late steps of its last run are refused.
        :param withdrawn: the name of the move that the new host has withdrawn.
        :param check: whether to find out only.
        :raises TargetError, LauncherError, OSError: it cannot be; it goes on as it was, or is held, which the next run
            finds.
        """
        with self._alone(check):
            found = self._noted()
            runs = self.rest.runs()
            if found is not None and not self._leaves(found, withdrawn):
                raise self._not_noted(move, found)
            if not self._is_known():
                raise strangers.unknown(self.layout, self.name, "stopped")
            hold = self._held(move, found, runs)
            if not check:
                holds.write(self.directory, hold)
        is_new = found is None or found.state == holds.RELEASED
        if check:
            return is_new or runs, hold
        with self.starter.lock(self.timeout):
            return self.starter.stop(self.timeout) or is_new, hold

    def _held(self, move: str, found: Hold | None, runs: bool) -> Hold:
        """Return what is noted of a container that is held now: what an earlier run has stopped is to run again, too.

        :param found: what is noted so far.
        :raises TargetError: somebody could start it all the same.
        """
        old = self._without_holds()
        if old:
            raise TargetError(OLD_LAUNCHER % (self.name, ", ".join(old), "this host"))
        hold = found or Hold(state=holds.HELD, peer=self.peer, move=move)
        stops = self.starter.stops_with() if runs else []
        return hold.replacing(
            state=holds.HELD,
            peer=self.peer,
            move=move,
            ran=hold.ran or runs,
            stopped_with=list(dict.fromkeys((*hold.stopped_with, *stops))),
        )

    def _leaves(self, hold: Hold, withdrawn: str | None) -> bool:
        """Return whether a note says that it leaves this host for the other one, which does not have it for good.

        One that was released is on its way to no host any more, so it may leave for any.
        """
        is_back = hold.state == holds.HELD or (hold.state == holds.GIVEN and hold.move == withdrawn)
        return hold.state == holds.RELEASED or (hold.peer == self.peer and is_back)

    def give(self, move: str, check: bool) -> bool:
        """Leave it to the new host what becomes of the container. Return whether that is a change."""
        return self._turn(move, (holds.HELD, holds.GIVEN), holds.GIVEN, check)

    def release(self, withdrawn: str | None, check: bool) -> tuple[bool, bool]:
        """Take the hold away, and have the container run if it ran. Return whether that changes anything, and is done.

        One that was given to the new host is released only when that has withdrawn it. The note stays until what ran
        was started, and holds nothing meanwhile. So a run that is killed in between, or fails, is mended by the next.

        :param withdrawn: the name of the move that the new host has withdrawn.
        :raises TargetError, LauncherError, OSError: it is not released, or the container does not start.
        """
        with self._alone(check):
            hold = self._noted()
            if hold is None:
                return False, True
            if not self._leaves(hold, withdrawn):
                return False, False
            if check:
                return True, True
            hold = hold.replacing(state=holds.RELEASED)
            holds.write(self.directory, hold)
        if hold.ran:
            self._start_again(hold)
        with self._alone(check):
            if self._noted() == hold:  # or another run holds it, and has taken over what is to run again
                holds.lift(self.directory)
        return True, True

    def _start_again(self, hold: Hold) -> None:
        """Start the container, and what stopped with it. It does not go without these: one that fails is a warning."""
        system = self.layout.current_system(self.name)
        if system is None:
            self.warnings.append(NO_SYSTEM % (self.name, hold.then()))
            return
        with self.starter.lock(self.timeout):
            if not self.rest.runs():
                try:
                    self.warnings += self.starter.start(system, True, self.timeout)
                except (LauncherError, TargetError, OSError) as error:
                    said = message_of(error, self.name)
                    raise TargetError(NOT_STARTED % (said, self.name, hold.then())) from error
            for unit in hold.stopped_with:
                try:
                    self.starter.start_unit(unit, self.timeout)
                except TargetError as error:
                    self.warnings.append(NOT_AGAIN % (self.name, unit, error, shlex.quote(unit)))

    # On the host to which it comes.

    def expect(self, move: str, check: bool) -> bool:
        """Have room for what comes, and nobody start it before. Return whether that is a change.

        What an interrupted move has brought here, and was never started, goes.

        :raises TargetError: this host has the container, or volumes of it, and not from a move.
        """
        with self._alone(check):
            found = self._noted()
            if found is None or found.state == holds.RELEASED:
                if self._has_anything():
                    raise TargetError(IN_THE_WAY % self.name)
            elif not self._comes(found) or (found.state, found.move) == (holds.WITHDRAWN, move) or self.rest.runs():
                raise self._not_noted(move, found)
            if not check:
                holds.write(self.directory, Hold(state=holds.EXPECTED, peer=self.peer, move=move))
                remove_entries(self.directory, (VOLUMES, IMPORTING))
            return True

    def admit(self, move: str, needed: list[str], check: bool) -> bool:
        """Let it be started here, now that the other host has given it. Return whether that is a change.

        :param needed: the names of the volumes without which it must not start. A second run of the same move may have
            expected them once more after they had come.
        """
        return self._turn(move, (holds.EXPECTED, holds.ADMITTED), holds.ADMITTED, check, needed)

    def withdraw(self, move: str | None, check: bool) -> tuple[bool, bool, str | None]:
        """Have it not be started here any more, unless it was, and have no later step of the move count here.

        :param move: the name of the move; by default that which is noted. The note of another one becomes one of this,
            for nothing of either is to be admitted.
        :return: whether that changes anything; whether it was never started here; and the name of the move.
        """
        with self._alone(check):
            found = self._noted()
            if found is None:
                return False, not self._has_anything(), None
            if not self._comes(found):
                return False, False, None
            name = move or found.move
            changed = (found.state, found.move) != (holds.WITHDRAWN, name)
            if changed and not check:
                holds.write(self.directory, found.replacing(state=holds.WITHDRAWN, move=name))
            return changed, True, name

    def _comes(self, hold: Hold) -> bool:
        """Return whether a note says that it comes from the other host, and was never started here."""
        return hold.peer == self.peer and hold.state in COMES

    # What all of them stand on.

    def _turn(self, move: str, states: tuple[str, str], state: str, check: bool, needed: Sequence[str] = ()) -> bool:
        """Have the note of a move say `state`. Return whether it said the one before."""
        with self._alone(check):
            found = self._noted()
            if found is None or found.move != move or found.state not in states:
                raise self._not_noted(move, found)
            if self.rest.runs():
                raise TargetError(RUNS % self.name)
            lost = sorted({*needed} - {*volumes.volume_names(self.directory)})
            if lost:
                raise TargetError(NOT_COME % (self.name, ", ".join(lost)))
            if found.state != state and not check:
                holds.write(self.directory, found.replacing(state=state))
            return found.state != state

    def _noted(self) -> Hold | None:
        """Return the hold. Raise TargetError for one that cannot be read."""
        try:
            return holds.read(self.directory)
        except ContractError:
            raise TargetError("container %r: %s" % (self.name, holds.refusal(self.directory))) from None

    def _not_noted(self, move: str, found: Hold | None) -> TargetError:
        said = "nothing" if found is None else "that of %s, %s (%s)" % (found.peer, found.state, found.move)
        return TargetError(NOT_NOTED % (self.name, move, said))

    @contextlib.contextmanager
    def _alone(self, check: bool) -> Iterator[None]:
        """Keep everybody else from starting or stopping it; check mode only looks, and takes no lock."""
        if check:
            yield
            return
        with self.rest.lock(), self.rest.alone():
            yield

    def _has_container(self) -> bool:
        return self.rest.runs() or self.layout.generations(self.name).is_dir()

    def _has_anything(self) -> bool:
        """Return whether this host has what the way back of a move would remove."""
        filled = self._filled(volumes.volume_names(self.directory))
        return self._has_container() or bool(filled or volumes.snapshot_names(self.directory))

    def _without_holds(self) -> list[str]:
        """Return the names of its systems whose launchers read no notes of a move, those of former generations, too."""
        found = Systems(self.layout).of_container(self.name)
        return [system.name for system in found if not (system / HOLDS_MODULE).is_file()]

    def _is_known(self) -> bool:
        return self._has_container() or bool(volumes.volume_names(self.directory))

    def _filled(self, names: list[str]) -> list[str]:
        return [name for name in names if os.listdir(os.path.join(self.directory, VOLUMES, name))]


def _nearest(path: Path) -> Path:
    """Return a path, or the nearest directory above it that is there."""
    return path if path.exists() else _nearest(path.parent)


def _place(state: Path) -> str:
    """Return what tells this host from another one, which may be a container of the same kernel."""
    found = os.stat(_nearest(state))
    return "%s %d %d" % (boot_id(), found.st_dev, found.st_ino)


def _archive_size(directory: str, name: str) -> int:
    """Return how large an archive of a volume is, about: the container may be writing to it."""
    size = trees.TreeSize()
    try:
        above = os.open(directory, _DIRECTORY)
    except FileNotFoundError:
        return 0
    try:
        # It changes meanwhile: what was counted counts.
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, LauncherError):
            trees.walk(above, name, os.path.join(directory, name), size.enter)
    finally:
        os.close(above)
    return size.bytes + size.entries * MEMBER
