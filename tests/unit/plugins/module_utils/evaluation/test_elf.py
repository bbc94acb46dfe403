# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is read of ELF files, whole and damaged ones."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.evaluation import elf
from ansible_collections.unshare.container.tests.tally import Tally
from ansible_collections.unshare.container.tests.unit.plugins.module_utils.evaluation import elf_files
from hypothesis import given
from hypothesis import strategies as st

WHOLE = elf_files.elf(
    ["liba.so.1", "libb.so"], interpreter="/lib64/ld-linux-x86-64.so.2", soname="me", rpath="/r", runpath="$ORIGIN:/x"
)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_reads_what_a_file_needs(bits: int, order: str) -> None:
    data = elf_files.elf(
        ["liba.so.1", "libb.so"],
        interpreter="/lib/ld.so",
        soname="libme.so.2",
        rpath="/one:/two",
        runpath="$ORIGIN/../lib",
        filtered="libfast.so",
        flags=0x800,
        bits=bits,
        order=order,
    )
    assert elf.parse(io.BytesIO(data)) == elf.Elf(
        kind=(bits // 32, 1 if order == "<" else 2, elf_files.MACHINE),
        interpreter="/lib/ld.so",
        soname="libme.so.2",
        needed=("liba.so.1", "libb.so"),
        optional=("libfast.so",),
        rpath=("/one", "/two"),
        runpath=("$ORIGIN/../lib",),
        default_directories=False,
    )


def test_reads_a_real_program() -> None:
    program = elf.read(os.path.realpath(sys.executable))
    assert program is not None
    assert program.interpreter is not None
    assert any(name.startswith("libc.") for name in program.needed)


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x7fEL"])
def test_other_files_are_none(content: bytes) -> None:
    assert elf.parse(io.BytesIO(content)) is None


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    """A pipe would be waited for, and a device may do something."""
    os.mkfifo(tmp_path / "pipe")
    for path in (str(tmp_path / "pipe"), str(tmp_path), "/dev/zero"):
        with pytest.raises(OSError, match="is no regular file"):
            elf.read(path)


def test_an_error_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "damaged").write_bytes(WHOLE[:70])
    with pytest.raises(elf.ElfError, match=f"{tmp_path}/damaged: is damaged: it ends before its byte"):
        elf.read(str(tmp_path / "damaged"))


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (4, b"\x09", "no ELF file of a known class"),
        (54, b"\x01\x00", "program headers of 1 bytes"),
        (56, b"\xff\xff", "more program headers"),
        (64 + 56 + 32, b"\xff" * 8, "dynamic section of"),
        (64 + 16, b"\xff" * 8, "at an address"),
        (32, b"\xff" * 8, "refers to its byte"),
    ],
)
def test_says_what_is_wrong(offset: int, value: bytes, message: str) -> None:
    damaged = WHOLE[:offset] + value + WHOLE[offset + len(value) :]
    with pytest.raises(elf.ElfError, match=message):
        elf.parse(io.BytesIO(damaged))


@pytest.mark.parametrize("tag", [elf_files.NEEDED, elf_files.AUXILIARY, elf_files.FILTER])
@pytest.mark.parametrize("path", ["rpath", "runpath"])
def test_more_places_than_a_program_can_need_are_refused(tag: int, path: str) -> None:
    """Names times directories: each of the two may be what a real file has."""
    names = [(tag, f"lib{number}.so") for number in range(400)]
    directories = ":".join(f"/{number}" for number in range(100))
    few = elf_files.elf(more=names[:200], **{path: directories})  # type: ignore[arg-type]
    assert elf.parse(io.BytesIO(few)) is not None
    many = elf_files.elf(more=names, **{path: directories})  # type: ignore[arg-type]
    with pytest.raises(elf.ElfError, match=r"more than a program can need \(400 libraries in 101 places\)"):
        elf.parse(io.BytesIO(many))


def test_of_several_search_paths_the_last_one_counts() -> None:
    """So it is with the dynamic linker; all of them could be of any length together."""
    twice = [
        (elf_files.RUNPATH, "/first"),
        (elf_files.RUNPATH, "/last"),
        (elf_files.RPATH, "/a"),
        (elf_files.RPATH, "/b"),
    ]
    read = elf.parse(io.BytesIO(elf_files.elf(more=twice)))
    assert read is not None
    assert (read.runpath, read.rpath) == (("/last",), ("/b",))


@given(st.binary(max_size=512))
def test_any_bytes_are_read_or_refused(tail: bytes) -> None:
    try:
        elf.parse(io.BytesIO(elf.MAGIC + tail))
    except elf.ElfError:
        pass


@given(st.integers(0, len(WHOLE) - 1))
def test_a_truncated_file_is_refused(length: int) -> None:
    if length < 4:
        assert elf.parse(io.BytesIO(WHOLE[:length])) is None
        return
    with pytest.raises(elf.ElfError):
        elf.parse(io.BytesIO(WHOLE[:length]))


def test_a_damaged_file_is_read_or_refused() -> None:
    tally = Tally()

    @given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=12))
    def holds(changes: list[tuple[int, int]]) -> None:
        data = bytearray(WHOLE)
        for position, value in changes:
            data[position] = value
        with tally.case(elf.ElfError):
            elf.parse(io.BytesIO(bytes(data)))

    holds()
    tally.check(least=0.2)
