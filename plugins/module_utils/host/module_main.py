# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A module from its beginning to its end, which every module for a host shares, whatever it does between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, NoReturn

from ..launcher.errors import LauncherError
from ..launcher.process import heed_children
from ..state.target import TargetError, message_about, require_root
from .limits import LimitError

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

ERRORS = (TargetError, LauncherError, LimitError, OSError)
"""The errors that are a module's result, and no traceback."""


def run_to_its_end(
    kind: type[AnsibleModule],
    specification: dict[str, Any],
    act: Callable[[AnsibleModule], dict[str, Any]],
    failure: Callable[[dict[str, Any], Exception], dict[str, Any]],
) -> NoReturn:
    """Run a module, and end this process with its result.

    :param kind: its class.
    :param specification: of its arguments.
    :param act: does what it is for, as root, and returns its result; with `failed` where that is a failure. Its
        `ERRORS` are the module's failure.
    :param failure: returns the result for such an error; it gets the module's parameters as well.
    """
    heed_children()
    module = kind(argument_spec=specification, supports_check_mode=True)
    try:
        require_root()
        result = act(module)
    except ERRORS as error:
        result = {**failure(module.params, error), "failed": True}
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(**result)


def said_of(what: str, error: Exception) -> dict[str, Any]:
    """Return the result for an error, of which `what` is named where the error itself names nothing."""
    return {"msg": message_about(error, what)}
