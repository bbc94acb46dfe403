# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is read of the kernel's answers about the tables of its packet filter (N8)."""

from __future__ import annotations

import errno
import struct
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import loaded_rules
from ansible_collections.unshare.container.plugins.module_utils.launcher import netlink_socket
from ansible_collections.unshare.container.plugins.module_utils.launcher.links import attributes_of, text_in
from ansible_collections.unshare.container.tests.kernel_answers import KERNEL, Socket, acknowledgement, message

HEAD = bytes(4)
TABLES, CHAINS, RULES, ELEMENTS = 0xA01, 0xA04, 0xA07, 0xA0D


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)


def text(kind: int, words: str) -> bytes:
    return attribute(kind, words.encode() + b"\0")


def answer(*texts: tuple[int, str]) -> bytes:
    return HEAD + b"".join(text(kind, words) for kind, words in texts)


class Kernel:
    """A packet filter with one table of each family, and one of somebody else's."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int, dict[int, str]]] = []

    def dump(self, _netlink: object, kind: int, body: bytes) -> list[bytes]:
        asked = {number: text_in(value) for number, value in attributes_of(body, 4)}
        self.asked.append((kind, body[0], asked))
        if kind == TABLES:
            return [answer((1, name)) for name in ("unshare", "unshare", "own")]
        if kind == CHAINS:
            return [
                HEAD + text(1, table) + attribute(2, bytes(8)) + text(3, name)
                for table, name in (("unshare", "made_1"), ("own", "other"), ("unshare", "early"), ("unshare", "gone"))
            ]
        if kind == RULES:
            return [answer((1, "unshare"), (2, name)) for name in ("early", "early", "gone")]
        if asked[2] == "missing":
            raise FileNotFoundError(2, "No such file or directory")
        elements = [attribute(1, attribute(1, bytes(16))) for _number in range(3)]
        # In two messages, as the kernel gives what one has no room for.
        parts = [elements[:2], elements[2:]] if asked[2] == "ports" else []
        return [answer((1, "unshare"), (2, asked[2])) + attribute(3, b"".join(part)) for part in parts]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    monkeypatch.setattr(netlink_socket.NetlinkSocket, "dump", lambda *words: made.dump(*words))
    return made


def test_tables_are_known_by_name(kernel: Kernel) -> None:
    assert loaded_rules.tables() == {"unshare", "own"}
    assert kernel.asked == [(TABLES, 0, {})]


@pytest.mark.parametrize(("table", "family"), [("inet unshare", 1), ("bridge unshare", 7)])
@pytest.mark.parametrize(
    ("said", "has"), [(message(0xA03, HEAD, 1), True), (acknowledgement(errno.ENOENT, 1), False)], ids=["there", "gone"]
)
def test_one_chain_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, said: bytes, has: bool, table: str, family: int
) -> None:
    kernel = Socket((said, KERNEL))
    monkeypatch.setattr(netlink_socket._socket, "socket", lambda *_words: kernel)
    assert loaded_rules.has_chain(table, "made_1") is has
    (asked,) = kernel.sent
    _size, kind, flags, _number, _port = struct.unpack_from("=IHHII", asked)
    assert (kind, flags, asked[16]) == (CHAINS, netlink_socket.REQUEST, family)
    assert {number: text_in(value) for number, value in attributes_of(asked, 20)} == {1: "unshare", 3: "made_1"}


def test_a_kernel_that_does_not_say_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netlink_socket._socket, "socket", lambda *_words: Socket((acknowledgement(1, 1), KERNEL)))
    with pytest.raises(PermissionError, match="chain made_1 of inet unshare"):
        loaded_rules.has_chain("inet unshare", "made_1")


def test_an_outline_has_the_numbers_of_rules_and_elements(kernel: Kernel) -> None:
    expected: dict[str, t.Any] = {"chain made_1": 0, "chain early": 2, "chain gone": 1, "map ports": 3, "map empty": 0}
    assert loaded_rules.outline("bridge unshare", ["ports", "empty"]) == expected
    assert (RULES, 7, {1: "unshare"}) in kernel.asked
    assert (ELEMENTS, 7, {1: "unshare", 2: "ports"}) in kernel.asked


def test_a_map_that_is_missing_is_an_error(kernel: Kernel) -> None:
    with pytest.raises(FileNotFoundError):
        loaded_rules.outline("inet unshare", ["missing"])
