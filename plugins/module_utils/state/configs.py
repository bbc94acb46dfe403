# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What containers keep for life, such as ids and addresses: the file `config.json` in the directory of each.

A start may need those of all others. They are kept in one file of /run, each with the identity of the file that it was
read from, so that a start reads only what is new: two thousand files take longer to read than a container to start.
"""

from __future__ import annotations

import os

from ..launcher import data
from ..launcher.errors import LauncherError
from ..launcher.paths import CONFIGS_FILE, STATE_DIRECTORY, make_directory, read_text, write_atomically

CONFIG_FILE = "config.json"
CONFIGS_LIMIT = 1 << 24  # bytes of the file in which those of all are kept
ENOUGH = 32  # files that were read anew: to keep them takes less time than to read them again

_known: dict[str, tuple[list[int], dict[str, object]]] = {}  # by container: identity of the file, and what that says
_read_anew: set[str] = set()


def read_config(directory: str) -> dict[str, object]:
    """Return the remembered settings of the container whose directory this is."""
    path = os.path.join(directory, CONFIG_FILE)
    text = read_text(path)
    if not text:
        return {}
    try:
        return data.parse(text, path)
    except ValueError as error:
        raise LauncherError("%s; restore it from a backup" % error) from error


def write_config(directory: str, config: dict[str, object]) -> None:
    """Write the settings durably: a lost range would be given to another container, with all files in it."""
    make_directory(directory, 0o700)
    write_atomically(os.path.join(directory, CONFIG_FILE), data.format_flat(config), durable=True)


def configs_of_others(names: set[str]) -> dict[str, dict[str, object]]:
    """Return the remembered settings of all containers but some, in the order of names. They are not to be changed.

    :raises LauncherError: those of one are damaged.
    """
    containers = os.path.join(STATE_DIRECTORY, "containers")
    try:
        there = sorted(os.listdir(containers))
        directory = os.open(containers, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return {}
    if not _known:
        _known.update(_kept())
    try:
        found = {name: _config(directory, containers, name) for name in there if name not in names}
    finally:
        os.close(directory)
    for gone in set(_known).difference(there):
        del _known[gone]
    return found


def _config(directory: int, containers: str, name: str) -> dict[str, object]:
    try:
        status = os.stat(name + "/" + CONFIG_FILE, dir_fd=directory)
    except FileNotFoundError:
        return {}
    identity = [status.st_dev, status.st_ino, status.st_ctime_ns, status.st_size]
    found = _known.get(name)
    if found is None or found[0] != identity:
        found = _known[name] = identity, read_config(os.path.join(containers, name))
        _read_anew.add(name)
    return found[1]


def keep_configs() -> None:
    """Keep what this process has read of many containers for others. The caller holds the `AllocationLock`."""
    if len(_read_anew) < ENOUGH:
        return
    known = {name: [identity, config] for name, (identity, config) in _known.items()}
    write_atomically(CONFIGS_FILE, data.format_nested(known))
    _read_anew.clear()


def _kept() -> dict[str, tuple[list[int], dict[str, object]]]:
    """Return what was kept; what is damaged is read anew."""
    try:
        known = data.parse(read_text(CONFIGS_FILE, CONFIGS_LIMIT) or "{}", CONFIGS_FILE)
        return {name: (identity, config) for name, (identity, config) in known.items()}
    except (TypeError, ValueError):
        return {}
