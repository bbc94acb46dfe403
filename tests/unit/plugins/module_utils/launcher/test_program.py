# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs below a root: found as the kernel and execvp(3) find them, and scripts taken apart as the kernel does."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import descriptors, elf, linux, lookup, program

from .forks import in_fork

MACHINE = elf.MACHINES[os.uname().machine][0].to_bytes(2, sys.byteorder)
BINARY = b"\x7fELF\2\1\1".ljust(18, b"\0") + MACHINE + b" no program, but it looks like one"


@pytest.fixture
def root(tmp_path: Path) -> t.Iterator[int]:
    (tmp_path / "bin").mkdir()
    (tmp_path / "sbin").mkdir()
    descriptor = lookup.open_root(str(tmp_path))
    yield descriptor
    os.close(descriptor)


def make(path: Path, content: bytes = BINARY, mode: int = 0o755) -> None:
    path.write_bytes(content)
    path.chmod(mode)


def find(root: int, path: str, *arguments: str) -> tuple[str, list[str]]:
    found = program.find(root, path, [path, *arguments])
    os.close(found.directory)
    return found.name, found.arguments


def test_a_link_is_followed_and_the_arguments_stay(root: int, tmp_path: Path) -> None:
    make(tmp_path / "bin/real")
    (tmp_path / "sbin/name").symlink_to("/bin/real")
    assert find(root, "/sbin/name", "x") == ("real", ["/sbin/name", "x"])


@pytest.mark.parametrize(
    ("line", "interpreter"),
    [
        (b"#!/bin/sh", ["/bin/sh"]),
        (b"#! \t/bin/sh \t", ["/bin/sh"]),
        (b"#!/bin/sh -e  -x ", ["/bin/sh", "-e  -x"]),
        (b"#!/bin/sh\t-e", ["/bin/sh", "-e"]),
        (b"#!/bin/sh\0garbage", ["/bin/sh"]),
        (b"#!/bin/sh a\tb  c", ["/bin/sh", "a\tb  c"]),
    ],
)
def test_scripts(root: int, tmp_path: Path, line: bytes, interpreter: list[str]) -> None:
    make(tmp_path / "bin/sh")
    make(tmp_path / "bin/script", line + b"\nrest\n")
    assert find(root, "/bin/script", "x") == ("sh", [*interpreter, "/bin/script", "x"])


def test_a_script_of_a_script(root: int, tmp_path: Path) -> None:
    make(tmp_path / "bin/sh")
    make(tmp_path / "bin/inner", b"#!/bin/sh -i\n")
    make(tmp_path / "bin/outer", b"#!/bin/inner -o\n")
    assert find(root, "/bin/outer", "x") == ("sh", ["/bin/sh", "-i", "/bin/inner", "-o", "/bin/outer", "x"])


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"#!/bin/script\n", OSError), (b"#!sh\n", OSError), (b"#!\n", OSError), (b"#!/bin/none\n", FileNotFoundError)],
)
def test_scripts_that_nothing_runs(root: int, tmp_path: Path, content: bytes, error: type[OSError]) -> None:
    make(tmp_path / "bin/script", content)
    with pytest.raises(error):
        find(root, "/bin/script")


@pytest.mark.parametrize("mode", [stat.S_IFIFO, stat.S_IFDIR, stat.S_IFREG | 0o644, stat.S_IFSOCK])
def test_what_cannot_be_executed(root: int, tmp_path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        (tmp_path / "bin/thing").mkdir()
    else:
        os.mknod(tmp_path / "bin/thing", mode | 0o644)
    with pytest.raises(PermissionError):
        find(root, "/bin/thing")


def test_the_path_is_searched_in_its_order(root: int, tmp_path: Path) -> None:
    make(tmp_path / "bin/tool", mode=0o644)
    make(tmp_path / "sbin/tool")
    found = program.find_in_path(root, "tool", ["tool"], "relative::/none:/bin:/sbin")
    assert os.path.basename(os.readlink(f"/proc/self/fd/{found.directory}")) == "sbin"
    os.close(found.directory)
    with pytest.raises(PermissionError):
        program.find_in_path(root, "tool", ["tool"], "/bin:/none")
    with pytest.raises(FileNotFoundError):
        program.find_in_path(root, "none", ["none"], "/bin:/sbin")


def test_only_what_is_wanted_stays_open() -> None:
    held = os.open("/", os.O_RDONLY)
    os.set_inheritable(held, True)
    read, write = os.pipe()

    def work() -> None:
        first, missing, second, same = descriptors.keep_only(write, None, read, write)
        assert missing == -1
        assert same == first
        linux.close_range(0, 2)
        names = sorted(int(name) for name in os.listdir("/proc/self/fd"))
        assert {first, second} <= set(names)
        assert len([name for name in names if name > 2]) <= 3  # and the one that lists them
        assert not os.get_inheritable(first)

    assert in_fork(work) == 0
    for descriptor in (held, read, write):
        os.close(descriptor)


def test_descriptors_are_kept_where_the_limit_is_lower_than_their_numbers() -> None:
    """As where the parent, which may open more, gives the container's limit to a child that has not begun."""
    read, write = os.pipe()

    def work() -> None:
        kept = os.dup2(write, 200)
        for number in range(3, 200):
            os.dup2(read, number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        (kept,) = descriptors.keep_only(kept)
        os.write(kept, b"x")

    assert in_fork(work) == 0
    os.close(write)
    assert os.read(read, 2) == b"x"
    os.close(read)


def test_executed_by_descriptor_with_its_arguments(tmp_path: Path) -> None:
    root = lookup.open_root("/")
    read, write = os.pipe()

    def work() -> None:
        os.dup2(write, 1)
        program.find(root, "/bin/sh", ["name", "-c", 'echo "$0 $1 $V"', "zero", "one"]).execute({"V": "value"})

    assert in_fork(work) == 0
    os.close(write)
    with os.fdopen(read) as output:
        assert output.read() == "zero one value\n"
    os.close(root)


OTHERS = {
    "another machine": BINARY[:18] + b"\x99\x99" + BINARY[20:],
    "another kind": b"MZ\0 and more",
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_the_kernel_itself_does_not_run_is_for_the_shell(root: int, tmp_path: Path, kind: str) -> None:
    make(tmp_path / "bin/program", OTHERS[kind])
    with pytest.raises(FileNotFoundError, match="/bin/sh"):
        find(root, "/bin/program")
    make(tmp_path / "bin/sh")
    assert find(root, "/bin/program", "x") == ("sh", ["sh", "-c", 'exec "$0" "$@"', "/bin/program", "x"])
    make(tmp_path / "bin/script", b"#!/bin/program -o\n")
    words = ["/bin/program", "-o", "/bin/script", "x"]
    assert find(root, "/bin/script", "x") == ("sh", ["sh", "-c", 'exec "$0" "$@"', *words])


@pytest.mark.parametrize("content", [b"", b"exit 0\n", "täxt".encode(), b" #!/bin/sh\n"])
def test_what_is_text_is_no_program(root: int, tmp_path: Path, content: bytes) -> None:
    """As for the kernel; a shell would run it as a script."""
    make(tmp_path / "bin/sh")
    make(tmp_path / "bin/text", content)
    make(tmp_path / "bin/script", b"#!/bin/text\n")
    for path in ("/bin/text", "/bin/script"):
        with pytest.raises(OSError, match=r"is no program.*/bin/text"):
            find(root, path)


@pytest.mark.parametrize("kind", OTHERS)
def test_a_shell_that_the_kernel_does_not_run_is_an_error(root: int, tmp_path: Path, kind: str) -> None:
    make(tmp_path / "bin/sh", OTHERS[kind])
    make(tmp_path / "bin/script", b"#!/bin/sh\n")
    for path in ("/bin/sh", "/bin/script"):
        with pytest.raises(OSError, match="neither is /bin/sh"):
            find(root, path)


def binary(interpreter: bytes | None, bits: int = 64, claims: tuple[int, int] = (2, 1), entry: int = 0) -> bytes:
    """Return a program of this machine with two segments, whose second one names an interpreter.

    :param bits: by which its table is laid out.
    :param claims: the class and the byte order that it says it has.
    :param entry: the size of an entry that it says its table has, if not the right one.
    """
    layout = elf.LAYOUTS[0 if bits == 64 else 1]
    text = bytearray(4096)

    def put(place: tuple[int, int], number: int, base: int = 0) -> None:
        text[base + place[0] : base + sum(place)] = number.to_bytes(place[1], sys.byteorder)

    text[:6] = b"\x7fELF" + bytes(claims)
    text[18:20] = MACHINE
    put(layout.table, 512)
    put(layout.size, entry or layout.entry)
    put(layout.count, 2)
    put((0, 4), 1, 512)
    if interpreter is not None:
        second = 512 + layout.entry
        put((0, 4), elf.PT_INTERP, second)
        put(layout.begin, 1024, second)
        put(layout.length, len(interpreter) + 1, second)
        text[1024 : 1024 + len(interpreter)] = interpreter
    return bytes(text)


CLAIMS = [(2, 1), (1, 1), (0, 1), (3, 1), (7, 2), (2, 2), (2, 0), (255, 255)]


@pytest.mark.parametrize("claims", CLAIMS)
@pytest.mark.parametrize("bits", [64, 32])
def test_what_a_binary_claims_of_itself_is_no_matter(
    root: int, tmp_path: Path, bits: int, claims: tuple[int, int]
) -> None:
    make(tmp_path / "bin/program", binary(b"/lib/loader", bits, claims))
    with pytest.raises(FileNotFoundError, match="its interpreter '/lib/loader': No such file"):
        find(root, "/bin/program")
    (tmp_path / "lib").mkdir()
    make(tmp_path / "lib/loader")
    assert find(root, "/bin/program") == ("program", ["/bin/program"])


def test_a_binary_that_names_none_is_run(root: int, tmp_path: Path) -> None:
    for content in (binary(None), binary(b"/lib/loader", entry=57), binary(None, 32), BINARY[:20]):
        make(tmp_path / "bin/program", content)
        assert find(root, "/bin/program") == ("program", ["/bin/program"])


@pytest.mark.parametrize("claims", CLAIMS)
@pytest.mark.parametrize("interpreter", [b"/proc/self/exe", b"proc/self/exe", b"//proc/thread-self/exe", b"/to-exe"])
def test_a_binary_whose_interpreter_is_no_file_of_the_containers(
    tmp_path: Path, interpreter: bytes, claims: tuple[int, int]
) -> None:
    """It is for the shell, which has no program of the host's for `/proc/self/exe` to be."""
    (tmp_path / "to-exe").symlink_to("/proc/self/exe")
    path = interpreter.replace(b"/to-exe", os.fsencode(tmp_path / "to-exe"))
    make(tmp_path / "program", binary(path, claims=claims))
    top = lookup.open_root("/")
    found = program.find(top, str(tmp_path / "program"), ["program"])
    assert found.path == "/bin/sh"
    assert found.arguments == ["sh", "-c", 'exec "$0" "$@"', str(tmp_path / "program")]
    os.close(found.directory)
    os.close(top)


def test_five_scripts_in_a_row(tmp_path: Path) -> None:
    """As many as the kernel runs, and not one more."""
    previous = "/bin/sh"
    root = lookup.open_root("/")
    for number in range(6):
        script = tmp_path / f"script{number}"
        make(script, f"#!{previous}\n".encode())
        previous = str(script)
        by_kernel = subprocess.run([previous], check=False, capture_output=True) if number < 5 else None
        if by_kernel is not None:
            assert by_kernel.returncode == 0
            os.close(program.find(root, previous, [previous]).directory)
    with pytest.raises(OSError, match="Too many levels"):
        subprocess.run([previous], check=False)
    with pytest.raises(OSError, match="and so on"):
        program.find(root, previous, [previous])
    os.close(root)


def test_a_null_byte_is_no_argument() -> None:
    root = lookup.open_root("/")
    found = program.find(root, "/bin/sh", ["sh", "-c", "a\0b"])
    with pytest.raises(ValueError, match="null byte"):
        found.execute({})
    os.close(found.directory)
    os.close(root)


def test_the_hosts_own_program_is_no_links_target(tmp_path: Path) -> None:
    """The text of the magic link is a path of the tree's: there it leads to nothing."""
    (tmp_path / "link").symlink_to("/proc/self/exe")
    (tmp_path / "proc").mkdir()
    root = lookup.open_root(str(tmp_path))
    subprocess.run(["true"], check=True)
    with pytest.raises(FileNotFoundError):
        program.find(root, "/link", ["link"])
    os.close(root)
