# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one error that the pure part of the collection raises, and its suggestions."""

from __future__ import annotations

import difflib
import typing as t

from ..module_utils.launcher.kinds import ContractError

R = t.TypeVar("R")


class DeclarationError(ValueError):
    """A declaration that cannot be used. The message begins with the place (a key's path) and says what to do."""

    def __init__(self, path: str, message: str) -> None:
        self.path = path
        self.message = message
        super().__init__(f"{path}: {message}" if path else message)


def contracted(path: str, read: t.Callable[[], R]) -> R:
    """Return what READ reads of the contract; its ContractError becomes a DeclarationError below PATH."""
    try:
        return read()
    except ContractError as error:
        raise DeclarationError(error.within(path).place, error.message) from error


def suggestion(word: str, known: t.Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the nearest known word, else the known words when they are few, else ""."""
    words = sorted(known)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    if words and len(words) <= 12:
        return f"; known: {', '.join(words)}"
    return ""
