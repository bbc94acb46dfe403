# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that derives the operating system of a container."""

from __future__ import annotations

import typing as t

from ansible_collections.unshare.container.plugins.plugin_utils.containerized import (
    containerized_operating_system as derive,
)
from ansible_collections.unshare.container.plugins.plugin_utils.filters import as_filter

DOCUMENTATION = r"""
name: containerized_operating_system
author: The unshare.container authors
version_added: 0.1.0
short_description: Derive the operating system of a container from that of a machine
description:
  - Takes away what only bare metal needs, replaces what a container does differently, and adds the mappings.
  - Pure. The input is not changed, and the same input gives the same output.
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
  - plugin: unshare.container.containerization_report
    plugin_type: filter
  - plugin: unshare.container.system_files
    plugin_type: filter
  - plugin: unshare.container.file_system_mapping
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Derive a container from a bare-metal server
  ansible.builtin.debug:
    msg: "{{ server | unshare.container.containerized_operating_system(['/srv/site=/srv/www']) }}"
  vars:
    server:
      host_name: web
      swap_devices: [/dev/sda2]
      file_systems:
        - {device: /dev/sda1, mount_point: /, type: ext4}
      services:
        - type: static-web-server
        - type: udev
        - type: agetty
    # services of the result: static-web-server, dummy-networking, nscd; file systems: /srv/www and a dummy root
"""

RETURN = r"""
_value:
  description: The operating system of the container, with the same keys as the input.
  type: dict
"""


def containerized_operating_system(
    operating_system: t.Any,
    mappings: t.Any = (),
    shared_network: t.Any = False,
    extra_file_systems: t.Any = (),
    keep_services: t.Any = (),
    store: t.Any = "/usr",
    network: t.Any = None,
) -> dict[str, t.Any]:
    """Return the container's operating system."""
    return derive(
        operating_system,
        mappings=mappings,
        shared_network=shared_network,
        extra_file_systems=extra_file_systems,
        keep_services=keep_services,
        store=store,
        network=network,
    )


class FilterModule:
    """The filter P(unshare.container.containerized_operating_system#filter)."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"containerized_operating_system": as_filter(containerized_operating_system)}
