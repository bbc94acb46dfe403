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
_ENDPOINT = re.compile(r"(?:(\[[0-9A-Fa-f:.%]+\]|[^\s\[\]:/@]*):)?([0-9]+)")
_ASSIGNMENT = re.compile(r"\s*([A-Za-z]+)\s*=\s*(.*?)\s*")


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
    if unit.text is not None:
        matches = map(_ASSIGNMENT.fullmatch, unit.text.splitlines())
        lines = [(match.group(1), match.group(2)) for match in matches if match]
    else:
        given = unit.sections.get("Socket") or {}
        lines = [(key, str(item)) for key, value in given.items() for item in _items(value) if item is not None]
    found = []
    for key, value in lines:
        known = endpoint(value) if key in _SOCKET else None
        if known:
            found.append(Listener(f"{unit.name}: {key}", known[1], known[0], _SOCKET[key]))
    return found


def _items(value: t.Any) -> list[t.Any]:
    return value if isinstance(value, list) else [value]


def refuse_shared_ports(ports: t.Sequence[tuple[str, Port]]) -> None:
    """Refuse a port on which two services of one container listen; each port comes with its service's place."""
    for index, (owner, port) in enumerate(ports):
        for other_owner, other in ports[:index]:
            if owner != other_owner and overlap(port, other):
                raise DeclarationError(port.place, f"port {port} is already that of {other.place}")
