# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that changes a list of services."""

from __future__ import annotations

import typing as t

from ansible_collections.unshare.container.plugins.plugin_utils.filters import as_filter
from ansible_collections.unshare.container.plugins.plugin_utils.modify import modify_services as modify

DOCUMENTATION = r"""
name: modify_services
author: The unshare.container authors
version_added: 0.1.0
short_description: Delete, replace or merge into selected services
description:
  - Applies changes, in order, to a list of services. A change that selects no service is an error unless its
    C(required) is V(false).
  - A query is a JMESPath expression. Applied to the whole list it returns the services it selects; when it
    returns no service, it is asked of each service alone and selects those for which it is true. It needs the
    Python library jmespath on the controller.
positional: changes
options:
  _input:
    description: The services, each with C(type) and perhaps C(value).
    type: list
    elements: dict
    required: true
  changes:
    description: What to change.
    type: list
    elements: dict
    required: true
    suboptions:
      select:
        description: Which services, by exactly one of C(type) (a type's name) and C(query) (a JMESPath expression).
        type: dict
        required: true
      action:
        description:
          - V(delete) takes the services away; V(replace) gives them O(changes[].value) as their value;
            V(merge) merges that mapping into theirs, to any depth (lists are replaced).
        type: str
        required: true
        choices: [delete, replace, merge]
      value:
        description: The new value, or what to merge.
        type: raw
      required:
        description: Whether selecting nothing is an error.
        type: bool
        default: true
seealso:
  - plugin: unshare.container.containerized_operating_system
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Another port, and no printer
  ansible.builtin.debug:
    msg: "{{ services | unshare.container.modify_services(changes) }}"
  vars:
    services:
      - {type: static-web-server, value: {port: 8080}}
      - {type: cups}
    changes:
      - {select: {type: static-web-server}, action: merge, value: {port: 8081}}
      - {select: {query: "[?type=='cups']"}, action: delete}
"""

RETURN = r"""
_value:
  description: The changed services.
  type: list
  elements: dict
"""


def modify_services(services: t.Any, changes: t.Any) -> list[dict[str, t.Any]]:
    """Return the services with the changes applied."""
    return modify(services, changes)


class FilterModule:
    """The filter P(unshare.container.modify_services#filter)."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"modify_services": as_filter(modify_services)}
