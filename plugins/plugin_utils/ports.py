# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ports on which declared services listen, as far as their declaration says."""

from __future__ import annotations

import re
import typing as t

from ..module_utils.host.ports import overlap
from ..module_utils.launcher.needs import HIGHEST_PORT, Port
from .errors import DeclarationError
from .units import Unit

_SOCKET = {
    "ListenStream": "tcp",
    "ListenDatagram": "udp",
}
_LISTEN = (
    "ListenStream",
    "ListenDatagram",
    "ListenSequentialPacket",
    "ListenFIFO",
    "ListenSpecial",
    "ListenNetlink",
    "ListenMessageQueue",
    "ListenUSBFunction",
)
"""Settings of which an empty value forgets what all of them have said before (systemd.socket(5))."""

_ENDPOINT = re.compile(r"(?:(\[[0-9A-Fa-f:.%]+\]|[^\s\[\]:/@]*):)?([0-9]+)")


class Listener(t.NamedTuple):
    """A port on which a service listens.

    `key`: where its value says so. `address`: empty for all.
    """

    key: str
    number: int
    address: str = ""
    protocol: str = "tcp"


def endpoint(text: str, default: int | None = None) -> tuple[str, int] | None:
    """Return address (empty for all) and port of `PORT`, `ADDRESS:PORT` or `[ADDRESS]:PORT`; else None.

    With DEFAULT, an address alone has that port.
    """
    match = _ENDPOINT.fullmatch(text)
    if match and 0 < int(match.group(2)) <= HIGHEST_PORT:
        address = (match.group(1) or "").strip("[]")
        return ("" if address == "*" else address, int(match.group(2)))
    if default is None or match or "/" in text or not text:
        return None
    return ("" if text == "*" else text.strip("[]"), default)


def of_unit(unit: Unit) -> list[Listener]:
    """Return what a socket unit listens on, by its sections or its text."""
    if unit.suffix != ".socket":
        return []
    found: list[Listener] = []
    for _section, key, value in unit.settings("Socket") or []:
        if key in _LISTEN and not value:
            found = []
        known = endpoint(value) if key in _SOCKET else None
        if known:
            found.append(Listener(f"{unit.name}: {key}", known[1], known[0], _SOCKET[key]))
    return found


def refuse_shared_ports(ports: t.Sequence[tuple[str, Port]]) -> None:
    """Refuse a port on which two services of one container listen; each port comes with its service's place."""
    for index, (owner, port) in enumerate(ports):
        for other_owner, other in ports[:index]:
            if owner != other_owner and overlap(port, other):
                raise DeclarationError(port.place, f"port {port} is already that of {other.place}")
