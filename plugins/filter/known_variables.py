# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that refuses misspelled variables of a playbook."""

from __future__ import annotations

import typing as t

from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.filters import as_filter
from ansible_collections.unshare.container.plugins.plugin_utils.unknown_names import refuse_alike

DOCUMENTATION = r"""
name: known_variables
author: The unshare.container authors
version_added: 0.1.0
short_description: Refuse misspelled variables of a playbook
description:
  - A variable that no playbook reads has no effect, and one of its names misspelled may widen what it does.
  - An error begins with the variable that looks like one of the playbook's, and proposes that. Others are a person's
    own.
options:
  _input:
    description: Names of variables, as P(ansible.builtin.varnames#lookup) returns them.
    type: list
    elements: str
    required: true
  known:
    description: The names that the playbook has, without the prefix.
    type: list
    elements: str
    required: true
  prefix:
    description: How its names begin.
    type: str
    required: true
  playbook:
    description: The name of the playbook, for the error.
    type: str
    required: true
seealso:
  - plugin: ansible.builtin.varnames
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Check that no variable is misspelled
  ansible.builtin.debug:
    msg: >-
      {{ query('ansible.builtin.varnames', '^backup_')
      | unshare.container.known_variables(['keep', 'stop'], 'backup_', 'backup_containers') }}
    # ['backup_keep']
"""

RETURN = r"""
_value:
  description: The names as they were given.
  type: list
  elements: str
"""


def known_variables(names: t.Any, known: t.Any, prefix: str, playbook: str) -> list[str]:
    """Return the names. Raise DeclarationError at one that looks like a known one."""
    for place, value in (("known_variables", names), ("known", known)):
        if not isinstance(value, list):
            raise DeclarationError(place, "is no list of names")
    given = [str(name) for name in names]
    refuse_alike(given, [str(name) for name in known], prefix, f"the playbook {playbook}")
    return given


class FilterModule:
    """The filter P(unshare.container.known_variables#filter)."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"known_variables": as_filter(known_variables)}
