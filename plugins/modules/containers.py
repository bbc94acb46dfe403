#!/usr/bin/python
# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

"""Make the containers of a host what the inventory declares."""

from __future__ import annotations

DOCUMENTATION = r"""
module: containers
short_description: Make the containers of a host what the inventory declares
version_added: 0.1.0
description:
  - Derives the systems of all declared containers on the controller, puts those on the host that it does not have, and
    brings every container into its state.
  - Does for all containers of a host what M(unshare.container.container_script) and
    M(unshare.container.system_container) do for one. It takes one round trip, or two when the host lacks a large system
    or has a damaged one. A damaged system is written anew, with a warning.
  - A failure of one container does not affect the others. The module fails at the end, and names the container.
  - All systems are put on the host and looked at first. When one is refused, nothing is stopped or removed.
author:
  - The unshare.container authors (@unshare)
extends_documentation_fragment:
  - unshare.container.attributes
attributes:
  check_mode:
    details: For a container whose system is missing or damaged on the host, the host and the store are checked, too. A
      container that would go on running is judged, and is an error when it is not well. What an earlier task may mend
      is a warning - a missing program, a missing source of a required mapping, what another container has.
  diff_mode:
    details: Shows which parts of the declarations were dropped or replaced, and why; the files that differ, whether or
      not the system is on the host already; the states.
  action:
    description: Has an action plugin, which derives the systems.
    support: full
  idempotent:
    support: partial
    details: A container with C(state=restarted) is restarted each time, and one with C(state=rolled_back) but without
      C(generation) goes back each time.
options:
  containers:
    description:
      - The containers of the host, by their names.
      - Each is a mapping of C(operating_system), C(mappings), C(volumes), C(network), C(shared_network),
        C(extra_file_systems), C(keep_services), C(private_users), C(init), C(security), C(oom_score_adj), C(devices),
        C(credentials), C(log), C(store) and C(root), which its system is made from, and of C(state), C(generation),
        C(keep_generations), C(health), C(roll_back), C(roll_back_state), C(wait), C(timeout), C(remove_volumes),
        C(allow_failed_units), C(enabled), C(after), C(requires), C(restart), C(limits), C(ports) and C(nameservers),
        which its host gets, with the sizes of its volumes.
      - These are the variables of the role P(unshare.container.system_container#role), without C(system_container_) and
        with the same types, choices and defaults.
      - An option that is left out has its default; the host's present setting is not kept.
      - Only C(operating_system) is required, unless C(state) is V(stopped), V(rolled_back) or V(absent).
      - They are brought into their states in this order.
    type: dict
    required: true
  trees:
    description:
      - The trees that the containers name in their C(store), by their names. Each is a mapping of the options of
        M(unshare.container.tree), without C(name).
      - They are brought to the host before anything else, in this order, with O(stage=true) as well. When one of them
        cannot be, nothing is done about the containers.
    type: dict
    default: {}
  purge:
    description:
      - V(true) removes the containers that are on the host and not in O(containers), whoever made them. The data in
        their mappings is never touched.
      - V(false) gives a warning that names them.
      - By default only RV(unnamed) names them.
    type: bool
  stage:
    description:
      - Only put the systems on the host. Nothing is switched, started, stopped or removed.
    type: bool
    default: false
  roll_back:
    description:
      - Whether a switch to another system is undone when a container cannot be started with it, or fails its checks.
        With V(false) this applies only to containers whose own C(roll_back) is true.
      - The container then runs its former generation again, and the module fails all the same.
      - The next run finishes or undoes a switch that was interrupted.
    type: bool
    default: false
  restart_outdated:
    description:
      - Whether the units of running containers that run programs or libraries which the host has replaced or removed
        are restarted, and the container's health is checked after that. Others go on, and the container is not
        restarted. Its PID 1 executes itself anew.
      - When a program that a service needs was removed, that is an error, and nothing of the container is restarted. In
        check mode it is a warning.
      - With O(stage=true) nothing is restarted, and the error comes all the same.
    type: bool
    default: false
  systems:
    description: The systems that the host lacks. Filled in by the action plugin.
    type: dict
    default: {}
  secrets:
    description: The content of their secret files. Filled in by the action plugin.
    type: dict
    default: {}
  foreseen_trees:
    description: The trees that earlier tasks of the run would make, in check mode. Filled in by the action plugin.
    type: dict
    default: {}
seealso:
  - module: unshare.container.system_container
  - module: unshare.container.container_script
"""

EXAMPLES = r"""
- name: Run what the inventory declares, and remove what it does not
  unshare.container.containers:
    containers: "{{ containers }}"
    purge: true

- name: Two containers, one of which must answer
  unshare.container.containers:
    containers:
      web:
        operating_system: "{{ web_operating_system }}"
        mappings: [/srv/www]
        network: {zone: web}
        ports: ["80:8080"]
        health:
          http:
            - port: 8080
      database:
        operating_system: "{{ database_operating_system }}"
        mappings:
          - source: /srv/database
            target: /var/lib/postgresql
            writable: true
        network: {zone: web}
    roll_back: true
"""

RETURN = r"""
containers:
  description: The result of each container, in the order of O(containers), and then of those that were removed.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
      returned: always
    changed:
      description: Whether anything of it was changed, including a damaged system that was written anew.
      type: bool
      returned: always
    failed:
      description: Whether it failed.
      type: bool
      returned: when it did
    msg:
      description: What went wrong.
      type: str
      returned: when it did
    pending:
      description: Whether bringing it into its state would change anything, a restart of outdated units included.
      type: bool
      returned: with O(stage=true)
    outdated_units:
      description: As RV(unshare.container.system_container#module:outdated_units); after a restart, what is left.
      type: list
      elements: str
      returned: when it has been running before
    restarted_units:
      description: Units inside that were restarted, or in check mode would be. C(init.scope) is PID 1.
      type: list
      elements: str
      returned: with O(restart_outdated=true), when there is any
  sample:
    - name: web
      changed: true
      state: running
      system: /var/lib/unshare/systems/0f343b0931126a20f133d67c2b018a3b-web
      generation: 7
      pid: 4711
      boot_seconds: 0.21
      failed_units: []
trees:
  description: The results of the trees, as M(unshare.container.tree) returns them, in the order of O(trees).
  returned: with O(trees)
  type: list
  elements: dict
  sample: [{name: debian13, changed: true, content: 5c1f3a9c1f0d7a5a0a1e5a86c1d4e7b2}]
unnamed:
  description: Containers that are on the host and not in O(containers).
  returned: always
  type: list
  elements: str
  sample: []
missing:
  description: Containers whose system is missing or damaged on the host. This answer is for the action plugin, which
    then sends the systems.
  returned: never to a task
  type: list
  elements: str
"""

import copy
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ..module_utils.host.container_options import TASK_OPTIONS
from ..module_utils.host.module_log import Unlogged
from ..module_utils.host.module_main import run_to_its_end, said_of
from ..module_utils.launcher.errors import OptionError
from ..module_utils.life.container import Container
from ..module_utils.life.host_containers import HostContainers
from ..module_utils.life.one_container import check
from ..module_utils.state.system_content import check_name
from ..module_utils.state.target import TargetError

ROOT = Path("/")

PURGE = "'containers_purge: true' (of this module alone, 'purge: true') removes such containers"

ARGUMENT_SPEC: dict[str, t.Any] = {
    "containers": {"type": "dict", "required": True},
    "purge": {"type": "bool"},
    "stage": {"type": "bool", "default": False},
    "roll_back": {"type": "bool", "default": False},
    "restart_outdated": {"type": "bool", "default": False},
    "systems": {"type": "dict", "default": {}},
    "secrets": {"type": "dict", "default": {}, "no_log": True},
    "trees": {"type": "dict", "default": {}},
    "foreseen_trees": {"type": "dict", "default": {}},
}

ANNOUNCED: dict[str, t.Any] = {"digest": {"type": "str"}, "security": {"type": "dict"}, "tree": {"type": "str"}}
"""The action plugin's announcement of a system: the digest of its content, its filter's settings, its tree."""


def options_of(entry: t.Any, place: str) -> dict[str, t.Any]:
    """Return a container's options with defaults, by TASK_OPTIONS, and those in ANNOUNCED.

    :raises TargetError: naming `place` when they are not valid.
    """
    # The validator puts defaults into its result, and fills them.
    checked = ArgumentSpecValidator(copy.deepcopy({**TASK_OPTIONS, **ANNOUNCED})).validate(entry)
    if checked.error_messages:
        raise TargetError(f"{place}: {'; '.join(checked.error_messages)}")
    parameters: dict[str, t.Any] = checked.validated_parameters
    try:
        check(parameters, place)
    except OptionError as error:
        raise TargetError(str(error)) from error
    return parameters


def run(module: AnsibleModule, root: Path) -> dict[str, t.Any]:
    """Apply what the module's parameters declare, and return the module's result.

    :raises TargetError: when they are not valid.
    :raises OSError: the host cannot be looked at.
    """
    given = module.params
    declared = {
        check_name(name): options_of(entry, f"containers.{name}") for name, entry in given["containers"].items()
    }
    host = HostContainers(
        root,
        declared,
        given["systems"],
        given["secrets"],
        Container,
        module.check_mode,
        bool(module._diff),
        given["restart_outdated"],
        given["foreseen_trees"],
    )
    missing = host.missing()
    if missing:
        return {"changed": False, "missing": missing}
    unnamed = host.unnamed()
    if given["stage"]:
        results = host.stage()
    else:
        results = host.bring(given["roll_back"], options_of({"state": "absent"}, "purge") if given["purge"] else None)
        if unnamed and given["purge"] is False:
            module.warn(f"on this host, but not declared: {', '.join(unnamed)}; {PURGE}")
    for warning in host.warnings:
        module.warn(warning)
    return summary(results, unnamed)


def summary(results: list[dict[str, t.Any]], unnamed: list[str]) -> dict[str, t.Any]:
    """Return the module's result, made of those of the containers."""
    differences: list[dict[str, t.Any]] = []
    for result in results:
        found = result.pop("diff", [])
        differences += found if isinstance(found, list) else [found]
    whole: dict[str, t.Any] = {
        "changed": any(result["changed"] for result in results),
        "containers": results,
        "unnamed": unnamed,
    }
    if differences:
        whole["diff"] = differences
    failed = [result["msg"] for result in results if result.get("failed")]
    if failed:
        whole.update(failed=True, msg="\n".join(failed))
    return whole


class ContainersModule(Unlogged, AnsibleModule):
    """The module, whose arguments the host's log does not have."""


def main() -> t.NoReturn:
    """Run as a module."""
    run_to_its_end(
        ContainersModule,
        ARGUMENT_SPEC,
        lambda module: run(module, ROOT),
        lambda given, error: said_of(f"the containers of this host ({', '.join(given['containers'])})", error),
    )


if __name__ == "__main__":
    main()
