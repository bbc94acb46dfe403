# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part that all filters share: errors of a declaration become errors of Ansible, and name no value of the vault."""

from __future__ import annotations

import functools
import typing as t
from collections.abc import Callable

from ansible.errors import AnsibleFilterError
from jinja2 import pass_context
from jinja2.runtime import Context

from .errors import DeclarationError
from .vaulted import hidden, message_without, reveals, vaulted_texts

P = t.ParamSpec("P")
R = t.TypeVar("R")


def as_filter(function: Callable[P, R], shown: bool = False) -> Callable[P, R]:
    """Return FUNCTION as a filter: it raises a DeclarationError as an AnsibleFilterError with the same message.

    The error names no value of the vault, wherever in the template's variables that is. ansible-core shows what an
    error was caused by, so it has neither a cause nor a context.

    :param shown: whether people read what it returns; that, too, then holds no value of the vault.
    """

    @functools.wraps(function)
    def wrapped(*given: t.Any, **named: t.Any) -> t.Any:
        context = given[0] if given and isinstance(given[0], Context) else None
        positional = given if context is None else given[1:]

        def texts() -> frozenset[str]:
            return vaulted_texts(context.parent if context is not None else {}, positional, named)

        try:
            result = function(*positional, **named)
            return hidden(result, texts()) if shown else result
        except Exception as error:
            vaulted = texts()
            if not isinstance(error, DeclarationError) and not reveals(error, vaulted):
                raise
            message = message_without(error, vaulted)
        raise AnsibleFilterError(message)

    return t.cast("Callable[P, R]", pass_context(wrapped))
