# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The devices that a container is to have: which the host lacks, which no container can have, which are a risk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..launcher import nodes

if TYPE_CHECKING:
    from ..launcher.contract import Specification
    from .facts import HostFacts


def absent(host: HostFacts, specification: Specification) -> list[str]:
    """Return which devices the host lacks, each with a remedy. An earlier task of the play may load a module."""
    said = []
    for index, device in enumerate(specification.devices):
        try:
            nodes.find(device, host.open)
        except FileNotFoundError:
            said.append(f"devices[{index}]: {nodes.MISSING % device.path}")
        except nodes.RefusedDevice:
            pass
    return said


def refused(host: HostFacts, specification: Specification) -> list[str]:
    """Return which devices no container of this host can have, each with the reason."""
    said = []
    for index, device in enumerate(specification.devices):
        try:
            found = nodes.find(device, host.open)
        except FileNotFoundError:
            continue
        except nodes.RefusedDevice as error:
            said.append(f"devices[{index}]: {error}")
            continue
        said += [f"devices[{index}]: {reason}" for reason in map(nodes.refusal, found) if reason]
    return said


def risks(host: HostFacts, specification: Specification) -> list[str]:
    """Return what root inside can do with devices that a person should know."""
    said = []
    for index, device in enumerate(specification.devices):
        try:
            found = nodes.find(device, host.open)
        except (FileNotFoundError, nodes.RefusedDevice):
            continue
        said += [f"devices[{index}]: {reason}" for reason in map(nodes.risk, found) if reason]
    return said
