# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A program that is entered runs as the container's kernel would run it, scripts and errors included."""

from __future__ import annotations

import typing as t

import pytest

from .conftest import Machine, running_machine

pytestmark = pytest.mark.root

NAME = "test-programs"
EXECUTE = "import os, sys\nos.execv(sys.argv[1], sys.argv[1:])\n"
"""Runs a program by nothing but execve(2), which a shell does not: it reads itself what the kernel refuses."""

MAKE_BINARY = """
import os, sys
text = open("/bin/true", "rb").read()
begin = text.index(b"/lib", 64)
end = text.index(0, begin) + 1
loader = (sys.argv[1].encode() + bytes(1)).ljust(end - begin, bytes(1))
text = bytearray(text[:begin] + loader[: end - begin] + text[end:])
for place, value in zip(sys.argv[2::2], sys.argv[3::2]):
    text[int(place)] = int(value)
with open("/tmp/binary", "wb") as file:
    file.write(text)
os.chmod("/tmp/binary", 0o755)
"""
"""Makes a program that names another interpreter, the argument, in as many bytes; others are changed by their place."""

HIDE_PYTHON = """
ln -sf /proc/self/exe /tmp/to-exe
mkdir -p /tmp/proc
mountpoint -q /tmp/proc || mount --rbind /proc /tmp/proc
cp "$(readlink -f /usr/bin/python3)" /tmp/python3
mount --bind /bin/true "$(readlink -f /usr/bin/python3)"
"""
REGISTER = """
import ctypes, os, sys, zipfile
os.makedirs("/run/binfmt", exist_ok=True)
if ctypes.CDLL(None).mount(b"binfmt_misc", b"/run/binfmt", b"binfmt_misc", 0, b""):
    sys.exit(77)
with open("/run/binfmt/register", "w") as file:
    file.write(":x:M::FOREIGN::/proc/self/exe:" + sys.argv[1])
with open("/tmp/program", "wb") as file:
    file.write(b"FOREIGN" + bytes(9))
with zipfile.ZipFile("/tmp/program", "a") as archive:
    archive.writestr("__main__.py", "import os\\nprint('run by', os.readlink('/proc/self/exe'))\\n")
with open("/tmp/script", "w") as file:
    file.write("#!/tmp/program\\n")
os.chmod("/tmp/program", 0o755)
os.chmod("/tmp/script", 0o755)
"""
"""Has the kernel run files that begin with FOREIGN by what executes them."""

NESTED = 5
"""How many scripts, each the interpreter of the next, the kernel runs (execve(2))."""


@pytest.fixture(scope="module")
def machine() -> t.Iterator[Machine]:
    """Yield a container that runs, in which `/usr/local/bin` can be filled."""
    with running_machine(NAME) as made:
        made.output("mount", "-t", "tmpfs", "none", "/usr/local/bin")
        yield made


def make_script(machine: Machine, name: str, line: str) -> str:
    """Make a script of a first line that, where it is a shell's, prints its arguments; its path."""
    path = f"/usr/local/bin/{name}"
    machine.output("sh", "-ec", f"cat > {path}; chmod 755 {path}", input=f'{line}\necho "$0" "$@"\n')
    return path


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("#!/bin/sh", "{} one two\n"),
        ("#! /bin/sh -e", "{} one two\n"),
        ("#!/usr/bin/env sh", "{} one two\n"),
        ("#!/usr/bin/env -S sh -e", "{} one two\n"),
        ("#!\t/bin/sh\t", "{} one two\n"),
        ("#!/usr/bin/printf [%s]", "[{}][one][two]"),
        ("#!/usr/bin/printf a\tb[%s]", "a\tb[{0}]a\tb[one]a\tb[two]"),
        ("#!/usr/bin/printf \t a  \t b[%s] \t ", "a  \t b[{0}]a  \t b[one]a  \t b[two]"),
    ],
)
def test_scripts_run_as_the_kernel_runs_them(machine: Machine, line: str, expected: str) -> None:
    """By its path, and by its name in a directory of `PATH`."""
    path = make_script(machine, "script", line)
    by_the_kernel = machine.output("python3", "-c", EXECUTE, path, "one", "two")
    assert by_the_kernel == expected.format(path)
    assert machine.output(path, "one", "two") == by_the_kernel
    assert machine.output("script", "one", "two") == by_the_kernel


def test_scripts_of_scripts_run_as_the_kernel_runs_them(machine: Machine) -> None:
    interpreter = "/bin/sh"
    for number in range(1, NESTED + 2):
        interpreter = make_script(machine, f"script-{number}", f"#!{interpreter}")
        by_the_kernel = machine.run("python3", "-c", EXECUTE, interpreter, "one")
        entered = machine.run(interpreter, "one")
        assert (by_the_kernel.returncode == 0) == (number <= NESTED), by_the_kernel.stderr
        assert entered.stdout == by_the_kernel.stdout, f"{number} scripts: {entered.stderr}"
    assert entered.returncode == 125
    assert interpreter in entered.stderr


@pytest.mark.parametrize("made", ["mkfifo", "mkdir", "touch", "ln -s /dev/ptmx", "ln -s /dev/zero"])
def test_what_is_no_program_is_an_error_at_once(machine: Machine, made: str) -> None:
    machine.output("sh", "-c", f"rm -rf /tmp/thing; {made} /tmp/thing")
    result = machine.run("/tmp/thing", timeout=20)
    assert (result.returncode, result.stdout) == (125, "")
    assert "Permission denied" in result.stderr


def test_a_binary_without_its_loader_is_named(machine: Machine) -> None:
    machine.output("python3", "-c", MAKE_BINARY, "/tmp/missing")
    result = machine.run("/tmp/binary", timeout=20)
    assert result.returncode == 125, result
    assert "its interpreter '/tmp/missing': No such file" in result.stderr


LOADERS = ["/proc/self/exe", "/proc/1/cwd/proc/self/exe", "/proc/thread-self/exe", "/tmp/to-exe", "/tmp/proc/self/exe"]
CLAIMS = ["", "4 0", "4 1", "4 3", "5 2", "5 0"]


@pytest.mark.parametrize("changed", CLAIMS)
@pytest.mark.parametrize("user", ["root", "nobody"])
def test_no_binary_is_loaded_by_who_enters(machine: Machine, user: str, changed: str) -> None:
    """Its loader is what itself is, which for who enters is the host's Python: here one that is not shared."""
    machine.output("sh", "-ec", HIDE_PYTHON)
    try:
        for loader in LOADERS:
            machine.output("/tmp/python3", "-c", MAKE_BINARY, loader, *changed.split())
            if user != "root":
                machine.output("chmod", "711", "/tmp/binary")
            result = machine.run("/tmp/binary", user=user, timeout=20)
            assert "python" not in (result.stdout + result.stderr).lower(), loader
            assert result.returncode in (1, 2, 125, 126, 127, 139), result
            assert not machine.output("sh", "-c", "cat /tmp/core* 2>/dev/null; rm -f /tmp/core*; true")
    finally:
        machine.output("sh", "-ec", 'umount "$(readlink -f /usr/bin/python3)"')


@pytest.mark.parametrize("flags", ["", "O", "P", "F", "C"])
def test_no_program_is_run_by_who_enters_for_another_one(machine: Machine, flags: str) -> None:
    """Root inside has a binfmt_misc of its own, and names in it what the process that executes is (Linux 6.7)."""
    machine.output("sh", "-ec", HIDE_PYTHON)
    try:
        made = machine.run("/tmp/python3", "-c", REGISTER, flags)
        if made.returncode == 77:
            pytest.skip("this kernel has one binfmt_misc for all")
        assert made.returncode == 0, made.stderr
        for words in (["/tmp/program"], ["/tmp/script"]):
            result = machine.run(*words, timeout=20, errors="replace")
            assert result.stdout == ("run by /tmp/python3\n" if flags == "F" else ""), result
            assert (result.returncode == 0) == (flags == "F"), result
    finally:
        machine.run("sh", "-c", "echo -1 > /run/binfmt/x; umount /run/binfmt")
        machine.output("sh", "-ec", 'umount "$(readlink -f /usr/bin/python3)"')
