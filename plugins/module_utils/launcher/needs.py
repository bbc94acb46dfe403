# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of a container's needs beside its mounts: ports, with the host's network, devices, and credentials.

No start asks for ports. They are looked at before a container that runs is stopped for another one.
"""

from __future__ import annotations

from . import kinds, targets
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


def _mode_or_none(value: object) -> str:
    return kinds.mode(value) if value != "" else ""


class Device(ContractRecord):
    """A device of the host's that the container has, or a directory of such.

    Attributes:
        path: on the host, below /dev.
        target: in the container, below /dev.
        mode: in octal digits; that on the host when it is empty.
        uid: its owner inside.
    """

    path: str
    target: str
    mode: str = ""
    uid: int = 0
    gid: int = 0

    KINDS = {
        "path": kinds.path,
        "target": kinds.path,
        "mode": _mode_or_none,
        "uid": kinds.identifier,
        "gid": kinds.identifier,
    }

    def check(self) -> None:
        for name, path in (("path", self.path), ("target", self.target)):
            self.refuse(name, targets.refusal_of_device(path))
        self.refuse("target", targets.refusal_of_place(self.target))

    def refusal_beside(self, others: list[Device], points: list[str]) -> str | None:
        """Return why it cannot be where it is beside other devices and mount points, or None."""
        place = targets.plain_path(self.target)
        for other in (targets.plain_path(device.target) for device in others):
            if targets.is_below(place, other) or targets.is_below(other, place):
                return "'%s' is where '%s' is: let each have a target of its own" % (place, other)
        for point in points:
            if targets.is_below(place, targets.plain_path(point)):
                return "'%s' would be hidden by what is mounted at '%s'" % (place, point)
        return None


CREDENTIAL_SOURCES = ("system", "path", "stored", "encrypted")
CREDENTIAL_NAME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.@+-")


def credential_name(value: object) -> str:
    """Return the name of a credential, which is that of its file."""
    name = kinds.text(value)
    if name in (".", "..") or len(name) > 255 or not CREDENTIAL_NAME.issuperset(name):
        raise ContractError(
            "%s is no name of a credential (letters, digits, '_', '.', '@', '+', '-')" % ascii(name)[:80]
        )
    return name


class Credential(ContractRecord):
    """A credential for the container's PID 1.

    Attributes:
        name: of it, inside.
        source: `system` for a secret file of the system; of the host's, `path` for a file, `stored` for one of its
            credential store, `encrypted` for one of its encrypted store.
        place: the path of the file, or the name in the store.
    """

    name: str
    source: str = "system"
    place: str = ""

    KINDS = {"name": credential_name, "source": kinds.choice(*CREDENTIAL_SOURCES), "place": kinds.text}

    def check(self) -> None:
        if self.source == "path":
            self.at("place", kinds.source, self.place)
        elif self.source != "system":
            self.at("place", credential_name, self.place)
