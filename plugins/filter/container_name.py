# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that names a container by the declaration of its operating system."""

from __future__ import annotations

import typing as t

from ansible_collections.unshare.container.plugins.plugin_utils.filters import as_filter
from ansible_collections.unshare.container.plugins.plugin_utils.operating_system import default_name

DOCUMENTATION = r"""
name: container_name
author: The unshare.container authors
version_added: 0.1.0
short_description: Name a container by the declaration of its operating system
description:
  - Returns the name that a container has when none is given, the declaration's C(host_name) up to its first dot, in
    lower-case letters.
options:
  _input:
    description: The operating system, as described in the documentation of the collection.
    type: dict
    required: true
seealso:
  - plugin: unshare.container.system_files
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show the name of a container
  ansible.builtin.debug:
    msg: "{{ {'host_name': 'Web01.example.org'} | unshare.container.container_name }}"
    # web01
"""

RETURN = r"""
_value:
  description: The name.
  type: str
"""


class FilterModule:
    """The filter P(unshare.container.container_name#filter)."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"container_name": as_filter(default_name)}
