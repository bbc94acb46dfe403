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
  - A container is restarted when what runs is not the system that is current, or with O(state=restarted).
  - A system runs with the launcher that it was written with, so that going back to it goes back to all of its code.
  - The last O(keep_generations) systems that were current are kept as generations. Systems that no generation and no
    running container uses are removed.
  - Two runs for one container wait for each other.
author:
  - The unshare.container authors (@unshare)
extends_documentation_fragment:
  - unshare.container.attributes
attributes:
  check_mode:
    details: O(system) does not need to be on the host yet.
  diff_mode:
    details: Shows the state, the current system and the running one.
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
  state:
    description:
      - V(started) means that it runs its current system.
      - V(restarted) stops it first, if it runs.
      - V(stopped) means that it does not run. The services' own stop commands are run.
      - V(rolled_back) makes the system of a former generation the current one, and runs it.
      - V(absent) removes the container, its systems and its log. The data in its mappings is never touched.
    type: str
    choices: [started, stopped, restarted, rolled_back, absent]
    default: started
  generation:
    description:
      - Number of the generation that O(state=rolled_back) goes back to.
      - The default is the last one before the current one that has another system.
    type: int
  keep_generations:
    description: How many generations are kept. One that is in use is kept in any case.
    type: int
    default: 5
  health:
    description:
      - What must be well with the container before the module is content, and within which time.
      - Connections are made from inside the container's network.
    type: dict
    suboptions:
      timeout:
        description: Seconds until all of it must be well, after the container has become ready.
        type: raw
        default: 30
      steady:
        description:
          - Seconds for which all of it must be well on end after a start or a switch. A service that crashes and comes
            back, again and again, looks well at times.
        type: raw
        default: 1
      running:
        description: Whether systemd must say C(running), with no failed unit, and none that waits to be tried again.
        type: bool
        default: true
      units:
        description: Units that must be active.
        type: list
        elements: str
        default: []
      tcp:
        description: Ports that must take a connection.
        type: list
        elements: dict
        default: []
        suboptions:
          port:
            description: The port, from 1 to 65535.
            type: int
            required: true
          address:
            description: An address of IPv4 or IPv6, as the container knows it.
            type: str
            default: 127.0.0.1
      http:
        description: Requests that must be answered with a status. They are made without TLS.
        type: list
        elements: dict
        default: []
        suboptions:
          port:
            description: The port, from 1 to 65535.
            type: int
            default: 80
          address:
            description: An address of IPv4 or IPv6, as the container knows it.
            type: str
            default: 127.0.0.1
          host:
            description: The name of the server that is asked for.
            type: str
            default: localhost
          path:
            description: The path, with a query perhaps.
            type: str
            default: /
          status:
            description: The status that it must answer.
            type: int
            default: 200
      commands:
        description: Commands, run inside as root, that must end with an exit code.
        type: list
        elements: dict
        default: []
        suboptions:
          argv:
            description: The program and its arguments. No shell is involved.
            type: list
            elements: str
            required: true
          exit_code:
            description: The exit code that it must end with.
            type: int
            default: 0
  roll_back:
    description:
      - Whether a switch to another system is undone when the container cannot be started with it, or is not well.
      - The container then runs its former generation again, and the module fails all the same.
      - A switch that was cut short is on trial still, and is finished or undone by the next run.
    type: bool
    default: false
  wait:
    description:
      - Wait until the container's init says that it is ready, and look for units that failed.
      - With systemd on the host a start always waits, and V(false) leaves out the look at the units.
    type: bool
    default: true
  timeout:
    description:
      - Seconds to wait for the container to become ready, to stop, and for another run on the same container, each.
      - A container that has not stopped in time is killed.
      - The default is what the container's unit has, or 30 where there is none.
      - As every time limit of this module a number from 0.001 to 1000000; any other is an error.
    type: raw
  allow_failed_units:
    description:
      - Whether a unit that failed inside is no error. It is still returned in RV(failed_units).
      - A container that has a failed unit goes on running, so that one can look inside.
    type: bool
    default: false
  enabled:
    description:
      - Whether the host's boot starts the container. The default is to leave that as it is.
      - With systemd on the host, every container has a unit, an instance of C(unshare-container@.service), through
        which it is started and stopped, by this module and by systemd alike. A container that reboots itself comes
        back, one that powers off stays down until it is started. The unit has O(timeout), O(after), O(requires) and
        O(restart). What a task gives is written there, and what it leaves out stays.
      - Elsewhere nothing is written, and V(true) gives a warning that says what is to be called at boot. A container
        that reboots itself comes back when it is entered, or started by this module.
    type: bool
  after:
    description:
      - Names of containers that are started before this one, if they are. Used with systemd on the host.
      - The default is to leave that as it is, none at first; an empty list takes all away.
    type: list
    elements: str
  requires:
    description: The same, and this one does not run without them. The default is as for O(after).
    type: list
    elements: str
  restart:
    description:
      - What the host's systemd does when the container ends by itself.
      - V(on-failure) starts it again when it crashed, each time after a longer while. V(always) does so in any case,
        V(no) in none. A reboot from inside always starts it again.
      - The default is to leave that as it is, V(on-failure) at first.
    type: str
    choices: [on-failure, always, 'no']
  limits:
    description:
      - How much of the host the container may take. The default is to leave that as it is; an empty mapping takes all
        limits away but that on tasks.
      - Other limits are set without a restart.
      - A warning says which of them the host cannot keep.
    type: dict
    suboptions:
      memory_max:
        description: Memory, such as V(512M); past it processes are killed.
        type: str
      memory_high:
        description: Memory past which processes are slowed down.
        type: str
      cpu_quota:
        description: Time of CPUs, V(150%) is one and a half.
        type: str
      cpu_weight:
        description: Share of the CPUs in relation to others, from 1 to 10000. It is 100 by itself.
        type: str
      tasks_max:
        description: Number of processes and threads, 64 or more. It is 16384 by itself, which no fork bomb can pass.
        type: str
      io_weight:
        description: Share of the disks in relation to others, from 1 to 10000. It is 100 by itself.
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
  description: What it does now, V(running), V(stopped) or V(absent). In check mode, what it would do.
  returned: success
  type: str
  sample: running
system:
  description: Directory of the system that is current. In check mode, of the one that would be.
  returned: when there is one
  type: str
  sample: /var/lib/unshare/systems/0f343b0931126a20f133d67c2b018a3b-web
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
  description: Units that failed inside.
  returned: when it was waited for
  type: list
  elements: str
  sample: []
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
log:
  description: The end of the container's log.
  returned: when it did not become ready, or a unit failed
  type: str
"""

import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.launcher import main as _launcher_main  # noqa: F401  all of it is sent, to be compared
from ..module_utils.launcher import seccomp as _launcher_seccomp  # noqa: F401
from ..module_utils.launcher.container import Container
from ..module_utils.launcher.process import heed_children
from ..module_utils.one_container import ERRORS, OPTIONS, OneContainer, check, failure
from ..module_utils.system_content import check_name
from ..module_utils.target import Layout, require_root

ROOT = Path("/")

ARGUMENT_SPEC: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "system": {"type": "str"},
    "roll_back": {"type": "bool", "default": False},
    **OPTIONS,
}


def run(module: AnsibleModule, layout: Layout) -> dict[str, t.Any]:
    """Bring the container into the state that the module's parameters ask for; return what the module returns.

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


def main() -> t.NoReturn:
    """Run as a module."""
    heed_children()
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        require_root()
        result = run(module, Layout(ROOT))
    except ERRORS as error:
        module.fail_json(**failure(error, module.params["name"]))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
