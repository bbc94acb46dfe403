#!/usr/bin/python
# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

"""Write a tree of a host to an archive on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tree_archive
short_description: Write a tree of a host to an archive on the controller
version_added: 0.2.0
description:
  - Makes one archive of a tree that a host has, and gets it to the controller, from where
    M(unshare.container.tree) brings it to other hosts, or a web server serves it to them.
  - The archive is made once for each content. It comes in pieces over Ansible's connection; a run after one that was
    interrupted goes on from there. The whole is held to its checksum before it takes the place of a former one.
  - Beside the archive a description is written, C(PATH.json), with its checksum, and the content and the packages of
    the tree. Keep the two together.
author:
  - The unshare.container authors (@unshare)
extends_documentation_fragment:
  - unshare.container.attributes
attributes:
  diff_mode:
    support: none
  action:
    description: Has an action plugin, which writes the archive.
    support: full
options:
  name:
    description: Name of the tree.
    type: str
    required: true
  path:
    description: The archive on the controller. Its name ends in C(.tar), C(.tar.gz), C(.tar.xz) or C(.tar.zst), which
      says how it is compressed. The directory must be there.
    type: path
    required: true
  timeout:
    description: Seconds that another run is waited for which makes the same archive.
    type: raw
    default: 3600
  asked:
    description: What the action plugin asks the host for. Filled in by it.
    type: dict
    default: {}
seealso:
  - module: unshare.container.tree
"""

EXAMPLES = r"""
- name: Make a tree on the host that builds them
  unshare.container.tree:
    name: debian13
    mmdebstrap: {suite: trixie, packages: [systemd, nginx-light]}
  delegate_to: builder.example.org
  run_once: true

- name: Get it to the controller
  unshare.container.tree_archive:
    name: debian13
    path: /srv/trees/debian13.tar.zst
  delegate_to: builder.example.org
  run_once: true

- name: Bring it to every host that has another one
  unshare.container.tree:
    name: debian13
    controller: /srv/trees/debian13.tar.zst
"""

RETURN = r"""
name:
  description: Name of the tree.
  returned: success
  type: str
  sample: debian13
path:
  description: The archive on the controller.
  returned: success
  type: str
  sample: /srv/trees/debian13.tar.zst
content:
  description: The digest of the tree's content.
  returned: when it is known
  type: str
  sample: 5c1f3a9c1f0d7a5a0a1e5a86c1d4e7b2
checksum:
  description: The checksum of the archive, as O(unshare.container.tree#module:archive.checksum) takes it.
  returned: when it is known
  type: str
  sample: sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
size:
  description: Bytes of the archive.
  returned: when it is known
  type: int
  sample: 81264640
archive:
  description: What the host says of the archive. This answer is for the action plugin.
  returned: never to a task
  type: dict
piece:
  description: A piece of it. This answer is for the action plugin.
  returned: never to a task
  type: str
"""

import base64
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.module_log import Unlogged
from ..module_utils.host.module_main import run_to_its_end, said_of
from ..module_utils.host.time_limits import TimeLimit, check_time_limits
from ..module_utils.launcher.names import NO_NAME, is_name
from ..module_utils.state.target import Layout, TargetError
from ..module_utils.state.trees import Trees
from ..module_utils.trees.archiving import COMPRESSORS, StoredArchive

ROOT = Path("/")
LONGEST = 1 << 26

ARGUMENT_SPEC: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "path": {"type": "path", "required": True},
    "timeout": TimeLimit(3600),
    "asked": {"type": "dict", "default": {}},
}
ASKED: dict[str, t.Any] = {"content": "", "offset": None, "length": 0, "taken": False}
"""What the action plugin asks: the content that it has, or has begun to take; a piece; or that it has all pieces."""


def run(module: AnsibleModule, layout: Layout) -> dict[str, t.Any]:
    """Return the module's result. Raise as `answer`."""
    check_time_limits(module.params, ARGUMENT_SPEC)
    return answer(module.params, {**ASKED, **module.params["asked"]}, layout, module.check_mode)


def answer(given: dict[str, t.Any], asked: dict[str, t.Any], layout: Layout, check: bool) -> dict[str, t.Any]:
    """Return what the host answers to the plugin's question.

    :raises TargetError, LauncherError, OSError: when the tree is not there, or cannot be read.
    """
    name = given["name"]
    if not is_name(name):
        raise TargetError("name: " + NO_NAME % (name, "tree"))
    form = next((end for end in COMPRESSORS if given["path"].endswith(end)), None)
    if form is None:
        raise TargetError(
            f"path: {given['path']} says not how it is to be compressed: end it in {', '.join(COMPRESSORS)}"
        )
    if asked["offset"] is not None:
        archive = StoredArchive(layout, asked["content"], form, given["timeout"])
        length = max(0, min(asked["length"], LONGEST))
        return {"changed": False, "piece": base64.b64encode(archive.piece(asked["offset"], length)).decode("ascii")}
    if asked["taken"]:
        StoredArchive(layout, asked["content"], form, given["timeout"]).remove()
        Trees(layout).remove_empty()
        return {"changed": False}
    try:
        content = Trees(layout).content(name)
    except TargetError:
        if not check:
            raise
        return {"changed": True, "name": name}  # an earlier task may be about to make it
    if content == asked["content"] or check:
        return {"changed": content != asked["content"], "name": name, "content": content}
    made = StoredArchive(layout, content, form, given["timeout"]).made()
    return {"changed": True, "name": name, "content": content, "archive": made.write()}


class TreeArchiveModule(Unlogged, AnsibleModule):
    """The module, whose arguments the host's log does not have: there is one for each piece."""


def main() -> t.NoReturn:
    """Run as a module."""
    run_to_its_end(
        TreeArchiveModule,
        ARGUMENT_SPEC,
        lambda module: run(module, Layout(ROOT)),
        lambda given, error: said_of(f"tree {given['name']!r}", error),
    )


if __name__ == "__main__":
    main()
