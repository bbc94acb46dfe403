# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that nothing reads: a misspelled variable would be left out without a word."""

from __future__ import annotations

import difflib
import typing as t

from .errors import DeclarationError

ALIKE = 0.85
"""From which ratio of difflib on a name is taken for another one, misspelled, where names beside those are allowed."""

NEAR = 0.6
MOST = 3
"""The ratio from which on a name is proposed, and how many are at most."""


def refuse_unknown(
    names: t.Iterable[str], known: t.Collection[str], prefix: str, what: str, way_out: str, own: t.Collection[str] = ()
) -> None:
    """Refuse the first of NAMES that begins with PREFIX and is neither known nor a person's own.

    :param known: the names without PREFIX.
    :param what: what has the names, such as "the role".
    :param way_out: what to do about a name that is none of these on purpose.
    :raises DeclarationError: at the name, with those near it.
    """
    for name in sorted(names):
        if name.startswith(prefix) and name[len(prefix) :] not in known and name not in own:
            raise DeclarationError(
                name, f"{what} has no variable of this name{proposal(name, known, prefix)} {way_out}"
            )


def refuse_alike(names: t.Iterable[str], known: t.Collection[str], prefix: str, what: str) -> None:
    """Refuse the first of NAMES that looks like a known one, misspelled. Others are a person's own.

    :param known: the names without PREFIX.
    :param what: what has the names, such as "the role".
    :raises DeclarationError: at the name, with the one that it looks like.
    """
    for name in sorted(names):
        short = name[len(prefix) :]
        if not name.startswith(prefix) or short in known:
            continue
        if difflib.get_close_matches(short, sorted(known), n=1, cutoff=ALIKE):
            said = f"{what} has no variable of this name{proposal(name, known, prefix)}"
            raise DeclarationError(name, f"{said} A variable of your own needs a name that is less like it")


def proposal(name: str, known: t.Iterable[str], prefix: str = "") -> str:
    """Return "; did you mean 'x', or 'y'?" for the known names, given without PREFIX, that are near; else "."."""
    near = difflib.get_close_matches(name[len(prefix) :], sorted(known), n=MOST, cutoff=NEAR)
    return f"; did you mean {', or '.join(repr(prefix + each) for each in near)}?" if near else "."
