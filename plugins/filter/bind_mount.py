# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that turns a mapping into a file system."""

from __future__ import annotations

import typing as t

from ansible_collections.unshare.container.plugins.plugin_utils.filters import as_filter
from ansible_collections.unshare.container.plugins.plugin_utils.mappings import bind_mount as mount

DOCUMENTATION = r"""
name: bind_mount
author: The unshare.container authors
version_added: 0.1.0
short_description: Turn a file system mapping into the bind mount that realises it
description:
  - Returns a file system with the keys of those of an operating system.
options:
  _input:
    description: A mapping with C(source), C(target), C(writable) and C(required), or the text C(SOURCE[=TARGET]).
    type: raw
    required: true
seealso:
  - plugin: unshare.container.file_system_mapping
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Make a file system
  ansible.builtin.debug:
    msg: "{{ {'source': '/srv/data', 'target': '/data'} | unshare.container.bind_mount }}"
    # device: /srv/data, mount_point: /data, type: none, flags: [bind-mount, read-only], needed_for_boot: true, ...
"""

RETURN = r"""
_value:
  description: The file system.
  type: dict
"""


def bind_mount(mapping: t.Any) -> dict[str, t.Any]:
    """Return the file system that realises the mapping."""
    return mount(mapping)


class FilterModule:
    """The filter P(unshare.container.bind_mount#filter)."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"bind_mount": as_filter(bind_mount)}
