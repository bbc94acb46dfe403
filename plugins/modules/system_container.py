#!/usr/bin/python
# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

"""Start, stop, restart, roll back or remove a system container."""

from __future__ import annotations

DOCUMENTATION = r"""
module: system_container
short_description: Start, stop, restart, roll back or remove a system container
version_added: 0.1.0
description:
  - Brings a container on this host into a state. Its systems are written by M(unshare.container.container_script).
  - A container is restarted when it runs another system than the current one, or with O(state=restarted).
  - Before a container is stopped or started, the host is checked for what the system needs. A mapping that cannot be
    made, a missing program, a directory that another container writes or a port of the host's network that is taken is
    an error, and what runs goes on. In check mode the last two are warnings.
  - A system runs with the launcher that it was written with. To go back to a system is to go back to all of its code.
  - The last O(keep_generations) systems that were current are kept as generations. Systems that no generation and no
    running container uses are removed.
  - When a task leaves out O(timeout), O(enabled), O(after), O(requires), O(restart), O(limits), O(ports),
    O(nameservers) or O(volumes), the host's present setting is kept. At first O(timeout) is 30, O(restart) is
    V(on-failure), and the others are off or empty. An empty list or mapping removes a present setting.
  - Of O(volumes) this module takes the sizes. What else it says is a part of the system.
  - Two runs for one container wait for each other.
author:
  - The unshare.container authors (@unshare)
extends_documentation_fragment:
  - unshare.container.attributes
  - unshare.container.container
  - unshare.container.container.volumes
attributes:
  check_mode:
    details: O(system) does not need to be on the host yet. A container that would go on running is judged, and is an
      error when it is not well. Of a system that is there a missing source of a required mapping is a warning, and so
      is what another container has, for an earlier task may mend that.
  diff_mode:
    details: Shows the state, the current system and the running one, and how the content of a system that is on the
      host differs from that of the current one. What the run has shown already is not shown again.
  action:
    description: Has an action plugin, which keeps values of the vault out of what is shown.
    support: full
  idempotent:
    support: partial
    details: O(state=restarted) restarts each time. O(state=rolled_back) without O(generation) goes back each time.
options:
  name:
    description: Name of the container.
    type: str
    required: true
  system:
    description:
      - Directory of the system to make current, as RV(unshare.container.container_script#module:system) says.
      - The default is to leave the current one.
    type: str
seealso:
  - module: unshare.container.container_script
"""

EXAMPLES = r"""
- name: Run the system that was written before
  unshare.container.system_container:
    name: web
    system: "{{ web.system }}"

- name: Give slow services two minutes
  unshare.container.system_container:
    name: database
    state: restarted
    timeout: 120

- name: Switch to a system, and back when the web server does not answer
  unshare.container.system_container:
    name: web
    system: "{{ web.system }}"
    health:
      http:
        - port: 8080
    roll_back: true

- name: Run it from boot on, after the database and within bounds
  unshare.container.system_container:
    name: web
    enabled: true
    after: [database]
    limits:
      memory_max: 512M
      cpu_quota: 150%
      tasks_max: 512

- name: Publish its port 80 as the host's, without a restart
  unshare.container.system_container:
    name: web
    ports: ["80:80"]

- name: Let its volume hold 20 GiB, without a restart, where the file system has quotas
  unshare.container.system_container:
    name: web
    volumes:
      - {name: data, size: 20G, size_may_fail: true}

- name: Remove the container, but not the data in its mappings
  unshare.container.system_container:
    name: web
    state: absent
"""

RETURN = r"""
name:
  description: Name of the container.
  returned: success
  type: str
  sample: web
state:
  description: The state of the container, V(running), V(stopped) or V(absent). In check mode, the state it would have.
  returned: success
  type: str
  sample: running
system:
  description: Directory of the system that is current. In check mode, of the one that would be.
  returned: when there is one
  type: str
  sample: /var/lib/unshare/systems/0f343b0931126a20f133d67c2b018a3b-web
store:
  description: The software of that system, as RV(unshare.container.system_container_info#module:containers[].store).
  returned: when the system is on the host
  type: dict
  sample: {source: /usr}
pid:
  description: PID, on the host, of the container's first process.
  returned: when it runs
  type: int
  sample: 4711
uid_base:
  description: The host's id that is 0 inside.
  returned: when it runs
  type: int
  sample: 524288
uid_count:
  description: How many ids the container has.
  returned: when it runs
  type: int
  sample: 65536
addresses:
  description: The addresses of its interfaces. One that a client inside has from a DHCP server is not among them.
  returned: when it runs with interfaces of its own
  type: list
  elements: str
  sample: [10.80.0.2]
boot_seconds:
  description: Seconds from the launch until it was ready.
  returned: when it runs
  type: float
  sample: 0.21
ready:
  description: Whether its init has said that it is ready.
  returned: when it runs
  type: bool
  sample: true
generation:
  description: Number of the generation that is current.
  returned: when it runs
  type: int
  sample: 7
former_generation:
  description: Number of the generation that was current before.
  returned: when another one is now
  type: int
  sample: 6
rolled_back_to:
  description: The generation that runs again.
  returned: when a switch was undone
  type: int
  sample: 6
failed_units:
  description: Units that do not do what was declared. They failed, did not load, were never started, or ended.
  returned: when it was waited for
  type: list
  elements: str
  sample: []
outdated_units:
  description:
    - Units inside that run programs or libraries of the store which the host has replaced or removed since they were
      started. A warning names them. They change when they are restarted, which this module does not do by itself, as
      M(unshare.container.containers) does when it is asked to.
  returned: when it has been running before
  type: list
  elements: str
  sample: [nginx.service]
healed:
  description:
    - What the running container lacked, since the host has changed, and has again. In check mode, what it would have
      again. Mappings that were left out, what was mounted below a mapping since, the host's network files.
  returned: when there is anything
  type: list
  elements: str
  sample: ["/srv/data: is mounted in the running container"]
enabled:
  description: Whether the host's boot starts it. In check mode, whether it would.
  returned: when the container is not absent
  type: bool
  sample: true
boot_command:
  description: The command that starts it, for hosts whose boot does not do it by itself.
  returned: when the container is not absent
  type: str
  sample: /var/lib/unshare/containers/web/current/run-container --detach
limits:
  description: Its limits in numbers, bytes and percents.
  returned: when the container is not absent
  type: dict
  sample: {memory_max: 536870912}
shell:
  description: The command that gives a shell in the container, for the host's root.
  returned: when it runs
  type: str
  sample: /var/lib/unshare/containers/web/current/enter-container
"""

import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.container_options import TASK_OPTIONS
from ..module_utils.host.module_log import Unlogged
from ..module_utils.host.module_main import run_to_its_end
from ..module_utils.life import main as _library_main  # noqa: F401  all of it is sent, to be compared
from ..module_utils.life.container import Container
from ..module_utils.life.one_container import OneContainer, check, failure
from ..module_utils.state.system_content import check_name
from ..module_utils.state.target import Layout

ROOT = Path("/")

ARGUMENT_SPEC: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "system": {"type": "str"},
    **TASK_OPTIONS,
}


def run(module: AnsibleModule, layout: Layout) -> dict[str, t.Any]:
    """Bring the container into the state that the module's parameters ask for, and return the module's result.

    :raises TargetError, LauncherError, LimitError, OSError: when that cannot be done.
    """
    given = module.params
    check(given)
    container = Container(check_name(given["name"]))
    system = Path(given["system"]) if given["system"] else None
    one = OneContainer(layout, container, system, given, given["roll_back"])
    result = one.bring(module.check_mode, module._diff)
    for warning in one.warnings:
        module.warn(warning)
    return result


class SystemContainerModule(Unlogged, AnsibleModule):
    """The module, whose arguments the host's log does not have."""


def main() -> t.NoReturn:
    """Run as a module."""
    run_to_its_end(
        SystemContainerModule,
        ARGUMENT_SPEC,
        lambda module: run(module, Layout(ROOT)),
        lambda given, error: failure(error, given["name"]),
    )


if __name__ == "__main__":
    main()
