# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The switch by which a process stops importing modules. In the file tree of a container they would be the container's.

What an import finds there would run with the rights of the host's root. So a process stops importing before its first
step into a container. The calls that are such a step ask `refuse_to_load`, and fail otherwise.
"""

from __future__ import annotations

import sys

_kept: list[list[object]] = []


def load_nothing_more() -> None:
    """Stop this process from importing modules, for good or until `load_again`."""
    if not _kept:
        _kept[:] = [list(how) for how in _hows()]
    for how in _hows():
        how.clear()


def load_again() -> None:
    """Let this process, which is back on the host, import modules again, if it was stopped."""
    for how, kept in zip(_hows(), _kept):
        how[:] = kept
    _kept.clear()


def refuse_to_load() -> None:
    """Raise RuntimeError if this process, which is about to step into a container, can import modules."""
    if any(_hows()):
        raise RuntimeError("a process that can import modules must not step into a container")


def _hows() -> tuple[list[object], ...]:
    """Return what Python imports with."""
    finders: list[object] = sys.meta_path  # type: ignore[assignment]
    hooks: list[object] = sys.path_hooks  # type: ignore[assignment]
    path: list[object] = sys.path  # type: ignore[assignment]
    return finders, hooks, path
