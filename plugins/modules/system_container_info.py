#!/usr/bin/python
# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

"""Gather facts about the system containers of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: system_container_info
short_description: Gather facts about the system containers of a host
version_added: 0.1.0
description:
  - Returns the state of one, several or all system containers of this host, what they run, and what they use.
  - It never fails because of one container. The RV(containers[].errors) of the container name facts that could not be
    gathered.
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
    description: Names of the containers. The default is all containers of the host.
    type: list
    elements: str
    aliases: [names]
  log_lines:
    description: Number of lines to return from the end of each container's log, at most 256 KiB.
    type: int
    default: 0
  timeout:
    description: Seconds within which each program that is asked inside a container must answer.
    type: raw
    default: 5
seealso:
  - module: unshare.container.system_container
  - plugin: unshare.container.system_containers
    plugin_type: inventory
"""

EXAMPLES = r"""
- name: Look at all containers
  unshare.container.system_container_info:
  register: result

- name: None has a failed unit
  ansible.builtin.assert:
    that: result.containers | map(attribute='failed_units') | select | length == 0

- name: Read the end of a log
  unshare.container.system_container_info:
    name: web
    log_lines: 50
"""

RETURN = r"""
containers:
  description: The containers, by name.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      returned: success
      type: str
      sample: web
    state:
      description: V(running), V(stopped), V(absent), or V(unknown) when an error says why.
      returned: success
      type: str
      sample: running
    ready:
      description: Whether its init has said that it is ready.
      returned: success
      type: bool
      sample: true
    pid:
      description: PID, on the host, of its first process.
      returned: success
      type: int
      sample: 4711
    system:
      description: Directory of the system that is current.
      returned: success
      type: str
      sample: /var/lib/unshare/systems/0f343b0931126a20f133d67c2b018a3b-web
    running_system:
      description: Directory of the system that runs.
      returned: success
      type: str
      sample: /var/lib/unshare/systems/0f343b0931126a20f133d67c2b018a3b-web
    store:
      description:
        - The software of the system that is current, with C(source), its directory on the host. Of a tree also C(tree),
          the name that was declared, and C(content), what it led to then, by which M(unshare.container.tree_info) names
          it.
      returned: success
      type: dict
      sample:
        source: /var/lib/unshare/trees/5c1f3a9c1f0d7a5a0a1e5a86c1d4e7b2/root/usr
        tree: debian13
        content: 5c1f3a9c1f0d7a5a0a1e5a86c1d4e7b2
    generations:
      description: The systems that were current, oldest first, each with its software.
      returned: success
      type: list
      elements: dict
      sample:
        - {number: 1, system: /var/lib/unshare/systems/0f343b0931126a20f133d67c2b018a3b-web, current: true, well: true,
           store: {source: /usr}}
    leftovers:
      description:
        - Paths of what runs that were killed have left beside the volumes, such as half of an import. The next
          deployment removes that of an import, the next start that of a size, and the next run for a snapshot that of
          snapshots.
        - What a run needs that goes on at the same time is among them.
      returned: success
      type: list
      elements: str
      sample: [/var/lib/unshare/containers/web/volumes.importing]
    volumes:
      description:
        - The volumes that the host has of the container, also those that are no longer declared, and those that a
          removed container has left.
      returned: success
      type: list
      elements: dict
      contains:
        name:
          description: Name of the volume.
          type: str
        path:
          description: Its directory on the host.
          type: str
        size:
          description: How many bytes it may hold, by a quota; none where it has no limit.
          type: int
          version_added: 0.2.0
        used:
          description: How many bytes it holds, as its quota counts them, which may lag behind by seconds; none where
            nothing counts them.
          type: int
          version_added: 0.2.0
      sample: [{name: data, path: /var/lib/unshare/containers/web/volumes/data, size: 5368709120, used: 1288490188}]
    uid_base:
      description: The host's id that is 0 inside.
      returned: success
      type: int
      sample: 524288
    uid_count:
      description: How many ids it has.
      returned: success
      type: int
      sample: 65536
    started:
      description: When it was started, in seconds since 1970.
      returned: success
      type: float
      sample: 1790000000.5
    uptime_seconds:
      description: Seconds since then.
      returned: success
      type: float
      sample: 3600.0
    boot_seconds:
      description: Seconds from its launch until it was ready; none when no run waited for that.
      returned: success
      type: float
      sample: 0.21
    failed_units:
      description:
        - Units that do not do what was declared. They failed, did not load, were never started, or ended.
        - None when its init is not systemd or does not answer.
      returned: success
      type: list
      elements: str
      sample: []
    problems:
      description: What is wrong with each of these units, in the words of its systemd. Of units that are not
          declared, at most 100 are named; the last text says how many more there are.
      returned: success
      type: list
      elements: str
      sample: [web.service has failed (exit-code, status 217)]
    outdated_units:
      description:
        - Units inside, at most 100, that run programs or libraries of the store which the host has replaced or removed
          since, as an upgrade does. None when it does not run. Names are escaped.
        - Modules of Perl, Python and the like, which are read once, are not seen.
      returned: success
      type: list
      elements: str
      sample: [nginx.service]
    outdated:
      description:
        - Of these units, the files of the store that they run and that are no more, at most 10 of each. Names are
          escaped.
      returned: success
      type: dict
      sample: {nginx.service: [/usr/sbin/nginx]}
    interfaces:
      description:
        - The interfaces of its own network, with C(host_name), what each is called on the host. Empty where it has a
          loopback alone, or the host's network; none when it does not run.
        - Addresses that a client inside has from a DHCP server are not known to the host.
      returned: success
      type: list
      elements: dict
      sample:
        - {name: eth0, kind: zone, parent: web, host_name: u5d41402abc4b2a, mac: "02:5d:41:40:2a:bc",
           addresses: [10.80.0.2/24], gateways: [10.80.0.1]}
    addresses:
      description: The addresses of these interfaces, in their order, without prefix lengths.
      returned: success
      type: list
      elements: str
      sample: [10.80.0.2]
    ports:
      description: The ports of the host that lead to it. An address that is empty stands for all.
      returned: success
      type: list
      elements: dict
      sample: [{port: 8080, target: 80, protocol: tcp, address: ""}]
    memory:
      description:
        - Bytes of memory, by its control group, V(current), V(peak), V(maximum) and V(swap).
        - None on a host that keeps the memory controller in version 1 of the control groups.
      returned: success
      type: dict
      sample: {current: 14680064, peak: 20971520, maximum: null, swap: 0}
    cpu:
      description: Seconds of processor time, by its control group.
      returned: success
      type: dict
      sample: {usage_seconds: 0.8, user_seconds: 0.5, system_seconds: 0.3}
    mounts:
      description: The mounts that its first process sees, at most 4096 and of 4 MiB of the kernel's list.
      returned: success
      type: list
      elements: dict
      sample: [{target: /usr, source: /dev/sda1, root: /usr, type: ext4, options: [ro, relatime]}]
    mounts_truncated:
      description: Whether it sees more mounts than RV(containers[].mounts) holds.
      returned: success
      type: bool
      sample: false
    log:
      description: The end of its log.
      returned: success
      type: str
      sample: "2026-01-01T00:00:00+00:00 web systemd[1]: Startup finished."
    errors:
      description: Facts that could not be gathered, and why.
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
from ..module_utils.host.time_limits import TimeLimit, check_time_limits
from ..module_utils.life.container import Container
from ..module_utils.life.container_information import Information, names
from ..module_utils.state.system_content import check_name
from ..module_utils.state.target import Layout, TargetError

ROOT = Path("/")

ARGUMENT_SPEC: dict[str, t.Any] = {
    "name": {"type": "list", "elements": "str", "aliases": ["names"]},
    "log_lines": {"type": "int", "default": 0},
    "timeout": TimeLimit(5),
}


def run(parameters: dict[str, t.Any], layout: Layout) -> dict[str, t.Any]:
    """Return the module's result. Raise TargetError or LauncherError for unusable parameters, and OSError."""
    check_time_limits(parameters, ARGUMENT_SPEC)
    if parameters["log_lines"] < 0:
        raise TargetError("log_lines: must be 0 or more")
    wanted = parameters["name"]
    if wanted is None:
        wanted = names(layout, layout.root / "run/unshare")
    found = []
    for name in dict.fromkeys(wanted):
        container = Container(check_name(name))
        information = Information(
            layout, name, container, timeout=parameters["timeout"], log_lines=parameters["log_lines"]
        )
        found.append(information.gather())
    return {"changed": False, "containers": found}


class SystemContainerInfoModule(ReadableResults, AnsibleModule):
    """The module, whose result is valid text."""


def main() -> t.NoReturn:
    """Run as a module."""
    run_to_its_end(
        SystemContainerInfoModule,
        ARGUMENT_SPEC,
        lambda module: run(module.params, Layout(ROOT)),
        lambda given, error: said_of(f"the containers of this host ({', '.join(given['name'] or ['all'])})", error),
    )


if __name__ == "__main__":
    main()
