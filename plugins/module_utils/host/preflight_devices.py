# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The devices that a container is to have: which the host lacks, which no container can have, which are a risk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterator

from ..launcher import nodes

if TYPE_CHECKING:
    from ..launcher.contract import Specification
    from .facts import HostFacts


def absent(host: HostFacts, specification: Specification) -> list[str]:
    """Return which devices the host lacks, each with a remedy. An earlier task of the play may load a module."""
    looked = zip(specification.devices, _look(host, specification))
    return [
        f"{place}: {nodes.MISSING % device.path}"
        for device, (place, found) in looked
        if isinstance(found, FileNotFoundError)
    ]


def refused(host: HostFacts, specification: Specification) -> list[str]:
    """Return which devices no container of this host can have, each with the reason."""
    said = []
    for place, found in _look(host, specification):
        if isinstance(found, nodes.RefusedDevice):
            said.append(f"{place}: {found}")
        elif isinstance(found, list):
            said += [f"{place}: {reason}" for reason in map(nodes.refusal, found) if reason]
    return said


def risks(host: HostFacts, specification: Specification) -> list[str]:
    """Return what root inside can do with devices that a person should know."""
    said = []
    for place, found in _look(host, specification):
        if isinstance(found, list):
            said += [f"{place}: {reason}" for reason in map(nodes.risk, found) if reason]
    return said


def _look(host: HostFacts, specification: Specification) -> Iterator[tuple[str, list[nodes.Node] | Exception]]:
    """Yield the place of each device in the declaration, and its nodes on the host or why there are none."""
    for index, device in enumerate(specification.devices):
        try:
            yield f"devices[{index}]", nodes.find(device, host.open)
        except (FileNotFoundError, nodes.RefusedDevice) as error:
            yield f"devices[{index}]", error
