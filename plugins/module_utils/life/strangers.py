# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Errors about a container that a state is asked for, and of which the host has nothing to bring into it."""

from __future__ import annotations

from ..state.target import Layout, TargetError

SHOWN = 30
"""How many names of containers an error shows; the nearest one comes first of all."""

STAGE = "write one with unshare.container.container_script, and name it in 'system'"


def unknown(layout: Layout, name: str, state: str) -> TargetError:
    """Return the error about a name that no container of this host has, with those that are there."""
    import difflib  # for this error alone

    from .container_information import names

    # The lock by which runs take turns is a directory of the very name that is unknown.
    there = [known for known in names(layout, layout.root / "run/unshare") if known != name]
    near = difflib.get_close_matches(name, there, n=1)
    meant = f"; did you mean {near[0]!r}?" if near else "."
    rest = f" and {len(there) - SHOWN} more" if len(there) > SHOWN else ""
    has = f"It has {', '.join(there[:SHOWN])}{rest}" if there else "It has none"
    way_out = {
        "stopped": "a container that is not to be there has state: absent",
        "rolled_back": "a container that was never there has nothing to go back to",
        "snapshot": "a snapshot is of the volumes of a container that is, or was, on this host",
    }.get(state, f"a new container needs a system: {STAGE}")
    said = f"container {name!r}: this host has no container of this name{meant} {has}. Correct the name"
    return TargetError(f"{said}; {way_out}")


def without_system(name: str) -> TargetError:
    """Return the error about a container that is there and has no system to run."""
    return TargetError(f"container {name!r} has no system on this host; {STAGE}")
