#!/usr/bin/python
# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

"""Put a system and the script that runs it on a target."""

from __future__ import annotations

DOCUMENTATION = r"""
module: container_script
short_description: Put a system and the script that runs it on a host
version_added: 0.1.0
description:
  - Writes a system, as the filter P(unshare.container.system_files#filter) makes it, into a directory of its own below
    C(/var/lib/unshare/systems), together with its script C(run-container).
  - The directory is named by a hash of all that decides how the system behaves. It is written aside, brought to the
    disk, and appears with one rename, so that it is whole or not there. It never changes afterwards.
  - A system that is there already is compared with what was written, file by file. When it is damaged, it is written
    anew, and the damaged one is exchanged for it; a warning says what was damaged.
  - The system-call filter, which is made with the host's libseccomp, is a part of the system. Where that library is
    installed later, or compiles another filter after an upgrade, the next run makes another system.
  - Nothing is started, and no running container is touched. M(unshare.container.system_container) does that.
  - Before the system is written, the host is checked for what the container needs, each mount for whether it could be
    made, and the store for every program that a service runs, the init, the time zone and the locale. One error names
    everything of a kind that is missing. For that the host gets a copy of the units below C(/run), which its systemd
    reads, and which is removed at once.
  - What other containers have, such as a directory or a port, keeps no system from being written.
    M(unshare.container.system_container) looks at that before it starts one.
  - The content of files marked as secret is taken out of O(system) on the controller and reaches the host in
    O(secrets), so that neither the output nor the host's log shows it.
author:
  - The unshare.container authors (@unshare)
extends_documentation_fragment:
  - unshare.container.attributes
attributes:
  check_mode:
    details:
      - The host is checked, too. Missing programs are a warning instead of an error, and so are a missing source of a
        required mapping and a directory or a port that another container has, for an earlier task may mend that.
  diff_mode:
    details: Compared with the system that is current for the container, when C(changed) is true. Secret content is
      hidden. The difference from a system that is on the host already is shown by the task that switches to it.
  action:
    description: Has an action plugin, which makes O(boot), and keeps secrets out of the logs.
    support: full
  idempotent:
    details: C(changed) means that a system of this content was not yet on the host, or was damaged.
options:
  name:
    description:
      - Name of the container.
      - The default is the name in O(system).
    type: str
  system:
    description: The system, made by the filter P(unshare.container.system_files#filter).
    type: dict
    required: true
    suboptions:
      name:
        description: Name of the container.
        type: str
        required: true
      files:
        description:
          - The files of the container's root, by their absolute paths.
          - Each has V(link), or V(content) with V(encoding) (V(utf-8) or V(base64)), V(mode) (a string), V(uid), V(gid)
            and V(secret).
        type: dict
        required: true
      directories:
        description: Directories that are made inside before C(boot) runs, parents first.
        type: list
        elements: dict
        suboptions:
          path:
            description: Absolute path inside the container.
            type: str
            required: true
          mode:
            description: Permissions, in octal digits.
            type: str
          uid:
            description: Owner, as a number inside the container.
            type: int
          gid:
            description: Group, as a number inside the container.
            type: int
          account:
            description: Name of the account with that O(system.directories[].uid), for messages.
            type: str
          data:
            description: Whether a service keeps there what is to outlive the container.
            type: bool
          made_once:
            description: What is made there at the first start and should stay, in words for messages.
            type: str
          present:
            description: Whether it lies in a read-only mount, and so has to be there already.
            type: bool
      host_files:
        description: Files and directories taken from the tree beside the store; absent ones are skipped.
        type: list
        elements: str
      spec:
        description: The specification that the script reads. An unknown field is an error.
        type: dict
        required: true
      activation:
        description: Shell text that O(boot) is made from. Not used by the module itself.
        type: list
        elements: str
      programs:
        description: Programs that the store must have.
        type: list
        elements: dict
        suboptions:
          service:
            description: The service that runs it.
            type: str
            required: true
          program:
            description: Absolute path inside the container, or a name that is looked for in the store.
            type: str
            required: true
          package:
            description: The package that contains it, where that is known.
            type: str
      packages:
        description: Packages that hold the programs. Not used by the module itself.
        type: list
        elements: str
      volumes:
        description: The sizes of volumes, which the host is asked for before it gets the system. They are no part of
          the system.
        type: list
        elements: dict
  named_after_host_name:
    description:
      - Whether the container's name was made of the host name, up to its first dot. Then it is an error when the
        container that the host has by this name has another host name, since two declarations would become one
        container, each of which replaces the other. How that one got its name does not matter.
      - Two tasks of one run that give one host's container of one name different host names are an error in any case.
      - The action plugin sets it where the role's C(system_container_name) is left at its default.
    type: bool
    default: false
    version_added: 0.2.0
  boot:
    description:
      - The script that runs first inside the container and ends by executing the init.
      - Made from O(system) by the action plugin, unless it is given.
    type: str
  secrets:
    description:
      - Content of the files marked as secret, by path.
      - Filled from O(system) by the action plugin.
    type: dict
  foreseen_trees:
    description: The trees that earlier tasks of the run would make, in check mode. Filled in by the action plugin.
    type: dict
    default: {}
seealso:
  - module: unshare.container.system_container
  - plugin: unshare.container.system_files
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Put the system on the host, to be started later
  unshare.container.container_script:
    system: "{{ operating_system
      | unshare.container.containerized_operating_system
      | unshare.container.system_files(name='web') }}"
  register: web

- name: Show how to run it by hand
  ansible.builtin.debug:
    var: web.run_container
"""

RETURN = r"""
system:
  description: Directory of the system. In check mode, where it would be.
  returned: success
  type: str
  sample: /var/lib/unshare/systems/0f343b0931126a20f133d67c2b018a3b-web
run_container:
  description: The script that runs the system, for use by hand.
  returned: success
  type: str
  sample: /var/lib/unshare/systems/0f343b0931126a20f133d67c2b018a3b-web/run-container
name:
  description: Name of the container.
  returned: success
  type: str
  sample: web
hash:
  description: Hash of all that decides how the system behaves.
  returned: success
  type: str
  sample: 0f343b0931126a20f133d67c2b018a3b
"""

import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.module_log import Unlogged
from ..module_utils.host.module_main import run_to_its_end, said_of
from ..module_utils.life.staging import refuse_namesake, stage
from ..module_utils.state.target import TargetError

ROOT = Path("/")

ARGUMENT_SPEC: dict[str, t.Any] = {
    "name": {"type": "str"},
    "system": {
        "type": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "files": {"type": "dict", "required": True},
            "directories": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "path": {"type": "str", "required": True},
                    "mode": {"type": "str"},
                    "uid": {"type": "int"},
                    "gid": {"type": "int"},
                    "account": {"type": "str"},
                    "data": {"type": "bool"},
                    "made_once": {"type": "str"},
                    "present": {"type": "bool"},
                },
            },
            "host_files": {"type": "list", "elements": "str"},
            "spec": {"type": "dict", "required": True},
            "activation": {"type": "list", "elements": "str"},
            "programs": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "service": {"type": "str", "required": True},
                    "program": {"type": "str", "required": True},
                    "package": {"type": "str"},
                },
            },
            "packages": {"type": "list", "elements": "str"},
            "volumes": {"type": "list", "elements": "dict"},
        },
    },
    "named_after_host_name": {"type": "bool", "default": False},
    "boot": {"type": "str"},
    "secrets": {"type": "dict", "no_log": True},
    "foreseen_trees": {"type": "dict", "default": {}},
}


def run(module: AnsibleModule, root: Path) -> dict[str, t.Any]:
    """Write the system that the module's parameters describe, and return the module's result.

    :raises TargetError, LauncherError, OSError: when the parameters, the host or the store stand in the way.
    """
    given = module.params
    if given["boot"] is None:
        raise TargetError("boot: is needed; the module's action plugin makes it from a system of system_files")
    if given["named_after_host_name"]:
        refuse_namesake(given["system"], given["name"], root)
    staged = stage(
        given["system"],
        given["boot"],
        given["secrets"],
        given["name"],
        root,
        module.check_mode,
        module._diff,
        foreseen_trees=given["foreseen_trees"],
    )
    for warning in staged.warnings:
        module.warn(warning)
    result: dict[str, t.Any] = {
        "changed": staged.changed,
        "name": staged.content.name,
        "system": str(staged.path),
        "run_container": str(staged.path / "run-container"),
        "hash": staged.path.name.partition("-")[0],
    }
    if staged.difference:
        result["diff"] = staged.difference
    return result


class ContainerScriptModule(Unlogged, AnsibleModule):
    """The module, whose arguments the host's log does not have."""


def main() -> t.NoReturn:
    """Run as a module."""
    run_to_its_end(
        ContainerScriptModule,
        ARGUMENT_SPEC,
        lambda module: run(module, ROOT),
        lambda given, error: said_of(f"container {given['name'] or given['system']['name']!r}", error),
    )


if __name__ == "__main__":
    main()
