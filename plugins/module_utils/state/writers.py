# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two containers that write to one directory of the host: what each writes to, and where that meets.

A start asks it, of those that run, end or are being started, and claims what it writes to before another start can
ask. The modules ask it earlier, and of those that the host's boot starts as well (`host/claims`).
"""

from __future__ import annotations

import os

from ..launcher import guarded, mapped, mount_table, mounts
from ..launcher.errors import LauncherError
from ..launcher.names import is_name
from ..launcher.paths import RUN_DIRECTORY
from ..launcher.specification import read_claims
from ..launcher.targets import is_below, plain_path
from ..launcher.written_paths import paths_written
from . import mounted_sources
from .locks import AllocationLock
from .record import RecordedContainer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, Iterable, Tuple

    from ..launcher.contract import Mount
    from .mounted_sources import Noted

    Written = Dict[str, str]  # a path of the host that a container writes to, and the mount point by which it does
    Place = Callable[[str], str]  # where a path of the host is looked for
    Other = Tuple[str, str, Written, Noted]  # a container's name, what it does, what it writes to, and has mounted

WAYS_OUT = (
    "two systems that write one directory damage what is in it: stop or remove that container first, "
    "give this one a directory of its own, or share it read-only"
)


def here(path: str) -> str:
    """Return the place of a path for a process that is on that host: the path."""
    return path


class SearchedHost:
    """The host as one search looks at it: with one mount table, however many paths and containers there are.

    Args:
        place: where a path of the host is looked for.
    """

    def __init__(self, place: Place = here) -> None:
        self.place = place
        self.guard = guarded.GuardedHost({}, ())
        self._ways = mount_table.Ways(self.guard.mounts)

    def answers_at_once(self, path: str) -> bool:
        """Return whether a path can be looked at without waiting for a server."""
        return mounts.answers_at_once(self.place(path), self._ways)

    def is_kept(self, path: str) -> bool:
        """Return whether what is written to a path stays there, as far as can be known at once."""
        return not self.answers_at_once(path) or mounted_sources.is_kept(path, self.place(path))

    def by_words(self, path: str) -> guarded.Place | None:
        """Return the place of a path by its words and the mount table; None where only a look can tell."""
        if any(is_below(path, directory) for directory in mounted_sources.WITH_LINKS):
            return None
        path = os.path.normpath(self.place(path))
        way = self._ways.of(path)
        if not way or way[-1].kind == "overlay":
            return None
        return way[-1].device, plain_path("%s/%s" % (way[-1].part, path[len(way[-1].point.rstrip("/")) :]))


def writes(records: Iterable[Mount], host: SearchedHost) -> Written:
    """Return the paths of the host that mounts write to, each with its mount point."""
    return {path: point for path, point in by_words(records).items() if host.is_kept(path)}


def by_words(records: Iterable[Mount]) -> Written:
    """Return the paths of the host that mounts write to, also those of sockets and pipes. Nothing is looked at."""
    found: Written = {}
    for record in records:
        for path in paths_written(record):
            found.setdefault(path, record.mount_point)
    return found


def meetings(written: Written, others: Iterable[Other], host: SearchedHost) -> list[str]:
    """Return a sentence for each path that a container writes to, and that another one writes to as well.

    Of the others' paths those alone are looked at that may meet one of these, by their words and the mount table.

    Args:
        written: what the container writes to.
        others: the other containers, with what they write to by words.
    """
    said = []
    own = [_Own(path, host) for path in written]
    for name, does, theirs, noted in others:
        other = _Others(theirs, noted, host)
        for each in own:
            met = other.meets(each)
            if met:
                said.append(
                    "container '%s', which %s, writes to %s (at %s), and that %s %s (here at %s): %s"
                    % (name, does, met[1], theirs[met[1]], met[0], each.path, written[each.path], WAYS_OUT)
                )
    return said


def refuse_second(
    name: str,
    records: list[Mount],
    directory: str = RUN_DIRECTORY,
    recorded: Callable[[str], RecordedContainer] = RecordedContainer,
) -> None:
    """Refuse to start a container that would write where one that runs does. Without a writable mount, ask nothing.

    Raises:
        LauncherError: naming both, and the ways out; or what the host runs, where that is why they meet.
    """
    if not any(paths_written(record) for record in records):
        return
    host = SearchedHost()
    written = writes(records, host)
    said = meetings(written, _running(name, directory, recorded), host) if written else []
    if said:
        _refuse_guarded(name, writes([record for record in records if not record.is_own], host), host)
        raise LauncherError("container %s: cannot start: %s" % (name, "; ".join(said)))


def _refuse_guarded(name: str, written: Written, host: SearchedHost) -> None:
    """Refuse paths that the host runs: others have their volumes there, and to stop them would be no way out.

    Args:
        name: the container's.
        written: what it writes to, but what of that is its own.
    """
    guard = guarded.GuardedHost(dict(guarded.RUNS, **guarded.interpreter()), table=host.guard.mounts)
    for path in filter(host.answers_at_once, written):
        try:
            source = mounted_sources.open_source(path, host.place(path))
        except OSError:
            continue  # the start refuses it
        try:
            guard.refuse_writable(source, path)
        except guarded.WritableSource as error:
            raise guarded.WritableSource("container %s: cannot start: %s" % (name, error)) from error
        except LauncherError:
            pass  # a link of /proc is on the way, which the start refuses
        finally:
            os.close(source)


def claim(container: RecordedContainer, system: str, records: list[Mount], shares: list[Mount]) -> None:
    """Claim what a container that is being started writes to. Without a writable mount, do nothing.

    The caller holds the container's lock, and gives the claim up when the container runs, or does not.

    Args:
        system: from which it is started.
        records: the mounts of that.
        shares: further ones.

    Raises:
        LauncherError: another one writes there.
    """
    if not any(paths_written(record) for record in records + shares):
        return
    lines = [mapped.Mapped(record, "", {}).line() for record in shares]
    with AllocationLock():  # nobody else asks before this is claimed
        refuse_second(container.name, records + shares)
        container.claim(system, "\n".join(lines))


def names_beside(directory: str, name: str) -> list[str]:
    """Return the names of the containers in a directory but one, sorted; none where there is no such directory."""
    try:
        found = sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    return [other for other in found if other != name and is_name(other)]


def _running(name: str, directory: str, recorded: Callable[[str], RecordedContainer]) -> list[Other]:
    """Return the other containers that run, end or are being started, with what they write to (`--share` as well)."""
    found = []
    for other in names_beside(directory, name):
        use = recorded(other).use()
        if use is None or not use.system:
            continue
        noted = mapped.parse(use.shares) + mounted_sources.note(os.path.join(directory, other))
        records = [known.record for known in noted]
        try:
            records = read_claims(use.system).file_systems + records
        except LauncherError:
            pass  # it was damaged since
        found.append((other, use.does, by_words(records), mounted_sources.mounted(noted)))
    return found


class _Own:
    """One path that a container writes to, looked at once for all the others.

    Where it cannot be opened as a start opens it, or a link of /proc is on the way to what lies there, only the words
    count: a start refuses that.

    Attributes:
        above: device and inode of what is there, then of the directories above.
        written: what can be written there: by the device of a file system, the paths in it.
    """

    def __init__(self, path: str, host: SearchedHost) -> None:
        self.path = path
        self.above: list[str] = []
        self.written: dict[str, list[str]] = {}
        if not host.answers_at_once(path):
            return
        try:
            source = mounted_sources.open_source(path, host.place(path))
        except OSError:
            return
        try:
            self.above = mounted_sources.identities_above(source)
            for device, inner in host.guard.written(source):
                self.written.setdefault(device, []).append(inner)
        except LauncherError:
            pass
        finally:
            os.close(source)

    def meets(self, place: guarded.Place) -> str | None:
        """Return how a place stands to what can be written here, or None."""
        device, inner = place
        found = (guarded.relation_of(inner, written) for written in self.written.get(device, ()))
        return next(filter(None, found), None)


class _Others:
    """What another container writes to."""

    def __init__(self, theirs: Written, noted: Noted, host: SearchedHost) -> None:
        self._host = host
        self._noted = {path: identity for path, identity in noted.items() if path in theirs}
        self._paths = {identity: path for path, identity in self._noted.items()}
        self._by_words = {path: host.by_words(path) for path in theirs}
        self._places: dict[str, list[guarded.Place]] = {}

    def meets(self, own: _Own) -> tuple[str, str] | None:
        """Return how a path that is written here stands to one, by its words or its place; None if apart.

        Returns:
            How it stands (`guarded.relation_of`), and which path.
        """
        for path in self._by_words:
            relation = guarded.relation_of(path, own.path)
            if relation and self._host.is_kept(path):
                return relation, path
        for number, identity in enumerate(own.above):
            if identity in self._paths:
                return ("contains" if number else "is"), self._paths[identity]
        for path, place in self._by_words.items():
            if own.written and (place is None or own.meets(place)):
                for found in self._looked(path):
                    relation = own.meets(found)
                    if relation:
                        return relation, path
        return None

    def _looked(self, path: str) -> list[guarded.Place]:
        """Return the places of a path by a look at it, the first time."""
        if path not in self._places:
            self._places[path] = []
            if self._host.answers_at_once(path) and self._host.is_kept(path):
                try:
                    self._places[path] = mounted_sources.places_of(
                        self._host.guard, path, self._host.place(path), self._noted
                    )
                except LauncherError:
                    pass  # a link of /proc is on the way to what lies there
        return self._places[path]
