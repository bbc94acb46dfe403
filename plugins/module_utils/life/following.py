# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The updates of running containers when the host's network changes: names, name servers, rules (N7, N8)."""

from __future__ import annotations

import os

from ..launcher import network_files
from ..launcher.errors import LauncherError
from ..launcher.names import is_name
from ..launcher.netlink import Netlink
from ..launcher.network import wire_of
from ..launcher.paths import RUN_DIRECTORY
from ..launcher.specification import read_outline
from ..state.locks import NetworkLock
from ..state.network_record import NetworkRecord
from ..state.record import RecordedContainer
from . import host_ways, network_healing, network_rules


def refresh_all(timeout: float) -> list[str]:
    """Bring what running containers have of the host's network up to date. Return what could not be, a line each.

    Args:
        timeout: seconds to wait for who starts or stops a container that has lost an interface.
    """
    complaints = refresh_copies()
    try:
        cut_off = _mend_rules()
    except (LauncherError, OSError) as error:
        return [*complaints, str(error)]
    for name in cut_off:
        container = RecordedContainer(name)
        try:
            if _runs(container):  # a start makes what there is not yet
                with container.lock(timeout):
                    if _runs(container):
                        network_healing.mend(container)
        except (LauncherError, OSError) as error:
            complaints.append("container %s: %s" % (name, error))
    return complaints


def _runs(container: RecordedContainer) -> bool:
    process = container.process()
    if process is None:
        return False
    process.close()
    return True


def refresh_copies() -> list[str]:
    """Bring the network files of running containers up to date, as far as nobody inside holds them."""
    found, complaints = [], []
    for name in sorted(os.listdir(RUN_DIRECTORY)) if os.path.isdir(RUN_DIRECTORY) else []:
        container = RecordedContainer(name)
        if not is_name(name) or not os.path.isdir(os.path.join(container.run_directory, network_files.DIRECTORY)):
            continue
        use = container.use()
        if use is None:
            continue
        try:
            found.append((container.run_directory, read_outline(use.system).host_name))
        except LauncherError as error:
            complaints.append("container %s: %s" % (name, error))
    network_files.refresh_several(found)
    return complaints


def _mend_rules() -> list[str]:
    """Load the rules of containers, and set the host for them, where that is lost. Return who lacks an interface."""
    records = NetworkRecord.all_here()
    if not records:
        return []
    with NetworkLock() as lock, Netlink() as host:
        records = NetworkRecord.all_here()
        living = network_rules.living()
        host_ways.open_ways(living)
        if not network_rules.has_rules(living):
            network_rules.Rules(living, lock).wait(lock)
        return [record.container for record in records if any(wire_of(item).lost(host) for item in record.interfaces)]
