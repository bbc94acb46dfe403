# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A method is called over a socket, on which a bus of the test reads each byte, and answers in either byte order."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import bus

SERVICE, OBJECT = "org.example.One", "/org/example/One"
CALL = b"".join(
    (
        b"l\1\2\1\x11\0\0\0\2\0\0\0\x62\0\0\0",
        b"\1\1o\0\x10\0\0\0/org/example/One\0" + bytes(7),
        b"\2\1s\0\x03\0\0\0a.b\0" + bytes(4),
        b"\3\1s\0\x02\0\0\0Do\0" + bytes(5),
        b"\6\1s\0\x0f\0\0\0org.example.One\0",
        b"\x08\1g\0\4suay\0" + bytes(6),
        b"\2\0\0\0hi\0\0" + b"\x2a\0\0\0" + b"\1\0\0\0\7",
    )
)
"""A call as the D-Bus specification has it: little-endian, a call (1) that starts nothing (2), version 1, 17 bytes of
arguments, serial 2, 98 bytes of fields. Each field begins at a multiple of 8 bytes, and each number of 4."""


class Bus:
    """A bus with one client. It keeps what that has said, and answers its calls in turn.

    Attributes:
        said: all that came after the greeting.
        greeting: what came before.
    """

    def __init__(self, path: Path, answers: list[bytes], greeted: bytes = b"OK 0123\r\n", hold: bool = False) -> None:
        self.path = str(path)
        self.answers = answers
        self.greeted = greeted
        self.hold = hold
        self.greeting = self.said = b""
        self.listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listening.bind(self.path)
        self.listening.listen()
        self.thread = threading.Thread(target=self.serve)

    def serve(self) -> None:
        channel, _address = self.listening.accept()
        with channel:
            while not self.greeting.endswith(b"\r\n"):
                self.greeting += channel.recv(1)
            channel.sendall(self.greeted)
            if not self.greeted.startswith(b"OK"):
                return
            while not self.greeting.endswith(b"BEGIN\r\n"):
                self.greeting += channel.recv(1)
            self.said = channel.recv(4096)
            for answer in self.answers:
                channel.sendall(answer)
            if self.hold:
                channel.recv(1)

    def __enter__(self) -> Bus:
        self.thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.thread.join()
        self.listening.close()


def answer(serial: int, kind: int = 2, order: str = "<", error: str = "", text: str = "") -> bytes:
    """Return an answer to the call with this serial."""
    number = struct.Struct(order + "I")
    fields = b"\5\1u\0" + number.pack(serial)
    if error:
        fields += b"\4\1s\0" + number.pack(len(error)) + error.encode() + b"\0"
    body = b""
    if text:
        fields += bytes(-len(fields) % 8) + b"\x08\1g\0\1s\0"
        body = number.pack(len(text.encode())) + text.encode() + b"\0"
    start = (ord("l" if order == "<" else "B"), kind, 1, 1, len(body), 7, len(fields))
    return struct.pack(order + "BBBBIII", *start) + fields + bytes(-len(fields) % 8) + body


SIGNAL = answer(1, kind=4)
"""A signal may come in between; here it even says what an answer would."""


def call(where: Bus, seconds: float = 20, **options: bool) -> None:
    bus.call(SERVICE, OBJECT, "a.b", "Do", "suay", ["hi", 42, b"\7"], seconds, where.path, **options)


@pytest.mark.parametrize("order", ["<", ">"])
def test_each_byte_is_as_the_specification_has_it(tmp_path: Path, order: str) -> None:
    with Bus(tmp_path / "bus", [SIGNAL, answer(1, order=order), SIGNAL, answer(2, order=order)]) as where:
        call(where)
    uid = "".join(f"{ord(digit):x}" for digit in str(os.geteuid()))
    assert where.greeting == f"\0AUTH EXTERNAL {uid}\r\nBEGIN\r\n".encode()
    hello, rest = where.said[:128], where.said[128:]
    assert hello[:16] == b"l\1\2\1\0\0\0\0\1\0\0\0\x6d\0\0\0"
    assert b"\3\1s\0\x05\0\0\0Hello\0" in hello
    assert rest == CALL


def test_the_bus_is_to_start_a_service_where_that_is_asked_for(tmp_path: Path) -> None:
    with Bus(tmp_path / "bus", [answer(1), answer(2)]) as where:
        call(where, starts=True)
    assert where.said[128:] == b"l\1\0" + CALL[3:]


@pytest.mark.parametrize("order", ["<", ">"])
def test_an_error_has_its_name_and_its_message(tmp_path: Path, order: str) -> None:
    refusal = answer(2, 3, order, "org.example.Error.No", "it does not\u00e4")
    raised = pytest.raises(bus.BusError, match="^it does not\u00e4$")
    with Bus(tmp_path / "bus", [answer(1), refusal]) as where, raised as caught:
        call(where)
    assert caught.value.name == "org.example.Error.No"
    refusal = answer(2, 3, order, "org.example.E")
    with Bus(tmp_path / "2", [answer(1), refusal]) as where, pytest.raises(bus.BusError, match=r"^org\.example\.E$"):
        call(where)


@pytest.mark.parametrize(
    "answers",
    [
        [],
        [answer(1)],
        [b"l\2"],
        [answer(1), answer(2)[:-1]],
        [b"l\2\1\1\xff\xff\xff\x7f\7\0\0\0\0\0\0\0"],
        [b"l\2\1\1\0\0\0\0\7\0\0\0\xff\xff\xff\xff"],
        [answer(1).replace(b"\5\1u\0", b"\5\2u\0")],
        [answer(1).replace(b"\5\1u\0", b"\5\1v\0")],
        [answer(1, 3, error="a.b").replace(b"\3\0\0\0a.b", b"\xff\xff\0\0a.b")],
        [answer(1, 3, error="a.b", text="no").replace(b"\2\0\0\0no", b"\xf0\xff\xff\xffno")],
        [bytes(range(256)) * 4],
    ],
)
def test_what_is_no_answer_is_an_error(tmp_path: Path, answers: list[bytes]) -> None:
    with Bus(tmp_path / "bus", answers) as where, pytest.raises((ValueError, ConnectionError)):
        call(where)


@pytest.mark.parametrize("greeted", [b"REJECTED EXTERNAL\r\n", b"REJECTED", b"x" * (bus.LONGEST + 2)])
def test_who_is_refused_is_told(tmp_path: Path, greeted: bytes) -> None:
    with Bus(tmp_path / "bus", [], greeted) as where, pytest.raises(ValueError, match="the bus "):
        call(where)


@pytest.mark.parametrize("answers", [[], [answer(1)], [SIGNAL] * 3, [answer(1), answer(2)[:9]]])
def test_a_bus_that_says_nothing_is_not_waited_for(tmp_path: Path, answers: list[bytes]) -> None:
    with Bus(tmp_path / "bus", answers, hold=True) as where, pytest.raises(OSError, match="time"):
        call(where, 0.05)


def test_there_may_be_no_bus(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        bus.call(SERVICE, OBJECT, "a.b", "Do", "", [], 1, str(tmp_path / "none"))
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as unused:
        unused.bind(str(tmp_path / "unused"))
        with pytest.raises(ConnectionRefusedError):
            bus.call(SERVICE, OBJECT, "a.b", "Do", "", [], 1, str(tmp_path / "unused"))
