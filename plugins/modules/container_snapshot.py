#!/usr/bin/python
# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

"""Save the volumes of a container as a snapshot, restore or remove one."""

from __future__ import annotations

DOCUMENTATION = r"""
module: container_snapshot
short_description: Save the volumes of a container as a snapshot, restore or remove one
version_added: 0.2.0
description:
  - A snapshot is a copy of all volumes of a container, on its host, below
    C(/var/lib/unshare/containers/NAME/snapshots). It is as the volumes were at one moment. A running container is
    frozen, or stopped with O(stop), for as long as its data are read. So databases recover from it as from a power
    failure, or find it as after a stop in order.
  - Where the file system can share data between files (btrfs, and XFS with C(reflink)), a snapshot shares them, and
    takes space only for what changes later. Elsewhere it is a copy, which needs as much space again.
  - Owners, modes, times, extended attributes, POSIX ACLs, hard links and holes are as they were. Sockets are left out,
    and a warning says so.
  - A snapshot is on the disk of its container. It is no backup.
  - A run that was interrupted leaves no snapshot, no frozen container and no volume that is restored in part. The next
    run, or the container's next start, finishes or removes what it left. A container that was stopped for a snapshot
    stays stopped when the run is killed.
author:
  - The unshare.container authors (@unshare)
extends_documentation_fragment:
  - unshare.container.attributes
attributes:
  check_mode:
    details: A container, volume or snapshot that is not there is a warning, for an earlier task may make it.
  diff_mode:
    details: Shows which snapshots are made and removed, and which volumes are replaced.
  idempotent:
    support: partial
    details: Without O(snapshot) each run makes another one. O(state=restored) restores each time.
options:
  name:
    description: Name of the container. It can have been removed, when its volumes were kept.
    type: str
    required: true
  snapshot:
    description: Name of the snapshot, of lower-case letters, digits and dashes. For O(state=present) the default is the
      time in UTC, as V(20261127t121500z).
    type: str
  state:
    description:
      - V(present) saves all volumes that the host has of the container, declared or not. A snapshot that is there
        already stays as it is, but gets O(labels) when these are given.
      - V(absent) removes the snapshot.
      - V(restored) replaces each volume that is in the snapshot by a fresh copy. Other volumes stay, and
        RV(untouched) names them. Each volume is replaced at once; should the run be killed between two of them, the
        next run or the next start replaces the others, so that the container never runs with a part.
    type: str
    choices: [present, absent, restored]
    default: present
  labels:
    description: Texts that the snapshot gets, by their names. Retention counts only the snapshots that have these
      labels and no others.
    type: dict
  stop:
    description: Whether a running container is stopped while its data are read or replaced, and started again. A
      container that runs is restored only with this, and is saved without it while it is frozen.
    type: bool
    default: false
  keep:
    description: How many snapshots with the same O(labels) are kept, the one that this task names among them. Older
      ones are removed. By default, all are kept.
    type: int
  max_age:
    description: For how many days snapshots with the same O(labels) are kept. The one that this task names is never
      removed.
    type: int
  timeout:
    description: Seconds to wait for another run for this container, and for each stop and start.
    type: raw
    default: 60
seealso:
  - module: unshare.container.system_container
  - module: unshare.container.containers
"""

EXAMPLES = r"""
- name: Save the volumes every night, and keep a week of that
  unshare.container.container_snapshot:
    name: shop
    labels: {made: nightly}
    keep: 7

- name: Save them before an upgrade
  unshare.container.container_snapshot:
    name: shop
    snapshot: before-17
    stop: true

- name: Go back to that
  unshare.container.container_snapshot:
    name: shop
    snapshot: before-17
    state: restored
    stop: true

- name: Remove it
  unshare.container.container_snapshot:
    name: shop
    snapshot: before-17
    state: absent
"""

RETURN = r"""
name:
  description: Name of the container.
  returned: success
  type: str
  sample: shop
snapshot:
  description: Name of the snapshot.
  returned: success
  type: str
  sample: 20261127t121500z
path:
  description: Its directory.
  returned: success
  type: str
  sample: /var/lib/unshare/containers/shop/snapshots/20261127t121500z
system:
  description: The system that the container had when the snapshot was made, by the name of its directory; empty for
    none.
  returned: when it is known
  type: str
  sample: 0f343b0931126a20f133d67c2b018a3b-shop
labels:
  description: Its labels.
  returned: when it is known
  type: dict
  sample: {made: nightly}
consistent:
  description: What the container did while its data were read, V(frozen), V(stopped) or V(was not running).
  returned: when it is known
  type: str
  sample: frozen
volumes:
  description: The volumes that are in it.
  returned: when it is known
  type: list
  elements: str
  sample: [postgresql]
made:
  description: When its data were as they are in it, in seconds since 1970.
  returned: when it is known
  type: float
  sample: 1795781700.25
size:
  description: Bytes that the files took on the disk when they were read.
  returned: when it is known
  type: int
  sample: 48234496
files:
  description: How many files, directories and links it has.
  returned: when it is known
  type: int
  sample: 1305
seconds:
  description: How many seconds it took to make it; for O(state=restored), to restore it.
  returned: when it is known
  type: float
  sample: 0.912
paused_seconds:
  description: For how many of them the container was frozen, or did not run.
  returned: when it is known
  type: float
  sample: 0.204
untouched:
  description: The volumes that are not in the snapshot, and stay as they are.
  returned: when O(state=restored)
  type: list
  elements: str
  sample: []
removed:
  description: The snapshots that were removed.
  returned: success
  type: list
  elements: str
  sample: [20261120t121500z]
kept:
  description: All snapshots that the container has now.
  returned: success
  type: list
  elements: str
  sample: [20261126t121500z, 20261127t121500z]
"""

import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.module_log import Unlogged
from ..module_utils.host.module_main import run_to_its_end, said_of
from ..module_utils.host.systemd_units import Systemd
from ..module_utils.host.time_limits import TimeLimit, check_time_limits
from ..module_utils.life import main as _library_main  # noqa: F401  all of it is sent, to be compared
from ..module_utils.life.container import Container
from ..module_utils.life.snapshot_request import SnapshotRequest
from ..module_utils.life.snapshotting import Snapshotting
from ..module_utils.life.starting import starter
from ..module_utils.state.system_content import check_name
from ..module_utils.state.target import Layout

ROOT = Path("/")

ARGUMENT_SPEC: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "snapshot": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent", "restored"], "default": "present"},
    "labels": {"type": "dict"},
    "stop": {"type": "bool", "default": False},
    "keep": {"type": "int"},
    "max_age": {"type": "int"},
    "timeout": TimeLimit(60),
}


def run(module: AnsibleModule, layout: Layout) -> dict[str, t.Any]:
    """Bring the snapshot into the state that the module's parameters ask for, and return the module's result.

    :raises TargetError, LauncherError, OSError: when that cannot be done.
    """
    given = module.params
    check_time_limits(given, ARGUMENT_SPEC)
    container = Container(check_name(given["name"]))
    request = SnapshotRequest(
        given["snapshot"] or "",
        given["labels"],
        given["stop"],
        given["keep"],
        given["max_age"],
        given["timeout"],
    )
    making = Snapshotting(layout, container, starter(container, Systemd(layout.root)), request, module.check_mode)
    try:
        result = making.reach(given["state"])
    finally:
        for warning in making.warnings:
            module.warn(warning)
    if not module._diff:
        result.pop("diff", None)
    return result


class ContainerSnapshotModule(Unlogged, AnsibleModule):
    """The module, whose arguments the host's log does not have."""


def main() -> t.NoReturn:
    """Run as a module."""
    run_to_its_end(
        ContainerSnapshotModule,
        ARGUMENT_SPEC,
        lambda module: run(module, Layout(ROOT)),
        lambda given, error: said_of(f"container {given['name']!r}", error),
    )


if __name__ == "__main__":
    main()
