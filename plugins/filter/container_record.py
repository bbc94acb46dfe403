# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that checks what is said about a container."""

from __future__ import annotations

import typing as t

from ansible_collections.unshare.container.plugins.plugin_utils import checks
from ansible_collections.unshare.container.plugins.plugin_utils.container_record import RECORD, ROLE
from ansible_collections.unshare.container.plugins.plugin_utils.declared_containers import (
    check_units,
    checked_record,
    rendered,
)
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.filters import as_filter
from ansible_collections.unshare.container.plugins.plugin_utils.unknown_names import refuse_unknown
from ansible_collections.unshare.container.plugins.plugin_utils.validation import Spec, plain, strict

DOCUMENTATION = r"""
name: container_record
author: The unshare.container authors
version_added: 0.2.0
short_description: Check what is said about a container
description:
  - Checks all options of a container before any host is touched, as M(unshare.container.containers) does. An error
    begins with the place, C(health.http[0].port) for example.
  - A system that is declared is made, so that an error in it names the place in the declaration. What the other
    filters return has other places, for a container does without some services and has others.
options:
  _input:
    description: The options, as those of an entry of O(unshare.container.containers#module:containers).
    type: dict
    required: true
  prefix:
    description: Text that is put before the place in an error.
    type: str
    default: ''
  name:
    description: Name of the container, which is checked, too, when it is given.
    type: str
    version_added: 0.2.0
  variables:
    description: Names of variables. One that begins with O(prefix) and is none of the role
      P(unshare.container.system_container#role) is an error.
    type: list
    elements: str
    default: []
    version_added: 0.2.0
  own_variables:
    description: Those of O(variables) that are no error.
    type: list
    elements: str
    default: []
    version_added: 0.2.0
seealso:
  - module: unshare.container.containers
  - plugin: unshare.container.system_container
    plugin_type: role
"""

EXAMPLES = r"""
- name: Check a container
  ansible.builtin.debug:
    msg: "{{ {'state': 'stopped', 'limits': {'memory_max': '512M'}} | unshare.container.container_record }}"
"""

RETURN = r"""
_value:
  description: The options, those that a host is told with their defaults.
  type: dict
"""


OWN_VARIABLES: Spec = {"own_variables": {"type": "list", "elements": "str", "default": []}}


def container_record(
    options: t.Any, prefix: str = "", name: t.Any = None, variables: t.Iterable[str] = (), own_variables: t.Any = None
) -> dict[str, t.Any]:
    """Return the options, checked. Raise DeclarationError with the place."""
    try:
        given = {"own_variables": plain(own_variables, "own_variables")}
        own = strict(given, OWN_VARIABLES, "").get("own_variables", [])
    except DeclarationError as error:
        raise DeclarationError(f"{prefix}{error.path}", error.message) from error
    way_out = (
        f"A variable of your own whose name begins with {prefix} needs another name, or to be named in "
        f"{prefix}own_variables"
    )
    refuse_unknown(variables, {*RECORD, *ROLE}, prefix, "the role", way_out, own)
    try:
        if name is not None:
            checks.name_of_container(
                strict({"name": plain(name, "name")}, {"name": {"type": "str"}}, "")["name"], "name"
            )
        told, derivation = checked_record(plain(options, ""), "")
        if derivation:
            check_units(told, rendered(derivation, None), "")
    except DeclarationError as error:
        raise DeclarationError(f"{prefix}{error.path}", error.message) from error
    return {**derivation, **told}


class FilterModule:
    """The filter P(unshare.container.container_record#filter)."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"container_record": as_filter(container_record)}
