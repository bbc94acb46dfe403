# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that renders the system of a container."""

from __future__ import annotations

import typing as t

from ansible_collections.unshare.container.plugins.plugin_utils.filters import as_filter
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files as render

DOCUMENTATION = r"""
name: system_files
author: The unshare.container authors
version_added: 0.1.0
short_description: Render the files and the specification of a container's system
description:
  - Folds the services of an operating system derived by
    P(unshare.container.containerized_operating_system#filter), and returns everything that a target stores
    (files, directories, mounts, the init, and what must be installed).
positional: name
extends_documentation_fragment:
  - unshare.container.system.network
  - unshare.container.system.store
  - unshare.container.system.rendered
  - unshare.container.container.volumes
options:
  _input:
    description: The operating system, as described in the documentation of the collection.
    type: dict
    required: true
  name:
    description: The container's name. By default that of P(unshare.container.container_name#filter).
    type: str
seealso:
  - plugin: unshare.container.containerized_operating_system
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Show which files a container has
  ansible.builtin.debug:
    msg: "{{ (derived | unshare.container.system_files).files.keys() }}"
  vars:
    server:
      host_name: web
      services:
        - type: static-web-server
    derived: "{{ server | unshare.container.containerized_operating_system }}"
"""

RETURN = r"""
_value:
  description: The system.
  type: dict
  contains:
    name:
      description: The container's name.
      type: str
    files:
      description:
        - Files by path, each a mapping of C(content), C(mode), perhaps C(uid), C(gid), C(encoding), C(secret); or of
          C(link).
      type: dict
    directories:
      description: Directories made at each start.
      type: list
      elements: dict
    host_files:
      description: Files taken from the tree beside the store.
      type: list
      elements: str
    spec:
      description: What the launcher reads, in a format with a number. A field that has its default is left out.
      type: dict
    activation:
      description: Shell text that runs before the init.
      type: list
      elements: str
    programs:
      description: Programs that services run, with the service and the package.
      type: list
      elements: dict
    packages:
      description: Packages to install.
      type: list
      elements: str
    volumes:
      description: What O(volumes) says of sizes, which are no part of the system. Missing where it says nothing of
        them.
      type: list
      elements: dict
"""


def system_files(
    operating_system: t.Any,
    name: t.Any = None,
    shared_network: t.Any = False,
    private_users: t.Any = "auto",
    store: t.Any = "/usr",
    log: t.Any = "volatile",
    init: t.Any = "systemd",
    security: t.Any = None,
    oom_score_adj: t.Any = 0,
    network: t.Any = None,
    devices: t.Any = None,
    credentials: t.Any = None,
    root: t.Any = "declared",
    volumes: t.Any = None,
) -> dict[str, t.Any]:
    """Return the rendered system."""
    return render(
        operating_system,
        name=name,
        shared_network=shared_network,
        private_users=private_users,
        store=store,
        log=log,
        init=init,
        security=security,
        oom_score_adj=oom_score_adj,
        network=network,
        devices=devices,
        credentials=credentials,
        root=root,
        volumes=volumes,
    )


class FilterModule:
    """The filter P(unshare.container.system_files#filter)."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"system_files": as_filter(system_files)}
