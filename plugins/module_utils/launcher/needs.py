# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Needs of a container's services beside its mounts: ports, where it has the host's network.

No start asks for them. They are looked at before a container that runs is stopped for another one.
"""

from __future__ import annotations

from . import kinds
from .kinds import ContractError, ContractRecord

PROTOCOLS = ("tcp", "udp")
HIGHEST_PORT = 65535


def port_number(value: object) -> int:
    """Return the number of a port."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= HIGHEST_PORT:
        raise ContractError("%s is no port (1 to %d)" % (ascii(value)[:40], HIGHEST_PORT))
    return value


class Port(ContractRecord):
    """A port of the host's network on which a service listens.

    Attributes:
        number: of it.
        place: where it was declared, for messages.
        protocol: one of `PROTOCOLS`.
        address: on which it listens; all when that is empty.
    """

    number: int
    place: str
    protocol: str = "tcp"
    address: str = ""

    KINDS = {
        "number": port_number,
        "place": kinds.text,
        "protocol": kinds.choice(*PROTOCOLS),
        "address": kinds.text,
    }

    def __str__(self) -> str:
        shown = "[%s]" % self.address if ":" in self.address else self.address
        return "%s%d (%s)" % (shown and shown + ":", self.number, self.protocol)
