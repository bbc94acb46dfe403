# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part that all filters share: errors of a declaration become errors of Ansible."""

from __future__ import annotations

import functools
import typing as t
from collections.abc import Callable

from ansible.errors import AnsibleFilterError

from .errors import DeclarationError

P = t.ParamSpec("P")
R = t.TypeVar("R")


def as_filter(function: Callable[P, R]) -> Callable[P, R]:
    """Return FUNCTION as a filter: it raises a DeclarationError as an AnsibleFilterError with the same message."""

    @functools.wraps(function)
    def wrapped(*positional: P.args, **named: P.kwargs) -> R:
        try:
            return function(*positional, **named)
        except DeclarationError as error:
            raise AnsibleFilterError(str(error)) from error

    return wrapped
