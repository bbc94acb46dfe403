# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The generations of a container: numbered links to its systems, newest last, and `current`, which names one of them.

Switching is one rename of `current`. A kill at any moment leaves `current` at the former system or at the new one.
While a switch is on trial, a link `former` names the generation to go back to; it outlives a kill, and so the next run
knows that the current generation has yet to prove itself. Beside a generation with which the container was seen to be
well lies a mark. A switch that fails goes back to no other.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Collection

from ..launcher.names import container_of
from ..launcher.paths import sync_directory
from .systems import Systems
from .target import Layout, TargetError, explain, make_private_directory

GENERATIONS_KEPT = 5
"""The number of generations that a container keeps unless another is asked for."""

NEW_LINK = ".new"
WELL = ".well"  # what the name of a mark ends with


def numbers(layout: Layout, name: str) -> list[int]:
    """Return the numbers of the generations of the container called `name`, oldest first."""
    directory = layout.generations(name)
    if not directory.is_dir():
        return []
    return sorted(int(entry.name) for entry in directory.iterdir() if entry.name.isdigit())


def system_of(layout: Layout, name: str, number: int) -> Path:
    """Return the system of the generation `number`, whether or not it still exists."""
    return layout.systems / os.path.basename(os.readlink(layout.generations(name) / str(number)))


def current_number(layout: Layout, name: str) -> int | None:
    """Return the number of the current generation, or None."""
    return _number(layout.current(name))


def former_number(layout: Layout, name: str) -> int | None:
    """Return the number of the generation to go back to while the current one is on trial; else None."""
    return _number(layout.former(name))


def check_system(layout: Layout, name: str, system: Path) -> Path:
    """Return `system`, in the layout's own spelling.

    :raises TargetError: when it is not a whole system, or one of another container.
    """
    path = layout.systems / system.name
    if os.path.realpath(system) != os.path.realpath(path) or not (path / "spec.json").is_file():
        raise TargetError(f"{system} is not a system on this host; write it with unshare.container.container_script")
    if container_of(path.name) != name:
        raise TargetError(f"{system} is a system of another container than {name!r}")
    return path


def switch(layout: Layout, name: str, system: Path) -> None:
    """Make `system` the current one of the container called `name`, as a new generation.

    :raises TargetError: when the links cannot be written; the former system is still current then.
    """
    generations = layout.generations(name)
    try:
        make_private_directory(generations)
        existing = numbers(layout, name)
        number = existing[-1] if existing else 0
        if not existing or system_of(layout, name, number) != system:  # else a switch that was cut short
            number += 1
            _link(generations / str(number), os.path.join("..", "..", "..", "systems", system.name))
        _link(layout.current(name), os.path.join("generations", str(number)))
    except OSError as error:
        raise TargetError(
            f"cannot make {system} current for {name!r}: {explain(error)}; the former system is still current"
        ) from error


def find(layout: Layout, name: str, number: int | None = None) -> int:
    """Return the number of the generation to go back to: `number`, or the last before the current with another system.

    Of these, one that has been well goes before one that has not.

    Without `number` only generations before the current one are considered.

    :raises TargetError: there is none, or its system is gone.
    """
    existing = numbers(layout, name)
    whole = [n for n in existing if (system_of(layout, name, n) / "spec.json").is_file()]
    kept = f"kept are {', '.join(map(str, whole))}" if whole else "none is kept"
    if number is not None:
        if number not in whole:
            raise TargetError(f"container {name!r} has no generation {number} to go back to; {kept}")
        return number
    current = current_number(layout, name)
    system = layout.current_system(name)
    former = [n for n in whole if (current is None or n < current) and system_of(layout, name, n) != system]
    if not former:
        raise TargetError(f"container {name!r} has no generation before the current one ({current}); {kept}")
    return ([n for n in former if was_well(layout, name, n)] or former)[-1]


def point(layout: Layout, name: str, number: int) -> None:
    """Make the existing generation `number` the current one.

    :raises TargetError: when the link cannot be written.
    """
    try:
        _link(layout.current(name), os.path.join("generations", str(number)))
    except OSError as error:
        raise TargetError(f"cannot make generation {number} of {name!r} current: {explain(error)}") from error


def was_well(layout: Layout, name: str, number: int) -> bool:
    """Return whether the container was seen to be well with the generation `number`."""
    return (layout.generations(name) / f"{number}{WELL}").is_file()


def note_well(layout: Layout, name: str) -> None:
    """Note that the container is well with its current generation.

    :raises TargetError: when that cannot be written.
    """
    current = current_number(layout, name)
    if current is None or was_well(layout, name, current):
        return
    try:
        (layout.generations(name) / f"{current}{WELL}").touch(0o600)
        sync_directory(str(layout.generations(name)))
    except OSError as error:
        message = f"cannot note that {name!r} is well with its generation {current}: {explain(error)}"
        raise TargetError(message) from error


def last_well(layout: Layout, name: str) -> int | None:
    """Return the newest generation, the current one included, that has been well and is whole; None without one."""
    existing = [n for n in numbers(layout, name) if was_well(layout, name, n)]
    current = current_number(layout, name)
    if current in existing:
        existing.append(current)
    whole = [n for n in existing if (system_of(layout, name, n) / "spec.json").is_file()]
    return whole[-1] if whole else None


def begin_trial(layout: Layout, name: str) -> None:
    """Note the generation to go back to, the last that was well, unless an unfinished trial has noted one already.

    :raises TargetError: when the link cannot be written.
    """
    former = last_well(layout, name)
    if former is None or former_number(layout, name) is not None:
        return
    try:
        _link(layout.former(name), os.path.join("generations", str(former)))
    except OSError as error:
        raise TargetError(f"cannot note the generation {former} of {name!r}: {explain(error)}") from error


def end_trial(layout: Layout, name: str) -> None:
    """Forget the generation to go back to: the current one has proved itself, or was given up.

    :raises TargetError: when the link cannot be removed.
    """
    if not layout.former(name).is_symlink():
        return
    try:
        layout.former(name).unlink()
        sync_directory(str(layout.container(name)))
    except OSError as error:
        raise TargetError(f"cannot end the trial of {name!r}: {explain(error)}") from error


def prune(layout: Layout, name: str, running: Path | None, keep: int = GENERATIONS_KEPT) -> list[Path]:
    """Remove the oldest generations, and the systems of the container that nothing refers to any more. Return these.

    Never removed: a system of a kept generation, the current one, the running one, the one to go back to, and one
    written later than the current one, which another run has staged and is about to switch to.

    :param keep: how many generations are kept, those in use not counted.
    :raises TargetError: when a link or a system cannot be removed.
    """
    try:
        for number in surplus(layout, name, keep):
            (layout.generations(name) / str(number)).unlink()
            with contextlib.suppress(FileNotFoundError):
                (layout.generations(name) / f"{number}{WELL}").unlink()
        found = unused(layout, name, running)
    except OSError as error:
        raise TargetError(f"cannot forget an old generation of {name!r}: {explain(error)}") from error
    Systems(layout).remove(found)
    return found


def to_remove(
    layout: Layout, name: str, running: Path | None, keep: int, well: bool = False, newest: bool = False
) -> list[str]:
    """Return what `prune` removes, in words. `well` and `newest` are those of `surplus` and `unused`."""
    numbers = surplus(layout, name, keep, well)
    systems = unused(layout, name, running, numbers, newest)
    return [f"generation {number}" for number in numbers] + [f"system {system.name}" for system in systems]


def surplus(layout: Layout, name: str, keep: int, well: bool = False) -> list[int]:
    """Return the generations that `prune` removes, oldest first.

    :param well: as it will be once the container was seen to be well with the current one, and no trial goes on.
    """
    current = current_number(layout, name)
    if current is None:
        return []
    in_use = (current,) if well else (current, former_number(layout, name), last_well(layout, name))
    return [number for number in numbers(layout, name)[:-keep] if number not in in_use]


def unused(
    layout: Layout, name: str, running: Path | None, without: Collection[int] = (), newest: bool = False
) -> list[Path]:
    """Return the systems of a container that `prune` removes, oldest first.

    :param without: generations that do not count, since they are to be removed first.
    :param newest: as it will be once the current system is marked as used just now (`Systems.touch`).
    """
    current = layout.current_system(name)
    if current is None:
        return []
    used = {system_of(layout, name, number) for number in numbers(layout, name) if number not in without}
    used |= {current, running or current}
    found = Systems(layout).of_container(name)
    older = found if newest or current not in found else found[: found.index(current)]
    return [system for system in older if system not in used]


def _number(link: Path) -> int | None:
    try:
        name = os.path.basename(os.readlink(link))
    except OSError:
        return None
    return int(name) if name.isdigit() else None


def _link(path: Path, target: str) -> None:
    """Make `path` a link to `target`, in one step that replaces what was there and reaches the disk."""
    new = path.with_name(NEW_LINK)
    if new.is_symlink():
        new.unlink()
    new.symlink_to(target)
    new.rename(path)
    sync_directory(str(path.parent))
