#!/usr/bin/python
# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

"""Gather facts about the trees of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tree_info
short_description: Gather facts about the trees of a host
version_added: 0.2.0
description:
  - Returns the trees of this host, what they were made from, and what uses them.
author:
  - The unshare.container authors (@unshare)
extends_documentation_fragment:
  - unshare.container.attributes
attributes:
  check_mode:
    details: Nothing is changed in any mode.
  diff_mode:
    support: none
    details: Nothing is changed.
  idempotent:
    details: Nothing is changed.
options:
  name:
    description: Names of the trees. The default is all trees of the host. One that is missing is left out.
    type: list
    elements: str
    aliases: [names]
  packages:
    description: Whether to return the packages of each tree with their versions.
    type: bool
    default: false
seealso:
  - module: unshare.container.tree
"""

EXAMPLES = r"""
- name: Look at all trees
  unshare.container.tree_info:
    packages: true
  register: result

- name: Debian 13 has the nginx that it should have
  ansible.builtin.assert:
    that: (result.trees | selectattr('name', '==', 'debian13') | first).packages['nginx-light'] is version('1.26', '>=')
"""

RETURN = r"""
trees:
  description: The trees that names lead to, by name.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      returned: success
      type: str
      sample: debian13
    content:
      description: The digest of its content, by which it is stored.
      returned: success
      type: str
      sample: 5c1f3a9c1f0d7a5a0a1e5a86c1d4e7b2
    root:
      description: Its root directory.
      returned: success
      type: str
      sample: /var/lib/unshare/trees/5c1f3a9c1f0d7a5a0a1e5a86c1d4e7b2/root
    source:
      description: What it was made from, in a few words.
      returned: success
      type: str
      sample: mmdebstrap trixie
    made:
      description: When it was made, in seconds since 1970.
      returned: success
      type: int
      sample: 1790000000
    size:
      description: Bytes of its files.
      returned: success
      type: int
      sample: 196083712
    files:
      description: How many files, directories and links it has.
      returned: success
      type: int
      sample: 9120
    distribution:
      description: What its C(os-release) says.
      returned: success
      type: dict
      sample: {id: debian, version_id: "13", pretty_name: Debian GNU/Linux 13 (trixie)}
    systems:
      description: The systems that are made for it, by the names of their directories.
      returned: success
      type: list
      elements: str
      sample: [0f343b0931126a20f133d67c2b018a3b-web]
    layers:
      description: The containers whose kept layers belong over it. It stays as long as they do.
      returned: success
      type: list
      elements: str
      sample: [web]
    packages:
      description: Versions by the names of packages, where its package database could be read.
      returned: when O(packages=true)
      type: dict
      sample: {nginx-light: 1.26.3-3}
unnamed:
  description: The trees that no name leads to any more, and that are kept since systems are made for them, or kept
    layers belong over them. Each is as in RV(trees), without what belongs to the name.
  returned: success
  type: list
  elements: dict
  sample: []
errors:
  description: What could not be learned, and why.
  returned: success
  type: list
  elements: str
  sample: []
"""

import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.module_main import run_to_its_end, said_of
from ..module_utils.host.readable_results import ReadableResults
from ..module_utils.state.target import Layout
from ..module_utils.trees.listing import Listing

ROOT = Path("/")

ARGUMENT_SPEC: dict[str, t.Any] = {
    "name": {"type": "list", "elements": "str", "aliases": ["names"]},
    "packages": {"type": "bool", "default": False},
}


def run(parameters: dict[str, t.Any], layout: Layout) -> dict[str, t.Any]:
    """Return the module's result. Raise TargetError, OSError."""
    listing = Listing(layout, parameters["packages"])
    names = parameters["name"]
    trees = listing.named(None if names is None else list(dict.fromkeys(names)))
    return {"changed": False, "trees": trees, "unnamed": listing.unnamed(), "errors": listing.errors}


class TreeInfoModule(ReadableResults, AnsibleModule):
    """The module, whose result is valid text."""


def main() -> t.NoReturn:
    """Run as a module."""
    run_to_its_end(
        TreeInfoModule,
        ARGUMENT_SPEC,
        lambda module: run(module.params, Layout(ROOT)),
        lambda given, error: said_of("the trees of this host", error),
    )


if __name__ == "__main__":
    main()
