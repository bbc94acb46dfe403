# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that lists the essential services of a container."""

from __future__ import annotations

import typing as t

from ansible_collections.unshare.container.plugins.plugin_utils.containerized import essential_services
from ansible_collections.unshare.container.plugins.plugin_utils.filters import as_filter

DOCUMENTATION = r"""
name: container_essential_services
author: The unshare.container authors
version_added: 0.1.0
short_description: List the essential services of an operating system in a container
description:
  - The default essential services of the operating system without those of bare metal, with a C(system) service
    that holds the locale alone first.
  - When the network is shared, the network's files leave the C(etc) service, and the C(hosts) service goes.
extends_documentation_fragment:
  - unshare.container.system.network
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
- name: List the types of the essential services
  ansible.builtin.debug:
    msg: "{{ {'host_name': 'web'} | unshare.container.container_essential_services | map(attribute='type') }}"
"""

RETURN = r"""
_value:
  description: The services, each with C(type) and perhaps C(value).
  type: list
  elements: dict
"""


def container_essential_services(
    operating_system: t.Any, shared_network: t.Any = False, network: t.Any = None
) -> list[dict[str, t.Any]]:
    """Return the essential services of the operating system in a container."""
    return essential_services(operating_system, shared_network, network)


class FilterModule:
    """The filter P(unshare.container.container_essential_services#filter)."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"container_essential_services": as_filter(container_essential_services)}
