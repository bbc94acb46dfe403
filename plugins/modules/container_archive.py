#!/usr/bin/python
# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

"""Export the volumes of a container to one file of its host, or import them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: container_archive
short_description: Export the volumes of a container to one file of its host, or import them
version_added: 0.2.0
description:
  - Writes all volumes of a container to one archive on its host, or has the volumes be what such an archive holds.
  - The archive has the ids of the inside, and so can be imported on any host, whatever ids the container has there. It
    is a tar archive with a manifest before the volumes and a checksum behind them. Owners, modes, times, hard links,
    holes, extended attributes, access control lists and names of any bytes come back as they were. It has no sockets.
  - An export while the container runs has all of its processes stand still for as long as data are read, so that the
    archive holds what a power failure at one moment would have left. Databases recover from that. They go on in any
    case, also when this module is killed.
  - An import unpacks the archive beside the volumes and holds it to its checksum, and then exchanges all volumes at
    once. An archive that is damaged, cut off, of a newer format or of another container is refused before anything
    changes, and so is one whose volumes would hold more than their sizes. A failure at any moment leaves the old
    volumes or the new ones, whole. There must be room for both.
  - Whatever a container has beside its volumes is not in the archive. Deploy it from its declaration; it finds volumes
    that were imported before, also on a host that has never had it.
author:
  - The unshare.container authors (@unshare)
extends_documentation_fragment:
  - unshare.container.attributes
attributes:
  check_mode:
    details: An import reads all of the archive, and holds it to its checksum. A directory, a volume or an archive that
      is missing is a warning, for an earlier task may be about to make it.
  diff_mode:
    details: Of an export, the archive that is there and the volumes of the new one. Of an import, the volumes before
      and after it. What is in them is not compared.
  idempotent:
    support: none
    details: Each export writes the archive anew, and each import replaces the volumes, for a container that has run has
      changed them.
options:
  name:
    description: Name of the container. For an import this host does not need to have it.
    type: str
    required: true
  state:
    description:
      - V(exported) writes the archive.
      - V(imported) has the volumes be those of the archive.
    type: str
    choices: [exported, imported]
    default: exported
  path:
    description:
      - The archive on the host, an absolute path. For an export its directory must be there, and nobody but root may be
        able to write to it. A former archive is replaced when the new one is whole. Any other file is refused.
      - The file can be read by root alone (mode 0600), for it has all that the volumes have.
    type: path
    required: true
  compression:
    description:
      - How an export is compressed. An import finds that out by itself.
      - The default lets the container stand still for the shortest time. V(gzip) and V(zstd) need the program of this
        name on the host.
    type: str
    choices: [none, gzip, zstd]
    default: none
  base:
    description:
      - The path of an archive on the host that was exported before. For an export, the archive that is written has only
        the files that have changed since, and a list of all. An import needs the same two files, and makes of them what
        there was at the second export, as if that had written all. So a container can be copied while it runs, and
        stop only for the rest.
      - It must be an archive of the same container, not compressed, which has all. It is held to its checksum before
        anything changes.
      - Which files are unchanged is known only on the host on which the base was exported, and since that was started.
        Elsewhere, when the clock was set back, and on file systems other than ext4, XFS and btrfs, the archive has all
        files, and a warning says so.
    type: path
  container:
    description: The container whose archive is imported, when that is another one than O(name).
    type: str
  stop:
    description: Whether a container that runs is stopped for it, and started again afterwards. Without this it stands
      still for an export, and an import is refused while it runs.
    type: bool
    default: false
  replace:
    description: Whether an import may replace volumes in which something is.
    type: bool
    default: false
  move:
    description: The name of the move to which an import belongs, as M(unshare.container.container_move) has returned
      it. It is refused unless that move is expected on this host; and without this one, while any is.
    type: str
  timeout:
    description: Seconds for the stop and for the start of the container, each, and to wait for another run. The default
      is the container's own timeout.
    type: raw
seealso:
  - module: unshare.container.system_container
"""

EXAMPLES = r"""
- name: Keep what the database has, while it runs
  unshare.container.container_archive:
    name: database
    path: /var/backups/database.tar
  register: archive

- name: Get it to the controller
  ansible.builtin.fetch:
    src: "{{ archive.path }}"
    dest: backups/

- name: Copy a container while it runs, and then what has changed meanwhile, when it has stopped
  unshare.container.container_archive:
    name: database
    path: "{{ item.path }}"
    base: "{{ item.base | default(omit) }}"
    stop: "{{ item.base is defined }}"
  loop:
    - path: /var/backups/database.tar
    - path: /var/backups/database-rest.tar
      base: /var/backups/database.tar

- name: Have another container begin with the same data
  unshare.container.container_archive:
    name: trial
    state: imported
    path: /var/backups/database.tar
    container: database
    stop: true
    replace: true
"""

RETURN = r"""
name:
  description: Name of the container.
  returned: success
  type: str
  sample: database
path:
  description: The archive on the host.
  returned: success
  type: str
  sample: /var/backups/database.tar
checksum:
  description: The SHA-256 of the archive before it was compressed; that of the file, when it is not compressed.
  returned: success, not of what check mode cannot know
  type: str
  sample: sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
base:
  description: The SHA-256 of the archive of O(base).
  returned: when the archive adds to one
  type: str
  sample: sha256:0263829989b6fd954f72baaf2fc64bc2e2f01d692d4de72986ea808f6e99813f
size:
  description: Bytes of the file.
  returned: success, not of what check mode cannot know
  type: int
  sample: 81264640
seconds:
  description: How long it took.
  returned: success, not in check mode
  type: float
  sample: 1.25
paused_seconds:
  description: For how many of them the container was frozen, or did not run.
  returned: success, not in check mode
  type: float
  sample: 0.204
volumes:
  description: The volumes in it. An export in check mode returns their names alone.
  returned: success, not of what check mode cannot know
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      returned: success
      type: str
      sample: postgresql
    files:
      description: How many files, directories and links it has.
      returned: when they were counted
      type: int
      sample: 1271
    bytes:
      description: Bytes of its files.
      returned: when they were counted
      type: int
      sample: 40120372
container:
  description: The container whose volumes it has.
  returned: success, not of what check mode cannot know
  type: str
  sample: database
system:
  description: The system that was current when it was exported; empty without one.
  returned: success, not of what check mode cannot know
  type: str
  sample: 0f343b0931126a20f133d67c2b018a3b-database
made:
  description: When it was exported, in seconds since 1970.
  returned: success, not of what check mode cannot know
  type: int
  sample: 1790000000
consistent:
  description: What the container did while its data were read, V(frozen), V(stopped) or V(was not running).
  returned: success, not of what check mode cannot know
  type: str
  sample: frozen
"""

import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.host.module_main import run_to_its_end, said_of
from ..module_utils.host.readable_results import ReadableResults
from ..module_utils.host.time_limits import TimeLimit, check_time_limits
from ..module_utils.launcher.names import NO_NAME, is_name
from ..module_utils.life import main as _library_main  # noqa: F401  all of it is sent, to be compared
from ..module_utils.life.archiving_volumes import Archiving
from ..module_utils.state.target import Layout, TargetError

ROOT = Path("/")

ARGUMENT_SPEC: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["exported", "imported"], "default": "exported"},
    "path": {"type": "path", "required": True},
    "compression": {"type": "str", "choices": ["none", "gzip", "zstd"], "default": "none"},
    "base": {"type": "path"},
    "container": {"type": "str"},
    "stop": {"type": "bool", "default": False},
    "replace": {"type": "bool", "default": False},
    "move": {"type": "str"},
    "timeout": TimeLimit(),
}


def run(module: AnsibleModule, layout: Layout) -> dict[str, t.Any]:
    """Return the module's result. Raise TargetError, LauncherError, OSError."""
    given = module.params
    check_time_limits(given, ARGUMENT_SPEC)
    for option in ("name", "container"):
        if given[option] is not None and not is_name(given[option]):
            raise TargetError(f"{option}: " + NO_NAME % (given[option], "container"))
    archiving = Archiving(layout, given["name"], given["path"], given["stop"], given["timeout"], given["base"])
    exported = given["state"] == "exported"
    before = archiving.there(exported) if module._diff else []
    if exported:
        result = archiving.export(given["compression"], module.check_mode)
    else:
        result = archiving.restore(given["container"], given["replace"], module.check_mode, given["move"])
    for warning in archiving.warnings:
        module.warn(warning)
    if module._diff and "volumes" in result:
        title = given["path"] if exported else f"volumes of the container {given['name']}"
        after = [line_about(volume) for volume in result["volumes"]]
        sides = {"before": before, "after": after}
        result["diff"] = {side: "".join(f"{line}\n" for line in lines) for side, lines in sides.items()}
        result["diff"].update(before_header=title, after_header=title)
    return result


def line_about(volume: dict[str, t.Any]) -> str:
    """Return a line about a volume of an archive, of which check mode may know the name only."""
    known = "files" in volume
    return f"{volume['name']}: {volume['files']} files, {volume['bytes']} bytes" if known else str(volume["name"])


class ContainerArchiveModule(ReadableResults, AnsibleModule):
    """The module, whose result is valid text."""


def main() -> t.NoReturn:
    """Run as a module."""
    run_to_its_end(
        ContainerArchiveModule,
        ARGUMENT_SPEC,
        lambda module: run(module, Layout(ROOT)),
        lambda given, error: said_of(f"container {given['name']!r}", error),
    )


if __name__ == "__main__":
    main()
