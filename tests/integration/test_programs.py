# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A program that is entered runs as the container's kernel would run it, scripts and errors included."""

from __future__ import annotations

import typing as t

import pytest

from .conftest import Host, Machine, write_system

pytestmark = pytest.mark.root

NAME = "test-programs"
EXECUTE = "import os, sys\nos.execv(sys.argv[1], sys.argv[1:])\n"
"""Runs a program by nothing but execve(2), which a shell does not: it reads itself what the kernel refuses."""

MAKE_WAYS = """
ln -sf /proc/self/exe /tmp/to-exe
mkdir -p /tmp/proc
mountpoint -q /tmp/proc || mount --rbind /proc /tmp/proc
"""
MAKE_BINARY = """
import os, sys
text = open("/bin/true", "rb").read()
begin = text.index(b"/lib", 64)
end = text.index(0, begin) + 1
loader = (sys.argv[1].encode() + bytes(1)).ljust(end - begin, bytes(1))
with open("/tmp/binary", "wb") as file:
    file.write(text[:begin] + loader[: end - begin] + text[end:])
os.chmod("/tmp/binary", 0o755)
"""
"""Makes a program that names another interpreter, the argument, in as many bytes."""

NESTED = 5
"""How many scripts, each the interpreter of the next, the kernel runs (execve(2))."""


@pytest.fixture(scope="module")
def machine() -> t.Iterator[Machine]:
    """A container that runs, in which `/usr/local/bin` can be filled."""
    made = Machine(NAME, write_system({"host_name": NAME}, NAME))
    made.start()
    made.output("mount", "-t", "tmpfs", "none", "/usr/local/bin")
    yield made
    made.destroy()
    left = Host.snapshot()
    assert {key for key in left for entry in left[key] if NAME in entry} == set()


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


@pytest.mark.parametrize(
    ("interpreter", "said"),
    [
        ("/proc/self/exe", "/proc/self/exe: a link of /proc"),
        ("/proc/1/cwd/proc/self/exe", "a link of /proc"),
        ("/proc/thread-self/exe", "a link of /proc"),
        ("/tmp/to-exe", "/tmp/to-exe: a link of /proc"),
        ("/tmp/proc/self/exe", "a link of /proc"),
        ("/dev/fd/0", "a link of /proc"),
        ("proc/self/exe", "no absolute path"),
        ("/tmp/missing", "its interpreter /tmp/missing: No such file"),
    ],
)
def test_a_binary_is_loaded_by_a_file_of_the_containers(machine: Machine, interpreter: str, said: str) -> None:
    """And not by what the process that enters is itself, which is the host's Python."""
    machine.output("sh", "-ec", MAKE_WAYS)
    machine.output("python3", "-c", MAKE_BINARY, interpreter)
    result = machine.run("/tmp/binary", timeout=20)
    assert result.returncode == 125, result
    assert said in result.stderr
