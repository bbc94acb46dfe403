# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ports that a host publishes for a container, and the container's name servers, as they are declared.

This module is pure: both sides use it.
"""

from __future__ import annotations

import re
from typing import Any, List

from ..launcher.errors import OptionError
from ..launcher.kinds import ContractError
from ..launcher.network_options import NetworkOptions
from ..launcher.network_records import Published

Ports = List[Published]

NAME_SERVERS = 3
"""The number of name servers that the C library asks (resolv.conf(5))."""

FORMS = 'write "8080:80", "127.0.0.1:8080:80" or "[::1]:8080:80", perhaps with /udp, or {listen: 8080, target: 80}'
_LISTEN = r"(?:(\[[^\]]+\]|[^:\[\]]+):)?([0-9]{1,9})"
_TEXT = re.compile(_LISTEN + r":([0-9]{1,9})(?:/([A-Za-z]+))?")
_KEYS = ("listen", "target", "protocol")
_WRITTEN = {"port": "listen", "address": "listen"}
"""The keys of a mapping for the fields of its record, where they have another name."""


def parse_ports(declared: Any, path: str = "ports") -> Ports:
    """Return the ports to publish, each a text `[ADDRESS:]PORT:TARGET[/PROTOCOL]` or a mapping.

    :raises OptionError: with the place of what is wrong.
    """
    items = _list(declared, path)
    fields = [
        _of_mapping(item, f"{path}[{index}]") if isinstance(item, dict) else _of_text(item, f"{path}[{index}]")
        for index, item in enumerate(items)
    ]
    try:
        return NetworkOptions.read({"ports": fields}).ports
    except ContractError as error:
        number, field = re.fullmatch(r"ports\[([0-9]+)\](?:\.(.*))?", error.place).groups()  # type: ignore[union-attr]
        place = f"{path}[{number}]"
        if field and isinstance(items[int(number)], dict):
            place += f".{_WRITTEN.get(field, field)}"
        raise OptionError(place, re.sub(r"\bports(?=\[)", path, error.message)) from error


def parse_nameservers(declared: Any, path: str = "nameservers") -> list[str]:
    """Return the addresses of name servers.

    :raises OptionError: with the place of what is wrong.
    """
    items = _list(declared, path)
    try:
        found = NetworkOptions.read({"nameservers": items}).nameservers
    except ContractError as error:
        raise OptionError(path + error.place[len("nameservers") :], error.message) from error
    for index, address in enumerate(found):
        if address in found[:index]:
            raise OptionError(f"{path}[{index}]", f"{address} is there twice")
    if len(found) > NAME_SERVERS:
        raise OptionError(f"{path}[{NAME_SERVERS}]", f"programs ask the first {NAME_SERVERS} name servers alone")
    return found


def _list(declared: Any, path: str) -> list[Any]:
    if not isinstance(declared, list):
        raise OptionError(path, f"must be a list, not {str(declared)[:80]!r}")
    return declared


def _of_text(value: Any, path: str) -> dict[str, Any]:
    if isinstance(value, int) and not isinstance(value, bool):
        raise OptionError(
            path, f"{value} is a number, which YAML makes of 22:22, too (in base 60): quote it, and {FORMS}"
        )
    match = _TEXT.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise OptionError(path, f"{str(value)[:80]!r} is no port to publish: {FORMS}")
    return _fields(match[1], match[2], match[3], "tcp" if match[4] is None else match[4], path)


def _of_mapping(value: dict[str, Any], path: str) -> dict[str, Any]:
    for key in value:
        if key not in _KEYS:
            raise OptionError(path, f"unknown key '{key}'; known: {', '.join(_KEYS)}")
    for key in ("listen", "target"):
        if value.get(key) is None:
            raise OptionError(path, f"'{key}' is required")
    listen, target, protocol = value["listen"], value["target"], value.get("protocol")
    match = re.fullmatch(_LISTEN, str(listen)) if not isinstance(listen, bool) else None
    if not match:
        raise OptionError(f"{path}.listen", f"{str(listen)[:80]!r} is neither a port nor ADDRESS:PORT")
    if isinstance(target, bool) or not re.fullmatch(r"[0-9]{1,9}", str(target)):
        raise OptionError(f"{path}.target", f"{str(target)[:80]!r} is no port")
    return _fields(match[1], match[2], str(target), "tcp" if protocol is None else protocol, f"{path}.listen")


def _fields(address: str | None, port: str, target: str, protocol: Any, path: str) -> dict[str, Any]:
    """Return the fields of a published port's record, which checks them.

    :param path: where the address was written.
    """
    plain = (address or "*").strip("[]")
    if plain in ("0.0.0.0", "::"):
        raise OptionError(path, f"{plain!r}: leave the address out: the port is then that of all addresses of the host")
    return {"port": int(port), "target": int(target), "protocol": protocol, "address": "" if plain == "*" else plain}
