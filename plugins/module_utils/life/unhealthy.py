# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The error about a container that runs, or ran, and is not well."""

from __future__ import annotations

from typing import Any

from ..state.target import TargetError


class UnhealthyError(TargetError):
    """A container that runs, or ran, and whose services are not all well.

    :param changed: whether anything was changed before this error.
    :param failed_units: the units that do not do what was declared, as far as known.
    :param facts: the facts of the running container.
    :param rolled_back_to: the generation that runs again, after a switch that was undone.
    """

    def __init__(
        self,
        message: str,
        changed: bool,
        failed_units: list[str],
        facts: dict[str, Any],
        rolled_back_to: int | None = None,
    ) -> None:
        super().__init__(message)
        self.rolled_back_to = rolled_back_to
        self.changed = changed
        self.failed_units = failed_units
        self.facts = facts
