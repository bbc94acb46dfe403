# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A store that lies in a tree which nobody vouches for: its links beside the store mean the tree, never the host."""

from __future__ import annotations

import os
import re
import subprocess
import time
import typing as t
from pathlib import Path
from unittest import mock

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import root
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.host_files import HOST_FILES
from ansible_collections.unshare.container.tests import mountinfo

from . import isolation_record
from .conftest import INTERPRETER
from .isolation import MODES, make_hostile, make_overlay

if t.TYPE_CHECKING:
    from .conftest import MakeMachine

pytestmark = pytest.mark.root

NAME = "test-isolation-trees"
SECRET = "secret of the host"
SHOW = 'for path; do [ ! -d "$path" ] || cat "$path"/secret; [ ! -f "$path" ] || head -c 200 "$path"; done; :'


@pytest.fixture
def tree(tmp_path: Path) -> t.Iterator[Path]:
    """Yield a tree whose `usr` is the host's, so that it boots."""
    path = tmp_path / "tree"
    for name in ("usr", "etc"):
        (path / name).mkdir(parents=True)
    subprocess.run(["mount", "--bind", "/usr", str(path / "usr")], check=True, timeout=60)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path / "usr")], check=True, timeout=60)


def place(tree: Path, path: str, target: str) -> None:
    """Put a link in the tree in place of what was there."""
    link = tree / path.lstrip("/")
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to("../" * (len(link.relative_to(tree).parts) - 2) + target if target == "chain/secret" else target)


@pytest.mark.parametrize("mode", MODES)
def test_links_beside_a_store_mean_its_tree(make_machine: MakeMachine, tmp_path: Path, tree: Path, mode: str) -> None:
    """Every file that is taken from there, as a link to each secret: none is readable inside, and no start breaks."""
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    (hidden / "secret").write_text(SECRET)
    (hidden / "secret").chmod(0o600)
    (tree / "etc" / "real").write_text("of the tree\n")
    (tree / "etc" / "chain").symlink_to("../" * 9 + str(hidden).lstrip("/"))
    links = {
        "a secret file": str(hidden / "secret"),
        "a secret directory": str(hidden),
        "a path upward": "../" * 40 + str(hidden / "secret").lstrip("/"),
        "a chain of links": "chain/secret",
        "/proc/self/environ": "/proc/self/environ",
        "/proc/self/root": f"/proc/self/root{hidden}/secret",
        "/proc/kallsyms": "/proc/kallsyms",
        "a descriptor": "/proc/self/fd/3",
        "the tree's own": "/etc/real",
    }
    own = "the tree's own"
    machine = make_hostile(make_machine, mode, NAME, tmp_path / "data", store=f"{tree / 'usr'}=/usr")
    words: dict[str, str] = {}
    for names in (list(links)[:7], ["a descriptor"], []):
        named = [own, *names]  # so that each start shows that links are followed
        files: dict[str, list[str]] = {name: [] for name in named}
        for number, path in enumerate(sorted(HOST_FILES)):
            name = named[number % len(named)]
            place(tree, path, links[name])
            files[name].append(path)
        machine.start(timeout=20)
        assert machine.output("cat", *files[own]) == "of the tree\n" * len(files[own])
        for name in names:
            words[name] = "ok" if machine.output("sh", "-c", SHOW, "sh", *files[name]) else "refused"
        machine.stop(10)
    words[own] = "inside"
    words = {f"a link beside the store to {name}": word for name, word in words.items()}
    isolation_record.check(mode, "trees", "tree", words)


def test_honest_links(make_machine: MakeMachine, tree: Path) -> None:
    """Absolute and relative, to a file, a directory, and through a directory."""
    (tree / "data/alternatives").mkdir(parents=True)
    (tree / "data/alternatives/editor").write_text("the tree's\n")
    (tree / "data/rpc").write_text("the tree's\n")
    place(tree, "/etc/alternatives", "/data/alternatives")
    place(tree, "/etc/rpc", "../data/rpc")
    place(tree, "/etc/protocols", "/etc/rpc")
    machine = make_machine(name=NAME, store=f"{tree / 'usr'}=/usr")
    machine.start()
    files = ["/etc/alternatives/editor", "/etc/rpc", "/etc/protocols"]
    assert machine.output("cat", *files) == "the tree's\n" * 3
    machine.stop()


def test_a_vast_file_is_refused(make_machine: MakeMachine, tree: Path) -> None:
    with open(tree / "etc/rpc", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(LauncherError, match="/etc/rpc of the store's tree: is larger"):
        make_machine(name=NAME, store=f"{tree / 'usr'}=/usr").start()


def test_a_file_that_grows_while_it_is_read_is_refused(
    make_machine: MakeMachine, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root inside another container writes to it, whatever the host has found before."""
    file = tree / "etc/rpc"
    file.write_bytes(bytes(root.SHARED_LIMIT))
    status, read, taken = file.stat(), os.read, 0

    def grow(descriptor: int, size: int) -> bytes:
        nonlocal taken
        if os.path.samestat(os.fstat(descriptor), status):
            os.truncate(file, taken + 3 * root.READ_SIZE)
            assert taken <= root.SHARED_LIMIT
            taken += size
        return read(descriptor, size)

    machine = make_machine(name=NAME, store=f"{tree / 'usr'}=/usr")
    monkeypatch.setattr(os, "read", grow)
    with pytest.raises(LauncherError, match="/etc/rpc of the store's tree: is larger"):
        machine.start()
    assert taken == root.SHARED_LIMIT + 1


def test_a_file_is_read_until_the_start_must_be_over(
    make_machine: MakeMachine, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "etc/rpc").write_text("the tree's\n")
    began = time.monotonic()
    late = mock.Mock(monotonic=lambda: began + 30)
    monkeypatch.setattr(root, "time", late)
    with pytest.raises(LauncherError, match="/etc/rpc of the store's tree: was not read in time"):
        make_machine(name=NAME, store=f"{tree / 'usr'}=/usr").start(timeout=20)


@pytest.mark.parametrize("itself", ["/proc/self/exe", "/proc/thread-self/exe", "/proc/1/exe"])
def test_the_program_that_starts_is_no_interpreter(make_machine: MakeMachine, tmp_path: Path, itself: str) -> None:
    """The shell of the store, which is to run `boot`, names the starting process's own program (CVE-2019-5736).

    That name means a program of the container's, which PID 1 becomes; where there is none, the start says so.
    """
    with make_overlay(tmp_path, "/usr") as usr:
        shell = usr / os.path.relpath(os.path.realpath("/bin/sh"), "/usr")
        shell.unlink()
        shell.write_text(f"#!{itself}\nimport time\ntime.sleep(600)\n")
        shell.chmod(0o755)
        machine = make_machine(name=NAME, store=f"{usr}=/usr")
        script = [str(machine.system / "run-container"), "--detach", "--timeout=2"]
        started = subprocess.run(script, capture_output=True, text=True, timeout=60, check=False)
        process = machine.container.process()
        assert process is not None, started.stderr
        process.close()
        assert "was not ready within" in started.stderr
        assert is_of_the_containers(process.pid)
        machine.stop(0.1)
        (usr / os.path.relpath(os.path.realpath(INTERPRETER), "/usr")).unlink()
        started = subprocess.run(script, capture_output=True, text=True, timeout=60, check=False)
        assert started.returncode == 125
        assert re.search(rf"cannot start: in the container: .*No such file.*{itself}", started.stderr), started.stderr
        assert machine.container.process() is None


def is_of_the_containers(pid: int) -> bool:
    """Return whether the program of a container's process lies on a mount of the container's."""
    program = os.open(f"/proc/{pid}/exe", os.O_PATH)
    try:
        lines = Path(f"/proc/self/fdinfo/{program}").read_text().splitlines()
    finally:
        os.close(program)
    mount = next(line.split()[1] for line in lines if line.startswith("mnt_id:"))
    return mount in {line.split()[0] for line in mountinfo.lines(pid)}
