# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which program the kernel loads together with a binary (elf(5)), for each kind of header."""

from __future__ import annotations

import os
import struct
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import elf

PATH = b"/lib/ld.so\0rest"


def binary(bits: int = 64, order: str = "<", segments: t.Sequence[int] = (1, 3, 2), **changes: int) -> bytes:
    """Return a binary with these types of segments; CHANGES replace what its header or its third kind says."""
    size, start = (56, 100) if bits == 64 else (32, 100)
    size, start, count = changes.get("size", size), changes.get("start", start), changes.get("count", len(segments))
    begin, length = changes.get("begin", 600), changes.get("length", len(PATH))
    head = b"\x7fELF" + bytes([2 if bits == 64 else 1, 1 if order == "<" else 2]) + bytes(10)
    header = bytearray(head + bytes(64))
    struct.pack_into(order + ("Q" if bits == 64 else "I"), header, 32 if bits == 64 else 28, start)
    struct.pack_into(order + "HH", header, 54 if bits == 64 else 42, size, count)
    text = bytearray(header[:80] + bytes(700))
    for index, kind in enumerate(segments):
        place = 100 + index * (56 if bits == 64 else 32)
        struct.pack_into(order + "I", text, place, kind)
        if bits == 64:
            struct.pack_into(order + "Q", text, place + 8, begin if kind == 3 else 0)
            struct.pack_into(order + "Q", text, place + 32, length)
        else:
            struct.pack_into(order + "I", text, place + 4, begin if kind == 3 else 0)
            struct.pack_into(order + "I", text, place + 16, length)
    text[600 : 600 + len(PATH)] = PATH
    return bytes(text)


def interpreter(tmp_path: Path, content: bytes, header: bytes | None = None) -> str | None:
    (tmp_path / "program").write_bytes(content)
    descriptor = os.open(tmp_path / "program", os.O_RDONLY)
    try:
        return elf.interpreter(descriptor, content[:128] if header is None else header)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_interpreter_of_each_kind_of_binary(tmp_path: Path, bits: int, order: str) -> None:
    assert interpreter(tmp_path, binary(bits, order)) == "/lib/ld.so"
    assert interpreter(tmp_path, binary(bits, order, (3,))) == "/lib/ld.so"
    assert interpreter(tmp_path, binary(bits, order, (1, 2, 6))) is None
    assert interpreter(tmp_path, binary(bits, order, ())) is None


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"length": 4}, "/lib"),
        ({"length": 4096}, "/lib/ld.so"),
        ({"length": 4097}, None),
        ({"begin": 1 << 63}, None),
        ({"begin": (1 << 62)}, ""),
        ({"start": 1 << 63}, None),
        ({"size": 0}, None),
        ({"count": 1170}, "/lib/ld.so"),  # 65,520 bytes of a table
        ({"count": 1171}, None),
        ({"count": 1}, None),
    ],
)
def test_what_the_kernel_does_not_take(tmp_path: Path, changes: dict[str, int], found: t.Any) -> None:
    content = binary(**changes)  # type: ignore[arg-type]
    assert interpreter(tmp_path, content) == found


def test_a_header_that_is_no_header(tmp_path: Path) -> None:
    content = binary()
    assert interpreter(tmp_path, content, content[:63]) is None
    assert interpreter(tmp_path, content, content[:64]) == "/lib/ld.so"
    assert interpreter(tmp_path, content[:4] + b"\3" + content[5:]) is None


@pytest.mark.parametrize(
    ("machine", "header", "foreign"),
    [
        ("x86_64", b"\x7fELF" + bytes(14) + b">\0" + bytes(4), False),
        ("x86_64", b"\x7fELF" + bytes(14) + b"\xb7\0" + bytes(4), True),
        ("aarch64", b"\x7fELF" + bytes(14) + b"\xb7\0" + bytes(4), False),
        ("riscv64", b"\x7fELF" + bytes(14) + b"\xf3\0" + bytes(4), False),
        ("ppc64le", b"\x7fELF" + bytes(14) + b"\x15\0" + bytes(4), False),
        ("s390x", b"\x7fELF" + bytes(14) + b"\0\x16" + bytes(4), False),
        ("another", b"\x7fELF" + bytes(14) + b"xx" + bytes(4), False),
        ("x86_64", b"\x7fELF" + bytes(16), False),  # too short to say
        ("x86_64", b"\x7fELF" + bytes(17), True),
        ("x86_64", b"#!/bin/sh", True),
    ],
)
def test_what_this_machine_does_not_run(
    monkeypatch: pytest.MonkeyPatch, machine: str, header: bytes, foreign: bool
) -> None:
    monkeypatch.setattr(elf.os, "uname", lambda: types.SimpleNamespace(machine=machine))
    assert elf.is_foreign(header) is foreign
