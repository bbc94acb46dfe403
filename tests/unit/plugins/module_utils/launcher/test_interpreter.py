# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which program the kernel loads together with a binary (elf(5)), for each kind of header."""

from __future__ import annotations

import os
import struct
import sys
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


def interpreter(tmp_path: Path, content: bytes, header: bytes | None = None) -> list[str]:
    (tmp_path / "program").write_bytes(content)
    descriptor = os.open(tmp_path / "program", os.O_RDONLY)
    try:
        return elf.interpreters(descriptor, content[:128] if header is None else header)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("bits", [32, 64])
def test_the_interpreter_of_each_kind_of_binary(tmp_path: Path, bits: int) -> None:
    assert interpreter(tmp_path, binary(bits)) == ["/lib/ld.so"]
    assert interpreter(tmp_path, binary(bits, segments=(3,))) == ["/lib/ld.so"]
    assert interpreter(tmp_path, binary(bits, segments=(1, 2, 6))) == []
    assert interpreter(tmp_path, binary(bits, segments=())) == []


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"length": 4}, ["/lib"]),
        ({"length": 4096}, ["/lib/ld.so"]),
        ({"length": 4097}, []),
        ({"begin": 1 << 63}, []),
        ({"begin": (1 << 62)}, [""]),
        ({"start": 1 << 63}, []),
        ({"size": 0}, []),
        ({"size": 55}, []),
        ({"count": 1170}, ["/lib/ld.so"]),  # 65,520 bytes of a table
        ({"count": 1171}, []),
        ({"count": 1}, []),
    ],
)
def test_what_the_kernel_does_not_take(tmp_path: Path, changes: dict[str, int], found: t.Any) -> None:
    content = binary(**changes)  # type: ignore[arg-type]
    assert interpreter(tmp_path, content) == found


def test_a_header_that_is_no_header(tmp_path: Path) -> None:
    content = binary()
    assert interpreter(tmp_path, content, content[:50]) == []
    assert interpreter(tmp_path, content, content[:64]) == ["/lib/ld.so"]


@pytest.mark.parametrize(
    ("machine", "number", "native"),
    [
        ("x86_64", 62, True),
        ("x86_64", 3, True),
        ("x86_64", 183, False),
        ("aarch64", 183, True),
        ("aarch64", 40, True),
        ("aarch64", 62, False),
        ("riscv64", 243, True),
        ("ppc64le", 21, True),
        ("s390x", 22, True),
        ("another", 62, False),
    ],
)
def test_what_this_machine_runs(monkeypatch: pytest.MonkeyPatch, machine: str, number: int, native: bool) -> None:
    monkeypatch.setattr(elf.os, "uname", lambda: types.SimpleNamespace(machine=machine))
    header = b"\x7fELF" + bytes(14) + number.to_bytes(2, sys.byteorder) + bytes(44)
    assert elf.is_native(header) is native
    assert not elf.is_native(b"#!/bin/sh" + header[9:])
    assert not elf.is_native(header[:18])
