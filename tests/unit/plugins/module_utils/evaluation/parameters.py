# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The parameters of the module, as Ansible would give them."""

from __future__ import annotations

import typing as t

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.unshare.container.plugins.modules.eval_container import ARGUMENT_SPEC


def parameters(**given: t.Any) -> dict[str, t.Any]:
    """Return all parameters, those that are not given with their defaults."""
    if not {"argv", "cmd", "expression"} & set(given):
        given["argv"] = ["/bin/true"]
    result = ArgumentSpecValidator(ARGUMENT_SPEC).validate(given)
    assert result.error_messages == []
    validated: dict[str, t.Any] = result.validated_parameters
    return validated
