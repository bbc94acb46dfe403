# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that tells what a derivation does."""

from __future__ import annotations

import typing as t

from ansible_collections.unshare.container.plugins.plugin_utils.containerized import containerization_report as derive
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import report_lines
from ansible_collections.unshare.container.plugins.plugin_utils.filters import as_filter

DOCUMENTATION = r"""
name: containerization_report
author: The unshare.container authors
version_added: 0.1.0
short_description: Tell what becomes of an operating system in a container, and why
description:
  - Takes the same arguments as P(unshare.container.containerized_operating_system#filter) and returns what that
    keeps, drops, replaces and adds.
positional: mappings
extends_documentation_fragment:
  - unshare.container.system.derived
  - unshare.container.system.network
  - unshare.container.system.store
options:
  _input:
    description: The operating system, as described in the documentation of the collection.
    type: dict
    required: true
seealso:
  - plugin: unshare.container.containerized_operating_system
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show what is dropped, and why
  ansible.builtin.debug:
    msg: "{{ (server | unshare.container.containerization_report).dropped }}"
  vars:
    server:
      host_name: web
      swap_devices: [/dev/sda2]
      services:
        - type: agetty
    # - {kind: swap_device, name: /dev/sda2, reason: swap belongs to the host}
    # - {kind: service, name: agetty, reason: ...}
"""

RETURN = r"""
_value:
  description: What was done. Every entry of RV(_value.kept), RV(_value.dropped), RV(_value.replaced) and
    RV(_value.added) has C(kind), C(name) and C(reason).
  type: dict
  contains:
    kept:
      description: What stays as it was declared.
      type: list
      elements: dict
    dropped:
      description: What a container does without.
      type: list
      elements: dict
    replaced:
      description: What a container does differently.
      type: list
      elements: dict
    added:
      description: What only the container has.
      type: list
      elements: dict
    lines:
      description:
        - What is dropped, replaced and added, a line each, and which file systems and mapped devices are kept.
        - The role P(unshare.container.system_container#role) shows these lines with C(--diff) or C(-v).
      type: list
      elements: str
      version_added: 0.2.0
"""


def containerization_report(
    operating_system: t.Any,
    mappings: t.Any = (),
    shared_network: t.Any = False,
    extra_file_systems: t.Any = (),
    keep_services: t.Any = (),
    store: t.Any = "/usr",
    network: t.Any = None,
) -> dict[str, t.Any]:
    """Return what the derivation keeps, drops, replaces and adds, and the lines that say so."""
    report = derive(
        operating_system,
        mappings=mappings,
        shared_network=shared_network,
        extra_file_systems=extra_file_systems,
        keep_services=keep_services,
        store=store,
        network=network,
    )
    return {**report, "lines": report_lines(report)}


class FilterModule:
    """The filter P(unshare.container.containerization_report#filter)."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"containerization_report": as_filter(containerization_report, shown=True)}
