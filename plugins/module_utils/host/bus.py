# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A call of a method over the host's system bus (the D-Bus specification).

A start of a container makes one such call. busctl(1) would cost a process, and be needed on the host.
"""

from __future__ import annotations

import os
import socket
import struct
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SYSTEM_BUS = "/run/dbus/system_bus_socket"
LARGEST = 1 << 16  # bytes of a message that is read
LONGEST = 512  # bytes of the bus's greeting
METHOD_CALL, METHOD_RETURN, ERROR = 1, 2, 3
NO_AUTO_START = 2
FIELD_PATH, FIELD_INTERFACE, FIELD_MEMBER, FIELD_ERROR_NAME, FIELD_REPLY_SERIAL, FIELD_DESTINATION, FIELD_SIGNATURE = (
    1,
    2,
    3,
    4,
    5,
    6,
    8,
)
BUS = "org.freedesktop.DBus"
HEADER = "BBBBIII"  # order, type, flags, version, and in numbers: bytes of the body, serial, bytes of the fields
HEADER_SIZE = struct.calcsize("<" + HEADER)


class BusError(Exception):
    """An answer that is an error.

    Attributes:
        name: what D-Bus calls it.
    """

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message or name)
        self.name = name


def call(
    service: str,
    path: str,
    interface: str,
    method: str,
    signature: str,
    values: list[Any],
    seconds: float,
    bus: str,
    starts: bool = False,
) -> None:
    """Call a method, and wait for its answer.

    Args:
        signature: the types of `values`, each `s`, `u` or `ay`.
        seconds: for all of it.
        bus: path of the bus's socket.
        starts: whether the bus starts the service if that does not run.

    Raises:
        BusError: the answer is an error.
        OSError, ValueError: there is no bus, or it does not answer in time, or not as it should.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as channel:
        connection = _Connection(channel, time.monotonic() + seconds)
        connection.greet(bus)
        hello = message(1, BUS, "/org/freedesktop/DBus", BUS, "Hello", "", [])
        connection.send(hello + message(2, service, path, interface, method, signature, values, starts))
        connection.await_answer(1)
        connection.await_answer(2)


def message(
    serial: int,
    service: str,
    path: str,
    interface: str,
    method: str,
    signature: str,
    values: list[Any],
    starts: bool = False,
) -> bytes:
    """Return the call of a method as it goes over the bus."""
    body = marshalled(signature, values)
    named = [
        (FIELD_PATH, "o", path),
        (FIELD_INTERFACE, "s", interface),
        (FIELD_MEMBER, "s", method),
        (FIELD_DESTINATION, "s", service),
    ]
    fields = b""
    for code, kind, value in named + ([(FIELD_SIGNATURE, "g", signature)] if signature else []):
        fields = _aligned(fields, 8) + bytes((code, 1, ord(kind), 0)) + marshalled(kind, [value])
    start = (ord("l"), METHOD_CALL, 0 if starts else NO_AUTO_START, 1, len(body), serial, len(fields))
    return _aligned(struct.pack("<" + HEADER, *start) + fields, 8) + body


def marshalled(signature: str, values: list[Any]) -> bytes:
    """Return values in little-endian order."""
    data = b""
    for kind, value in zip(signature.replace("ay", "a"), values):
        if kind == "u":
            data = _aligned(data, 4) + struct.pack("<I", value)
        elif kind == "a":
            data = _aligned(data, 4) + struct.pack("<I", len(value)) + value
        elif kind == "g":
            data += bytes((len(value),)) + value.encode() + b"\0"
        else:
            text = value.encode()
            data = _aligned(data, 4) + struct.pack("<I", len(text)) + text + b"\0"
    return data


def _aligned(data: bytes, size: int) -> bytes:
    return data + bytes(-len(data) % size)


class _Connection:
    """A connection to the bus, on which all must have happened by `deadline`."""

    def __init__(self, channel: socket.socket, deadline: float) -> None:
        self.channel = channel
        self.deadline = deadline

    def greet(self, bus: str) -> None:
        """Connect as this process's user."""
        self._limit()
        self.channel.connect(bus)
        self.send(b"\0AUTH EXTERNAL %s\r\n" % str(os.geteuid()).encode().hex().encode())
        said = b""
        while not said.endswith(b"\r\n"):
            said += self._receive(1)
            if len(said) > LONGEST:
                raise ValueError("the bus says too much")
        if not said.startswith(b"OK"):
            raise ValueError("the bus refuses this process")
        self.send(b"BEGIN\r\n")

    def send(self, data: bytes) -> None:
        """Send all of this."""
        self._limit()
        self.channel.sendall(data)

    def await_answer(self, serial: int) -> None:
        """Read messages up to the answer to the one that had this serial."""
        while True:
            start = self._receive(HEADER_SIZE)
            order = "<" if start[:1] == b"l" else ">"
            kind, body_size, fields_size = (struct.unpack(order + HEADER, start)[index] for index in (1, 4, 6))
            if body_size + fields_size > LARGEST:
                raise ValueError("the bus says too much")
            rest = self._receive(fields_size + -fields_size % 8 + body_size)
            fields = _fields(order, rest[:fields_size])
            if kind not in (METHOD_RETURN, ERROR) or fields.get(FIELD_REPLY_SERIAL) != serial:
                continue  # a signal
            if kind == ERROR:
                text = str(fields.get(FIELD_SIGNATURE, "")).startswith("s")
                said = _value(order, "s", rest, len(rest) - body_size)[0] if text else ""
                raise BusError(str(fields.get(FIELD_ERROR_NAME, "")), str(said))
            return

    def _receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            self._limit()
            part = self.channel.recv(size - len(data))
            if not part:
                raise ValueError("the bus has closed the connection")
            data += part
        return data

    def _limit(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        self.channel.settimeout(left)


def _fields(order: str, data: bytes) -> dict[int, str | int]:
    """Return the header's fields by their codes."""
    found: dict[int, str | int] = {}
    at = 0
    while at < len(data):
        at += -at % 8
        if data[at + 1 : at + 2] != b"\1" or len(data) < at + 4:
            raise ValueError("the bus says what is no D-Bus")
        found[data[at]], at = _value(order, chr(data[at + 2]), data, at + 4)
    return found


def _value(order: str, kind: str, data: bytes, at: int) -> tuple[str | int, int]:
    """Return a value, which begins here, and where it ends."""
    try:
        if kind == "g":
            size, at = data[at], at + 1
        else:
            at += -at % 4
            size, at = struct.unpack_from(order + "I", data, at)[0], at + 4
            if kind == "u":
                return size, at
    except (IndexError, struct.error):
        size = LARGEST
    if kind not in "sog" or at + size >= len(data):
        raise ValueError("the bus says what is no D-Bus")
    return data[at : at + size].decode("utf-8", "replace"), at + size + 1
