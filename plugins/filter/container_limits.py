# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that checks the limits of a container."""

from __future__ import annotations

import typing as t

from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.filters import as_filter

from ..module_utils.host.limits import LimitError, parse_limits

DOCUMENTATION = r"""
name: container_limits
author: The unshare.container authors
version_added: 0.1.0
short_description: Check the limits of a container
description:
  - Checks limits as M(unshare.container.system_container) takes them, before any host is touched. An error begins with
    the place, C(limits.memory_max) for example.
options:
  _input:
    description: The limits.
    type: dict
    required: true
  path:
    description: How the place of the limits is called in an error.
    type: str
    default: limits
seealso:
  - module: unshare.container.system_container
"""

EXAMPLES = r"""
- name: Check limits
  ansible.builtin.debug:
    msg: "{{ {'memory_max': '512M', 'cpu_quota': '150%'} | unshare.container.container_limits }}"
    # {memory_max: 512M, cpu_quota: 150%}
"""

RETURN = r"""
_value:
  description: The limits as they were given.
  type: dict
"""


def container_limits(limits: t.Any, path: str = "limits") -> dict[str, t.Any]:
    """Return the limits, checked. Raise DeclarationError with the place."""
    try:
        parse_limits(limits, path)
    except LimitError as error:
        raise DeclarationError(error.path, error.message) from error
    return t.cast("dict[str, t.Any]", limits)


class FilterModule:
    """The filter P(unshare.container.container_limits#filter)."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"container_limits": as_filter(container_limits)}
