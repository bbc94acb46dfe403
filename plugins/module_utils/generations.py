# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The generations of a container: numbered links to its systems, newest last, and `current`, which names one of them.

Switching is one rename of `current`. A kill at any moment leaves `current` at the former system or at the new one.
"""

from __future__ import annotations

import os
from pathlib import Path

from .systems import Systems
from .target import Layout, TargetError, explain, make_private_directory, sync_directory

KEPT = 5
"""How many generations a container keeps."""

NEW_LINK = ".new"


def numbers(layout: Layout, name: str) -> list[int]:
    """The numbers of the generations of the container called `name`, oldest first."""
    directory = layout.generations(name)
    if not directory.is_dir():
        return []
    return sorted(int(entry.name) for entry in directory.iterdir() if entry.name.isdigit())


def system_of(layout: Layout, name: str, number: int) -> Path:
    """The system of the generation `number`, whether or not it is still there."""
    return layout.systems / os.path.basename(os.readlink(layout.generations(name) / str(number)))


def check_system(layout: Layout, name: str, system: Path) -> Path:
    """Return `system`, in the layout's own spelling.

    :raises TargetError: when it is not a whole system, or one of another container.
    """
    path = layout.systems / system.name
    if os.path.realpath(system) != os.path.realpath(path) or not (path / "spec.json").is_file():
        raise TargetError(f"{system} is not a system on this host; write it with unshare.container.container_script")
    if path.name[32:] != "-" + name:
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


def prune(layout: Layout, name: str, running: Path | None) -> list[Path]:
    """Forget the oldest generations, and remove the systems of the container that nothing refers to any more.

    Never removed: a system of a kept generation, the current one, the running one, and one written later than the
    current one, which another run has staged and is about to switch to.

    :raises TargetError: when a link or a system cannot be removed.
    """
    current = layout.current_system(name)
    if current is None:
        return []
    try:
        for number in numbers(layout, name)[:-KEPT]:
            if system_of(layout, name, number) != current:
                (layout.generations(name) / str(number)).unlink()
        used = {system_of(layout, name, number) for number in numbers(layout, name)}
    except OSError as error:
        raise TargetError(f"cannot forget an old generation of {name!r}: {explain(error)}") from error
    used.add(current)
    if running is not None:
        used.add(running)
    systems = Systems(layout)
    unused = []
    for system in systems.of_container(name):
        if system == current:
            break
        if system not in used:
            unused.append(system)
    systems.remove(unused)
    return unused


def _link(path: Path, target: str) -> None:
    """Make `path` a link to `target`, in place of what it was, in one step that reaches the disk."""
    new = path.with_name(NEW_LINK)
    if new.is_symlink():
        new.unlink()
    new.symlink_to(target)
    new.rename(path)
    sync_directory(path.parent)
