# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that reads SOURCE[=TARGET]."""

from __future__ import annotations

import typing as t

from ansible_collections.unshare.container.plugins.plugin_utils.filters import as_filter
from ansible_collections.unshare.container.plugins.plugin_utils.mappings import file_system_mapping as read

DOCUMENTATION = r"""
name: file_system_mapping
author: The unshare.container authors
version_added: 0.1.0
short_description: Read SOURCE[=TARGET] as a file system mapping
description:
  - The text before the first C(=) is a path on the host, the text after it a path in the container. Without
    C(=) both are the same.
options:
  _input:
    description: The text.
    type: str
    required: true
  writable:
    description: Whether the container may write to it.
    type: bool
    default: false
seealso:
  - plugin: unshare.container.bind_mount
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Make a mapping
  ansible.builtin.debug:
    msg: "{{ '/srv/data=/data' | unshare.container.file_system_mapping(writable=true) }}"
    # {source: /srv/data, target: /data, writable: true}
"""

RETURN = r"""
_value:
  description: The mapping, with C(source), C(target) and C(writable).
  type: dict
"""


def file_system_mapping(specification: t.Any, writable: t.Any = False) -> dict[str, t.Any]:
    """Return the mapping that the text describes."""
    return read(specification, writable)


class FilterModule:
    """The filter P(unshare.container.file_system_mapping#filter)."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"file_system_mapping": as_filter(file_system_mapping)}
