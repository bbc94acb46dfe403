# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What containers keep for life, such as ids and addresses: the file `config.json` in the directory of each.

A start may need those of all others. Where there are many, they are kept in one file of /run, each with the identity
of the file that it was read from, so that a start reads only what is new. Nothing depends on what is kept: the rest is
read.
"""

from __future__ import annotations

import os

from ..launcher import data
from ..launcher.paths import CONFIGS_FILE, STATE_DIRECTORY, make_directory, read_kept, read_text, write_atomically

CONFIG_FILE = "config.json"
CONFIGS_LIMIT = 1 << 24  # bytes of the file in which those of all are kept
ENOUGH = 32  # files that were read anew: to keep them takes less time than to read them again

MACHINE_ID = "machine_id"  # which no other container needs

_known: dict[str, tuple[list[int], dict[str, object]]] = {}  # by container: identity of the file, and what that says
_read_anew: set[str] = set()


def read_config(directory: str) -> dict[str, object]:
    """Return the remembered settings of the container whose directory this is."""
    return read_kept(os.path.join(directory, CONFIG_FILE), "restore it from a backup")


def write_config(directory: str, config: dict[str, object]) -> None:
    """Write the settings durably: a lost range would be given to another container, with all files in it."""
    make_directory(directory, 0o700)
    write_atomically(os.path.join(directory, CONFIG_FILE), data.format_flat(config), durable=True)


def configs_of_others(names: set[str]) -> dict[str, dict[str, object]]:
    """Return what all containers but some remember, without machine ids, in the order of names. It is not changed.

    :raises LauncherError: those of one are damaged.
    """
    containers = os.path.join(STATE_DIRECTORY, "containers")
    try:
        there = sorted(os.listdir(containers))
        directory = os.open(containers, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return {}
    try:
        if not _known:
            _known.update(_kept())
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
        config = read_config(os.path.join(containers, name))
        config.pop(MACHINE_ID, None)
        found = _known[name] = identity, config
        _read_anew.add(name)
    return found[1]


def keep_configs() -> None:
    """Keep what this process has read of many containers for others, if it can. The caller holds the `AllocationLock`.

    What a killed writer has left aside is written anew by the next one.
    """
    if len(_read_anew) < ENOUGH:
        return
    _read_anew.clear()
    known = {name: [identity, config] for name, (identity, config) in _known.items()}
    try:
        write_atomically(CONFIGS_FILE, data.format_nested(known))
    except OSError:
        pass  # such as a full /run: a start needs it for nothing


def _kept() -> dict[str, tuple[list[int], dict[str, object]]]:
    """Return what was kept; what is damaged is read anew."""
    try:
        known = data.parse(read_text(CONFIGS_FILE, CONFIGS_LIMIT) or "{}", CONFIGS_FILE)
        return {name: (identity, config) for name, (identity, config) in known.items()}
    except (OSError, TypeError, ValueError):
        return {}
