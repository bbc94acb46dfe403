# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The interfaces that a container is to have: what the host lacks for them, and what others have already.

That is asked before a container is started, and before the one of its name that runs is stopped for it. The start looks
once more, for the host may have changed meanwhile.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Iterable

from ..launcher.errors import LauncherError
from ..launcher.host_settings import interfaces
from ..launcher.netlink import Netlink
from ..launcher.network_records import PHYSICAL
from ..launcher.paths import STATE_DIRECTORY
from ..state import zones
from ..state.configs import read_config
from ..state.network_conflicts import refuse_taken
from ..state.network_record import NetworkRecord
from . import nft

if TYPE_CHECKING:
    from ..launcher.contract import Specification
    from .facts import HostFacts


def absent(host: HostFacts) -> list[str]:
    """Return that the host lacks the program that makes its packet filter. An earlier task may install it."""
    there = any(host.exists(f"{directory}/{nft.PROGRAM}") for directory in nft.DIRECTORIES)
    return [] if there else [nft.MISSING]


def conflicts(name: str, specification: Specification, without: Iterable[str] = ()) -> list[str]:
    """Return what keeps this host from giving a container its interfaces, one for each of them.

    :param without: containers that are to end in the same run, or to change.
    """
    if specification.network is None:
        return []
    going = {name, *without}
    config = read_config(os.path.join(STATE_DIRECTORY, "containers", name))  # what it gets is for its start to remember
    with Netlink() as host:
        try:
            others = [record for record in NetworkRecord.all_here() if record.container not in going]
            there = interfaces()
            others = [record for record in others if record.is_alive(there)]
            wires = zones.wire(name, specification.network, config, host, others, going)
        except LauncherError as error:
            return [str(error)]
        lent, said = _lent(going), []
        for wire in wires:
            if wire.interface.kind == PHYSICAL and wire.device in lent:
                continue  # it comes back when that container ends
            try:
                wire.check(host)
            except LauncherError as error:
                said.append(str(error))
        try:
            refuse_taken(wires, others, host)
        except LauncherError as error:
            said.append(str(error))
    return said


def _lent(containers: Iterable[str]) -> set[str]:
    """Return the names of the host's devices that are in some of its containers."""
    records = [NetworkRecord.read(name) for name in containers]
    return {
        interface.device
        for record in records
        if record is not None
        for interface in record.interfaces
        if interface.kind == PHYSICAL
    }
