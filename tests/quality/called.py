# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of pages: what each program that they call understands."""

from __future__ import annotations

import functools
import json
import re
import shlex
import subprocess

from ansible_collections.unshare.container.plugins.module_utils.life import main as scripts
from ansible_collections.unshare.container.tests import guides
from ansible_collections.unshare.container.tests.quality.declared import (
    BIN,
    OWN,
    REPOSITORY,
    accept_module,
    documentation,
)


@functools.cache
def ansible_options(program: str, *verbs: str) -> str:
    """Return what a program of Ansible says about its options."""
    done = subprocess.run([str(BIN / program), *verbs, "--help"], capture_output=True, text=True, check=True)
    return done.stdout


def accept_ansible(program: str, words: list[str]) -> None:
    """Find each option in the program's help, and each playbook, module and variable where they are said to be."""
    known = ansible_options(program, *words[: {"ansible-galaxy": 2, "ansible-builder": 1}.get(program, 0)])
    for word in words:
        if word.startswith("-"):
            option = word.partition("=")[0]
            assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", known), f"{program} has no {option}"
    if program == "ansible-playbook":
        for word in words:
            if word.startswith(OWN):
                assert (REPOSITORY / "playbooks" / f"{word.removeprefix(OWN)}.yml").exists(), word
            if word.startswith("playbooks/"):
                assert (REPOSITORY / word).exists(), word
            if word.startswith("{"):
                json.loads(word)
    if program == "ansible":
        module = words[words.index("-m") + 1]
        options = words[words.index("-a") + 1] if "-a" in words else ""
        if module.startswith(OWN):
            accept_module(module, dict(pair.split("=", 1) for pair in shlex.split(options)))
        else:
            assert documentation(module)


def accept_make(words: list[str]) -> None:
    """Find each target and variable in the Makefile, and benchmarks' own options in their programs."""
    text = (REPOSITORY / "Makefile").read_text()
    for word in words:
        name, is_variable, value = word.partition("=")
        if is_variable:
            assert re.search(rf"^{name} \?=", text, re.MULTILINE), name
        else:
            assert re.search(rf"^{re.escape(name)}:", text, re.MULTILINE), name
        if name in ("BENCHMARK_ARGS", "MUTATION_ARGS"):
            programs = {"benchmark": "benchmarks/benchmark", "mutation": "mutation/main"}
            source = programs.get(words[0], f"benchmarks/{words[0].removeprefix('benchmark-')}")
            known = "".join(
                (REPOSITORY / "tests" / f"{name}.py").read_text() for name in (source, "benchmarks/sessions")
            )
            for option in re.findall(r"--[\w-]+", value):
                assert f'"{option}"' in known, option


def accept_script(name: str, words: list[str]) -> None:
    """Read the options of run-container and enter-container as these do, by their usage."""
    usage = scripts.RUN_USAGE if name == "run-container" else scripts.ENTER_USAGE
    valued = tuple(re.findall(r"^  --([\w-]+)=", usage, re.MULTILINE))
    flags = tuple(re.findall(r"^  --([\w-]+) ", usage, re.MULTILINE))
    assert valued
    assert flags
    rest = scripts.Arguments(words, valued, flags, usage).rest
    assert name == "enter-container" or not rest, rest


RUNNER_OPTIONS = {"--container-image", "--container-option", "--inventory", "--playbook", "--process-isolation"}
"""Some options of `ansible-runner run`, which is not installed here."""

NOT_TRIED = {"apt-get", "curl", "df", "du", "findmnt", "for", "journalctl", "ls", "molecule", "mv", "rm", "tar"}
"""Programs whose options are not read here: `tests/followed.py` says which test runs them, or why none does."""


@functools.cache
def help_of(program: str) -> str:
    """Return what a program of the machine says about its options."""
    done = subprocess.run([program, "--help"], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def accept_helped(program: str, words: list[str]) -> None:
    """Find each option, and a verb of systemd, in the help of a program of the machine."""
    options = [word.partition("=")[0] for word in words if word.startswith("-")]
    verbs = words[:1] if program in ("systemctl", "systemd-analyze") else []
    for word in [*options, *verbs]:
        known = re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", help_of(program))
        assert known, f"{program} has no {word}"
    if program == "systemctl":
        units = [word for word in words[1:] if not word.startswith("-")]
        assert all(word.startswith("unshare-container@") for word in units), units


def accept_doc(words: list[str]) -> None:
    """Find the plugin or role that `ansible-doc` is asked for."""
    kind = words[words.index("-t") + 1] if "-t" in words else "module"
    name = words[-1]
    if kind == "role":
        assert (REPOSITORY / "roles" / name.removeprefix(OWN) / "meta/argument_specs.yml").exists(), name
    else:
        assert documentation(name, kind)


def accept_command(command: str) -> None:
    """Take a command, unless NOT_TRIED has a reason not to."""
    name = guides.program(command)
    if name in NOT_TRIED:
        return
    words = shlex.split(command, comments=True)[1:]
    if name == "ansible-doc":
        accept_doc(words)
    elif name in guides.SPOKEN_OF:
        accept_helped(name, words)
    elif name == "ansible-runner":
        assert words[0] == "run"
        assert {word for word in words if word.startswith("-")} <= RUNNER_OPTIONS
    elif name.startswith("ansible"):
        accept_ansible(name, words)
    elif name == "make":
        accept_make(words)
    else:
        accept_script(name, words)
