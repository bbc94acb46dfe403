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
