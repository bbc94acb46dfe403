# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many of the cases that a property generates are accepted: one that all are refused by shows nothing."""

from __future__ import annotations

import contextlib
import typing as t

from hypothesis import strategies as st

RARELY = st.sampled_from([False, False, False, False, True])
"""Whether a case that is good so far is to be spoilt."""


def mostly(good: st.SearchStrategy[t.Any], odd: st.SearchStrategy[t.Any]) -> st.SearchStrategy[t.Any]:
    """Return a strategy that gives something odd rarely."""
    return RARELY.flatmap(lambda spoilt: odd if spoilt else good)


class Tally:
    """Counts the cases of one property.

    Attributes:
        accepted: those that ended without an error.
        refused: those that ended with one that they may have.
    """

    def __init__(self) -> None:
        self.accepted = 0
        self.refused = 0

    @contextlib.contextmanager
    def case(self, *errors: type[Exception], again: bool = False) -> t.Iterator[None]:
        """Count one case, in which these errors are a refusal.

        Args:
            again: whether the error is raised again, for the caller to look at.
        """
        try:
            yield
        except errors:
            self.refused += 1
            if again:
                raise
        else:
            self.accepted += 1

    def check(self, least: float = 0.6) -> None:
        """Fail unless at least this share of the cases was accepted."""
        share = self.accepted / max(1, self.accepted + self.refused)
        assert share >= least, f"accepted {self.accepted}, refused {self.refused}"
