#!/usr/bin/python
# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

"""Make a tree of a host: software of its own for containers."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tree
short_description: Make a tree, software of its own for containers
version_added: 0.2.0
description:
  - Makes a tree, a directory with the software of a distribution, which containers then run instead of the host's, with
    C(store.tree) in their declaration.
  - A tree is stored below C(/var/lib/unshare/trees) under the digest of its content, and never changes. Equal trees are
    stored once. O(name) leads to one of them; a system of a container is made for the one that it led to then. So a
    container changes its software with its next deployment, and a roll-back brings the former software back.
  - It is made aside, and gets its place with one rename. A run that dies leaves nothing but what the next run removes.
  - A tree goes when no name leads to it, and no system that the host keeps is made for it.
  - What belongs to one machine alone is taken out, such as logs, caches, host keys of SSH, the machine id and devices.
    The page C(docs/trees.md) lists it.
author:
  - The unshare.container authors (@unshare)
extends_documentation_fragment:
  - unshare.container.attributes
attributes:
  check_mode:
    support: partial
    details: Where only the new tree tells whether anything changes (O(state=latest)), it is made aside and removed
      again. A command is never run in check mode; with O(state=latest) it counts as a change then, with a warning.
  diff_mode:
    details: Shows the content before and after, and the packages that differ, with their versions.
  action:
    description: Has an action plugin, which sends an archive of the controller's.
    support: full
  idempotent:
    details: With O(state=present) nothing is made again as long as the declaration is the same. With
      O(state=latest) the tree is made anew each time, unless a checksum says what it is, and C(changed) says that its
      content is another.
options:
  name:
    description: Name of the tree, of lower-case letters, digits and dashes.
    type: str
    required: true
  state:
    description:
      - V(present) makes the tree when there is none of this name, or it was declared otherwise.
      - V(latest) makes it anew, and keeps the new one only when its content is another. What has a checksum is always
        the same tree, and is not made again.
      - V(absent) takes the name away. The tree goes when nothing uses it any more.
    type: str
    choices: [present, latest, absent]
    default: present
  mmdebstrap:
    description: Makes the tree from packages, by the program C(mmdebstrap).
    type: dict
    suboptions:
      suite:
        description: Name of the release, such as V(trixie).
        type: str
        required: true
      packages:
        description: Packages beside those of O(mmdebstrap.variant).
        type: list
        elements: str
        default: []
      mirrors:
        description: Mirrors, each as a URL, a line of C(sources.list), or a file that has such. By default
          C(mmdebstrap)'s own.
        type: list
        elements: str
        default: []
      variant:
        description: The packages to begin with, as C(mmdebstrap) names them.
        type: str
        default: minbase
      components:
        description: Components of the mirrors. The default is C(mmdebstrap)'s own.
        type: list
        elements: str
        default: []
      keyrings:
        description: Files with the keys that may sign the mirrors.
        type: list
        elements: path
        default: []
      options:
        description: Further options of C(mmdebstrap), in its own words. Programs in it are run by the host's root.
        type: list
        elements: str
        default: []
  archive:
    description: Makes the tree from a tar archive of it, perhaps compressed with gzip, xz or zstd.
    type: dict
    suboptions:
      path:
        description: A file of the host.
        type: path
      url:
        description: A URL (http, https, ftp) from which the host gets it. O(archive.checksum) is required then.
        type: str
      checksum:
        description: Checksum of the file, as V(sha256:DIGITS), V(sha384:DIGITS) or V(sha512:DIGITS). A file of the same
          checksum is the same one, wherever it comes from.
        type: str
  controller:
    description:
      - Makes the tree from an archive that is on the controller, as M(unshare.container.tree_archive) writes it, or
        from any other that O(archive) would take. A relative path is looked for as M(ansible.builtin.copy) does.
      - It is sent over Ansible's connection, in pieces. What has arrived is kept on the host for three days, and a run
        after one that was interrupted goes on from there. The whole is held to its checksum before it is unpacked.
      - A host that has the tree already is sent nothing. Which content an archive has is known before when
        M(unshare.container.tree_archive) has written it; of another one only after it was sent once.
    type: path
  image:
    description:
      - Makes the tree from an image, an OCI layout or what C(docker save) writes. Layers are held to their digests.
    type: dict
    suboptions:
      path:
        description: A file of the host, or a directory with an OCI layout.
        type: path
      url:
        description: A URL (http, https, ftp) from which the host gets it. O(image.checksum) is required then.
        type: str
      checksum:
        description: Checksum of the file, as V(sha256:DIGITS), V(sha384:DIGITS) or V(sha512:DIGITS).
        type: str
      reference:
        description: Name or tag of the image, where there are several.
        type: str
  directory:
    description: Makes the tree from a directory of the host, which is copied. What is mounted below it stays empty.
    type: path
  command:
    description:
      - Makes the tree by a command, which the host's root runs, with an empty directory as its last argument and as
        C(TREE) in its environment. It fills that directory.
      - It has a mount and a pid namespace of its own. What it mounts, and what it leaves running, ends with it.
    type: dict
    suboptions:
      argv:
        description: The command and its arguments.
        type: list
        elements: str
        required: true
      environment:
        description: Variables beside those of the module's own environment.
        type: dict
        default: {}
  size_limit:
    description: How large the tree, and what is fetched for it, may become, as V(20G). More is an error.
    type: str
    default: 20G
  timeout:
    description: Seconds that C(mmdebstrap) or the command may take.
    type: raw
    default: 3600
  sent:
    description: What the action plugin sends of the archive that O(controller) names, and says of it. Filled in by it.
    type: dict
    default: {}
seealso:
  - module: unshare.container.tree_archive
  - module: unshare.container.tree_info
  - module: unshare.container.containers
"""

EXAMPLES = r"""
- name: Make a tree of Debian 13
  unshare.container.tree:
    name: debian13
    mmdebstrap:
      suite: trixie
      packages: [systemd, nginx-light, redis-server]

- name: Run a container on it
  ansible.builtin.include_role:
    name: unshare.container.system_container
  vars:
    system_container_store: {tree: debian13}
    system_container_operating_system:
      host_name: web
      services: [{type: nginx, value: {servers: [{root: /srv/www}]}}]

- name: Renew it once a week, and say which packages have changed
  unshare.container.tree:
    name: debian13
    state: latest
    mmdebstrap:
      suite: trixie
      packages: [systemd, nginx-light, redis-server]
  register: debian13

- name: Bring a tree to the host that was built once, elsewhere
  unshare.container.tree:
    name: debian13
    controller: /srv/trees/debian13.tar.zst

- name: Fetch a tree that was built once
  unshare.container.tree:
    name: alpine
    archive:
      url: https://files.example.org/alpine.tar.zst
      checksum: sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
"""

RETURN = r"""
name:
  description: Name of the tree.
  returned: success
  type: str
  sample: debian13
content:
  description: The digest of its content, by which it is stored. In check mode only where it is known.
  returned: when it is not absent, and known
  type: str
  sample: 5c1f3a9c1f0d7a5a0a1e5a86c1d4e7b2
former_content:
  description: What the name led to before.
  returned: when that was another
  type: str
  sample: 0f343b0931126a20f133d67c2b018a3b
root:
  description: Its root directory.
  returned: when it is not absent, and known
  type: str
  sample: /var/lib/unshare/trees/5c1f3a9c1f0d7a5a0a1e5a86c1d4e7b2/root
package_changes:
  description: The packages that differ from the former tree, with their versions before and after. A version is empty
    where there is none.
  returned: when it is not absent, and known
  type: list
  elements: dict
  sample: [{name: nginx-light, before: 1.26.3-2, after: 1.26.3-3}]
size:
  description: Bytes of its files.
  returned: when it is not absent, and known
  type: int
  sample: 196083712
files:
  description: How many files, directories and links it has.
  returned: when it is not absent, and known
  type: int
  sample: 9120
awaits:
  description: What the host lacks of the archive that is sent to it. This answer is for the action plugin.
  returned: never to a task
  type: dict
distribution:
  description: What its C(os-release) says.
  returned: when it is not absent, and known
  type: dict
  sample: {id: debian, version_id: "13", pretty_name: Debian GNU/Linux 13 (trixie)}
"""

import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.text.formatters import human_to_bytes

from ..module_utils.host.module_log import Unlogged
from ..module_utils.host.module_main import run_to_its_end, said_of
from ..module_utils.host.time_limits import TimeLimit, check_time_limits
from ..module_utils.launcher.names import NO_NAME, is_name
from ..module_utils.state.target import Layout, TargetError
from ..module_utils.trees.kinds_of_sources import TREE_SOURCES
from ..module_utils.trees.making import TreeMaking

ROOT = Path("/")

_FROM_FILE: dict[str, t.Any] = {
    "path": {"type": "path"},
    "url": {"type": "str"},
    "checksum": {"type": "str"},
}
_WORDS: dict[str, t.Any] = {"type": "list", "elements": "str", "default": []}

ARGUMENT_SPEC: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "latest", "absent"], "default": "present"},
    "mmdebstrap": {
        "type": "dict",
        "options": {
            "suite": {"type": "str", "required": True},
            "packages": _WORDS,
            "mirrors": _WORDS,
            "variant": {"type": "str", "default": "minbase"},
            "components": _WORDS,
            "keyrings": {"type": "list", "elements": "path", "default": [], "no_log": False},  # of public keys
            "options": _WORDS,
        },
    },
    "archive": {"type": "dict", "options": _FROM_FILE},
    "controller": {"type": "path"},
    "image": {"type": "dict", "options": {**_FROM_FILE, "reference": {"type": "str"}}},
    "directory": {"type": "path"},
    "command": {
        "type": "dict",
        "options": {
            "argv": {"type": "list", "elements": "str", "required": True},
            "environment": {"type": "dict", "default": {}},
        },
    },
    "size_limit": {"type": "str", "default": "20G"},
    "timeout": TimeLimit(3600),
    "sent": {"type": "dict", "default": {}},
}


def run(module: AnsibleModule, layout: Layout) -> dict[str, t.Any]:
    """Bring the tree into its state, and return the module's result.

    :raises TargetError, LauncherError, OSError: when the parameters or the host stand in the way.
    """
    given = module.params
    check_time_limits(given, ARGUMENT_SPEC)
    name, state = given["name"], given["state"]
    if not is_name(name):
        raise TargetError("name: " + NO_NAME % (name, "tree"))
    kinds = [kind for kind in TREE_SOURCES if given[kind] is not None]
    if state != "absent" and len(kinds) != 1:
        said = "nothing says" if not kinds else f"{' and '.join(kinds)} both say"
        raise TargetError(f"{said} what the tree {name!r} is made from: give one of {', '.join(TREE_SOURCES)}")
    source = None
    if state != "absent":
        value = given[kinds[0]]
        source = TREE_SOURCES[kinds[0]](value if isinstance(value, dict) else {"path": value, **given["sent"]})
    try:
        size_limit = human_to_bytes(given["size_limit"])
    except ValueError:
        raise TargetError(
            f"size_limit: {given['size_limit']!r} is no size; write a number of bytes, or one with K, M, G or T, as 20G"
        ) from None
    making = TreeMaking(layout, name, source, size_limit, given["timeout"], module.check_mode)
    try:
        result = making.reach(state)
    finally:
        for warning in making.warnings:
            module.warn(warning)
    if not module._diff:
        result.pop("diff", None)
    return result


class TreeModule(Unlogged, AnsibleModule):
    """The module, whose arguments the host's log does not have: a URL or an environment may hold a secret."""


def main() -> t.NoReturn:
    """Run as a module."""
    run_to_its_end(
        TreeModule,
        ARGUMENT_SPEC,
        lambda module: run(module, Layout(ROOT)),
        lambda given, error: said_of(f"tree {given['name']!r}", error),
    )


if __name__ == "__main__":
    main()
