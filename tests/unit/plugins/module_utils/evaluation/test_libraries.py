# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The search for libraries, in the order of ld.so(8)."""

from __future__ import annotations

import io
import struct
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.evaluation import elf, libraries
from ansible_collections.unshare.container.plugins.module_utils.evaluation.reach import Reach
from ansible_collections.unshare.container.tests.unit.plugins.module_utils.evaluation import elf_files
from hypothesis import given
from hypothesis import strategies as st

NAME = "libwanted.so.1"


def loaded(path: Path, loader: libraries.Loaded | None = None, **keywords: t.Any) -> libraries.Loaded:
    """Return a file at a path, as the search sees it."""
    file = elf.parse(io.BytesIO(elf_files.elf(**keywords)))
    assert file is not None
    return libraries.Loaded(str(path), file, loader)


def find(
    needing: libraries.Loaded, cache: dict[str, list[str]] | None = None, name: str = NAME, **environment: str
) -> list[str]:
    reach = Reach()
    reach.name("/")
    found = libraries.Search(needing.file, environment, cache or {}, reach).find(name, needing)
    return [library.path for library in found]


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """Write the library into several directories, and return its paths."""
    return {name: elf_files.write(tmp_path / name / NAME) for name in ("rpath", "path", "runpath", "cache", "lib")}


def test_order(tmp_path: Path, places: dict[str, Path]) -> None:
    cache = {NAME: [str(places["cache"])]}
    path = {"LD_LIBRARY_PATH": str(places["path"].parent)}
    with_rpath = loaded(tmp_path / "bin/program", rpath=str(places["rpath"].parent))
    with_both = loaded(
        tmp_path / "bin/program", rpath=str(places["rpath"].parent), runpath=str(places["runpath"].parent)
    )
    assert find(with_rpath, cache, **path) == [str(places["rpath"])]
    assert find(with_both, cache, **path) == [str(places["path"])]
    assert find(with_both, cache) == [str(places["runpath"])]
    assert find(loaded(tmp_path / "bin/program"), cache) == [str(places["cache"])]
    assert find(loaded(tmp_path / "bin/program")) == []


def test_rpath_is_inherited_and_runpath_is_not(tmp_path: Path, places: dict[str, Path]) -> None:
    library = tmp_path / "other/libother.so"
    directory = str(places["rpath"].parent)
    assert find(loaded(library, loaded(tmp_path / "program", rpath=directory))) == [str(places["rpath"])]
    assert find(loaded(library, loaded(tmp_path / "program", runpath=directory))) == []
    own = str(places["runpath"].parent)
    assert find(loaded(library, loaded(tmp_path / "program", rpath=directory), runpath=own)) == [str(places["runpath"])]


@pytest.mark.parametrize("text", ["$ORIGIN/../lib", "${ORIGIN}/../lib", "relative:$ORIGIN/../lib"])
def test_origin_is_the_directory_of_the_file(tmp_path: Path, places: dict[str, Path], text: str) -> None:
    (tmp_path / "bin").mkdir()
    assert find(loaded(tmp_path / "bin/program", runpath=text)) == [str(tmp_path / "bin/../lib" / NAME)]


def test_lib_is_the_directory_of_the_machine(tmp_path: Path) -> None:
    path = elf_files.write(tmp_path / "lib/x86_64-linux-gnu" / NAME)
    assert find(loaded(tmp_path / "program", runpath=f"{tmp_path}/$LIB")) == [str(path)]


def test_files_of_another_machine_are_passed_over(tmp_path: Path, places: dict[str, Path]) -> None:
    elf_files.write(tmp_path / "foreign" / NAME, machine=183)
    elf_files.write(tmp_path / "narrow" / NAME, bits=32)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / NAME).write_text("INPUT(libc.so.6)")
    runpath = ":".join(str(tmp_path / name) for name in ("foreign", "narrow", "text", "missing", "lib"))
    assert find(loaded(tmp_path / "program", runpath=runpath)) == [str(places["lib"])]


def test_a_name_with_a_slash_is_a_path(tmp_path: Path, places: dict[str, Path]) -> None:
    program = loaded(tmp_path / "bin/program")
    assert find(program, name=str(places["lib"])) == [str(places["lib"])]
    assert find(program, name="./relative.so") == []


def test_all_builds_of_the_cache_are_found(tmp_path: Path, places: dict[str, Path]) -> None:
    builds = [str(places["rpath"]), str(places["lib"])]
    assert find(loaded(tmp_path / "program"), {NAME: builds}) == builds


def test_no_default_directories(tmp_path: Path) -> None:
    cache = {"libc.so.6": ["/lib/x86_64-linux-gnu/libc.so.6"]}
    program = loaded(tmp_path / "program", flags=0x800)
    assert find(program, cache, name="libc.so.6") == []


def cache_bytes(entries: list[tuple[str, str]]) -> bytes:
    """Return a cache file of glibc's newer form."""
    start = 48 + 24 * len(entries)
    strings = b""
    table = b""
    for name, path in entries:
        table += struct.pack("=iIIIQ", 0x303, start + len(strings), start + len(strings) + len(name) + 1, 0, 0)
        strings += name.encode() + b"\0" + path.encode() + b"\0"
    return struct.pack("=20sIIB3xI12x", b"glibc-ld.so.cache1.1", len(entries), len(strings), 2, 0) + table + strings


ENTRIES = [("liba.so.1", "/lib/liba.so.1"), ("liba.so.1", "/opt/liba.so.1"), ("libb.so", "/opt/libb.so")]


@pytest.mark.parametrize("prefix", [b"", b"ld.so-1.7.0\0\0\0\0\0"])
def test_reads_the_cache(tmp_path: Path, prefix: bytes) -> None:
    (tmp_path / "cache").write_bytes(prefix + cache_bytes(ENTRIES))
    found = libraries.read_cache(str(tmp_path / "cache"))
    assert found == {"liba.so.1": ["/lib/liba.so.1", "/opt/liba.so.1"], "libb.so": ["/opt/libb.so"]}


def test_without_a_cache(tmp_path: Path) -> None:
    assert libraries.read_cache(str(tmp_path / "missing")) == {}


@given(st.integers(0, 200), st.binary(max_size=64))
def test_a_damaged_cache_is_read_as_far_as_it_goes(
    tmp_path_factory: pytest.TempPathFactory, length: int, tail: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged-cache"
    path.write_bytes(cache_bytes(ENTRIES)[:length] + tail)
    assert isinstance(libraries.read_cache(str(path)), dict)
